#include "src/tokenizer/component_json.hpp"

#include "src/core/names.hpp"
#include "src/tokenizer/regex.hpp"
#include "src/tokenizer/unicode.hpp"

namespace espalier::tokenizer {
namespace {

using nlohmann::json;

constexpr int deepest_sequence = 8;

constexpr std::array normalizations{Named{Normalization::nfc, "NFC"}, Named{Normalization::nfd, "NFD"},
                                    Named{Normalization::nfkc, "NFKC"}, Named{Normalization::nfkd, "NFKD"}};
constexpr std::array behaviors{
    Named{SplitBehavior::removed, "Removed"}, Named{SplitBehavior::isolated, "Isolated"},
    Named{SplitBehavior::merged_with_previous, "MergedWithPrevious"},
    Named{SplitBehavior::merged_with_next, "MergedWithNext"}, Named{SplitBehavior::contiguous, "Contiguous"}};
constexpr std::array prepend_schemes{Named{PrependScheme::first, "first"},
                                     Named{PrependScheme::always, "always"},
                                     Named{PrependScheme::never, "never"}};

/// UserError lists the names.
template <class Table>
auto value_named(const Table& table, const JsonField& field) {
    const std::string name = field.text();
    const auto value = value_of(table, name);
    ESPALIER_REQUIRE(value, "{}: '{}' is unknown; choose one of {}", field.place(), name, listed(table));
    return *value;
}

std::string one_character(const JsonField& field) {
    std::string text = field.text();
    std::string_view rest = text;
    if (!rest.empty()) pop_front(rest);
    ESPALIER_REQUIRE(!text.empty() && rest.empty(), "{} must be one character", field.place());
    return text;
}

std::vector<JsonField> flattened(const JsonField& component, const char* list, int depth) {
    if (component.text("type") != "Sequence") return {component};
    ESPALIER_REQUIRE(depth < deepest_sequence, "{}: sequences are nested deeper than {}", component.place(),
                     deepest_sequence);
    std::vector<JsonField> parts;
    for (const JsonField& part : component.at(list).elements()) {
        for (const JsonField& inner : flattened(part, list, depth + 1)) parts.push_back(inner);
    }
    return parts;
}

Replace replace_step(const JsonField& component) {
    const JsonField pattern = component.at("pattern");
    ESPALIER_REQUIRE(!pattern.has("Regex"),
                     "{}: a regular expression is not supported here; supported: String", pattern.place());
    Replace step{pattern.at("String").text(), component.at("content").text()};
    ESPALIER_REQUIRE(!step.pattern.empty(), "{}.String is empty", pattern.place());
    return step;
}

Metaspace metaspace_step(const JsonField& component) {
    Metaspace step{.replacement = one_character(component.at("replacement"))};
    step.split = component.flag("split", true);
    const bool prefix = component.flag("add_prefix_space", true);
    if (!prefix) step.prepend_scheme = PrependScheme::never;
    if (!component.has("prepend_scheme")) return step;
    const JsonField scheme = component.at("prepend_scheme");
    step.prepend_scheme = value_named(prepend_schemes, scheme);
    ESPALIER_REQUIRE(prefix || step.prepend_scheme == PrependScheme::never,
                     "{} contradicts add_prefix_space, which is false; make it never", scheme.place());
    return step;
}

Strip strip_step(const JsonField& component) {
    Strip step{one_character(component.at("content")), component.integer("start"), component.integer("stop")};
    ESPALIER_REQUIRE(step.start >= 0 && step.stop >= 0, "{}: start and stop must be >= 0", component.place());
    return step;
}

DecoderStep decoder_step(const JsonField& component) {
    const std::string type = component.text("type");
    if (type == "Replace") return replace_step(component);
    if (type == "ByteFallback") return ByteFallback{};
    if (type == "Fuse") return Fuse{};
    if (type == "Strip") return strip_step(component);
    if (type == "Metaspace") return metaspace_step(component);
    unsupported(component,
                "Replace, ByteFallback, Fuse, Strip, Metaspace and a Sequence of them, or ByteLevel where "
                "pre_tokenizer has it");
}

SplitStep split_step(const JsonField& component) {
    const std::string type = component.text("type");
    if (type == "Digits") {
        const bool individual = component.flag("individual_digits", false);
        return {R"(\p{N})", individual ? SplitBehavior::isolated : SplitBehavior::contiguous, false};
    }
    if (type != "Split")
        unsupported(component,
                    "Split, Digits, ByteLevel, Metaspace and a Sequence of them in which the last two come "
                    "last");
    const JsonField pattern = component.at("pattern");
    return {pattern.has("Regex") ? pattern.at("Regex").text() : literal_pattern(pattern.at("String").text()),
            value_named(behaviors, component.at("behavior")), component.flag("invert", false)};
}

json to_json(const Replace& step) {
    return {{"type", "Replace"}, {"pattern", {{"String", step.pattern}}}, {"content", step.content}};
}

json to_json(const Metaspace& step) {
    return {{"type", "Metaspace"},
            {"replacement", step.replacement},
            {"prepend_scheme", name_of(prepend_schemes, step.prepend_scheme)},
            {"split", step.split}};
}

json to_json(const ByteFallback&) {
    return {{"type", "ByteFallback"}};
}

json to_json(const Fuse&) {
    return {{"type", "Fuse"}};
}

json to_json(const Strip& step) {
    return {{"type", "Strip"}, {"content", step.content}, {"start", step.start}, {"stop", step.stop}};
}

json to_json(Normalization form) {
    return {{"type", name_of(normalizations, form)}};
}

json to_json(const Prepend& step) {
    return {{"type", "Prepend"}, {"prepend", step.text}};
}

json to_json(const SplitStep& step) {
    return {{"type", "Split"},
            {"pattern", {{"Regex", step.pattern}}},
            {"behavior", name_of(behaviors, step.behavior)},
            {"invert", step.invert}};
}

// A component alone, or a Sequence whose parts stand under `list`; null for none.
json sequence(std::vector<json> parts, const char* list) {
    if (parts.empty()) return nullptr;
    if (parts.size() == 1) return parts.front();
    return {{"type", "Sequence"}, {list, std::move(parts)}};
}

template <class Steps>
json steps_json(const Steps& steps, const char* list) {
    std::vector<json> parts;
    for (const auto& step : steps)
        parts.push_back(std::visit([](const auto& kind) { return to_json(kind); }, step));
    return sequence(std::move(parts), list);
}

}  // namespace

std::vector<JsonField> flattened(const JsonField& component, const char* list) {
    return flattened(component, list, 0);
}

void unsupported(const JsonField& component, std::string_view supported) {
    fail("{}: '{}' is not supported; supported: {}", component.place(), component.text("type"), supported);
}

NormalizerStep read_normalizer_step(const JsonField& component) {
    const std::string type = component.text("type");
    if (const auto form = value_of(normalizations, type)) return *form;
    if (type == "Prepend") return Prepend{component.at("prepend").text()};
    if (type == "Replace") return replace_step(component);
    unsupported(component,
                "NFC, NFD, NFKC, NFKD, Prepend, Replace and a Sequence of them, or the model's SentencePiece "
                ".model");
}

void read_pre_tokenizer(const JsonField& root, Definition& definition) {
    definition.alphabet = Alphabet::characters;
    if (!root.has("pre_tokenizer")) return;
    const auto steps = flattened(root.at("pre_tokenizer"), "pretokenizers");
    for (size_t i = 0; i < steps.size(); ++i) {
        const std::string type = steps[i].text("type");
        const bool last = i + 1 == steps.size();
        if (last && type == "ByteLevel") {
            definition.alphabet = Alphabet::bytes;
            definition.add_prefix_space = steps[i].flag("add_prefix_space", true);
            definition.gpt2_split = steps[i].flag("use_regex", true);
        } else if (last && type == "Metaspace") {
            definition.metaspace = metaspace_step(steps[i]);
        } else {
            definition.splits.push_back(split_step(steps[i]));
        }
    }
}

void read_decoder(const JsonField& root, Definition& definition) {
    if (definition.alphabet == Alphabet::bytes) {
        if (root.has("decoder") && root.at("decoder").text("type") != "ByteLevel")
            unsupported(root.at("decoder"), "ByteLevel where pre_tokenizer has it");
        return;
    }
    ESPALIER_REQUIRE(root.has("decoder"),
                     "{}: decoder is missing, and pre_tokenizer has no ByteLevel; that is neither byte-level "
                     "BPE nor SentencePiece's",
                     root.place());
    for (const JsonField& component : flattened(root.at("decoder"), "decoders")) {
        ESPALIER_REQUIRE(component.text("type") != "ByteLevel",
                         "{} is ByteLevel, but pre_tokenizer has no ByteLevel", component.place());
        definition.decoders.push_back(decoder_step(component));
    }
}

json byte_level_json(ByteLevel fields) {
    return {{"type", "ByteLevel"},
            {"add_prefix_space", fields.add_prefix_space},
            {"trim_offsets", true},
            {"use_regex", fields.use_regex}};
}

json normalizer_json(const Definition& definition) {
    return steps_json(definition.normalizers, "normalizers");
}

json pre_tokenizer_json(const Definition& definition) {
    std::vector<json> parts;
    for (const SplitStep& step : definition.splits) parts.push_back(to_json(step));
    if (definition.metaspace) parts.push_back(to_json(*definition.metaspace));
    if (definition.alphabet == Alphabet::bytes)
        parts.push_back(byte_level_json(
            {.add_prefix_space = definition.add_prefix_space, .use_regex = definition.gpt2_split}));
    return sequence(std::move(parts), "pretokenizers");
}

json decoder_json(const Definition& definition) {
    if (definition.alphabet == Alphabet::bytes) return byte_level_json();
    if (definition.decoders.empty()) return {{"type", "Sequence"}, {"decoders", json::array()}};
    return steps_json(definition.decoders, "decoders");
}

}  // namespace espalier::tokenizer
