// oneDNN's matmul primitive, compiled once for each kind of product and kept in the Context.
#pragma once

#include <compare>
#include <map>
#include <memory>

#include "kernels/product.hpp"

namespace espalier::cpu {

using detail::Order;
using detail::Product;

class OneDnnMatmul {
public:
    /// Products of so many kinds are kept compiled, some 85 KB each; the next one begins anew. More than a
    /// step has: samples of all lengths, as multiple-choice questions are, would have it grow for ever.
    static constexpr size_t most_compiled = 1024;

    explicit OneDnnMatmul(Context&);
    ~OneDnnMatmul();

    /// c = or += a b + bias [columns], as the product says; bias may be empty. a, b, bias of one dtype that
    /// the processor multiplies in, c of that dtype or f32. No size is 0.
    void run(const Product& product, const Tensor& a, const Tensor& b, const Tensor& bias, Tensor& c);

private:
    struct Key {
        Product product;
        DType factors;
        DType result;
        bool bias;
        auto operator<=>(const Key&) const = default;
    };
    struct Library;
    struct Compiled;
    const Compiled& compiled(const Key& key);  // until the next call

    std::unique_ptr<Library> library_;
    std::map<Key, Compiled> compiled_;
};

}  // namespace espalier::cpu
