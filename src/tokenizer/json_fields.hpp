// Fields of a JSON object, with messages that name the place.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace espalier::tokenizer {

/// UserError on a syntax error.
nlohmann::json parse_json(std::string_view text, std::string_view what);

/// One value and where it stands, such as "tokenizer.json: model.vocab".
class Field {
public:
    Field(const nlohmann::json& value, std::string place) : value_(&value), place_(std::move(place)) {}

    const nlohmann::json& value() const { return *value_; }
    const std::string& place() const { return place_; }

    bool has(const char* name) const;  ///< there, and not null
    Field at(const char* name) const;  ///< UserError when it is not there
    std::vector<Field> elements() const;

    std::string text() const;
    bool flag() const;
    int32_t id() const;  ///< a token's id: 0 .. 2^31 - 2

    bool flag(const char* name, bool otherwise) const;  ///< `otherwise` when absent or null
    std::string type() const;                           ///< the field "type"

private:
    const nlohmann::json* value_;
    std::string place_;
};

}  // namespace espalier::tokenizer
