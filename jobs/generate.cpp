// generate: continue a prompt.
#include <fstream>

#include "jobs/job.hpp"
#include "jobs/model_file.hpp"
#include "jobs/tokenizer_files.hpp"
#include "src/core/error.hpp"
#include "src/core/exact.hpp"
#include "src/evaluate/generation.hpp"
#include "src/json/parse.hpp"

namespace espalier::jobs {
namespace {

struct GenerateOptions {
    std::string model, tokenizer, prompt, requests;
    evaluate::GenerationOptions generation;
};

std::vector<std::string> prompts(const GenerateOptions& o) {
    if (!o.prompt.empty()) return {o.prompt};
    std::ifstream in(o.requests);
    ESPALIER_REQUIRE(in.good(), "{}: cannot be read", o.requests);
    std::vector<std::string> out;
    int64_t number = 0;
    for (std::string line; std::getline(in, line);) {
        ++number;
        if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
        const std::string where = fmt::format("{}, line {}", o.requests, number);
        const auto object = parse_json(line, where, {.unique_keys = false});
        ESPALIER_REQUIRE(object.is_object() && object.contains("prompt") && object["prompt"].is_string(),
                         "{}: expected {{\"prompt\": \"text\"}}", where);
        out.push_back(object["prompt"].get<std::string>());
    }
    return out;
}

}  // namespace

int generate(const std::vector<std::string>& arguments, comm::Mpi&) {
    GenerateOptions o;
    const auto declare = [&](Options& options) {
        options.required("model", o.model, "M.h5");
        options.add("tokenizer", o.tokenizer, "default: the one inside the model");
        options.add("prompt", o.prompt, "text to continue");
        options.add("requests", o.requests, "FILE.jsonl of {\"prompt\": text}");
        options.add("max-tokens", o.generation.max_tokens, "most new tokens");
        options.add("temperature", o.generation.temperature, "0: the likeliest token each time");
        options.add("top-p", o.generation.top_p,
                    "sample from the likeliest tokens that hold this probability");
    };
    return run_job("generate", arguments, declare, [&](Session& session, const Options&) {
        ESPALIER_REQUIRE(o.prompt.empty() != o.requests.empty(),
                         "give --prompt TEXT or --requests FILE.jsonl, one of them");
        ESPALIER_REQUIRE(o.generation.max_tokens >= 1 && o.generation.temperature >= 0 &&
                             o.generation.top_p > 0 && o.generation.top_p <= 1,
                         "--max-tokens must be at least 1, --temperature not negative, --top-p in (0, 1]");
        ModelFile file(o.model, session.world().handle());
        const auto tokenizer = open_tokenizer(o.tokenizer.empty() ? o.model : o.tokenizer);
        const auto model = load_transformer(session, file, model::Gradients::none);
        o.generation.seed = static_cast<uint64_t>(session.common().seed);
        if (tokenizer.eos()) o.generation.stop.push_back(*tokenizer.eos());
        for (const int64_t id : ends_of_text(file)) {
            if (id >= 0 && id < file.architecture().vocab) o.generation.stop.push_back(narrow<int32_t>(id));
        }

        auto texts = nlohmann::ordered_json::array();
        double tokens = 0;
        const double begin = session.seconds();
        for (const auto& prompt : prompts(o)) {
            auto ids = tokenizer.encode(prompt, tokenizer::Special::add);
            if (ids.empty() && tokenizer.bos()) ids.push_back(*tokenizer.bos());
            ESPALIER_REQUIRE(!ids.empty(), "the prompt \"{}\" has no tokens", prompt);
            for (const int32_t id : ids)
                ESPALIER_REQUIRE(
                    id < file.architecture().vocab,
                    "the tokenizer gives id {}, the model has {} tokens: they do not belong together", id,
                    file.architecture().vocab);
            ESPALIER_REQUIRE(std::ssize(ids) < file.architecture().max_positions,
                             "a prompt of {} tokens leaves no room in the {} positions of {}; shorten it",
                             ids.size(), file.architecture().max_positions, o.model);
            const auto fresh = evaluate::generate(session.context(), *model, session.topology(), ids,
                                                  o.generation, [](int32_t) {});
            tokens += static_cast<double>(fresh.size());
            const int64_t length = std::ssize(ids) + std::max<int64_t>(0, std::ssize(fresh) - 1);
            session.model_flops +=
                static_cast<double>(length) * model::forward_flops_per_token(file.architecture(), length);
            const std::string text = tokenizer.decode(fresh, tokenizer::SkipSpecial::yes);
            texts.push_back({{"prompt", prompt}, {"text", text}, {"ids", fresh}});
            session.log().result("{}{}", prompt, text);
        }
        session.results["generated"] = texts;
        session.results["tokens_per_second"] = tokens / (session.seconds() - begin);
        return exit_code::done;
    });
}

}  // namespace espalier::jobs
