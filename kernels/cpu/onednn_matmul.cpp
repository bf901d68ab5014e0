#include "kernels/cpu/onednn_matmul.hpp"

#include <oneapi/dnnl/dnnl.hpp>

namespace espalier::cpu {
namespace {

using Description = dnnl::memory::desc;

dnnl::memory::data_type type_of(DType dtype) {
    if (dtype == DType::f32) return dnnl::memory::data_type::f32;
    if (dtype == DType::bf16) return dnnl::memory::data_type::bf16;
    throw InternalError(fmt::format("oneDNN matmul: no product in {}", to_string(dtype)));
}

/// [rows, columns], stored as such or transposed.
Description description(int64_t rows, int64_t columns, DType dtype, Order order = Order::as_stored) {
    const auto strides =
        order == Order::transposed ? dnnl::memory::dims{1, rows} : dnnl::memory::dims{columns, 1};
    return {{rows, columns}, type_of(dtype), strides};
}

/// oneDNN 2 wants the product described first, oneDNN 3 all at once.
dnnl::matmul::primitive_desc choose(const dnnl::engine& engine, const Description& a, const Description& b,
                                    const Description& bias, const Description& c,
                                    const dnnl::primitive_attr& attributes) {
#if DNNL_VERSION_MAJOR >= 3
    if (bias.is_zero()) return {engine, a, b, c, attributes};
    return {engine, a, b, bias, c, attributes};
#else
    return {{a, b, bias, c}, attributes, engine};
#endif
}

}  // namespace

struct OneDnnMatmul::Library {
    dnnl::engine engine{dnnl::engine::kind::cpu, 0};
    dnnl::stream stream{engine};
};

struct OneDnnMatmul::Compiled {
    dnnl::matmul::primitive_desc description;
    dnnl::matmul primitive;
};

OneDnnMatmul::OneDnnMatmul(Context&) : library_(std::make_unique<Library>()) {}
OneDnnMatmul::~OneDnnMatmul() = default;

const OneDnnMatmul::Compiled& OneDnnMatmul::compiled(const Key& key) {
    const auto found = compiled_.find(key);
    if (found != compiled_.end()) return found->second;
    if (compiled_.size() == most_compiled) compiled_.clear();

    const auto& p = key.product;
    const auto a = description(p.rows, p.depth, key.factors, p.a_order);
    const auto b = description(p.depth, p.columns, key.factors, p.b_order);
    const auto c = description(p.rows, p.columns, key.result);
    const auto bias = key.bias ? description(1, p.columns, key.factors) : Description();
    dnnl::primitive_attr attributes;
    if (p.store == Store::accumulate) {
        dnnl::post_ops sum;
        sum.append_sum(1.0f);
        attributes.set_post_ops(sum);
    }
    const auto chosen = choose(library_->engine, a, b, bias, c, attributes);
    return compiled_.emplace(key, Compiled{chosen, dnnl::matmul(chosen)}).first->second;
}

void OneDnnMatmul::run(const Product& product, const Tensor& a, const Tensor& b, const Tensor& bias,
                       Tensor& c) {
    const Compiled& matmul = compiled({product, a.dtype(), c.dtype(), static_cast<bool>(bias)});
    const auto memory = [&](const Description& description, const Tensor& tensor) {
        return dnnl::memory(description, library_->engine, tensor.raw());
    };
    std::unordered_map<int, dnnl::memory> arguments{
        {DNNL_ARG_SRC, memory(matmul.description.src_desc(), a)},
        {DNNL_ARG_WEIGHTS, memory(matmul.description.weights_desc(), b)},
        {DNNL_ARG_DST, memory(matmul.description.dst_desc(), c)},
    };
    if (bias) arguments.emplace(DNNL_ARG_BIAS, memory(matmul.description.bias_desc(), bias));
    matmul.primitive.execute(library_->stream, arguments);
    library_->stream.wait();
}

}  // namespace espalier::cpu
