#include "jobs/files/candidates_file.hpp"

#include "jobs/files/json_file.hpp"
#include "src/core/error.hpp"
#include "src/json/field.hpp"
#include "src/model/architecture_json.hpp"

namespace espalier::jobs {

nlohmann::ordered_json to_json(const search::Candidate& candidate, int64_t number) {
    const auto& s = candidate.shape;
    nlohmann::ordered_json out{{"candidate", number},
                               {"layers", s.layers},
                               {"hidden", s.hidden},
                               {"heads", s.heads},
                               {"kv_heads", s.kv_heads},
                               {"ffn", s.ffn},
                               {"parameters", candidate.cost.parameters},
                               {"memory_bytes", candidate.cost.memory_bytes},
                               {"flops_per_token", candidate.cost.flops_per_token},
                               {"loads_as", nullptr}};
    if (candidate.loads_as) out["loads_as"] = model::to_string(*candidate.loads_as);
    if (candidate.cost.seconds_per_token) out["seconds_per_token"] = *candidate.cost.seconds_per_token;
    return out;
}

search::ModelShape read_candidate(const std::string& path, int64_t k) {
    const auto file = read_json(path);
    ESPALIER_REQUIRE(file.is_object() && file.contains("candidates") && file["candidates"].is_array(),
                     "{}: no list \"candidates\"; `espalier search --out` writes such a file", path);
    const auto& list = file["candidates"];
    const auto count = static_cast<int64_t>(list.size());
    ESPALIER_REQUIRE(count > 0, "{}: the list of candidates is empty", path);
    ESPALIER_REQUIRE(k >= 0 && k < count, "--candidate {}: {} has {} candidates; choose between 0 and {}", k,
                     path, count, count - 1);
    const JsonField entry(list[k], fmt::format("{}, candidate {}", path, k));
    const auto width = [&](const char* field) {
        const int64_t n = entry.integer(field);
        ESPALIER_REQUIRE(n > 0, "{}: \"{}\" is {}; it must be positive", entry.place(), field, n);
        return n;
    };
    return {width("layers"), width("hidden"), width("heads"), width("kv_heads"), width("ffn")};
}

}  // namespace espalier::jobs
