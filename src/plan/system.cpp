#include "src/plan/system.hpp"

#include <array>
#include <cmath>

#include "src/core/error.hpp"
#include "src/plan/fields.hpp"

namespace espalier::plan {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

Link link_from_json(const JsonField& in) {
    const Link link{positive(in, "bandwidth"), positive(in, "efficiency", 1), not_negative(in, "latency", 0)};
    in.refuse_others(keys_advice);
    return link;
}

ordered_json link_to_json(const Link& link) {
    return {{"bandwidth", link.bandwidth}, {"efficiency", link.efficiency}, {"latency", link.latency}};
}

constexpr std::array planned_dtypes{DType::bf16, DType::f32};

std::map<DType, double> peaks_from_json(const JsonField& in) {
    std::map<DType, double> peaks;
    for (const DType dtype : planned_dtypes) {
        if (in.has(to_string(dtype))) peaks[dtype] = positive(in, to_string(dtype));
    }
    in.refuse_others("give bf16, f32 or both, the types that steps are planned in");
    ESPALIER_REQUIRE(!peaks.empty(), "{} must be an object such as {{\"bf16\": 989e12}}", in.place());
    return peaks;
}

ordered_json peaks_to_json(const std::map<DType, double>& peaks) {
    ordered_json out;
    for (const DType dtype : planned_dtypes) {
        if (peaks.contains(dtype)) out[std::string(to_string(dtype))] = peaks.at(dtype);
    }
    return out;
}

}  // namespace

double MatmulCurve::efficiency(double m, double n, double k) const {
    const bool aligned = std::fmod(n, 8) == 0 && std::fmod(k, 8) == 0;
    return best * (aligned ? 1 : unaligned) / (1 + half_size / std::cbrt(m * n * k));
}

double System::peak(DType dtype) const {
    const auto it = peak_flops.find(dtype);
    if (it != peak_flops.end()) return it->second;
    fail("{} has no peak for {}; choose --dtype {}", name, to_string(dtype), to_string(default_dtype()));
}

DType System::default_dtype() const {
    return peak_flops.contains(DType::bf16) ? DType::bf16 : DType::f32;
}

System system_from_json(const json& object, const std::string& source) {
    const JsonField in(object, source);
    System s;
    s.name = in.text("name");
    s.source = in.text("source");
    s.gpus_per_node = count(in, "gpus_per_node");
    s.memory_bytes = positive(in, "memory_bytes");
    s.reserved_bytes = not_negative(in, "reserved_bytes", 0);
    ESPALIER_REQUIRE(s.reserved_bytes < s.memory_bytes,
                     "{}: \"reserved_bytes\" {} leaves nothing of \"memory_bytes\" {}", source,
                     s.reserved_bytes, s.memory_bytes);
    s.peak_flops = peaks_from_json(in.at("peak_flops"));
    const JsonField matmul = in.at("matmul");
    s.matmul = {positive(matmul, "best", 1), not_negative(matmul, "half_size", 0),
                positive(matmul, "unaligned", 1)};
    matmul.refuse_others(keys_advice);
    s.attention_efficiency = positive(in, "attention_efficiency", 1);
    s.memory_bandwidth = positive(in, "memory_bandwidth");
    s.memory_efficiency = positive(in, "memory_efficiency", 1);
    s.launch_seconds = not_negative(in, "launch_seconds", 0);
    s.node = link_from_json(in.at("node"));
    s.network = link_from_json(in.at("network"));
    s.watts = not_negative(in, "watts", 0);
    s.price_per_hour = not_negative(in, "price_per_hour", 0);
    in.refuse_others(keys_advice);
    return s;
}

ordered_json to_json(const System& s) {
    return {{"name", s.name},
            {"source", s.source},
            {"gpus_per_node", s.gpus_per_node},
            {"memory_bytes", s.memory_bytes},
            {"reserved_bytes", s.reserved_bytes},
            {"peak_flops", peaks_to_json(s.peak_flops)},
            {"matmul",
             {{"best", s.matmul.best}, {"half_size", s.matmul.half_size}, {"unaligned", s.matmul.unaligned}}},
            {"attention_efficiency", s.attention_efficiency},
            {"memory_bandwidth", s.memory_bandwidth},
            {"memory_efficiency", s.memory_efficiency},
            {"launch_seconds", s.launch_seconds},
            {"node", link_to_json(s.node)},
            {"network", link_to_json(s.network)},
            {"watts", s.watts},
            {"price_per_hour", s.price_per_hour}};
}

}  // namespace espalier::plan
