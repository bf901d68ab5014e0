#include "src/json/field.hpp"

#include <utility>

#include "src/core/error.hpp"

namespace espalier {

using nlohmann::json;

namespace {

/// The value as messages show it.
std::string shown(const json& value) {
    constexpr size_t longest = 60;
    std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
    return text.size() > longest ? text.substr(0, longest) + "..." : text;
}

}  // namespace

std::string JsonField::place() const {
    return path_.empty() ? source_ : source_ + ": " + path_;
}

JsonField JsonField::child(const json& value, std::string path) const {
    JsonField out(value, source_);
    out.path_ = std::move(path);
    return out;
}

void JsonField::require(bool as_expected, const char* expected) const {
    if (!as_expected) fail("{} is {}, expected {}", place(), shown(*value_), expected);
}

int64_t JsonField::integer() const {
    require(value_->is_number_integer(), "a whole number");
    require(!value_->is_number_unsigned() || std::in_range<int64_t>(value_->get<uint64_t>()),
            "a whole number of at most 63 bits");
    return value_->get<int64_t>();
}

double JsonField::number() const {
    require(value_->is_number(), "a number");
    return value_->get<double>();
}

bool JsonField::flag() const {
    require(value_->is_boolean(), "true or false");
    return value_->get<bool>();
}

std::string JsonField::text() const {
    require(value_->is_string(), "a string");
    return value_->get<std::string>();
}

std::vector<JsonField> JsonField::elements() const {
    require(value_->is_array(), "a list");
    std::vector<JsonField> out;
    for (size_t i = 0; i < value_->size(); ++i)
        out.push_back(child((*value_)[i], fmt::format("{}[{}]", path_, i)));
    return out;
}

bool JsonField::has(std::string_view name) const {
    if (value_->is_null()) return false;
    require(value_->is_object(), "a JSON object");
    asked_.emplace(name);
    const auto found = value_->find(name);
    return found != value_->end() && !found->is_null();
}

JsonField JsonField::at(std::string_view name) const {
    require(value_->is_object(), "a JSON object");
    asked_.emplace(name);
    const auto found = value_->find(name);
    ESPALIER_REQUIRE(found != value_->end(), "{}: the field \"{}\" is missing", place(), name);
    return child(*found, path_.empty() ? std::string(name) : fmt::format("{}.{}", path_, name));
}

int64_t JsonField::integer(std::string_view name, int64_t otherwise) const {
    return has(name) ? integer(name) : otherwise;
}

double JsonField::number(std::string_view name, double otherwise) const {
    return has(name) ? number(name) : otherwise;
}

bool JsonField::flag(std::string_view name, bool otherwise) const {
    return has(name) ? at(name).flag() : otherwise;
}

std::string JsonField::text(std::string_view name, std::string_view otherwise) const {
    return has(name) ? text(name) : std::string(otherwise);
}

std::vector<int64_t> JsonField::integers(std::string_view name) const {
    if (!has(name)) return {};
    const JsonField field = at(name);
    if (!field.value().is_array()) return {field.integer()};
    std::vector<int64_t> out;
    for (const JsonField& element : field.elements()) out.push_back(element.integer());
    return out;
}

std::vector<int64_t> JsonField::per_layer(std::string_view name, int64_t layers) const {
    const JsonField field = at(name);
    if (!field.value().is_array()) return std::vector<int64_t>(static_cast<size_t>(layers), field.integer());
    const std::vector<JsonField> each = field.elements();
    ESPALIER_REQUIRE(std::ssize(each) == layers, "{} lists {} layers, the model has {}", field.place(),
                     each.size(), layers);
    std::vector<int64_t> out;
    for (const JsonField& layer : each) out.push_back(layer.integer());
    return out;
}

void JsonField::refuse_others(std::string_view advice) const {
    for (const auto& [name, value] : value_->items())
        ESPALIER_REQUIRE(asked_.contains(name), "{}: unknown key \"{}\"; {}", place(), name, advice);
}

}  // namespace espalier
