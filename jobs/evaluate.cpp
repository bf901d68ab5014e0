// evaluate: loss and perplexity over a token file, accuracy over multiple-choice requests.
#include <cmath>

#include "jobs/data/documents.hpp"
#include "jobs/data/requests.hpp"
#include "jobs/data/tokens.hpp"
#include "jobs/files/model_file.hpp"
#include "jobs/job.hpp"
#include "jobs/session/progress.hpp"
#include "src/core/error.hpp"
#include "src/evaluate/perplexity.hpp"

namespace espalier::jobs {
namespace {

struct EvaluateOptions {
    std::string model, data, requests, split, split_part = "valid";
    int64_t seq_len = 0, stride = 0, micro_batch = 4;
    DocumentOptions documents;
};

void evaluate_stream(Session& session, const EvaluateOptions& o, const data::DocumentMasks& masks,
                     model::Transformer& model) {
    const auto& a = model.architecture();
    const int64_t seq = o.seq_len > 0 ? o.seq_len : std::min<int64_t>(a.max_positions, 2048),
                  stride = o.stride > 0 ? o.stride : seq;
    ESPALIER_REQUIRE(
        stride <= seq,
        "--stride {} exceeds --seq-len {}: tokens between windows would go unscored; choose --stride <= {}",
        stride, seq, seq);
    auto text = open_data(session.world(), {o.data}, a.vocab);
    if (!o.split.empty())
        text = data::part_of(std::move(text), data::Split(o.split),
                             data::part_from_string(o.split_part, "--split-part"));
    const TokenStream stream(text.front().documents);
    ESPALIER_REQUIRE(stream.tokens() >= 2, "{}: {} tokens; a loss needs at least 2", text.front().name,
                     stream.tokens());
    const auto windows = evaluate::windows(stream.tokens(), seq, stride);
    Progress progress(session, "evaluate", static_cast<double>(windows.size()), "windows");
    const double begin = session.seconds();
    const auto loss = evaluate::stream_loss(
        session.context(), model, session.topology(), windows, o.micro_batch, masks,
        [&](int64_t at, std::span<int32_t> out) { stream.read(at, out); },
        [&](int64_t done) { progress.show(static_cast<double>(done)); });
    ESPALIER_REQUIRE(std::isfinite(loss.mean()), "{}: its loss is not a number; are its weights damaged?",
                     o.model);
    session.results["loss"] = loss.mean();
    session.results["perplexity"] = std::exp(loss.mean());
    session.results["tokens"] = loss.tokens;
    double inputs = 0;
    for (const auto& w : windows) inputs += static_cast<double>(w.length - 1);
    session.results["tokens_per_second"] = inputs / (session.seconds() - begin);
    session.model_flops += inputs * model::forward_flops_per_token(a, seq);
    session.log().result("loss {:.4f}  perplexity {:.3f}  over {} tokens", loss.mean(), std::exp(loss.mean()),
                         loss.tokens);
}

void evaluate_choices(Session& session, const EvaluateOptions& o, model::Transformer& model) {
    const auto questions = read_choices(o.requests, model.architecture());
    const auto requests = choice_requests(questions);
    Progress progress(session, "evaluate", static_cast<double>(requests.size()), "requests");
    const double begin = session.seconds();
    const auto results =
        evaluate::likelihoods(session.context(), model, session.topology(), requests, o.micro_batch,
                              [&](int64_t done) { progress.show(static_cast<double>(done)); });
    report_rate(session, requests, model.architecture(), session.seconds() - begin);
    const auto accuracy = choice_accuracy(questions, results, o.model);
    session.results["questions"] = questions.size();
    session.results["accuracy"] = accuracy.plain;
    session.results["accuracy_norm"] = accuracy.normalised;
    session.log().result("accuracy {:.4f}  normalised {:.4f}  over {} questions", accuracy.plain,
                         accuracy.normalised, questions.size());
}

}  // namespace

int evaluate(const std::vector<std::string>& arguments, comm::Mpi&) {
    EvaluateOptions o;
    const auto declare = [&](Options& options) {
        options.required("model", o.model, "M.h5");
        options.add("data", o.data, "PREFIX of token files");
        options.add("split", o.split,
                    "A,B,C: shares of the documents of --data that a run trained on, held out, and left for "
                    "tests; empty: all of them");
        options.add("split-part", o.split_part, "train, valid or test: which part of --split");
        options.add("requests", o.requests, "FILE.jsonl of multiple-choice questions");
        options.add("seq-len", o.seq_len, "tokens of a window; 0: the model's positions, at most 2048");
        options.add("stride", o.stride, "tokens between windows; 0: seq-len");
        options.add("micro-batch", o.micro_batch, "windows or requests at a time");
        declare_documents(options, o.documents);
    };
    return run_job("evaluate", arguments, declare, [&](Session& session, const Options&) {
        ESPALIER_REQUIRE(o.data.empty() != o.requests.empty(),
                         "give --data PREFIX or --requests FILE.jsonl, one of them");
        ESPALIER_REQUIRE(o.seq_len >= 0 && o.stride >= 0, "--seq-len and --stride cannot be negative");
        check_micro_batch(o.micro_batch);
        ESPALIER_REQUIRE(o.requests.empty() || !(o.documents.reset_attention || o.documents.mask_eod),
                         "--reset-attention and --mask-eod are for --data; a request is one document");
        ESPALIER_REQUIRE(o.requests.empty() || (o.seq_len == 0 && o.stride == 0),
                         "--seq-len and --stride are for --data; a request has its own length");
        ESPALIER_REQUIRE(o.requests.empty() || o.split.empty(),
                         "--split is for --data; of requests all are read");
        ESPALIER_REQUIRE(!o.split.empty() || o.split_part == EvaluateOptions{}.split_part,
                         "--split-part {}: give --split A,B,C, of which it is a part", o.split_part);
        ModelFile file(o.model, session.world().handle());
        check_seq_len(o.seq_len, file);
        const auto masks = document_masks(session, o.documents, file);
        const auto model = load_transformer(session, file, model::Gradients::none);
        if (o.data.empty()) {
            evaluate_choices(session, o, *model);
        } else {
            evaluate_stream(session, o, masks, *model);
        }
        return exit_code::done;
    });
}

}  // namespace espalier::jobs
