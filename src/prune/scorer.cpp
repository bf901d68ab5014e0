#include "src/prune/scorer.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "kernels/statistics.hpp"
#include "src/core/names.hpp"

namespace espalier::prune {
namespace {

constexpr std::array site_names{Named{NeuronSite::after_activation, "post"},
                                Named{NeuronSite::before_activation, "pre"}};

/// Of ScoreSums::channels.
int64_t norm_row(const model::Architecture& a, model::StateName norm) {
    switch (norm.site) {
        case model::Site::attention_input:
            return 2 * norm.layer;
        case model::Site::mlp_input:
            return 2 * norm.layer + 1;
        case model::Site::final_norm:
            return 2 * a.depth();
        case model::Site::residual:
            break;
    }
    throw InternalError("no norm's output");
}

}  // namespace

std::string_view to_string(NeuronSite site) {
    return name_of(site_names, site);
}

NeuronSite neuron_site_from_string(const std::string& name, const char* option) {
    return chosen(site_names, name, option);
}

ScoreSums::ScoreSums(const model::Architecture& a, int64_t block, HeadDimSums dims)
    : neurons(a.depth(), widest(a, &model::LayerShape::ffn)),
      heads(a.depth(), widest(a, &model::LayerShape::query_heads)),
      channels(2 * a.depth() + 1, a.hidden),
      queries(dims == HeadDimSums::keep ? a.depth() : 0, heads.columns() * a.head_dim),
      keys(queries.rows(), widest(a, &model::LayerShape::kv_heads) * a.head_dim),
      outputs(queries.rows(), queries.columns()),
      layer_cosine(static_cast<size_t>(a.depth()), 0.0),
      block_cosine(block > 0 ? static_cast<size_t>(a.depth() - block + 1) : 0, 0.0),
      loss_without(static_cast<size_t>(a.depth()), 0.0),
      loss_without_blocks(block_cosine.size(), 0.0) {}

void ScoreSums::add_ranks(const comm::Communicator& world) {
    const std::array tables{&neurons, &heads, &channels, &queries, &keys, &outputs};
    std::vector<double> centres;
    for (const UnitSums* table : tables)
        centres.insert(centres.end(), table->centres().begin(), table->centres().end());
    world.all_reduce(centres, comm::Reduction::max);
    std::span<const double> shared = centres;
    for (UnitSums* table : tables) {
        table->recentre(shared.first(table->centres().size()));
        shared = shared.subspan(table->centres().size());
    }

    // One message, not many that each wait for the slowest rank.
    std::vector<std::span<double>> parts{layer_cosine, block_cosine, loss_without, loss_without_blocks,
                                         {&loss, 1},   {&tokens, 1}, {&samples, 1}};
    for (UnitSums* table : tables) {
        parts.push_back(table->sums());
        parts.push_back(table->counts());
    }
    std::vector<double> all;
    for (const auto part : parts) all.insert(all.end(), part.begin(), part.end());
    world.all_reduce(all);
    auto from = all.cbegin();
    for (const auto part : parts) {
        std::copy_n(from, part.size(), part.begin());
        from += std::ssize(part);
    }
}

Scorer::Scorer(const model::Transformer& model, NeuronSite site, ScoreSums& sums)
    : a_(model.architecture()), part_(model.placement().tensor), site_(site), sums_(sums) {}

void Scorer::see(Context& ctx, UnitSums& table, int64_t row, int64_t first_column, const Tensor& x,
                 Range columns, const model::TokenBatch& tokens) {
    Tensor sums = ctx.empty({tokens.batch, 3, columns.size()}, DType::f64);
    moments(ctx, x, tokens.batch, columns, sums);
    add_moments(table, row, first_column, sums, tokens.seq);
}

void Scorer::add_moments(UnitSums& table, int64_t row, int64_t first_column, const Tensor& moments,
                         int64_t seq) {
    add_later(moments, [&table, row, first_column, seq](const Tensor& on_host) {
        const auto [samples, three, width] = on_host.dims<3>();
        for (int64_t sample = 0; sample < samples; ++sample) {
            table.add_sample(row, first_column, width, on_host.data<double>() + sample * three * width, seq);
        }
    });
}

void Scorer::add_later(const Tensor& x, Add add) {
    seen_.push_back({x, std::move(add), {}});
}

void Scorer::begin_collect(Context& ctx) {
    collect(ctx);
    const Timed timed = ctx.computing();
    under_way_ = std::exchange(seen_, {});
    for (Seen& s : under_way_) {
        if (s.x.device() == Device::cpu) {
            s.on_host = s.x;
        } else {
            s.on_host = ctx.empty_on_host(s.x.shape(), s.x.dtype());
            last_read_ = ctx.begin_read(s.x, s.on_host);
        }
    }
}

void Scorer::collect(Context& ctx) {
    const Timed timed = ctx.computing();
    last_read_.wait();
    for (const Seen& s : under_way_) s.add(s.on_host);
    under_way_.clear();
}

void Scorer::norm_output(Context& ctx, model::StateName norm, const model::TokenBatch& tokens,
                         const Tensor& full) {
    const Range mine = split_evenly(a_.hidden, part_.size, part_.rank);
    see(ctx, sums_.channels, norm_row(a_, norm), mine.begin, full, mine, tokens);
}

void Scorer::rotated_qkv(Context& ctx, int64_t layer, const model::TokenBatch& tokens, const Tensor& qkv) {
    if (sums_.queries.rows() == 0) return;
    const int64_t dims = a_.head_dim;
    const Range heads = model::local_range(a_, layer, model::Axis::query_head, part_),
                held = model::local_range(a_, layer, model::Axis::kv_head, part_),
                counted = model::owned_range(a_, layer, model::Axis::kv_head, part_);
    const int64_t first_key = heads.size() * dims;
    see(ctx, sums_.queries, layer, heads.begin * dims, qkv, {0, first_key}, tokens);
    const auto key_column = [&](int64_t head) { return first_key + (head - held.begin) * dims; };
    see(ctx, sums_.keys, layer, counted.begin * dims, qkv,
        {key_column(counted.begin), key_column(counted.end)}, tokens);
}

void Scorer::heads(Context& ctx, int64_t layer, const model::TokenBatch& tokens, const Tensor& o) {
    const Range mine = model::local_range(a_, layer, model::Axis::query_head, part_);
    Tensor norms = ctx.empty({tokens.tokens(), mine.size()}, DType::f32);
    head_norms(ctx, o, mine.size(), norms);
    see(ctx, sums_.heads, layer, mine.begin, norms, {0, mine.size()}, tokens);
    if (sums_.outputs.rows() > 0)
        see(ctx, sums_.outputs, layer, mine.begin * a_.head_dim, o, {0, mine.size() * a_.head_dim}, tokens);
}

void Scorer::neurons(Context& ctx, int64_t layer, const model::TokenBatch& tokens, const Tensor& before,
                     const Tensor&, const Tensor& moments) {
    const Range mine = model::local_range(a_, layer, model::Axis::ffn, part_);
    if (site_ == NeuronSite::after_activation) {
        add_moments(sums_.neurons, layer, mine.begin, moments, tokens.seq);
    } else {
        // Where there is a gate, it comes first and the up projection's output second.
        const int64_t first = is_gated(a_.activation) ? mine.size() : 0;
        see(ctx, sums_.neurons, layer, mine.begin, before, {first, first + mine.size()}, tokens);
    }
}

}  // namespace espalier::prune
