#include "src/plan/family.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "src/core/error.hpp"

namespace espalier::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

json papers_family() {
    std::ifstream in(ESPALIER_SHARE "/families/minitron.json");
    return json::parse(in);
}

TEST(Cost, OfThePapersFamilyIsThePapersRatio) {
    const auto cost = plan::cost(plan::family_from_json(papers_family(), "minitron.json"));

    EXPECT_NEAR(cost.ratio_paper(), (4.4 + 2.5 + 1.2) / (4.4 + 2.5 / 40 + 1.2 / 40), 1e-12);
    EXPECT_NEAR(cost.ratio_paper(), 1.803, 5e-4);
}

TEST(Cost, WithTheTeacherAndTheSearchCountedIs1Point76) {
    const auto cost = plan::cost(plan::family_from_json(papers_family(), "minitron.json"));

    const double teacher = 2 * 4.4 / 3 / 40,
                 search = (15 * (2.5 + 4.4 / 3) + 18 * (1.2 + 4.4 / 3)) * 1.8e9 / 8e12;
    EXPECT_NEAR(cost.ratio_full(), 8.1 / (4.4 + 3.7 / 40 + teacher + search), 1e-4);
    EXPECT_NEAR(cost.ratio_full(), 1.76, 5e-3);
}

TEST(Cost, TokensFromTheCommandLineReplaceTheFiles) {
    const auto cost = plan::cost(plan::family_from_json(papers_family(), "minitron.json", 3.8e12));

    EXPECT_NEAR(cost.scratch, 8.1e17 / 4718592 * 3.8e12, 1e13);
    EXPECT_NEAR(cost.ratio_paper(), 1.803, 5e-4);
}

TEST(Cost, CountsFlopsOfArchitectures) {
    const json arch = json::parse(R"({"family": "llama", "vocab": 16, "hidden": 8, "head_dim": 2, "layers": 2,
        "query_heads": 4, "kv_heads": 2, "ffn": 32, "activation": "swiglu", "norm": "rms", "norm_gain": "weight",
        "norm_eps": 1e-5, "rotary_dim": 2, "rotary_base": 10000, "max_positions": 64})");
    const json family{{"scratch_tokens", 1000},
                      {"seq_len", 16},
                      {"members",
                       {{{"name", "large"}, {"architecture", arch}},
                        {{"name", "small"}, {"architecture", arch}, {"distill_tokens", 100}}}}};

    const auto cost = plan::cost(plan::family_from_json(family, "f.json"));

    // A layer: 2 x (8 x 8 + 2 x 8 x 4 + 8 x 8 + 3 x 8 x 32) + 2 x 16 x 8; the head: 2 x 8 x 16.
    const double forward = 2 * (2 * (64 + 64 + 64 + 768) + 256) + 256;
    EXPECT_DOUBLE_EQ(cost.base, 3 * forward * 1000);
    EXPECT_DOUBLE_EQ(cost.students, 3 * forward * 100);
    EXPECT_DOUBLE_EQ(cost.teacher, forward * 100);
    EXPECT_DOUBLE_EQ(cost.ratio_full(), 6.0 / (3 + 0.3 + 0.1));
}

std::string refusal(const json& family) {
    try {
        plan::family_from_json(family, "f.json");
    } catch (const UserError& e) {
        return e.what();
    }
    return "";
}

TEST(Family, RefusesWhatItDoesNotUnderstand) {
    auto family = papers_family();
    family["tokenz"] = 1;
    EXPECT_THAT(refusal(family), HasSubstr("\"tokenz\""));
    family = papers_family();
    family["members"][1]["distill_tokens"] = 5;
    EXPECT_THAT(refusal(family), HasSubstr("members[1]"));
    family = papers_family();
    family["members"].erase(1);
    family["members"].erase(1);
    EXPECT_THAT(refusal(family), HasSubstr("at least one"));
    family = papers_family();
    family.erase("batch_tokens");
    EXPECT_THAT(refusal(family), HasSubstr("batch_tokens"));
}

}  // namespace
}  // namespace espalier::test
