// What a family of models costs: every member trained from scratch, against the largest trained and the
// others cut out of it and distilled (arXiv 2407.14679, section 4).
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "src/model/architecture.hpp"

namespace espalier::plan {

/// Candidates of another member's size that are distilled for a short while before one is chosen.
struct Search {
    double candidates = 0;
    double tokens = 0;  ///< of each
};

struct Member {
    std::string name;
    /// FLOPs of a training step of one batch, the paper's unit; or an architecture to count them from.
    std::optional<double> batch_flops;
    std::optional<model::Architecture> architecture;
    /// Tokens of distillation; empty for the member that is trained from scratch, the first.
    std::optional<double> distill_tokens;
    Search search;
};

struct Family {
    std::string source;  ///< where the numbers are from
    std::vector<Member> members;
    double scratch_tokens = 0;     ///< of each member trained from scratch
    double batch_tokens = 0;       ///< that batch_flops stands for
    int64_t seq_len = 4096;        ///< for architectures
    double importance_tokens = 0;  ///< of the teacher's forward pass, for each pruned member
};

/// `scratch_tokens` replaces the file's. Unknown or missing keys, and a family of one, throw UserError naming
/// `source`.
Family family_from_json(const nlohmann::json& object, const std::string& source,
                        std::optional<double> scratch_tokens = std::nullopt);

/// FLOPs. Training a member on a token costs c, of which the forward pass is c / 3.
struct FamilyCost {
    double scratch = 0;   ///< sum of c_i T
    double base = 0;      ///< c_1 T: the largest from scratch
    double students = 0;  ///< sum of c_i t_i
    double teacher = 0;   ///< the teacher's forward beside it: sum of c_1 / 3 t_i
    double search = 0;    ///< candidates, their teacher's forward too
    double importance = 0;

    double paper() const { return base + students; }
    double full() const { return paper() + teacher + search + importance; }
    double ratio_paper() const { return scratch / paper(); }
    double ratio_full() const { return scratch / full(); }
};
FamilyCost cost(const Family& family);

}  // namespace espalier::plan
