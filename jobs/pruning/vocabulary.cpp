#include "jobs/pruning/vocabulary.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <sstream>

#include "io/collective.hpp"
#include "io/indexed_dataset.hpp"
#include "io/publish.hpp"
#include "jobs/data/tokens.hpp"
#include "jobs/files/tokenizer_files.hpp"
#include "src/core/error.hpp"
#include "src/tokenizer/renumbered_file.hpp"
#include "src/tokenizer/vocabulary_cut.hpp"

namespace espalier::jobs {
namespace {

std::string file_of(const std::string& dataset) {
    return dataset.substr(dataset.find('/') + 1);
}

/// What the model's tokenizer demands; nothing where the file has none.
std::optional<tokenizer::VocabularyCut> tokenizer_of(const ModelFile& source) {
    const auto& names = source.reader().byte_names();
    const auto has = [&](const char* name) {
        return std::any_of(names.begin(), names.end(), [&](const auto& n) { return file_of(n) == name; });
    };
    if (has("tokenizer.json"))
        return tokenizer::VocabularyCut(source.reader().read_bytes("tokenizer/tokenizer.json"));
    ESPALIER_REQUIRE(
        names.empty() || (!has("tokenizer.model") && !has("vocab.json")),
        "{}: its tokenizer is not a tokenizer.json, the one kind whose vocabulary can be cut; export "
        "the model, put a tokenizer.json beside it, and import it again",
        source.path());
    return std::nullopt;
}

std::vector<int64_t> special_ids(const ModelFile& source) {
    const auto& a = source.architecture();
    std::vector<int64_t> out = ends_of_text(source);
    for (const auto& id : {a.conventions.bos, a.conventions.pad}) {
        if (id) out.push_back(*id);
    }
    std::erase_if(out, [&](int64_t id) { return id < 0 || id >= a.vocab; });
    std::sort(out.begin(), out.end());
    return out;
}

/// How often each id occurs; each rank counts a part of the tokens.
std::vector<double> frequencies(Session& session, const std::vector<std::string>& prefixes, int64_t vocab) {
    constexpr int64_t piece = int64_t{1} << 20;
    std::vector<double> out(static_cast<size_t>(vocab), 0.0);
    std::vector<int32_t> ids;
    for (const auto& prefix : prefixes) {
        io::on_all(session.world().handle(), [&] {
            const auto data = std::make_shared<io::IndexedDataset>(prefix);
            const TokenStream stream(data);
            const Range mine = split_evenly(data->tokens(), session.world().size(), session.world().rank());
            data->check_ids(vocab, mine);
            for (int64_t at = mine.begin; at < mine.end; at += piece) {
                const Range now{at, std::min(at + piece, mine.end)};
                ids.resize(static_cast<size_t>(now.size()));
                stream.read(now.begin, ids);
                for (const int32_t id : ids) ++out[id];
            }
        });
    }
    session.world().all_reduce(out);
    ESPALIER_REQUIRE(std::any_of(out.begin(), out.end(), [](double n) { return n > 0; }),
                     "--vocab-data {}: there is no token in it to count", fmt::join(prefixes, " "));
    return out;
}

std::vector<int64_t> read_ids(const std::string& path, int64_t vocab) {
    std::istringstream in(io::read_file(path));
    std::vector<int64_t> out;
    for (std::string word; in >> word;) {
        const bool number = word.size() < 10 && word.find_first_not_of("0123456789") == std::string::npos;
        ESPALIER_REQUIRE(number && std::stoll(word) < vocab,
                         "{}: \"{}\" is not an id of the model's vocabulary (0 to {})", path, word,
                         vocab - 1);
        out.push_back(std::stoll(word));
    }
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    ESPALIER_REQUIRE(!out.empty(), "{}: no ids in it; expected token ids with white space between", path);
    return out;
}

}  // namespace

std::vector<int64_t> choose_vocabulary(Session& session, const ModelFile& source,
                                       const VocabularyTarget& target) {
    const auto& a = source.architecture();
    ESPALIER_REQUIRE(!target.count || target.ids_file.empty(),
                     "--vocab and --vocab-ids exclude each other: one counts, the other names");
    const auto tokenizer = tokenizer_of(source);
    const auto special = special_ids(source);
    if (!target.ids_file.empty()) {
        auto ids = read_ids(target.ids_file, a.vocab);
        for (const int64_t id : special) {
            ESPALIER_REQUIRE(std::binary_search(ids.begin(), ids.end(), id),
                             "{}: id {}, a special token of {}, is missing; special tokens must stay",
                             target.ids_file, id, source.path());
        }
        if (tokenizer) tokenizer->check(ids, target.ids_file);
        return ids;
    }
    ESPALIER_REQUIRE(*target.count >= 1 && *target.count <= a.vocab,
                     "--vocab {}: {} has {} tokens, and pruning adds none; choose --vocab between 1 and {}",
                     *target.count, source.path(), a.vocab, a.vocab);
    ESPALIER_REQUIRE(!target.data.empty(),
                     "--vocab {} keeps the most frequent tokens of a text: give its token files with "
                     "--vocab-data PREFIX, or list ids with --vocab-ids",
                     *target.count);
    const auto counts = frequencies(session, target.data, a.vocab);
    const tokenizer::VocabularyCut none;
    return (tokenizer ? *tokenizer : none).most_frequent(counts, *target.count, special);
}

void write_cut_tokenizer(ModelWriter& writer, const ModelFile& source, const std::vector<int64_t>& kept) {
    for (const auto& name : source.reader().byte_names()) {
        const std::string file = file_of(name);
        // What tokenizer.json says in full; a stale copy would say otherwise.
        if (file == "vocab.json" || file == "merges.txt" || file == "tokenizer.model") continue;
        writer.tokenizer_file(file, tokenizer::renumbered_file(file, source.reader().read_bytes(name), kept));
    }
}

}  // namespace espalier::jobs
