#include "src/tokenizer/sentencepiece_backend.hpp"

#include <sentencepiece_processor.h>

#include "src/core/error.hpp"
#include "src/json/parse.hpp"
#include "src/tokenizer/definition_json.hpp"
#include "src/tokenizer/unicode.hpp"

namespace espalier::tokenizer {
namespace {

std::optional<int32_t> present(int id) {
    return id < 0 ? std::nullopt : std::optional<int32_t>(id);
}

}  // namespace

SentencePieceBackend::SentencePieceBackend(std::string_view model, std::string_view tokenizer_config_json)
    : processor_(std::make_unique<sentencepiece::SentencePieceProcessor>()) {
    const auto status = processor_->LoadFromSerializedProto(model);
    ESPALIER_REQUIRE(
        status.ok(),
        "the SentencePiece model cannot be read: {}; give the .model file as its trainer wrote it",
        status.ToString());
    special_ = {present(processor_->bos_id()), present(processor_->eos_id()), present(processor_->unk_id()),
                present(processor_->pad_id())};
    if (!tokenizer_config_json.empty()) apply_config(tokenizer_config_json);
}

SentencePieceBackend::~SentencePieceBackend() = default;

void SentencePieceBackend::apply_config(std::string_view tokenizer_config_json) {
    const nlohmann::json document =
        parse_json(tokenizer_config_json, "tokenizer_config.json", {.unique_keys = false});
    const JsonField root(document, "tokenizer_config.json");
    const auto take = [&](const char* name, std::optional<int32_t>& special) {
        if (const auto named = token_named(root, name))
            if (const auto found = id(*named)) special = found;
    };
    take("bos_token", special_.bos);
    take("eos_token", special_.eos);
    take("unk_token", special_.unk);
    take("pad_token", special_.pad);
    if (root.flag("add_bos_token", false) && special_.bos) before_ = {*special_.bos};
    if (root.flag("add_eos_token", false) && special_.eos) after_ = {*special_.eos};
}

std::vector<int32_t> SentencePieceBackend::encode(std::string_view utf8, Special special) const {
    std::vector<int> ids;
    const auto status = processor_->Encode(utf8, &ids);
    ESPALIER_REQUIRE(status.ok(), "SentencePiece cannot encode the text: {}", status.ToString());
    if (special == Special::add) {
        ids.insert(ids.begin(), before_.begin(), before_.end());
        ids.insert(ids.end(), after_.begin(), after_.end());
    }
    return ids;
}

std::string SentencePieceBackend::decode(std::span<const int32_t> ids, SkipSpecial skip) const {
    // SentencePiece decodes control tokens to nothing; where they are wanted they stand between what is
    // decoded.
    std::string text;
    std::vector<int> run;
    const auto flush = [&] {
        std::string decoded;
        const auto status = processor_->Decode(run, &decoded);
        ESPALIER_REQUIRE(status.ok(), "SentencePiece cannot decode the ids: {}", status.ToString());
        text += decoded;
        run.clear();
    };
    for (const int32_t id : ids) {
        if (id < 0 || id >= vocab_size()) continue;
        if (!processor_->IsControl(id)) {
            run.push_back(id);
        } else if (skip == SkipSpecial::no) {
            flush();
            text += processor_->IdToPiece(id);
        }
    }
    flush();
    return replace_invalid(text);
}

int64_t SentencePieceBackend::vocab_size() const {
    return processor_->GetPieceSize();
}

std::optional<std::string> SentencePieceBackend::token(int32_t id) const {
    if (id < 0 || id >= vocab_size()) return std::nullopt;
    return processor_->IdToPiece(id);
}

std::optional<int32_t> SentencePieceBackend::id(std::string_view token) const {
    // An unknown piece gets the unknown token's id.
    const int found = processor_->PieceToId(token);
    if (found < 0 || processor_->IdToPiece(found) != token) return std::nullopt;
    return found;
}

std::vector<int32_t> SentencePieceBackend::text_ids() const {
    std::vector<int32_t> out;
    for (int32_t id = 0; id < vocab_size(); ++id) {
        if (!processor_->IsControl(id) && !processor_->IsUnknown(id) && !processor_->IsUnused(id))
            out.push_back(id);
    }
    return out;
}

std::string SentencePieceBackend::to_json() const {
    fail(
        "a SentencePiece model is not written as tokenizer.json; copy the .model file beside the exported "
        "model");
}

std::string SentencePieceBackend::config_json() const {
    fail(
        "a SentencePiece model has no tokenizer_config.json of its own; copy the source's beside the "
        "exported model");
}

}  // namespace espalier::tokenizer
