#include <limits>

#include "src/core/error.hpp"
#include "src/json/parse.hpp"
#include "src/tokenizer/component_json.hpp"
#include "src/tokenizer/definition_json.hpp"
#include "src/tokenizer/merges.hpp"

namespace espalier::tokenizer {
namespace {

constexpr JsonRules rules{.unique_keys = false};  // as the library that these files are for reads them

std::pair<std::string, std::string> merge(const JsonField& field) {
    if (field.value().is_array()) {
        const auto parts = field.elements();
        ESPALIER_REQUIRE(parts.size() == 2, "{} must have two tokens", field.place());
        return {parts[0].text(), parts[1].text()};
    }
    const std::string text = field.text();
    const auto parts = split_merge(text);
    ESPALIER_REQUIRE(parts.has_value(), "{} is '{}', not two tokens with a space between", field.place(),
                     text);
    return *parts;
}

void read_model(const JsonField& model, Definition& definition) {
    if (model.has("type") && model.text("type") != "BPE")
        unsupported(model, "BPE, or the model's SentencePiece .model");
    for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
        ESPALIER_REQUIRE(!model.has(name) || model.at(name).text().empty(),
                         "{}.{} is set; only an empty one is supported", model.place(), name);
    }
    ESPALIER_REQUIRE(!model.has("dropout") || model.at("dropout").value() == 0.0,
                     "{}.dropout is set, and would give other ids each time; remove it", model.place());
    const JsonField vocabulary = model.at("vocab");
    ESPALIER_REQUIRE(vocabulary.value().is_object(), "{} must be an object of tokens and ids",
                     vocabulary.place());
    for (const auto& [token, id] : vocabulary.value().items())
        definition.vocabulary.emplace(token, id_at(vocabulary.at(token)));
    for (const JsonField& field : model.at("merges").elements()) definition.merges.push_back(merge(field));
    if (model.has("unk_token")) definition.unk_token = model.at("unk_token").text();
    definition.fuse_unk = model.flag("fuse_unk", false);
    definition.byte_fallback = model.flag("byte_fallback", false);
    definition.ignore_merges = model.flag("ignore_merges", false);
}

void read_template(const JsonField& component, Definition& definition) {
    std::vector<int32_t> before, after;
    bool text_seen = false;
    for (const JsonField& piece : component.at("single").elements()) {
        if (piece.has("Sequence")) {
            ESPALIER_REQUIRE(!text_seen, "{} has the text twice; only once is supported", component.place());
            text_seen = true;
            continue;
        }
        const std::string name = piece.at("SpecialToken").at("id").text();
        for (const JsonField& id : component.at("special_tokens").at(name).at("ids").elements()) {
            (text_seen ? after : before).push_back(id_at(id));
        }
    }
    ESPALIER_REQUIRE(text_seen, "{}.single leaves the text out", component.place());
    // A later processor wraps what the earlier ones made.
    definition.before.insert(definition.before.begin(), before.begin(), before.end());
    definition.after.insert(definition.after.end(), after.begin(), after.end());
}

void read_post_processor(const JsonField& root, Definition& definition) {
    if (!root.has("post_processor")) return;
    for (const JsonField& component : flattened(root.at("post_processor"), "processors")) {
        const std::string type = component.text("type");
        if (type == "ByteLevel") continue;  // moves offsets only
        if (type != "TemplateProcessing")
            unsupported(component, "ByteLevel, TemplateProcessing and a Sequence of them");
        read_template(component, definition);
    }
}

}  // namespace

int32_t id_at(const JsonField& field) {
    const nlohmann::json& value = field.value();
    ESPALIER_REQUIRE(
        value.is_number_unsigned() && value.get<uint64_t>() < std::numeric_limits<int32_t>::max(),
        "{} must be a token's id, an integer from 0 to 2147483646", field.place());
    return value.get<int32_t>();
}

AddedToken added_token(const JsonField& field, int32_t id) {
    return {.id = id,
            .content = field.text("content"),
            .single_word = field.flag("single_word", false),
            .lstrip = field.flag("lstrip", false),
            .rstrip = field.flag("rstrip", false),
            .normalized = field.flag("normalized", true),
            .special = field.flag("special", false)};
}

Definition parse_definition(std::string_view text) {
    const nlohmann::json document = parse_json(text, "tokenizer.json", rules);
    const JsonField root(document, "tokenizer.json");
    Definition definition;
    if (root.has("normalizer")) {
        for (const JsonField& component : flattened(root.at("normalizer"), "normalizers"))
            definition.normalizers.push_back(read_normalizer_step(component));
    }
    read_model(root.at("model"), definition);
    read_pre_tokenizer(root, definition);
    if (root.has("added_tokens")) {
        for (const JsonField& field : root.at("added_tokens").elements())
            definition.added_tokens.push_back(added_token(field, id_at(field.at("id"))));
    }
    read_post_processor(root, definition);
    read_decoder(root, definition);
    return definition;
}

std::optional<int32_t> id_of(const Definition& definition, std::string_view token) {
    for (const AddedToken& added : definition.added_tokens) {
        if (added.content == token) return added.id;
    }
    const auto found = definition.vocabulary.find(token);
    return found == definition.vocabulary.end() ? std::nullopt : std::optional(found->second);
}

std::optional<std::string> token_named(const JsonField& config, const char* name) {
    if (!config.has(name)) return std::nullopt;
    const JsonField token = config.at(name);
    return token.value().is_object() ? token.at("content").text() : token.text();
}

void apply_config(std::string_view text, Definition& definition) {
    const nlohmann::json document = parse_json(text, "tokenizer_config.json", rules);
    apply_config(JsonField(document, "tokenizer_config.json"), definition);
}

void apply_config(const JsonField& root, Definition& definition) {
    const auto named = [&](const char* name) -> std::optional<int32_t> {
        const auto token = token_named(root, name);
        return token ? id_of(definition, *token) : std::nullopt;
    };
    definition.special = {named("bos_token"), named("eos_token"), named("unk_token"), named("pad_token")};
    if (root.has("chat_template") && root.at("chat_template").value().is_string())
        definition.chat_template = root.at("chat_template").text();
    if (root.has("model_max_length") && root.at("model_max_length").value().is_number_integer())
        definition.model_max_length = root.at("model_max_length").value().get<int64_t>();
}

}  // namespace espalier::tokenizer
