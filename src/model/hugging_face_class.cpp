#include "src/model/hugging_face_class.hpp"

#include <algorithm>

#include "src/core/error.hpp"

namespace espalier::model {
namespace {

using enum Biases;

// clang-format off
constexpr HuggingFaceClass classes[] = {
    {"LlamaForCausalLM",    "silu",              2048,   0.02,   0,   Family::llama,    as_configured,   as_configured, WindowField::none,        false, false},
    {"MistralForCausalLM",  "silu",              131072, 0.02,   0,   Family::mistral,  none,            none,          WindowField::of_model,    false, false},
    {"NemotronForCausalLM", "relu2",             4096,   0.0134, 0,   Family::nemotron, as_configured,   as_configured, WindowField::none,        false, false},
    {"Qwen2ForCausalLM",    "silu",              32768,  0.02,   0,   Family::qwen2,    query_key_value, none,          WindowField::of_layers,   false, false},
    {"Qwen3ForCausalLM",    "silu",              32768,  0.02,   128, Family::qwen3,    as_configured,   none,          WindowField::of_layers,   true,  false},
    {"GemmaForCausalLM",    "gelu_pytorch_tanh", 8192,   0.02,   256, Family::gemma,    as_configured,   none,          WindowField::none,        false, true},
    {"Gemma2ForCausalLM",   "gelu_pytorch_tanh", 8192,   0.02,   256, Family::gemma2,   as_configured,   none,          WindowField::alternating, false, true},
    {"PhiForCausalLM",      "gelu_new",          2048,   0.02,   0,   Family::phi,      all,             all,           WindowField::none,        false, false},
    // A Mistral whose projections are stored together (foreign_tensor.hpp).
    {"Phi3ForCausalLM",     "silu",              4096,   0.02,   0,   Family::mistral,  none,            none,          WindowField::of_model_if_named, false, false},
};
// clang-format on

}  // namespace

std::span<const HuggingFaceClass> hugging_face_classes() {
    return classes;
}

const HuggingFaceClass& hugging_face_class(Family family) {
    const auto* found = std::find_if(std::begin(classes), std::end(classes),
                                     [&](const HuggingFaceClass& c) { return c.family == family; });
    if (found == std::end(classes)) throw InternalError("a family without a class of transformers");
    return *found;
}

}  // namespace espalier::model
