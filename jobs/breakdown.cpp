#include "jobs/breakdown.hpp"

#include <chrono>

namespace espalier::jobs {

Breakdown::Seconds Breakdown::now(Part own) const {
    Seconds at{};
    at[tensor] = topology_.tensor.seconds();
    at[pipeline] = topology_.pipeline.seconds() + topology_.ends.seconds();
    at[data] = topology_.data.seconds();
    at[world] = topology_.world.seconds();
    at[own] = std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
    return at;
}

void Breakdown::add(Part own, const Seconds& begin) {
    const Seconds end = now(own);
    double communication = 0;
    for (const Part part : {tensor, pipeline, data, world}) {
        spent_[part] += end[part] - begin[part];
        communication += end[part] - begin[part];
    }
    spent_[own] += end[own] - begin[own] - communication;
}

nlohmann::ordered_json Breakdown::mean_seconds() const {
    Seconds sums = spent_;
    topology_.world.all_reduce(sums);
    nlohmann::ordered_json out = nlohmann::ordered_json::object();
    for (size_t part = 0; part < sums.size(); ++part) {
        if (sums[part] > 0) out[names[part]] = sums[part] / topology_.world.size();
    }
    return out;
}

}  // namespace espalier::jobs
