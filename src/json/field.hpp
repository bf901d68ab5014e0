// Reads JSON that others wrote; every complaint names the place.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace espalier {

/// A value and where it stands, such as "tokenizer.json: model.vocab". The document must outlive it. Every
/// read throws UserError where the value is another than was asked for.
class JsonField {
public:
    /// The whole of a document.
    JsonField(const nlohmann::json& document, std::string source)
        : value_(&document), source_(std::move(source)) {}

    const nlohmann::json& value() const { return *value_; }
    const std::string& source() const { return source_; }
    std::string place() const;

    int64_t integer() const;
    double number() const;
    bool flag() const;
    std::string text() const;
    std::vector<JsonField> elements() const;  ///< of a list

    // Of an object: a null counts as absent where a field is asked for with what it is otherwise.
    bool has(std::string_view name) const;
    JsonField at(std::string_view name) const;
    int64_t integer(std::string_view name) const { return at(name).integer(); }
    int64_t integer(std::string_view name, int64_t otherwise) const;
    double number(std::string_view name) const { return at(name).number(); }
    double number(std::string_view name, double otherwise) const;
    bool flag(std::string_view name, bool otherwise) const;
    std::string text(std::string_view name) const { return at(name).text(); }
    std::string text(std::string_view name, std::string_view otherwise) const;
    /// One number or a list of them; none where the field is absent.
    std::vector<int64_t> integers(std::string_view name) const;
    /// A number for all layers, or a list with one for each.
    std::vector<int64_t> per_layer(std::string_view name, int64_t layers) const;
    /// Throws UserError on a field that nobody has asked this object for; `advice` says where they stand.
    void refuse_others(std::string_view advice) const;

private:
    JsonField child(const nlohmann::json& value, std::string path) const;
    void require(bool as_expected, const char* expected) const;

    const nlohmann::json* value_;
    std::string source_;
    std::string path_;                                  ///< within the document
    mutable std::set<std::string, std::less<>> asked_;  ///< names of fields
};

}  // namespace espalier
