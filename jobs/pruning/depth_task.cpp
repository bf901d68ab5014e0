#include "jobs/pruning/depth_task.hpp"

#include "jobs/session/progress.hpp"
#include "src/prune/scoring_pass.hpp"

namespace espalier::jobs {

DepthAccuracy depth_accuracy(Session& session, model::Transformer& model,
                             const std::vector<Question>& questions, int64_t width, int64_t micro_batch) {
    const auto requests = choice_requests(questions);
    const int64_t starts = model.architecture().depth() - width + 1;
    Progress progress(session, "depth task", static_cast<double>(requests.size()), "requests");
    model::Outbox outbox;
    const auto results = evaluate::likelihoods(
        session.context(), model, session.topology(), requests, micro_batch, starts + 1,
        [&](const model::TokenBatch& tokens, const prune::EmitVariant& emit) {
            prune::pass_without(session.context(), model, session.topology(), tokens, width, outbox, emit);
        },
        [&](int64_t done) { progress.show(static_cast<double>(done)); });
    outbox.drain();
    DepthAccuracy out;
    for (const auto& variant : results)
        out.without.push_back(choice_accuracy(questions, variant, "--depth-task").plain);
    out.whole = out.without.back();
    out.without.pop_back();
    out.questions = static_cast<int64_t>(questions.size());
    return out;
}

}  // namespace espalier::jobs
