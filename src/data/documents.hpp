// A sequence of tokenised documents, wherever they are stored.
#pragma once

#include <cstdint>
#include <span>

namespace espalier::data {

class Documents {
public:
    virtual ~Documents() = default;
    virtual int64_t count() const = 0;
    virtual int64_t length(int64_t document) const = 0;
    /// Tokens [offset, offset + out.size()) of a document.
    virtual void read(int64_t document, int64_t offset, std::span<int32_t> out) const = 0;
};

inline int64_t token_count(const Documents& documents) {
    int64_t tokens = 0;
    for (int64_t d = 0; d < documents.count(); ++d) tokens += documents.length(d);
    return tokens;
}

}  // namespace espalier::data
