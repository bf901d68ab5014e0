#include <array>
#include <utility>

#include "kernels/activation.hpp"
#include "src/core/error.hpp"

namespace espalier {
namespace {

constexpr std::array names{
    std::pair{Activation::swiglu, std::string_view("swiglu")},
    std::pair{Activation::geglu, std::string_view("geglu")},
    std::pair{Activation::relu2, std::string_view("relu2")},
    std::pair{Activation::gelu, std::string_view("gelu")},
    std::pair{Activation::silu, std::string_view("silu")},
};

}  // namespace

std::string_view to_string(Activation activation) {
    for (const auto& [value, name] : names) {
        if (value == activation) return name;
    }
    throw InternalError("unknown activation");
}

std::optional<Activation> activation_from_string(std::string_view wanted) {
    for (const auto& [value, name] : names) {
        if (name == wanted) return value;
    }
    return std::nullopt;
}

}  // namespace espalier
