#include "jobs/pruning/scores_file.hpp"

#include <limits>

#include "io/tensor_file.hpp"
#include "src/core/error.hpp"
#include "src/prune/measures.hpp"

namespace espalier::jobs {
namespace {

using prune::AggregatorPair;

std::vector<AggregatorPair> all_pairs() {
    std::vector<AggregatorPair> out;
    for (const auto batch : prune::aggregators) {
        for (const auto sequence : prune::aggregators) out.push_back({batch, sequence});
    }
    return out;
}

/// A table of the file: name, shape, and how its values come about.
struct Table {
    io::TensorSpec spec;
    std::vector<double> values;
};

/// Rows shorter than the widest end in NaN. `each`: columns of one unit.
void pad(std::vector<double>& values, const model::Architecture& a, int64_t columns,
         int64_t model::LayerShape::*width, int64_t each = 1) {
    for (int64_t l = 0; l < a.depth(); ++l) {
        for (int64_t c = a.layers[l].*width * each; c < columns; ++c)
            values[l * columns + c] = std::numeric_limits<double>::quiet_NaN();
    }
}

/// Tables of the dims of heads: [layers, heads, head_dim].
struct HeadDimTable {
    const char* name;
    const char* axis;
    prune::UnitSums prune::ScoreSums::*sums;
    std::vector<std::vector<double>> prune::HeadDimScores::*scores;
    int64_t model::LayerShape::*heads;
};
constexpr HeadDimTable head_dim_tables[]{
    {"queries", "query_head", &prune::ScoreSums::queries, &prune::HeadDimScores::queries,
     &model::LayerShape::query_heads},
    {"keys", "kv_head", &prune::ScoreSums::keys, &prune::HeadDimScores::keys, &model::LayerShape::kv_heads},
    {"head_outputs", "query_head", &prune::ScoreSums::outputs, &prune::HeadDimScores::outputs,
     &model::LayerShape::query_heads}};

std::vector<Table> tables(const model::Architecture& a, const prune::ScoreSums& sums,
                          const ScoresHeader& header) {
    std::vector<Table> out;
    const auto add = [&](const std::string& name, Shape shape, std::vector<std::string> axes,
                         std::vector<double> values) {
        out.push_back({{name, std::move(shape), DType::f64, std::move(axes)}, std::move(values)});
    };
    for (const auto& pair : all_pairs()) {
        auto neurons = sums.neurons.scores(pair), heads = sums.heads.scores(pair);
        pad(neurons, a, sums.neurons.columns(), &model::LayerShape::ffn);
        pad(heads, a, sums.heads.columns(), &model::LayerShape::query_heads);
        const auto by_norm = sums.channels.scores(pair);
        add("ffn/" + pair.name(), {a.depth(), sums.neurons.columns()}, {"layer", "ffn"}, std::move(neurons));
        add("heads/" + pair.name(), {a.depth(), sums.heads.columns()}, {"layer", "query_head"},
            std::move(heads));
        add("channels/" + pair.name(), {a.hidden}, {"hidden"}, prune::sum_over_norms(by_norm, a.hidden));
        add("channels_by_norm/" + pair.name(), {2 * a.depth() + 1, a.hidden}, {"norm", "hidden"}, by_norm);
    }
    for (const auto& t : head_dim_tables) {
        const prune::UnitSums& units = sums.*t.sums;
        if (units.rows() == 0) continue;
        for (const auto& pair : all_pairs()) {
            auto values = units.scores(pair);
            pad(values, a, units.columns(), t.heads, a.head_dim);
            add(fmt::format("{}/{}", t.name, pair.name()),
                {a.depth(), units.columns() / a.head_dim, a.head_dim}, {"layer", t.axis, "head_dim"},
                std::move(values));
        }
    }
    const auto add_depth = [&](const std::string& name, const prune::DepthScores& scores) {
        if (!scores.layers.empty()) add(name, {std::ssize(scores.layers)}, {"layer"}, scores.layers);
        if (!scores.blocks.empty())
            add(name + "_blocks", {std::ssize(scores.blocks)}, {"first_layer"}, scores.blocks);
    };
    auto depth = prune::depth_table(sums, header.measured);
    if (header.accuracy)
        (depth.block > 0 ? depth.accuracy_without.blocks : depth.accuracy_without.layers) =
            header.accuracy->without;
    add_depth("depth/block_influence", depth.influence);
    add_depth("depth/loss_without", depth.loss_without);
    add_depth("depth/accuracy_without", depth.accuracy_without);
    return out;
}

Tensor to_tensor(Context& ctx, const Table& table) {
    Tensor out = ctx.empty_on_host(table.spec.shape, DType::f64);
    std::copy(table.values.begin(), table.values.end(), out.data<double>());
    return out;
}

}  // namespace

void write_scores(Session& session, const std::string& path, const model::Architecture& a,
                  const prune::ScoreSums& sums, const ScoresHeader& header) {
    const auto content = tables(a, sums, header);
    std::vector<io::TensorSpec> specs;
    for (const auto& t : content) specs.push_back(t.spec);
    io::TensorFileWriter writer(path, session.world().handle(), specs, session.common().existing());
    writer.attribute("format", scores_format);
    writer.attribute("format_version", int64_t{1});
    writer.attribute("samples", static_cast<int64_t>(sums.samples));
    writer.attribute("seq_len", header.seq_len);
    writer.attribute("loss", sums.loss / sums.tokens);
    writer.attribute("model_sha256", header.model_sha256);
    writer.attribute("ffn_site", std::string(prune::to_string(header.site)));
    if (header.measured.block > 0) writer.attribute("depth_block", header.measured.block);
    if (header.accuracy) {
        writer.attribute("accuracy", header.accuracy->whole);
        writer.attribute("questions", header.accuracy->questions);
    }
    writer.attribute("options", session.options().dump());
    if (session.root()) {
        for (const auto& t : content)
            writer.write(t.spec.name, whole(t.spec.shape), to_tensor(session.context(), t));
    }
    writer.publish();
}

StoredScores read_scores(Session& session, const std::string& path, const ModelFile& model,
                         AggregatorPair pair) {
    const auto& a = model.architecture();
    io::TensorFileReader reader(path, session.world().handle(), scores_format);
    ESPALIER_REQUIRE(reader.text("model_sha256") == model.sha256(),
                     "{}: these are scores of another model than {} (its content has another hash); score "
                     "again with `espalier importance --model {}`",
                     path, model.path(), model.path());
    const auto read = [&](const std::string& name) {
        const auto* spec = reader.find(name);
        if (!spec) return std::pair{Shape{}, std::vector<double>{}};
        Tensor values = session.context().empty(spec->shape, DType::f64);
        reader.read(name, whole(spec->shape), values, session.root() ? whole(spec->shape) : Box{});
        return std::pair{spec->shape,
                         std::vector<double>(values.data<double>(), values.data<double>() + values.size())};
    };
    const auto rows = [&](const std::string& name, int64_t model::LayerShape::*width, int64_t each = 1) {
        const auto [shape, values] = read(name);
        ESPALIER_REQUIRE(shape.size() >= 2 && shape[0] == a.depth(),
                         "{}: the table {} is missing or misshapen", path, name);
        std::vector<std::vector<double>> out;
        const int64_t columns = element_count(shape) / shape[0];
        for (int64_t l = 0; l < shape[0]; ++l) {
            const int64_t n = a.layers[l].*width * each;
            ESPALIER_REQUIRE(n <= columns, "{}: the table {} has {} columns, layer {} needs {}", path, name,
                             columns, l, n);
            const double* row = values.data() + l * columns;
            out.emplace_back(row, row + n);
        }
        return out;
    };
    prune::Scores out;
    out.neurons = rows("ffn/" + pair.name(), &model::LayerShape::ffn);
    out.heads = rows("heads/" + pair.name(), &model::LayerShape::query_heads);
    out.channels = read("channels/" + pair.name()).second;
    const auto depth = [&](const char* name) {
        return prune::DepthScores{read(std::string("depth/") + name).second,
                                  read(std::string("depth/") + name + "_blocks").second};
    };
    out.depth = {depth("block_influence"), depth("loss_without"), depth("accuracy_without")};
    if (reader.has_attribute("depth_block")) out.depth.block = reader.integer("depth_block");
    for (const auto& t : head_dim_tables) {
        const std::string name = fmt::format("{}/{}", t.name, pair.name());
        if (reader.find(name)) out.head_dims.*t.scores = rows(name, t.heads, a.head_dim);
    }
    reader.verify();
    prune::check(out, a, path);
    const std::string site = reader.has_attribute("ffn_site") ? reader.text("ffn_site") : "post";
    return {std::move(out), prune::neuron_site_from_string(site, path.c_str()), reader.content_sha256()};
}

}  // namespace espalier::jobs
