#include "jobs/session/breakdown.hpp"

#include <chrono>

namespace espalier::jobs {

double Breakdown::wall() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Breakdown::Reading Breakdown::now() const {
    double tensor = 0, pipeline = 0, data = 0, world = 0;
    for (const auto* grid : grids_) {
        tensor += grid->tensor.seconds();
        pipeline += grid->pipeline.seconds() + grid->ends.seconds();
        data += grid->data.seconds();
        world += grid->world.seconds();
    }
    return {ctx_.seconds_computing(), tensor, pipeline, data, world, io_.seconds()};
}

nlohmann::ordered_json Breakdown::mean_seconds() const {
    Reading sums = now();
    for (size_t part = 0; part < sums.size(); ++part) sums[part] -= begin_[part];
    const auto& world = grids_.front()->world;
    world.all_reduce(sums);
    nlohmann::ordered_json out = nlohmann::ordered_json::object();
    for (size_t part = 0; part < sums.size(); ++part) {
        if (sums[part] > 0) out[names[part]] = sums[part] / world.size();
    }
    return out;
}

}  // namespace espalier::jobs
