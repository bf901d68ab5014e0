#include "jobs/breakdown.hpp"

#include <chrono>

namespace espalier::jobs {

Breakdown::Reading Breakdown::now() const {
    Reading at;
    at.wall = std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
    for (const auto* grid : grids_) {
        at.tensor += grid->tensor.seconds();
        at.pipeline += grid->pipeline.seconds() + grid->ends.seconds();
        at.data += grid->data.seconds();
        at.world += grid->world.seconds();
    }
    return at;
}

nlohmann::ordered_json Breakdown::mean_seconds() const {
    const Reading end = now();
    std::array<double, names.size()> sums{
        end.outside_communicators() - begin_.outside_communicators() - io_,
        end.tensor - begin_.tensor,
        end.pipeline - begin_.pipeline,
        end.data - begin_.data,
        end.world - begin_.world,
        io_,
    };
    const auto& world = grids_.front()->world;
    world.all_reduce(sums);
    nlohmann::ordered_json out = nlohmann::ordered_json::object();
    for (size_t part = 0; part < sums.size(); ++part) {
        if (sums[part] > 0) out[names[part]] = sums[part] / world.size();
    }
    return out;
}

}  // namespace espalier::jobs
