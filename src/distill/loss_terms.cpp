#include "src/distill/loss_terms.hpp"

#include <cmath>
#include <sstream>

#include "src/core/error.hpp"
#include "src/core/parse_number.hpp"

namespace espalier::distill {
namespace {

double parse_weight(const std::string& text, const std::string& term) {
    const auto weight = parse_number(text);
    ESPALIER_REQUIRE(weight && std::isfinite(*weight) && *weight >= 0,
                     "--loss: the weight in \"{}\" is not a number >= 0", term);
    return *weight;
}

}  // namespace

LossTerms parse_loss_terms(const std::string& text, double temperature, int64_t top_k) {
    ESPALIER_REQUIRE(top_k >= 0, "--top-k {}: choose how many of the teacher's tokens count, or 0 for all",
                     top_k);
    ESPALIER_REQUIRE(temperature > 0 && std::isfinite(temperature), "--temperature {}: it must be positive",
                     temperature);
    LossTerms out;
    out.divergence_weight = 0;
    out.temperature = temperature;
    out.top_k = top_k;
    bool any = false, label = false;
    std::istringstream terms(text);
    for (std::string term; std::getline(terms, term, ',');) {
        const size_t equals = term.find('=');
        const std::string name = term.substr(0, equals);
        const double weight = equals == std::string::npos ? 1.0 : parse_weight(term.substr(equals + 1), term);
        if (name == "ce") {
            ESPALIER_REQUIRE(!label, "--loss {}: ce stands twice", text);
            out.label_weight = weight;
            label = any = true;
            continue;
        }
        const auto divergence = divergence_from_string(name);
        ESPALIER_REQUIRE(
            divergence.has_value(),
            "--loss {}: unknown term \"{}\"; known are kl, reverse-kl, jsd, tvd, mse, cosine, ce "
            "(weighted: kl=1,ce=0.1)",
            text, name);
        ESPALIER_REQUIRE(!out.divergence,
                         "--loss {}: two divergences; choose one, and ce beside it where wanted", text);
        out.divergence = divergence;
        out.divergence_weight = weight;
        any = true;
    }
    ESPALIER_REQUIRE(any, "--loss is empty; for example --loss kl or --loss kl=1,ce=0.1");
    return out;
}

}  // namespace espalier::distill
