#include "src/plan/family.hpp"

#include "src/core/error.hpp"
#include "src/model/architecture_json.hpp"
#include "src/plan/fields.hpp"

namespace espalier::plan {
namespace {

/// Tokens that are given as such or as a share of those from scratch.
double distill_tokens(const JsonField& in, double scratch_tokens) {
    const bool tokens = in.has("distill_tokens"), fraction = in.has("distill_fraction");
    ESPALIER_REQUIRE(tokens != fraction,
                     "{}: give either \"distill_tokens\" or \"distill_fraction\" of the tokens from scratch",
                     in.place());
    return tokens ? positive(in, "distill_tokens") : positive(in, "distill_fraction", 1) * scratch_tokens;
}

Member member_from_json(const JsonField& in, bool first, double scratch_tokens) {
    Member m;
    m.name = in.text("name");
    ESPALIER_REQUIRE(in.has("batch_flops") != in.has("architecture"),
                     "{}: give either \"batch_flops\" or \"architecture\"", in.place());
    if (in.has("batch_flops")) {
        m.batch_flops = positive(in, "batch_flops");
    } else {
        const JsonField architecture = in.at("architecture");
        m.architecture = model::architecture_from_json(architecture.value(), architecture.place());
    }
    if (!first) {
        m.distill_tokens = distill_tokens(in, scratch_tokens);
        if (in.has("search")) {
            const JsonField search = in.at("search");
            m.search = {positive(search, "candidates"), positive(search, "tokens")};
            search.refuse_others(keys_advice);
        }
    }
    in.refuse_others(keys_advice);
    return m;
}

/// FLOPs of training on a token, forward and backward.
double token_flops(const Family& family, const Member& m) {
    return m.batch_flops ? *m.batch_flops / family.batch_tokens
                         : 3 * model::forward_flops_per_token(*m.architecture, family.seq_len);
}

}  // namespace

Family family_from_json(const nlohmann::json& object, const std::string& source,
                        std::optional<double> scratch_tokens) {
    const JsonField in(object, source);
    Family f;
    f.source = in.has("source") ? in.text("source") : "";
    f.scratch_tokens = positive(in, "scratch_tokens");
    if (scratch_tokens) f.scratch_tokens = *scratch_tokens;
    f.batch_tokens = in.has("batch_tokens") ? positive(in, "batch_tokens") : 0;
    f.seq_len = in.has("seq_len") ? count(in, "seq_len") : f.seq_len;
    f.importance_tokens = not_negative(in, "importance_tokens", 0);
    const auto members = in.at("members").elements();
    ESPALIER_REQUIRE(members.size() >= 2,
                     "{}: \"members\" must list the largest model and at least one that is cut out of it",
                     source);
    for (size_t i = 0; i < members.size(); ++i) {
        f.members.push_back(member_from_json(members[i], i == 0, f.scratch_tokens));
        ESPALIER_REQUIRE(!f.members.back().batch_flops || f.batch_tokens > 0,
                         "{}: \"batch_flops\" needs \"batch_tokens\", the tokens of that batch", source);
    }
    in.refuse_others(keys_advice);
    return f;
}

FamilyCost cost(const Family& f) {
    FamilyCost c;
    const double teacher = token_flops(f, f.members.front()), teacher_forward = teacher / 3;
    c.base = teacher * f.scratch_tokens;
    for (const Member& m : f.members) {
        const double student = token_flops(f, m);
        c.scratch += student * f.scratch_tokens;
        if (!m.distill_tokens) continue;
        c.students += student * *m.distill_tokens;
        c.teacher += teacher_forward * *m.distill_tokens;
        c.search += (student + teacher_forward) * m.search.candidates * m.search.tokens;
        c.importance += teacher_forward * f.importance_tokens;
    }
    return c;
}

}  // namespace espalier::plan
