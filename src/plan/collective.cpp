#include "src/plan/collective.hpp"

#include <algorithm>

namespace espalier::plan {
namespace {

bool inside_a_node(const System& system, Group group) {
    return group.size * group.stride <= system.gpus_per_node;
}

}  // namespace

Link ring_link(const System& system, Group group) {
    if (inside_a_node(system, group)) return system.node;
    const int64_t on_a_node = std::clamp<int64_t>(system.gpus_per_node / group.stride, 1, group.size);
    Link link = system.network;
    link.bandwidth *= static_cast<double>(on_a_node);
    if (link.rate() > system.node.rate()) {
        link.bandwidth = system.node.bandwidth;
        link.efficiency = system.node.efficiency;
    }
    return link;
}

Link neighbour_link(const System& system, Group group) {
    return inside_a_node(system, group) ? system.node : system.network;
}

double reduce_scatter_seconds(const Link& link, int64_t ranks, double bytes) {
    const auto n = static_cast<double>(ranks);
    return (n - 1) / n * bytes / link.rate() + (n - 1) * link.latency;
}

double all_gather_seconds(const Link& link, int64_t ranks, double bytes) {
    return reduce_scatter_seconds(link, ranks, bytes);
}

double all_reduce_seconds(const Link& link, int64_t ranks, double bytes) {
    return reduce_scatter_seconds(link, ranks, bytes) + all_gather_seconds(link, ranks, bytes);
}

double send_seconds(const Link& link, double bytes) {
    return bytes / link.rate() + link.latency;
}

}  // namespace espalier::plan
