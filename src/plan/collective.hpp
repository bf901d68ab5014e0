// How long collectives take: rings (Thakur, Rabenseifner, Gropp 2005; what NCCL runs), in the alpha-beta
// model.
//   n ranks, B bytes of the whole vector, w bytes/s each way, a seconds a message
#pragma once

#include "src/plan/system.hpp"

namespace espalier::plan {

/// Ranks that talk to each other: `size` of them, neighbours `stride` ranks apart. Ranks fill nodes in order.
struct Group {
    int64_t size = 1;
    int64_t stride = 1;
};

/// The connection between neighbours of a ring through the group. Inside one node it is the node's. Otherwise
/// the slowest hop counts, the network: of a node's network cards a group gets the share of its own ranks,
/// because all groups of the same kind communicate at the same time.
Link ring_link(const System& system, Group group);
/// The slowest connection that neighbours of the group need: the network where the group spans nodes.
Link neighbour_link(const System& system, Group group);

/// (n-1)/n B/w + (n-1) a
double reduce_scatter_seconds(const Link& link, int64_t ranks, double bytes);
/// the same
double all_gather_seconds(const Link& link, int64_t ranks, double bytes);
/// 2 (n-1)/n B/w + 2 (n-1) a
double all_reduce_seconds(const Link& link, int64_t ranks, double bytes);
/// B/w + a
double send_seconds(const Link& link, double bytes);

}  // namespace espalier::plan
