// tokenize: text or JSONL -> Megatron .bin and .idx.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <string_view>

#include "io/indexed_dataset.hpp"
#include "io/publish.hpp"
#include "io/system_error.hpp"
#include "jobs/files/json_file.hpp"
#include "jobs/files/tokenizer_files.hpp"
#include "jobs/job.hpp"
#include "jobs/session/output_lock.hpp"
#include "jobs/session/progress.hpp"
#include "src/core/error.hpp"
#include "src/core/exact.hpp"

namespace espalier::jobs {
namespace {

struct TokenizeOptions {
    std::string tokenizer, out, json_key = "text";
    std::vector<std::string> input;
    bool append_eod = false;
};

bool has_json_lines(const std::string& path) {
    return path.ends_with(".jsonl") || path.ends_with(".ndjson");
}

int64_t bytes_of(const std::string& path) {
    std::error_code error;
    const auto bytes = std::filesystem::file_size(path, error);
    if (error) io::fail_of_system("cannot read " + path, error.value());
    return narrow<int64_t>(bytes);
}

/// Calls `add` with each document of a file, its place, and the bytes up to its end: the whole text, or of
/// JSON lines one of each line.
template <class Add>
void for_each_document(const std::string& path, const std::string& key, Add add) {
    if (!has_json_lines(path)) {
        constexpr int64_t most_bytes = int64_t{1} << 30;
        const int64_t bytes = bytes_of(path);
        ESPALIER_REQUIRE(
            bytes <= most_bytes,
            "{}: a text of {} bytes is one document, and {} are the most; split it, or make it a "
            ".jsonl with a document on each line",
            path, bytes, most_bytes);
        const std::string text = io::read_file(path);
        add(text, path, std::ssize(text));
        return;
    }
    for_each_json_line(path, [&](const nlohmann::json& object, const std::string& where, int64_t bytes) {
        ESPALIER_REQUIRE(object.contains(key), "{}: nothing under \"{}\"; choose another --json-key", where,
                         key);
        ESPALIER_REQUIRE(object[key].is_string(), "{}: what is under \"{}\" is no text but {}", where, key,
                         object[key].dump());
        add(object[key].get<std::string>(), where, bytes);
    });
}

struct Compressor {
    std::string_view program, first_bytes;
};
using namespace std::string_view_literals;
constexpr std::array compressors{Compressor{"gzip", "\x1f\x8b"sv}, Compressor{"zstd", "\x28\xb5\x2f\xfd"sv},
                                 Compressor{"xz", "\xfd\x37zXZ\0"sv},
                                 Compressor{"bzip2", "BZh91AY&SY"sv}};  // at its default level

/// Throws UserError where the name or the first bytes of a file say that it is not to be read as it stands.
void check_kind(const std::string& path) {
    ESPALIER_REQUIRE(!path.ends_with(".json"),
                     "{}: a .json file could be lines, a list or a text; name it .jsonl if each line is an "
                     "object, or .txt if all of it is one text (`jq -c '.[]'` makes lines of a list)",
                     path);
    std::array<char, 10> head{};
    std::ifstream(path, std::ios::binary).read(head.data(), std::ssize(head));
    for (const auto& [program, first_bytes] : compressors)
        ESPALIER_REQUIRE(!std::string_view(head.data(), head.size()).starts_with(first_bytes),
                         "{}: compressed; unpack it first: {} -dk {}", path, program, path);
}

void check_prefix(const std::string& prefix) {
    const auto name = std::filesystem::path(prefix).filename();
    ESPALIER_REQUIRE(!name.empty() && name != "." && name != "..",
                     "--out {}: names no files; give what stands before .bin and .idx, such as {}", prefix,
                     (std::filesystem::path(prefix) / "tokens").string());
}

void tokenize_all(Session& session, const TokenizeOptions& o) {
    const auto tokenizer = open_tokenizer(o.tokenizer, session.log());
    ESPALIER_REQUIRE(!o.append_eod || tokenizer.eos(),
                     "--append-eod: {} names no end-of-text token; that of a tokenizer.json is the eos_token "
                     "of the tokenizer_config.json beside it",
                     o.tokenizer);
    int64_t total = 0, done = 0;
    for (const auto& path : o.input) {
        total += bytes_of(path);
        check_kind(path);
    }
    io::IndexedDatasetWriter writer(o.out, tokenizer.vocab_size(), session.common().existing());
    Progress progress(session, "tokenize", static_cast<double>(total), "bytes");
    const auto add = [&](const std::string& text, const std::string& where) {
        std::vector<int32_t> ids;
        try {
            ids = tokenizer.encode(text, tokenizer::Special::add);
        } catch (const UserError& e) {
            fail("{}: {}", where, e.what());
        }
        if (ids.empty()) return;  // a text without tokens is no document
        if (o.append_eod) ids.push_back(*tokenizer.eos());
        writer.add(ids);
    };
    for (const auto& path : o.input) {
        for_each_document(path, o.json_key,
                          [&](const std::string& text, const std::string& where, int64_t bytes) {
                              add(text, where);
                              progress.show(static_cast<double>(done + bytes), path);
                          });
        done += bytes_of(path);
    }
    ESPALIER_REQUIRE(writer.documents() > 0, "the input holds no text");
    writer.finish();
    session.results["documents"] = writer.documents();
    session.results["tokens"] = writer.tokens();
    session.log().result("{}: {} documents, {} tokens", o.out, writer.documents(), writer.tokens());
}

}  // namespace

int tokenize(const std::vector<std::string>& arguments, comm::Mpi&) {
    TokenizeOptions o;
    const auto declare = [&](Options& options) {
        options.required("tokenizer", o.tokenizer,
                         "tokenizer.json, tokenizer.model, .gguf, M.h5, or a folder");
        options.required(
            "input", o.input,
            "FILE...: each is one document, a .jsonl or .ndjson one of each line; not compressed");
        options.required("out", o.out, "PREFIX of .bin and .idx");
        options.add("json-key", o.json_key, "where a line of JSONL keeps its text");
        options.add("append-eod", o.append_eod,
                    "end each document that has tokens with the end-of-text token");
    };
    return run_job("tokenize", arguments, declare, [&](Session& session, const Options& given) {
        if (std::none_of(o.input.begin(), o.input.end(), has_json_lines))
            given.refuse_given({"json-key"}, "it is of JSON lines, and no --input ends in .jsonl or .ndjson");
        check_prefix(o.out);
        const OutputLock lock(session, o.out);
        if (session.root()) tokenize_all(session, o);
        session.world().barrier();
        return exit_code::done;
    });
}

}  // namespace espalier::jobs
