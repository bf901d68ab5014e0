// Vectors as long as a model's gradients between ranks that have no shared memory: CMakeLists.txt has these
// ranks talk over TCP, as nodes do.
#include <gtest/gtest.h>

#include "src/comm/mpi_transport.hpp"
#include "src/comm/topology.hpp"

namespace espalier::comm {
namespace {

// Open MPI's MPI_Ireduce of these sums ran out of stack: one segment's completion began the next one's.
TEST(Network, SumsAndGathersAModelsWeightsInPlace) {
    constexpr int64_t weights = 40'000'003;
    Context ctx{{Device::cpu, 1}};
    const Communicator world = make_topology(1, 1).world;
    MpiTransport mpi(world.handle());
    Tensor flat = ctx.empty({weights}, DType::f32);
    for (int64_t i = 0; i < weights; ++i) flat.data<float>()[i] = static_cast<float>(i % 1000 + world.rank());
    const auto offsets = even_offsets(weights, world.size(), 1);
    const int64_t begin = offsets[static_cast<size_t>(world.rank())],
                  end = offsets[static_cast<size_t>(world.rank()) + 1];
    Tensor mine = flat.slice(begin, {end - begin});

    mpi.reduce_scatter(ctx, flat, mine, offsets);
    mpi.all_gather(ctx, mine, flat, offsets);

    const int ranks = world.size(), sum_of_ranks = ranks * (ranks - 1) / 2;
    int64_t wrong = 0;
    for (int64_t i = 0; i < weights; ++i)
        wrong += flat.data<float>()[i] != static_cast<float>(i % 1000 * ranks + sum_of_ranks);
    EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace espalier::comm
