// Documents that need no file.
#pragma once

#include <numeric>
#include <vector>

#include "src/core/error.hpp"
#include "src/data/documents.hpp"

namespace espalier::data {

/// Documents of these lengths whose tokens count up from `base`.
class Counting : public Documents {
public:
    explicit Counting(std::vector<int32_t> lengths, int32_t base = 0) : lengths_(std::move(lengths)) {
        for (const int32_t n : lengths_) {
            begins_.push_back(base);
            base += n;
        }
    }
    int64_t count() const override { return std::ssize(lengths_); }
    int64_t length(int64_t document) const override { return lengths_.at(static_cast<size_t>(document)); }
    void read(int64_t document, int64_t offset, std::span<int32_t> out) const override {
        const auto d = static_cast<size_t>(document);
        if (offset + std::ssize(out) > lengths_.at(d)) throw InternalError("read beyond a document");
        std::iota(out.begin(), out.end(), begins_[d] + static_cast<int32_t>(offset));
    }

private:
    std::vector<int32_t> lengths_, begins_;
};

}  // namespace espalier::data
