#include "src/model/family.hpp"

#include <algorithm>

#include "src/core/error.hpp"

namespace espalier::model {
namespace {

using enum Gain;

// clang-format off
constexpr FamilyTraits families[] = {
    {Family::llama,    Activation::swiglu, NormKind::rms,   weight,          1,   false, false},
    {Family::mistral,  Activation::swiglu, NormKind::rms,   weight,          1,   false, false},
    {Family::nemotron, Activation::relu2,  NormKind::layer, one_plus_weight, 0.5, false, false},
    {Family::qwen2,    Activation::swiglu, NormKind::rms,   weight,          1,   false, false},
    {Family::qwen3,    Activation::swiglu, NormKind::rms,   weight,          1,   false, false},
    {Family::gemma,    Activation::geglu,  NormKind::rms,   one_plus_weight, 1,   false, false},
    {Family::gemma2,   Activation::geglu,  NormKind::rms,   one_plus_weight, 1,   false, false},
    {Family::phi,      Activation::gelu,   NormKind::layer, weight,          0.5, true,  true},
};
// clang-format on

}  // namespace

const FamilyTraits& traits_of(Family family) {
    const auto* found = std::find_if(std::begin(families), std::end(families),
                                     [&](const FamilyTraits& t) { return t.family == family; });
    if (found == std::end(families)) throw InternalError("a family without traits");
    return *found;
}

void apply(const FamilyTraits& traits, Architecture& a) {
    a.family = traits.family;
    a.activation = traits.activation;
    a.norm.kind = traits.norm;
    a.norm.gain = traits.gain;
    a.norm_bias = traits.norm == NormKind::layer;
    a.parallel_block = traits.parallel_block;
    a.head_bias = traits.head_bias;
}

}  // namespace espalier::model
