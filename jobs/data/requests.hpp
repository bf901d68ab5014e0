// JSONL files of requests: continuations to score, multiple-choice questions.
#pragma once

#include <string>
#include <vector>

#include "jobs/session/session.hpp"
#include "src/evaluate/likelihood.hpp"

namespace espalier::jobs {

/// Lines {"context": [ids], "continuation": [ids]}. Throws UserError naming file, line and field, also where
/// a continuation is longer than the model's context.
std::vector<evaluate::LikelihoodRequest> read_requests(const std::string& path, const model::Architecture& a);

/// The summary's tokens_per_second and model_flops of what scored them, with the tokens that a model of this
/// context takes of each.
void report_rate(Session& session, const std::vector<evaluate::LikelihoodRequest>& requests,
                 const model::Architecture& a, double seconds);

/// A multiple-choice question: {"context": [ids], "choices": [[ids], ...], "answer": index, "lengths": [n,
/// ...]}, or, where the choice stands before what is scored (Winogrande), {"contexts": [[ids], ...],
/// "continuation": [ids], "answer": index, "lengths": [n, ...]}.
struct Question {
    struct Choice {
        std::vector<int32_t> context, continuation;
        double length;  ///< what its log-likelihood is divided by for the normalised accuracy: characters
                        ///< where the file says ("lengths"), else tokens
    };
    std::vector<Choice> choices;
    size_t answer = 0;
};
std::vector<Question> read_choices(const std::string& path, const model::Architecture& a);

/// Every choice of every question, in order.
std::vector<evaluate::LikelihoodRequest> choice_requests(const std::vector<Question>& questions);

struct Accuracy {
    double plain = 0;       ///< the likeliest choice is the answer
    double normalised = 0;  ///< the likeliest by its length is
};
/// results: of every choice of every question, in order. The first of equals counts.
Accuracy choice_accuracy(const std::vector<Question>& questions,
                         const std::vector<evaluate::Likelihood>& results, const std::string& model);

}  // namespace espalier::jobs
