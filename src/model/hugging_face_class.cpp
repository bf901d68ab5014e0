#include "src/model/hugging_face_class.hpp"

#include <algorithm>

#include "src/core/error.hpp"

namespace espalier::model {
namespace {

using enum AttentionBias;

// clang-format off
constexpr HuggingFaceClass classes[] = {
    {Family::llama,    "LlamaForCausalLM",    "silu",  2048,   0.02,   as_configured,   true,  WindowField::none,      0,   false},
    {Family::mistral,  "MistralForCausalLM",  "silu",  131072, 0.02,   none,            false, WindowField::of_model,  0,   false},
    {Family::nemotron, "NemotronForCausalLM", "relu2", 4096,   0.0134, as_configured,   true,  WindowField::none,      0,   false},
    {Family::qwen2,    "Qwen2ForCausalLM",    "silu",  32768,  0.02,   query_key_value, false, WindowField::of_layers, 0,   false},
    {Family::qwen3,    "Qwen3ForCausalLM",    "silu",  32768,  0.02,   as_configured,   false, WindowField::of_layers, 128, true},
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
