#include "src/core/error.hpp"
#include "src/tokenizer/definition_json.hpp"
#include "src/tokenizer/json_fields.hpp"
#include "src/tokenizer/regex.hpp"

namespace espalier::tokenizer {
namespace {

constexpr int deepest_sequence = 8;

[[noreturn]] void unsupported(const Field& component, std::string_view supported) {
    fail("{}: '{}' is not supported; supported: {}", component.place(), component.type(), supported);
}

// The parts of a component that may be a Sequence, whose parts stand under `list`.
std::vector<Field> flattened(const Field& component, const char* list, int depth = 0) {
    if (component.type() != "Sequence") return {component};
    ESPALIER_REQUIRE(depth < deepest_sequence, "{}: sequences are nested deeper than {}", component.place(),
                     deepest_sequence);
    std::vector<Field> parts;
    for (const Field& part : component.at(list).elements()) {
        for (const Field& inner : flattened(part, list, depth + 1)) parts.push_back(inner);
    }
    return parts;
}

Normalization normalization(const Field& component) {
    const std::string type = component.type();
    if (type == "NFC") return Normalization::nfc;
    if (type == "NFD") return Normalization::nfd;
    if (type == "NFKC") return Normalization::nfkc;
    if (type == "NFKD") return Normalization::nfkd;
    unsupported(
        component,
        "NFC, NFD, NFKC, NFKD and a Sequence of them (byte-level BPE), or the model's SentencePiece .model");
}

SplitBehavior behavior(const Field& field) {
    const std::string name = field.text();
    if (name == "Removed") return SplitBehavior::removed;
    if (name == "Isolated") return SplitBehavior::isolated;
    if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
    if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
    if (name == "Contiguous") return SplitBehavior::contiguous;
    fail("{}: '{}' is unknown; choose Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous",
         field.place(), name);
}

SplitStep split_step(const Field& component) {
    const std::string type = component.type();
    if (type == "Digits") {
        const bool individual = component.flag("individual_digits", false);
        return {R"(\p{N})", individual ? SplitBehavior::isolated : SplitBehavior::contiguous, false};
    }
    if (type != "Split")
        unsupported(component, "Split, Digits, ByteLevel and a Sequence of them that ends in ByteLevel");
    const Field pattern = component.at("pattern");
    return {pattern.has("Regex") ? pattern.at("Regex").text() : literal_pattern(pattern.at("String").text()),
            behavior(component.at("behavior")), component.flag("invert", false)};
}

void read_pre_tokenizer(const Field& root, Definition& definition) {
    constexpr const char* without =
        "has no ByteLevel; only byte-level BPE is read from tokenizer.json, "
        "a SentencePiece model from its .model file";
    ESPALIER_REQUIRE(root.has("pre_tokenizer"), "{}: pre_tokenizer {}", root.place(), without);
    const Field component = root.at("pre_tokenizer");
    const auto steps = flattened(component, "pretokenizers");
    ESPALIER_REQUIRE(!steps.empty(), "{} {}", component.place(), without);
    for (size_t i = 0; i + 1 < steps.size(); ++i) {
        definition.splits.push_back(split_step(steps[i]));
    }
    const Field& last = steps.back();
    if (last.type() != "ByteLevel") {
        split_step(last);  // names what is unknown altogether
        fail("{} {}", component.place(), without);
    }
    definition.add_prefix_space = last.flag("add_prefix_space", true);
    definition.gpt2_split = last.flag("use_regex", true);
}

std::pair<std::string, std::string> merge(const Field& field) {
    if (field.value().is_array()) {
        const auto parts = field.elements();
        ESPALIER_REQUIRE(parts.size() == 2, "{} must have two tokens", field.place());
        return {parts[0].text(), parts[1].text()};
    }
    const std::string text = field.text();
    const size_t space = text.find(' ');
    ESPALIER_REQUIRE(space != std::string::npos && text.find(' ', space + 1) == std::string::npos,
                     "{} is '{}', not two tokens with a space between", field.place(), text);
    return {text.substr(0, space), text.substr(space + 1)};
}

void read_model(const Field& model, Definition& definition) {
    if (model.has("type") && model.type() != "BPE") unsupported(model, "BPE");
    for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
        ESPALIER_REQUIRE(!model.has(name) || model.at(name).text().empty(),
                         "{}.{} is set, which byte-level BPE does not have; only an empty one is supported",
                         model.place(), name);
    }
    ESPALIER_REQUIRE(!model.has("dropout") || model.at("dropout").value() == 0.0,
                     "{}.dropout is set, and would give other ids each time; remove it", model.place());
    const Field vocabulary = model.at("vocab");
    ESPALIER_REQUIRE(vocabulary.value().is_object(), "{} must be an object of tokens and ids",
                     vocabulary.place());
    for (const auto& [token, id] : vocabulary.value().items()) {
        definition.vocabulary.emplace(token, Field(id, vocabulary.place() + '.' + token).id());
    }
    for (const Field& field : model.at("merges").elements()) definition.merges.push_back(merge(field));
    if (model.has("unk_token")) definition.unk_token = model.at("unk_token").text();
    definition.fuse_unk = model.flag("fuse_unk", false);
    definition.byte_fallback = model.flag("byte_fallback", false);
    definition.ignore_merges = model.flag("ignore_merges", false);
}

AddedToken added_token(const Field& field) {
    return {.id = field.at("id").id(),
            .content = field.at("content").text(),
            .single_word = field.flag("single_word", false),
            .lstrip = field.flag("lstrip", false),
            .rstrip = field.flag("rstrip", false),
            .normalized = field.flag("normalized", true),
            .special = field.flag("special", false)};
}

void read_template(const Field& component, Definition& definition) {
    std::vector<int32_t> before, after;
    bool text_seen = false;
    for (const Field& piece : component.at("single").elements()) {
        if (piece.has("Sequence")) {
            ESPALIER_REQUIRE(!text_seen, "{} has the text twice; only once is supported", component.place());
            text_seen = true;
            continue;
        }
        const std::string name = piece.at("SpecialToken").at("id").text();
        for (const Field& id : component.at("special_tokens").at(name.c_str()).at("ids").elements()) {
            (text_seen ? after : before).push_back(id.id());
        }
    }
    ESPALIER_REQUIRE(text_seen, "{}.single leaves the text out", component.place());
    // A later processor wraps what the earlier ones made.
    definition.before.insert(definition.before.begin(), before.begin(), before.end());
    definition.after.insert(definition.after.end(), after.begin(), after.end());
}

void read_post_processor(const Field& root, Definition& definition) {
    if (!root.has("post_processor")) return;
    for (const Field& component : flattened(root.at("post_processor"), "processors")) {
        const std::string type = component.type();
        if (type == "ByteLevel") continue;  // moves offsets only
        if (type != "TemplateProcessing")
            unsupported(component, "ByteLevel, TemplateProcessing and a Sequence of them");
        read_template(component, definition);
    }
}

}  // namespace

