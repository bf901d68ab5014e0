#include "tests/model/tiny_models.hpp"

#include "kernels/elementwise.hpp"
#include "src/core/random.hpp"
#include "tests/support/device.hpp"

namespace espalier::test {

model::Architecture tiny_llama() {
    model::Architecture a;
    a.family = model::Family::llama;
    a.vocab = 61;
    a.hidden = 22;
    a.head_dim = 6;
    a.layers = {{9, 3, 17}, {9, 3, 17}, {9, 3, 13}, {6, 3, 17}};
    a.rotary_dim = 6;
    a.max_positions = 64;
    return a;
}

model::Architecture tiny_qwen2() {
    model::Architecture a = tiny_llama();
    a.family = model::Family::qwen2;
    a.norm.eps = 1e-6f;
    a.qkv_bias = true;
    return a;
}

model::Architecture tiny_qwen3(bool biases) {
    model::Architecture a = tiny_llama();
    a.family = model::Family::qwen3;
    a.norm.eps = 1e-2f;
    a.qk_norm_eps = a.norm.eps;
    a.qkv_bias = a.attention_out_bias = biases;
    return a;
}

model::Architecture tiny_nemotron(bool biases) {
    model::Architecture a;
    a.family = model::Family::nemotron;
    a.vocab = 53;
    a.hidden = 20;
    a.head_dim = 8;
    a.layers.assign(3, {4, 2, 19});
    a.activation = Activation::relu2;
    a.norm = {NormKind::layer, Gain::one_plus_weight, 1e-5f};
    a.norm_bias = true;
    a.qkv_bias = a.attention_out_bias = a.mlp_bias = biases;
    a.rotary_dim = 4;
    a.max_positions = 64;
    return a;
}

model::Architecture tiny_gemma2() {
    model::Architecture a = tiny_llama();
    a.family = model::Family::gemma2;
    a.activation = Activation::geglu;
    a.norm = {NormKind::rms, Gain::one_plus_weight, 1e-2f};
    a.post_norms = a.tied = true;
    a.embedding_scale = 4.7;
    a.query_scalar = 5;
    a.attention_soft_cap = 1.5f;
    a.final_soft_cap = 2;
    for (size_t i = 0; i < a.layers.size(); i += 2) a.layers[i].window = 3;
    return a;
}

model::Architecture tiny_phi() {
    model::Architecture a = tiny_nemotron(true);
    a.family = model::Family::phi;
    a.activation = Activation::gelu;
    a.norm.gain = Gain::weight;
    a.parallel_block = a.head_bias = true;
    return a;
}

namespace {

double value_at(const model::Parameter& p, uint64_t seed, int64_t index, Gain gain) {
    const double noise = normal(mix64(seed) ^ hash_name(p.name), static_cast<uint64_t>(index));
    switch (p.init) {
        case model::Init::identity:
            return (gain == Gain::weight ? 1.0 : 0.0) + 0.2 * noise;
        case model::Init::zeros:
            return 0.2 * noise;
        case model::Init::normal:
        case model::Init::scaled:
            return 0.25 * noise;
    }
    throw InternalError("unknown initialisation");
}

}  // namespace

void randomise(model::Transformer& model, uint64_t seed) {
    for (const auto& e : model.parameters().entries()) {
        Tensor view = model::ParameterSet::view(model.parameters().flat(), &e);
        Tensor values = test::on_host(view);
        const Shape& shape = e.parameter.shape;
        for (int64_t i = 0; i < view.size(); ++i) {
            // Local position i to the position in the whole weight.
            int64_t rest = i, global = 0, stride = 1;
            for (size_t axis = shape.size(); axis-- > 0;) {
                global += (rest % e.local.count[axis] + e.local.offset[axis]) * stride;
                rest /= e.local.count[axis];
                stride *= shape[axis];
            }
            const auto value =
                static_cast<float>(value_at(e.parameter, seed, global, model.architecture().norm.gain));
            if (values.dtype() == DType::f32) {
                values.data<float>()[i] = value;
            } else {
                values.data<bfloat16>()[i] = bfloat16(value);
            }
        }
        test::set(view, values);
    }
}

std::vector<int32_t> random_ids(int64_t count, int64_t vocab, uint64_t seed) {
    std::vector<int32_t> out;
    for (int64_t i = 0; i < count; ++i)
        out.push_back(static_cast<int32_t>(mix64(mix64(seed) ^ static_cast<uint64_t>(i)) %
                                           static_cast<uint64_t>(vocab)));
    return out;
}

Tensor labels_of(Context& ctx, const std::vector<int32_t>& ids) {
    return model::ids_tensor(ctx, ids);
}

}  // namespace espalier::test
