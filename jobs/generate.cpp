// generate: continue a prompt.
#include <cmath>

#include "jobs/files/json_file.hpp"
#include "jobs/files/model_file.hpp"
#include "jobs/files/tokenizer_files.hpp"
#include "jobs/job.hpp"
#include "jobs/session/standard_output.hpp"
#include "src/core/error.hpp"
#include "src/core/exact.hpp"
#include "src/core/random.hpp"
#include "src/evaluate/generation.hpp"

namespace espalier::jobs {
namespace {

struct GenerateOptions {
    std::string model, tokenizer, prompt, requests;
    evaluate::GenerationOptions generation;
};

struct Prompt {
    std::string text;
    std::vector<int32_t> ids;
};

Prompt encoded(const tokenizer::Tokenizer& tokenizer, std::string text, const std::string& where,
               const ModelFile& model) {
    const auto& a = model.architecture();
    auto ids = tokenizer.encode(text, tokenizer::Special::add);
    if (ids.empty() && tokenizer.bos()) ids.push_back(*tokenizer.bos());
    ESPALIER_REQUIRE(!ids.empty(), "{}: the prompt \"{}\" has no tokens", where, text);
    for (const int32_t id : ids)
        ESPALIER_REQUIRE(
            id < a.vocab,
            "{}: the tokenizer gives id {}, the model has {} tokens: they do not belong together", where, id,
            a.vocab);
    ESPALIER_REQUIRE(std::ssize(ids) < a.max_positions,
                     "{}: a prompt of {} tokens leaves no room in the {} positions of {}; shorten it", where,
                     ids.size(), a.max_positions, model.path());
    return {std::move(text), std::move(ids)};
}

/// All of them, so that what is wrong with the last is known before the first is continued.
std::vector<Prompt> prompts(const GenerateOptions& o, const tokenizer::Tokenizer& tokenizer,
                            const ModelFile& model) {
    if (o.requests.empty()) return {encoded(tokenizer, o.prompt, "--prompt", model)};
    std::vector<Prompt> out;
    for_each_json_line(o.requests, [&](const nlohmann::json& object, const std::string& where, int64_t) {
        ESPALIER_REQUIRE(object.contains("prompt") && object["prompt"].is_string(),
                         "{}: expected {{\"prompt\": \"text\"}}", where);
        out.push_back(encoded(tokenizer, object["prompt"].get<std::string>(), where, model));
    });
    ESPALIER_REQUIRE(!out.empty(), "{}: there is no request in it", o.requests);
    return out;
}

void check(const GenerateOptions& o, const Options& given) {
    ESPALIER_REQUIRE(given.given("prompt") != !o.requests.empty(),
                     "give --prompt TEXT or --requests FILE.jsonl, one of them");
    ESPALIER_REQUIRE(
        o.generation.temperature > 0 || o.generation.top_p == 1,
        "--top-p {}: with --temperature 0 the likeliest token is taken each time; give --temperature "
        "too, for example 1",
        o.generation.top_p);
    ESPALIER_REQUIRE(o.generation.max_tokens >= 1 && o.generation.temperature >= 0 &&
                         std::isfinite(o.generation.temperature) && o.generation.top_p > 0 &&
                         o.generation.top_p <= 1,
                     "--max-tokens must be at least 1, --temperature not negative, --top-p in (0, 1]");
}

}  // namespace

int generate(const std::vector<std::string>& arguments, comm::Mpi&) {
    GenerateOptions o;
    const auto declare = [&](Options& options) {
        options.required("model", o.model, "M.h5");
        options.add("tokenizer", o.tokenizer, "default: the one inside the model");
        options.optional("prompt", o.prompt, "text to continue");
        options.add("requests", o.requests, "FILE.jsonl of {\"prompt\": text}");
        options.add("max-tokens", o.generation.max_tokens, "most new tokens");
        options.add("temperature", o.generation.temperature, "0: the likeliest token each time");
        options.add("top-p", o.generation.top_p,
                    "sample from the likeliest tokens that hold this probability");
    };
    return run_job("generate", arguments, declare, [&](Session& session, const Options& given) {
        check(o, given);
        ModelFile file(o.model, session.world().handle());
        const auto tokenizer = open_tokenizer(o.tokenizer.empty() ? o.model : o.tokenizer, session.log());
        const auto model = load_transformer(session, file, model::Gradients::none);
        const uint64_t seed = mix64(static_cast<uint64_t>(session.common().seed));
        if (tokenizer.eos()) o.generation.stop.push_back(*tokenizer.eos());
        for (const int64_t id : ends_of_text(file)) {
            if (id >= 0 && id < file.architecture().vocab) o.generation.stop.push_back(narrow<int32_t>(id));
        }

        auto texts = nlohmann::ordered_json::array();
        double tokens = 0;
        const double begin = session.seconds();
        int64_t cut_short = 0;
        for (const auto& [prompt, ids] : prompts(o, tokenizer, file)) {
            o.generation.seed = mix64(seed + texts.size());  // each request draws numbers of its own
            const auto fresh =
                evaluate::generate(session.context(), *model, session.topology(), ids, o.generation);
            tokens += static_cast<double>(fresh.size());
            const int64_t length = std::ssize(ids) + std::max<int64_t>(0, std::ssize(fresh) - 1);
            session.model_flops +=
                static_cast<double>(length) * model::forward_flops_per_token(file.architecture(), length);
            const std::string text = tokenizer.decode(fresh, tokenizer::SkipSpecial::yes);
            texts.push_back({{"prompt", prompt}, {"text", text}, {"ids", fresh}});
            session.log().result("{}{}", prompt, text);
            const bool full = std::ssize(ids) + std::ssize(fresh) >= file.architecture().max_positions;
            if (full && std::ssize(fresh) < o.generation.max_tokens) ++cut_short;
        }
        if (cut_short > 0)
            session.log().warning("{}: its {} positions ended {} of {} continuations before --max-tokens {}",
                                  file.path(), file.architecture().max_positions, cut_short, texts.size(),
                                  o.generation.max_tokens);
        if (session.root()) finish_printing();
        session.results["generated"] = texts;
        session.results["tokens_per_second"] = tokens / (session.seconds() - begin);
        return exit_code::done;
    });
}

}  // namespace espalier::jobs
