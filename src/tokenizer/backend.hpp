// What a kind of tokenizer has to offer; Tokenizer hands its calls on to one.
#pragma once

#include "src/tokenizer/tokenizer.hpp"

namespace espalier::tokenizer {

class Backend {
public:
    virtual ~Backend() = default;
    /// `utf8` is valid and shorter than 2 GiB.
    virtual std::vector<int32_t> encode(std::string_view utf8, Special special) const = 0;
    virtual std::string decode(std::span<const int32_t> ids, SkipSpecial skip) const = 0;
    virtual int64_t vocab_size() const = 0;
    virtual const SpecialIds& special_ids() const = 0;
    virtual std::optional<std::string> token(int32_t id) const = 0;
    virtual std::optional<int32_t> id(std::string_view token) const = 0;
    virtual std::vector<int32_t> text_ids() const = 0;
    virtual std::string to_json() const = 0;
    virtual std::string config_json() const = 0;
};

}  // namespace espalier::tokenizer
