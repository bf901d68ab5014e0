// An architecture as JSON: our own spelling, and whatever of it or Hugging Face's a file holds.
#pragma once

#include <nlohmann/json.hpp>

#include "src/model/architecture.hpp"

namespace espalier::model {

/// Every field, in Espalier's words. Widths that are the same in all layers are numbers, else lists.
nlohmann::ordered_json to_json(const Architecture& a);

/// The inverse of to_json, or Hugging Face's config.json (hugging_face.hpp), whichever `object` is. Throws
/// UserError naming `source` and the field.
Architecture architecture_from_json(const nlohmann::json& object, const std::string& source);

/// Reads fields of a JSON object that somebody else wrote; every complaint names the source and the field.
class FieldReader {
public:
    FieldReader(const nlohmann::json& object, std::string source);

    bool has(const char* field) const;  ///< present and not null
    int64_t integer(const char* field) const;
    int64_t integer(const char* field, int64_t fallback) const;
    double number(const char* field) const;
    double number(const char* field, double fallback) const;
    bool flag(const char* field, bool fallback) const;
    std::string text(const char* field) const;
    std::string text(const char* field, const std::string& fallback) const;
    /// A number for all layers, or a list with one for each.
    std::vector<int64_t> per_layer(const char* field, int64_t layers) const;
    const nlohmann::json& at(const char* field) const;
    const std::string& source() const { return source_; }

private:
    const nlohmann::json& object_;
    std::string source_;
};

}  // namespace espalier::model
