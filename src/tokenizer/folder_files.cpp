#include "src/tokenizer/folder_files.hpp"

#include <array>
#include <charconv>
#include <set>

#include "src/core/error.hpp"
#include "src/json/parse.hpp"
#include "src/tokenizer/definition_json.hpp"
#include "src/tokenizer/sentencepiece_vocabulary.hpp"

namespace espalier::tokenizer {
namespace {

using nlohmann::json;

constexpr std::array special_names{"bos_token", "eos_token", "unk_token", "sep_token",
                                   "pad_token", "cls_token", "mask_token"};

json parsed(const std::string& content, const char* name) {
    if (content.empty()) return json::object();
    json document = parse_json(content, name, {.unique_keys = false});
    ESPALIER_REQUIRE(document.is_object(), "{}: expected a JSON object", name);
    return document;
}

/// The configuration; older folders name their special tokens in a file of its own.
json configuration(const FolderFiles& files) {
    json config = parsed(files.tokenizer_config, "tokenizer_config.json");
    if (!config.contains("added_tokens_decoder"))
        config.update(parsed(files.special_tokens_map, "special_tokens_map.json"));
    return config;
}

/// The vocabulary's id of a token counts, whatever the file says.
void put(AddedToken token, Definition& definition) {
    const auto known = definition.vocabulary.find(token.content);
    if (known != definition.vocabulary.end()) token.id = known->second;
    put_added_token(std::move(token), definition);
}

int32_t id_of_key(const std::string& key, const std::string& place) {
    int32_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    ESPALIER_REQUIRE(error == std::errc() && end == key.data() + key.size() && id >= 0,
                     "{}: '{}' is not a token's id", place, key);
    return id;
}

using Names = std::set<std::string>;

Names take_added_tokens_decoder(const JsonField& decoder, Definition& definition) {
    Names taken;
    for (const auto& [key, value] : decoder.value().items()) {
        AddedToken token = added_token(decoder.at(key), id_of_key(key, decoder.place()));
        taken.insert(token.content);
        put(std::move(token), definition);
    }
    return taken;
}

Names take_added_tokens_file(const std::string& content, Definition& definition) {
    const json document = parsed(content, "added_tokens.json");
    const JsonField root(document, "added_tokens.json");
    Names taken;
    for (const auto& [token, id] : document.items()) {
        put({.id = id_at(root.at(token)), .content = token, .normalized = true}, definition);
        taken.insert(token);
    }
    return taken;
}

/// `field` is a token's name, or an object that says more of it. Of tokens that are listed the list counts.
void take_special(const JsonField& field, const Names& listed, Definition& definition) {
    const bool described = field.value().is_object();
    const std::string content = described ? field.text("content") : field.text();
    const auto id = id_of(definition, content);
    if (!id) return;
    AddedToken token = described ? added_token(field, *id) : AddedToken{.id = *id, .content = content};
    if (listed.contains(content)) token = *find_added_token(content, definition);
    token.special = true;
    put(std::move(token), definition);
}

void take_special_tokens(const JsonField& config, const Names& listed, Definition& definition) {
    for (const char* name : special_names) {
        if (config.has(name)) take_special(config.at(name), listed, definition);
    }
    if (!config.has("additional_special_tokens")) return;
    for (const JsonField& field : config.at("additional_special_tokens").elements())
        take_special(field, listed, definition);
}

void take_prefix(const JsonField& config, Definition& definition) {
    const bool of_the_model = definition.metaspace->prepend_scheme != PrependScheme::never;
    const PrependScheme scheme = config.flag("legacy", false) ? PrependScheme::always : PrependScheme::first;
    set_prefix(config.flag("add_prefix_space", of_the_model) ? scheme : PrependScheme::never, definition);
}

/// What the configuration does not name stays as the model has it.
void take_ids(const JsonField& config, Definition& definition) {
    const SpecialIds model = definition.special;
    apply_config(config, definition);
    SpecialIds& ids = definition.special;
    if (!ids.bos) ids.bos = model.bos;
    if (!ids.eos) ids.eos = model.eos;
    if (!ids.unk) ids.unk = model.unk;
    if (!ids.pad) ids.pad = model.pad;
    if (config.flag("add_bos_token", false) && ids.bos) definition.before = {*ids.bos};
    if (config.flag("add_eos_token", false) && ids.eos) definition.after = {*ids.eos};
}

}  // namespace

void apply_folder(const FolderFiles& files, Definition& definition) {
    const json document = configuration(files);
    const JsonField config(document, "tokenizer_config.json");
    const Names listed = config.has("added_tokens_decoder")
                             ? take_added_tokens_decoder(config.at("added_tokens_decoder"), definition)
                             : take_added_tokens_file(files.added_tokens, definition);
    take_special_tokens(config, listed, definition);
    take_ids(config, definition);
    take_prefix(config, definition);
}

}  // namespace espalier::tokenizer
