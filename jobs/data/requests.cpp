#include "jobs/data/requests.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "jobs/files/json_file.hpp"
#include "src/core/error.hpp"

namespace espalier::jobs {
namespace {

using nlohmann::json;

std::vector<int32_t> read_ids(const json& list, const char* field, const std::string& where, int64_t vocab) {
    ESPALIER_REQUIRE(list.is_array() && !list.empty(), "{}: \"{}\" must be a list of at least one token id",
                     where, field);
    std::vector<int32_t> out;
    for (const json& id : list) {
        ESPALIER_REQUIRE(id.is_number_integer() && id.get<int64_t>() >= 0 && id.get<int64_t>() < vocab,
                         "{}: \"{}\" holds {}, which is not an id of the model's vocabulary (0 to {})", where,
                         field, id.dump(), vocab - 1);
        out.push_back(id.get<int32_t>());
    }
    return out;
}

/// A context may lose its beginning, but all of a continuation is scored.
void expect_room(const std::vector<int32_t>& ids, const char* field, const std::string& where,
                 const model::Architecture& a) {
    ESPALIER_REQUIRE(std::ssize(ids) <= a.max_positions,
                     "{}: \"{}\" holds {} tokens, and the model has {} positions", where, field, ids.size(),
                     a.max_positions);
}

const json& field_of(const json& object, const char* field, const std::string& where) {
    ESPALIER_REQUIRE(object.contains(field), "{}: the field \"{}\" is missing", where, field);
    return object.at(field);
}

}  // namespace

std::vector<evaluate::LikelihoodRequest> read_requests(const std::string& path,
                                                       const model::Architecture& a) {
    std::vector<evaluate::LikelihoodRequest> out;
    for_each_json_line(path, [&](const json& line, const std::string& where, int64_t) {
        out.push_back({read_ids(field_of(line, "context", where), "context", where, a.vocab),
                       read_ids(field_of(line, "continuation", where), "continuation", where, a.vocab)});
        expect_room(out.back().continuation, "continuation", where, a);
    });
    ESPALIER_REQUIRE(!out.empty(), "{}: the file is empty", path);
    return out;
}

void report_rate(Session& session, const std::vector<evaluate::LikelihoodRequest>& requests,
                 const model::Architecture& a, double seconds) {
    double tokens = 0;
    for (const auto& request : requests) {
        const int64_t inputs = evaluate::inputs_of(request, a.max_positions);
        tokens += static_cast<double>(inputs);
        session.model_flops += static_cast<double>(inputs) * model::forward_flops_per_token(a, inputs);
    }
    session.results["tokens_per_second"] = tokens / seconds;
}

std::vector<Question> read_choices(const std::string& path, const model::Architecture& a) {
    std::vector<Question> out;
    for_each_json_line(path, [&](const json& line, const std::string& where, int64_t) {
        Question q;
        const bool before = line.contains("contexts");
        const char* const differs = before ? "contexts" : "choices";
        const char* const shared = before ? "continuation" : "context";
        const json& choices = field_of(line, differs, where);
        ESPALIER_REQUIRE(choices.is_array() && choices.size() >= 2, "{}: \"{}\" must list at least two",
                         where, differs);
        const auto common = read_ids(field_of(line, shared, where), shared, where, a.vocab);
        const bool lengths = line.contains("lengths");
        ESPALIER_REQUIRE(
            !lengths || (line["lengths"].is_array() && line["lengths"].size() == choices.size() &&
                         std::all_of(line["lengths"].begin(), line["lengths"].end(),
                                     [](const json& length) { return length.is_number(); })),
            "{}: \"lengths\" must have a number for each choice", where);
        for (size_t i = 0; i < choices.size(); ++i) {
            Question::Choice choice{common, read_ids(choices[i], differs, where, a.vocab), 0};
            if (before) std::swap(choice.context, choice.continuation);
            expect_room(choice.continuation, before ? shared : differs, where, a);
            choice.length =
                lengths ? line["lengths"][i].get<double>() : static_cast<double>(choice.continuation.size());
            ESPALIER_REQUIRE(choice.length > 0, "{}: \"lengths\" must be positive", where);
            q.choices.push_back(std::move(choice));
        }
        const json& answer = field_of(line, "answer", where);
        ESPALIER_REQUIRE(answer.is_number_unsigned() && answer.get<size_t>() < choices.size(),
                         "{}: \"answer\" must be the index of a choice", where);
        q.answer = answer.get<size_t>();
        out.push_back(std::move(q));
    });
    ESPALIER_REQUIRE(!out.empty(), "{}: the file is empty", path);
    return out;
}

std::vector<evaluate::LikelihoodRequest> choice_requests(const std::vector<Question>& questions) {
    std::vector<evaluate::LikelihoodRequest> out;
    for (const auto& q : questions) {
        for (const auto& choice : q.choices) out.push_back({choice.context, choice.continuation});
    }
    return out;
}

Accuracy choice_accuracy(const std::vector<Question>& questions,
                         const std::vector<evaluate::Likelihood>& results, const std::string& model) {
    for (const auto& result : results)
        ESPALIER_REQUIRE(std::isfinite(result.log_likelihood),
                         "{}: the log-likelihood of a choice is not a number; are its weights damaged?",
                         model);
    Accuracy out;
    size_t at = 0;
    for (const auto& q : questions) {
        size_t plain = 0, normalised = 0;
        const auto same = [&](const Question::Choice& x, const Question::Choice& y) {
            return x.context == y.context && x.continuation == y.continuation;
        };
        // Equal choices, scored in batches of unlike company, may differ by a rounding.
        const auto value = [&](size_t i) {
            size_t first = 0;
            while (!same(q.choices[first], q.choices[i])) ++first;
            return results[at + first].log_likelihood;
        };
        for (size_t i = 1; i < q.choices.size(); ++i) {
            if (value(i) > value(plain)) plain = i;
            if (value(i) / q.choices[i].length > value(normalised) / q.choices[normalised].length)
                normalised = i;
        }
        out.plain += plain == q.answer;
        out.normalised += normalised == q.answer;
        at += q.choices.size();
    }
    const auto n = static_cast<double>(questions.size());
    return {out.plain / n, out.normalised / n};
}

}  // namespace espalier::jobs
