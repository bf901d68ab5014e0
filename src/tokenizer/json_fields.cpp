#include "src/tokenizer/json_fields.hpp"

#include <limits>

#include "src/core/error.hpp"

namespace espalier::tokenizer {

nlohmann::json parse_json(std::string_view text, std::string_view what) {
    try {
        return nlohmann::json::parse(text);
    } catch (const nlohmann::json::exception& error) {
        fail("{} is not JSON: {}", what, error.what());
    }
}

bool Field::has(const char* name) const {
    if (!value_->is_object()) return false;
    const auto found = value_->find(name);
    return found != value_->end() && !found->is_null();
}

Field Field::at(const char* name) const {
    ESPALIER_REQUIRE(value_->is_object(), "{} must be an object", place_);
    const auto found = value_->find(name);
    ESPALIER_REQUIRE(found != value_->end(), "{} has no field '{}'", place_, name);
    return {*found, place_ + '.' + name};
}

std::vector<Field> Field::elements() const {
    ESPALIER_REQUIRE(value_->is_array(), "{} must be a list", place_);
    std::vector<Field> fields;
    for (size_t i = 0; i < value_->size(); ++i)
        fields.emplace_back((*value_)[i], fmt::format("{}[{}]", place_, i));
    return fields;
}

std::string Field::text() const {
    ESPALIER_REQUIRE(value_->is_string(), "{} must be a string", place_);
    return value_->get<std::string>();
}

bool Field::flag() const {
    ESPALIER_REQUIRE(value_->is_boolean(), "{} must be true or false", place_);
    return value_->get<bool>();
}

int32_t Field::id() const {
    ESPALIER_REQUIRE(
        value_->is_number_unsigned() && value_->get<uint64_t>() < std::numeric_limits<int32_t>::max(),
        "{} must be a token's id, an integer from 0 to 2147483646", place_);
    return value_->get<int32_t>();
}

bool Field::flag(const char* name, bool otherwise) const {
    return has(name) ? at(name).flag() : otherwise;
}

std::string Field::type() const {
    return at("type").text();
}

}  // namespace espalier::tokenizer
