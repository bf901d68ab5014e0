#include "src/plan/system.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "src/core/error.hpp"
#include "tests/plan/cases.hpp"

namespace espalier::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

json read(const std::string& name) {
    std::ifstream in(ESPALIER_SHARE "/systems/" + name);
    return json::parse(in);
}

TEST(System, SurvivesAWayToJsonAndBack) {
    const json object = plan::to_json(plan::system_from_json(read("h100-sxm.json"), "h100"));

    EXPECT_EQ(object, json(plan::to_json(plan::system_from_json(object, "again"))));
}

TEST(System, FilesThatComeWithUsAreReadAndSayWhereTheyAreFrom) {
    for (const char* name : {"a100-80.json", "h100-sxm.json", "gb200-nvl72.json"}) {
        const auto system = plan::system_from_json(read(name), name);
        EXPECT_GT(system.peak(DType::bf16), 1e14) << name;
        EXPECT_GT(system.source.size(), 40u) << name;
        EXPECT_GT(system.watts, 0) << name;
    }
}

std::string refusal(const json& object) {
    try {
        plan::system_from_json(object, "s.json");
    } catch (const UserError& e) {
        return e.what();
    }
    return "";
}

TEST(System, RefusalsNameFileAndKey) {
    auto object = read("h100-sxm.json");
    object["memory_bandwith"] = 1;
    EXPECT_THAT(refusal(object), AllOf(HasSubstr("s.json"), HasSubstr("memory_bandwith")));
    object = read("h100-sxm.json");
    object.erase("network");
    EXPECT_THAT(refusal(object), HasSubstr("\"network\" is missing"));
    object = read("h100-sxm.json");
    object["node"]["efficiency"] = 1.5;
    EXPECT_THAT(refusal(object), AllOf(HasSubstr("s.json: node"), HasSubstr("at most 1")));
    object = read("h100-sxm.json");
    object["gpus_per_node"] = 2.5;
    EXPECT_THAT(refusal(object), HasSubstr("whole number"));
    object["gpus_per_node"] = "eight";
    EXPECT_THAT(refusal(object), HasSubstr("expected a number"));
    EXPECT_THAT(refusal(json::array()), HasSubstr("JSON object"));
}

TEST(System, RefusesPeaksOfTypesThatNothingIsPlannedIn) {
    for (const char* dtype : {"fp8", "tf32", "i32"}) {
        auto object = read("h100-sxm.json");
        object["peak_flops"][dtype] = 1e15;
        EXPECT_THAT(refusal(object),
                    AllOf(HasSubstr("s.json: peak_flops"), HasSubstr(dtype), HasSubstr("bf16")));
    }
}

TEST(System, RefusesToHaveNoPeak) {
    for (const json& peaks : {json::object(), json{{"bf16", nullptr}}, json(989e12), json::array({989e12})}) {
        auto object = read("h100-sxm.json");
        object["peak_flops"] = peaks;
        EXPECT_THAT(refusal(object), HasSubstr("s.json: peak_flops")) << peaks;
    }
}

TEST(System, NamesTheDtypesItHasAPeakFor) {
    auto system = round_system();
    system.peak_flops.erase(DType::bf16);
    try {
        system.peak(DType::bf16);
        FAIL();
    } catch (const UserError& e) {
        EXPECT_THAT(e.what(), HasSubstr("--dtype f32"));
    }
}

}  // namespace
}  // namespace espalier::test
