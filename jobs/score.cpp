// score: log-likelihood of continuations, for lm-evaluation-harness.
#include <cmath>

#include "io/publish.hpp"
#include "jobs/data/requests.hpp"
#include "jobs/files/model_file.hpp"
#include "jobs/job.hpp"
#include "jobs/session/output_lock.hpp"
#include "jobs/session/progress.hpp"
#include "src/core/error.hpp"

namespace espalier::jobs {

int score(const std::vector<std::string>& arguments, comm::Mpi&) {
    std::string model_path, requests_path, out;
    int64_t micro_batch = 8;
    const auto declare = [&](Options& options) {
        options.required("model", model_path, "M.h5");
        options.required("requests", requests_path,
                         "IN.jsonl: {\"context\": [ids], \"continuation\": [ids]} a line");
        options.required("out", out,
                         "OUT.jsonl: {\"loglikelihood\": x, \"is_greedy\": b} a line, same order");
        options.add("micro-batch", micro_batch, "requests at a time");
    };
    return run_job("score", arguments, declare, [&](Session& session, const Options&) {
        check_micro_batch(micro_batch);
        const OutputLock lock(session, out);
        io::check_output(out, session.common().existing());
        ModelFile file(model_path, session.world().handle());
        const auto requests = read_requests(requests_path, file.architecture());
        const auto model = load_transformer(session, file, model::Gradients::none);
        Progress progress(session, "score", static_cast<double>(requests.size()), "requests");
        const double begin = session.seconds();
        const auto results =
            evaluate::likelihoods(session.context(), *model, session.topology(), requests, micro_batch,
                                  [&](int64_t done) { progress.show(static_cast<double>(done)); });
        report_rate(session, requests, file.architecture(), session.seconds() - begin);
        std::string lines;
        for (size_t i = 0; i < results.size(); ++i) {
            ESPALIER_REQUIRE(
                std::isfinite(results[i].log_likelihood),
                "{}, line {}: its log-likelihood is not a number; are the model's weights damaged?",
                requests_path, i + 1);
            if (!session.root()) continue;
            lines += nlohmann::json{{"loglikelihood", results[i].log_likelihood},
                                    {"is_greedy", results[i].is_greedy}}
                         .dump() +
                     "\n";
        }
        session.results["requests"] = requests.size();
        if (session.root()) io::write_file(out, lines);
        return exit_code::done;
    });
}

}  // namespace espalier::jobs
