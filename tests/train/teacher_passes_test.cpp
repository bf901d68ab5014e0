// A teacher that has begun a step which will not come ends without a message that nobody takes.
#include "src/train/teacher_passes.hpp"

#include <gtest/gtest.h>

#include "tests/model/tiny_models.hpp"

namespace espalier::train {
namespace {

constexpr int64_t seq = 7, micro_batches = 5;  // in groups of 3 and 2, where 2 stages have virtual ones

std::vector<MicroBatch> read_step(Context& ctx, const model::Architecture& a) {
    std::vector<MicroBatch> batches;
    for (int64_t m = 0; m < micro_batches; ++m)
        batches.push_back(
            {model::make_batch(ctx, test::random_ids(seq, a.vocab, static_cast<uint64_t>(m)), 1, seq), {}});
    return batches;
}

/// Whether a teacher's activation is here that nobody has received. Those of this test are short enough that
/// MPI sends them at once.
bool has_message(const comm::Communicator& pipeline) {
    constexpr int tries = 100;  // each lets MPI look for what has come
    int found = 0;
    for (int i = 0; i < tries && found == 0; ++i)
        MPI_Iprobe(MPI_ANY_SOURCE, comm::teacher_activation_tag, pipeline.handle(), &found,
                   MPI_STATUS_IGNORE);
    return found != 0;
}

/// Every stage does the first `begun` passes of a step, and then is told that there will be no more.
void expect_no_message_left(int tp, int virtual_stages, int64_t begun) {
    SCOPED_TRACE(testing::Message() << "tp " << tp << ", " << virtual_stages << " virtual stages, " << begun
                                    << " passes");
    Context ctx({Device::cpu, 1});
    const auto a = test::tiny_llama();
    const auto topology = comm::make_topology(tp, 2);
    model::Transformer teacher(ctx, a, topology, DType::f32, model::Gradients::none, virtual_stages);
    test::randomise(teacher, 2);
    const auto batches = read_step(ctx, a);
    TeacherPasses passes(topology, model::pipeline_shape(topology, teacher), teacher, nullptr);
    passes.begin_step(batches, {});
    for (int64_t pass = 0; pass < begun; ++pass) passes.keep_ahead(ctx);

    passes.finish(ctx);

    topology.world.barrier();
    EXPECT_FALSE(has_message(topology.pipeline));
    topology.world.barrier();
}

TEST(TeacherPasses, EndWithTheGroupOfMicroBatchesThatTheyHaveBegun) {
    int ranks = 1;
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);

    for (const int virtual_stages : {1, 2}) {
        for (int64_t begun = 0; begun <= micro_batches * virtual_stages; ++begun)
            expect_no_message_left(ranks / 2, virtual_stages, begun);
    }
}

}  // namespace
}  // namespace espalier::train
