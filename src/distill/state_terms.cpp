#include "src/distill/state_terms.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>

#include "src/core/error.hpp"
#include "src/core/parse_number.hpp"

namespace espalier::distill {
namespace {

using model::Site;

constexpr const char* known =
    "pairs are embedding, T:S (outputs of teacher layer T and student layer S, from 0, after the next norm), "
    "block:T:S (before it), mlp:T:S and attention:T:S (what their norms hand to MLP and attention)";

std::optional<int64_t> layer_of(const std::string& text) {
    int64_t layer = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), layer);
    if (text.empty() || error != std::errc() || end != text.data() + text.size() || layer < 0)
        return std::nullopt;
    return layer;
}

StatePair parse_pair(const std::string& map, const std::string& word) {
    if (word == "embedding") return {{Site::residual, -1}, {Site::residual, -1}};
    std::vector<std::string> parts;
    std::istringstream in(word);
    for (std::string part; std::getline(in, part, ':');) parts.push_back(part);
    Site site = Site::residual;
    const bool normed = parts.size() == 2;
    if (parts.size() == 3 && (parts[0] == "block" || parts[0] == "mlp" || parts[0] == "attention")) {
        if (parts[0] == "mlp") site = Site::mlp_input;
        if (parts[0] == "attention") site = Site::attention_input;
        parts.erase(parts.begin());
    }
    const auto teacher = layer_of(parts.empty() ? "" : parts[0]),
               student = layer_of(parts.size() == 2 ? parts[1] : "");
    ESPALIER_REQUIRE(teacher && student && word.back() != ':', "--hidden-map {}: \"{}\" is not a pair; {}",
                     map, word, known);
    return {{site, *teacher}, {site, *student}, normed};
}

std::optional<double> parse_weight(const std::string& text) {
    if (text == "auto") return std::nullopt;
    const auto weight = parse_number(text);
    ESPALIER_REQUIRE(weight && std::isfinite(*weight) && *weight >= 0,
                     "--hidden-weight {}: choose auto, or a number >= 0", text);
    return weight;
}

void check_layer(const char* whose, int64_t layer, const model::Architecture& a, const std::string& source) {
    ESPALIER_REQUIRE(layer < a.depth(),
                     "--hidden-map: {} layer {} is beyond {}, which has {}; choose 0 to {}", whose, layer,
                     source, a.depth(), a.depth() - 1);
}

/// The MLP of a parallel block reads what attention reads.
model::StateName in_model(model::StateName state, const model::Architecture& a) {
    if (state.site == Site::mlp_input && a.parallel_block) state.site = Site::attention_input;
    return state;
}

model::StateName norm_after(int64_t layer, const model::Architecture& a) {
    if (layer + 1 == a.depth()) return {Site::final_norm};
    return {Site::attention_input, layer + 1};
}

}  // namespace

StateTerms parse_state_terms(const std::string& map, const std::string& distance, const std::string& weight) {
    StateTerms out;
    std::istringstream words(map + ",");  // so that an empty word at the end is one
    for (std::string word; std::getline(words, word, ',');) {
        const StatePair pair = parse_pair(map, word);
        ESPALIER_REQUIRE(std::find(out.pairs.begin(), out.pairs.end(), pair) == out.pairs.end(),
                         "--hidden-map {}: {} stands twice", map, word);
        out.pairs.push_back(pair);
    }
    const auto kind = state_distance_from_string(distance);
    ESPALIER_REQUIRE(kind.has_value(), "--hidden-loss {}: choose cosine or mse", distance);
    out.distance = *kind;
    out.weight = parse_weight(weight);
    return out;
}

StateTerms resolved(StateTerms terms, const model::Architecture& teacher, const std::string& teacher_source,
                    const model::Architecture& student, const std::string& student_source) {
    for (auto& pair : terms.pairs) {
        check_layer("teacher", pair.teacher.layer, teacher, teacher_source);
        check_layer("student", pair.student.layer, student, student_source);
        pair = pair.normed ? StatePair{norm_after(pair.teacher.layer, teacher),
                                       norm_after(pair.student.layer, student)}
                           : StatePair{in_model(pair.teacher, teacher), in_model(pair.student, student)};
    }
    for (auto pair = terms.pairs.begin(); pair != terms.pairs.end(); ++pair)
        ESPALIER_REQUIRE(
            std::find(pair + 1, terms.pairs.end(), *pair) == terms.pairs.end(),
            "--hidden-map: two of its pairs are the same states (T:S is what attention:T+1:S+1 is, if "
            "both models have such layers); name them once");
    return terms;
}

}  // namespace espalier::distill
