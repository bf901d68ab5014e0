#include "kernels/activation.hpp"
#include "src/core/names.hpp"

namespace espalier {
namespace {

constexpr std::array names{
    Named{Activation::swiglu, "swiglu"}, Named{Activation::geglu, "geglu"}, Named{Activation::relu2, "relu2"},
    Named{Activation::gelu, "gelu"},     Named{Activation::silu, "silu"},
};

}  // namespace

std::string_view to_string(Activation activation) {
    return name_of(names, activation);
}

std::optional<Activation> activation_from_string(std::string_view name) {
    return value_of(names, name);
}

}  // namespace espalier
