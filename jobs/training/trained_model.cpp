#include "jobs/training/trained_model.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/elementwise.hpp"
#include "src/core/error.hpp"

namespace espalier::jobs {
namespace {

bool is_finite(Context& ctx, const Tensor& x) {
    Tensor copy = ctx.empty(x.shape(), DType::f32);
    convert(ctx, x, copy);
    return std::isfinite(square_sum(ctx, copy.view({copy.size()}), {ctx, {{0, copy.size()}}}));
}

}  // namespace

void read_master(Session& session, ModelFile& file, const model::Transformer& model,
                 train::Optimizer& optimizer) {
    const auto all = model::parameters(model.architecture());
    if (model.dtype() == DType::f32 || std::none_of(all.begin(), all.end(), [&](const auto& p) {
            return file.stored_dtype(p) == DType::f32;
        }))
        return;
    read_share(session.context(), file.reader(), "parameters/", model.parameters(),
               {optimizer.master(), optimizer.shards().mine()});
}

bool are_finite(Session& session, const model::Transformer& model, train::Optimizer& optimizer) {
    Context& ctx = session.context();
    double sum = square_sum(ctx, optimizer.master(),
                            train::runs_of_share(ctx, model.parameters(), optimizer.shards()));
    session.world().all_reduce({&sum, 1});
    return std::isfinite(sum);
}

void expect_finite(Session& session, const std::string& path, const model::Transformer& model,
                   train::Optimizer& optimizer) {
    if (are_finite(session, model, optimizer)) return;
    // In the order of the table; the first is that after which most are left.
    const auto all = model::parameters(model.architecture());
    int64_t left = 1;
    for (const auto& e : model.parameters().entries()) {
        if (e.size() == 0 ||
            is_finite(session.context(), model::ParameterSet::view(model.parameters().flat(), &e)))
            continue;
        const auto at =
            std::find_if(all.begin(), all.end(), [&](const auto& p) { return p.name == e.parameter.name; });
        left = std::max<int64_t>(left, all.end() - at);
    }
    left = session.world().all_reduce(left, comm::Reduction::max);
    fail("{}: {} holds values that are infinite or no numbers; nothing can be learned from there", path,
         all[all.size() - static_cast<size_t>(left)].name);
}

void write_trained(Session& session, const std::string& path, const ModelFile& from,
                   const model::Transformer& model, train::Optimizer& optimizer,
                   const nlohmann::ordered_json& history) {
    const auto stored = [&](const model::Parameter& p) { return from.stored_dtype(p); };
    std::vector<DType> dtypes;
    for (const auto& p : model::parameters(model.architecture())) dtypes.push_back(stored(p));
    ModelWriter writer(path, session.world().handle(), model.architecture(), dtypes, io::Existing::replace);
    write_share(session.context(), writer.writer(), "parameters/", model.parameters(),
                {optimizer.master(), optimizer.shards().mine()}, stored);
    writer.copy_tokenizer(from);
    writer.publish(history);
}

}  // namespace espalier::jobs