Definition parse_definition(std::string_view text) {
    const nlohmann::json document = parse_json(text, "tokenizer.json");
    const Field root(document, "tokenizer.json");
    Definition definition;
    if (root.has("normalizer")) {
        for (const Field& component : flattened(root.at("normalizer"), "normalizers"))
            definition.normalizers.push_back(normalization(component));
    }
    read_model(root.at("model"), definition);
    read_pre_tokenizer(root, definition);
    if (root.has("added_tokens")) {
        for (const Field& field : root.at("added_tokens").elements())
            definition.added_tokens.push_back(added_token(field));
    }
    read_post_processor(root, definition);
    if (root.has("decoder") && root.at("decoder").type() != "ByteLevel")
        unsupported(root.at("decoder"), "ByteLevel");
    return definition;
}

std::optional<int32_t> id_of(const Definition& definition, std::string_view token) {
    for (const AddedToken& added : definition.added_tokens) {
        if (added.content == token) return added.id;
    }
    const auto found = definition.vocabulary.find(token);
    return found == definition.vocabulary.end() ? std::nullopt : std::optional(found->second);
}

void apply_config(std::string_view text, Definition& definition) {
    const nlohmann::json document = parse_json(text, "tokenizer_config.json");
    const Field root(document, "tokenizer_config.json");
    const auto named = [&](const char* name) -> std::optional<int32_t> {
        if (!root.has(name)) return std::nullopt;
        const Field token = root.at(name);
        return id_of(definition, token.value().is_object() ? token.at("content").text() : token.text());
    };
    definition.special = {named("bos_token"), named("eos_token"), named("unk_token"), named("pad_token")};
    if (root.has("chat_template") && root.at("chat_template").value().is_string())
        definition.chat_template = root.at("chat_template").text();
    if (root.has("model_max_length") && root.at("model_max_length").value().is_number_integer())
        definition.model_max_length = root.at("model_max_length").value().get<int64_t>();
}

}  // namespace espalier::tokenizer
