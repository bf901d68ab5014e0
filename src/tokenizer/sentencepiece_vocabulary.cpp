#include "src/tokenizer/sentencepiece_vocabulary.hpp"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <tuple>
#include <unordered_set>

#include "src/core/error.hpp"
#include "src/tokenizer/unicode.hpp"
#include "src/tokenizer/wire_format.hpp"

namespace espalier::tokenizer {
namespace {

std::optional<int32_t> present(int id) {
    return id < 0 ? std::nullopt : std::optional<int32_t>(id);
}

// The fields of sentencepiece_model.proto that count here, by the messages that hold them. libsentencepiece
// tells not all of them.
void read_piece(std::string_view message, SentencePieceVocabulary& out) {
    constexpr uint64_t piece = 1, type = 3;
    std::string text;
    int64_t its_type = normal_piece;
    for_each_field(message, [&](const WireField& field) {
        if (field.number == piece) text = field.bytes;
        if (field.number == type) its_type = static_cast<int64_t>(field.value);
    });
    require_utf8(text, "a piece of the SentencePiece model");
    out.pieces.push_back(std::move(text));
    out.types.push_back(its_type);
}

bool is_bpe(std::string_view trainer_spec) {
    constexpr uint64_t model_type = 3, bpe = 2;
    bool out = false;
    for_each_field(trainer_spec, [&](const WireField& field) {
        if (field.number == model_type) out = field.value == bpe;
    });
    return out;
}

void read_normalizer(std::string_view normalizer_spec, SentencePieceVocabulary& out) {
    constexpr uint64_t precompiled_charsmap = 2, add_dummy_prefix = 3;
    for_each_field(normalizer_spec, [&](const WireField& field) {
        if (field.number == precompiled_charsmap) out.normalizes = !field.bytes.empty();
        if (field.number == add_dummy_prefix) out.dummy_prefix = field.value != 0;
    });
}

/// Calls found(id, left, right, characters of left, characters of right) for each cut of a piece into two.
template <class Found>
void for_each_pair(const std::vector<std::string>& pieces, Found found) {
    std::unordered_set<std::string_view> known(pieces.begin(), pieces.end());
    for (size_t id = 0; id < pieces.size(); ++id) {
        const std::string_view piece = pieces[id];
        const auto characters = count_characters(piece);
        std::string_view right = piece;
        for (int64_t left_characters = 1; left_characters < characters; ++left_characters) {
            take_character(right);
            const std::string_view left = piece.substr(0, piece.size() - right.size());
            if (known.contains(left) && known.contains(right))
                found(id, left, right, left_characters, characters - left_characters);
        }
    }
}

}  // namespace

std::shared_ptr<const sentencepiece::SentencePieceProcessor> load_sentencepiece(std::string_view model) {
    auto processor = std::make_shared<sentencepiece::SentencePieceProcessor>();
    const auto status = processor->LoadFromSerializedProto(model);
    ESPALIER_REQUIRE(
        status.ok(),
        "the SentencePiece model cannot be read: {}; give the .model file as its trainer wrote it",
        status.ToString());
    return processor;
}

SpecialIds special_ids(const sentencepiece::SentencePieceProcessor& processor) {
    return {present(processor.bos_id()), present(processor.eos_id()), present(processor.unk_id()),
            present(processor.pad_id())};
}

SentencePieceVocabulary read_vocabulary(const sentencepiece::SentencePieceProcessor& processor) {
    constexpr uint64_t pieces = 1, trainer_spec = 2, normalizer_spec = 3;
    SentencePieceVocabulary out;
    const std::string model = processor.serialized_model_proto();
    for_each_field(model, [&](const WireField& field) {
        if (field.number == pieces) read_piece(field.bytes, out);
        if (field.number == trainer_spec) out.bpe = is_bpe(field.bytes);
        if (field.number == normalizer_spec) read_normalizer(field.bytes, out);
    });
    out.special = special_ids(processor);
    return out;
}

Merges merges_by_id(const std::vector<std::string>& pieces) {
    Merges out;
    for_each_pair(pieces, [&](size_t, std::string_view left, std::string_view right, int64_t, int64_t) {
        out.emplace_back(left, right);
    });
    return out;
}

Merges merges_by_score(const std::vector<std::string>& pieces, const std::vector<double>& scores) {
    struct Ranked {
        double score;
        int64_t left_characters, right_characters;
        std::string_view left, right;
    };
    std::vector<Ranked> pairs;
    for_each_pair(pieces, [&](size_t id, std::string_view left, std::string_view right,
                              int64_t left_characters, int64_t right_characters) {
        pairs.push_back({scores[id], left_characters, right_characters, left, right});
    });
    std::stable_sort(pairs.begin(), pairs.end(), [](const Ranked& a, const Ranked& b) {
        return std::tie(b.score, b.left_characters, b.right_characters) <
               std::tie(a.score, a.left_characters, a.right_characters);
    });
    Merges out;
    for (const Ranked& pair : pairs) out.emplace_back(pair.left, pair.right);
    return out;
}

AddedToken* find_added_token(std::string_view content, Definition& definition) {
    auto& tokens = definition.added_tokens;
    const auto found = std::find_if(tokens.begin(), tokens.end(),
                                    [&](const AddedToken& token) { return token.content == content; });
    return found == tokens.end() ? nullptr : &*found;
}

void put_added_token(AddedToken token, Definition& definition) {
    if (AddedToken* same = find_added_token(token.content, definition)) {
        *same = std::move(token);
    } else {
        definition.added_tokens.push_back(std::move(token));
    }
}

void set_prefix(PrependScheme scheme, Definition& definition) {
    const std::string mark(word_mark);
    definition.metaspace = Metaspace{mark, scheme, false};
    definition.decoders = {Replace{mark, " "}, ByteFallback{}, Fuse{}};
    if (scheme != PrependScheme::never) definition.decoders.emplace_back(Strip{" ", 1, 0});
}

Definition definition_of(const SentencePieceVocabulary& vocabulary) {
    Definition out;
    out.alphabet = Alphabet::characters;
    set_prefix(vocabulary.dummy_prefix ? PrependScheme::first : PrependScheme::never, out);
    out.fuse_unk = out.byte_fallback = true;
    out.special = vocabulary.special;
    const SpecialIds& special = vocabulary.special;
    for (size_t i = 0; i < vocabulary.pieces.size(); ++i) {
        const auto id = static_cast<int32_t>(i);
        const std::string& piece = vocabulary.pieces[i];
        out.vocabulary.insert_or_assign(piece, id);
        const bool is_special = vocabulary.types[i] == control_piece || id == special.bos ||
                                id == special.eos || id == special.unk || id == special.pad;
        if (is_special || vocabulary.types[i] == user_defined_piece)
            out.added_tokens.push_back({.id = id, .content = piece, .special = is_special});
    }
    if (special.unk) out.unk_token = vocabulary.pieces[static_cast<size_t>(*special.unk)];
    return out;
}

}  // namespace espalier::tokenizer
