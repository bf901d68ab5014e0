// What it means that attention is reset at a document's end and that ends are masked: a step over packed
// samples is the step over the documents one by one, without their ends; on every grid of this run's ranks.
#include <gtest/gtest.h>

#include <algorithm>

#include "src/data/document_masks.hpp"
#include "src/distill/objective.hpp"
#include "src/distill/state_loss.hpp"
#include "src/train/gradient_reducer.hpp"
#include "src/train/pipeline.hpp"
#include "src/train/shards.hpp"
#include "tests/model/tiny_models.hpp"
#include "tests/support/tolerance.hpp"
#include "tests/train/same_gradients.hpp"

namespace espalier::train {
namespace {

using Ids = std::vector<int32_t>;

constexpr int64_t batch_size = 2, seq = 11, micro_batches = 3;
constexpr int32_t eod = 4;

/// What one micro-batch holds: inputs and labels [batch_size, seq]. Its documents are long and short, one
/// begins with a sequence's last token, some are an end alone, and some go on in the next sequence.
struct Sample {
    Ids ids, labels;
};
Sample sample(const model::Architecture& a, int64_t m) {
    const auto seed = static_cast<uint64_t>(m);
    Sample out{test::random_ids(batch_size * seq, a.vocab, seed),
               test::random_ids(batch_size * seq, a.vocab, 100 + seed)};
    std::replace(out.ids.begin(), out.ids.end(), eod, eod + 1);
    for (const int64_t end : {m, m + 1, m + 6, seq - 2, seq, seq + 4 + m, 2 * seq - 1})
        out.ids[static_cast<size_t>(end)] = eod;
    return out;
}

MicroBatch batch_of(Context& ctx, const Ids& ids, const Ids& labels, int64_t batch) {
    return {model::make_batch(ctx, ids, batch, std::ssize(ids) / batch), model::ids_tensor(ctx, labels)};
}

MicroBatch packed(Context& ctx, const Sample& s, const data::DocumentMasks& masks) {
    Ids labels = s.labels;
    if (masks.loss) data::mask_ends(s.ids, eod, labels);
    MicroBatch out = batch_of(ctx, s.ids, labels, batch_size);
    if (masks.attention) out.tokens.starts = model::ids_tensor(ctx, data::document_starts(s.ids, seq, eod));
    return out;
}

enum class Ends { keep, drop };

/// Each document of a sample by itself; an end alone may leave nothing.
void add_documents(Context& ctx, const Sample& s, Ends ends, std::vector<MicroBatch>& out) {
    Ids ids, labels;
    for (size_t i = 0; i < s.ids.size(); ++i) {
        const bool is_end = s.ids[i] == eod, cut = (i + 1) % seq == 0;
        if (!is_end || ends == Ends::keep) {
            ids.push_back(s.ids[i]);
            labels.push_back(s.labels[i]);
        }
        if ((is_end || cut) && !ids.empty()) {
            out.push_back(batch_of(ctx, ids, labels, 1));
            ids.clear();
            labels.clear();
        }
    }
}

struct Result {
    distill::LossSums sums;
    double distance = 0;
    Range share;
    std::unique_ptr<model::Transformer> student;
};

/// kl, ce and hidden states, of weights that do not depend on how tokens are put into micro-batches.
Result step(Context& ctx, const model::Architecture& a, const comm::Topology& topology,
            const std::vector<MicroBatch>& mine, double tokens, int virtual_stages = 1,
            model::Recompute recompute = model::Recompute::selective) {
    Result out;
    out.student = std::make_unique<model::Transformer>(ctx, a, topology, DType::f32, model::Gradients::keep,
                                                       virtual_stages);
    model::Transformer& student = *out.student;
    model::Transformer teacher(ctx, a, topology, DType::f32, model::Gradients::none, virtual_stages);
    test::randomise(student, 1);
    test::randomise(teacher, 2);
    const auto terms = distill::parse_state_terms("embedding,1:1,block:2:2,mlp:1:1", "cosine", "0.7");
    distill::StateLoss states(
        distill::resolved(terms, teacher.architecture(), "teacher", student.architecture(), "student"),
        student, topology, nullptr);
    states.begin_step(1.0 / tokens);
    distill::Objective objective(distill::parse_loss_terms("kl=1,ce=0.3", 1.5));

    Pipeline(topology, student, &teacher, recompute, &states)
        .step(ctx, mine, {},
              [&](const MicroBatch& batch, const Tensor& hidden, const Tensor& teacher_hidden) {
                  return objective.backward(ctx, student, hidden,
                                            distill::live_teacher(teacher, teacher_hidden), batch.labels,
                                            1.0 / tokens);
              });

    const auto shards = make_shards(student.parameters(), topology.data);
    GradientReducer(student, topology, shards).finish(ctx);
    out.share = shards.mine();
    const auto& sums = objective.sums(ctx);
    std::array<double, 4> all{};
    if (topology.last_stage() && topology.tensor.rank() == 0)
        all = {sums.divergence, sums.label, sums.tokens, states.sums().distance};
    topology.world.all_reduce(all);
    out.sums = {all[0], all[1], all[2]};
    out.distance = all[3];
    return out;
}

void expect_same(const Result& got, const Result& alone) {
    EXPECT_EQ(got.sums.tokens, alone.sums.tokens);
    EXPECT_NEAR(got.sums.divergence, alone.sums.divergence, test::loss_tolerance * alone.sums.divergence);
    EXPECT_NEAR(got.sums.label, alone.sums.label, test::loss_tolerance * alone.sums.label);
    EXPECT_NEAR(got.distance, alone.distance, test::loss_tolerance * alone.distance);
    // 40: the roundings of a chain of about 4 layers, both ways
    test::expect_same_gradients(*got.student, got.share, *alone.student,
                                test::tolerance(Device::cpu, DType::f32).times(40));
}

class Documents : public testing::Test {
protected:
    Documents() { MPI_Comm_size(MPI_COMM_WORLD, &ranks_); }

    Result alone(const model::Architecture& a, Ends ends) {
        std::vector<MicroBatch> documents;
        for (int64_t m = 0; m < micro_batches; ++m) add_documents(ctx, sample(a, m), ends, documents);
        tokens_ = 0;
        for (const auto& d : documents) tokens_ += static_cast<double>(d.tokens.tokens());
        return step(ctx, a, {}, documents, tokens_);
    }
    std::vector<MicroBatch> mine(const model::Architecture& a, const comm::Topology& topology,
                                 const data::DocumentMasks& masks) {
        const Range some = split_evenly(micro_batches, topology.layout.dp, topology.data.rank());
        std::vector<MicroBatch> out;
        for (int64_t m = some.begin; m < some.end; ++m) out.push_back(packed(ctx, sample(a, m), masks));
        return out;
    }
    void expect_documents_alone(const model::Architecture& a, Ends ends) {
        const Result expected = alone(a, ends);
        const data::DocumentMasks masks{eod, true, ends == Ends::drop};
        for (int tp = 1; tp <= ranks_; ++tp) {
            for (int pp = 1; tp * pp <= ranks_ && pp <= a.depth(); ++pp) {
                if (ranks_ % (tp * pp) != 0) continue;
                for (int v = 1; pp * v <= a.depth(); ++v) {
                    SCOPED_TRACE(testing::Message()
                                 << "tp " << tp << " pp " << pp << " virtual stages " << v);
                    const auto topology = comm::make_topology(tp, pp);
                    expect_same(step(ctx, a, topology, mine(a, topology, masks), tokens_, v), expected);
                }
            }
        }
    }

    Context ctx{{Device::cpu, 1}};
    int ranks_ = 1;
    double tokens_ = 0;  // of the documents
};

TEST_F(Documents, OfALlamaArePackedAsIfEachWereAlone) {
    expect_documents_alone(test::tiny_llama(), Ends::keep);
}

TEST_F(Documents, OfANemotronWithBiasesAndAWindowArePackedAsIfEachWereAlone) {
    auto a = test::tiny_nemotron(true);
    for (auto& l : a.layers) l.window = 3;
    expect_documents_alone(a, Ends::keep);
}

TEST_F(Documents, MaskedEndsAreAsIfTheyWereNotThere) {
    expect_documents_alone(test::tiny_llama(), Ends::drop);
}

TEST_F(Documents, WhatIsComputedAgainStaysInItsDocument) {
    const auto a = test::tiny_llama();
    const Result expected = alone(a, Ends::drop);
    const auto topology = comm::make_topology(ranks_, 1);

    for (const auto recompute : {model::Recompute::none, model::Recompute::full}) {
        SCOPED_TRACE(model::to_string(recompute));
        const auto batches = mine(a, topology, {eod, true, true});
        expect_same(step(ctx, a, topology, batches, tokens_, 1, recompute), expected);
    }
}

TEST_F(Documents, MaskedEndsAloneLeaveTheMeanOverTheOtherTokens) {
    const auto a = test::tiny_llama();
    const auto topology = comm::make_topology(1, 1);
    const Result all = step(ctx, a, topology, mine(a, topology, {}), 1);
    Result ends_alone;
    {
        std::vector<MicroBatch> batches;
        const Range some = split_evenly(micro_batches, topology.layout.dp, topology.data.rank());
        for (int64_t m = some.begin; m < some.end; ++m) {
            Sample s = sample(a, m);
            for (size_t i = 0; i < s.ids.size(); ++i) {
                if (s.ids[i] != eod) s.labels[i] = -1;
            }
            batches.push_back(packed(ctx, s, {}));
        }
        ends_alone = step(ctx, a, topology, batches, 1);
    }

    const Result left = step(ctx, a, topology, mine(a, topology, {eod, false, true}), 1);

    EXPECT_EQ(left.sums.tokens, all.sums.tokens - ends_alone.sums.tokens);
    EXPECT_NEAR(left.sums.label, all.sums.label - ends_alone.sums.label,
                test::loss_tolerance * all.sums.label);
    EXPECT_NEAR(left.sums.divergence, all.sums.divergence - ends_alone.sums.divergence,
                test::loss_tolerance * all.sums.divergence);
    EXPECT_NEAR(left.distance, all.distance - ends_alone.distance, test::loss_tolerance * all.distance);
}

TEST_F(Documents, ASampleOfNothingButEndsHasNoLossAndNoGradient) {
    const auto a = test::tiny_llama();
    const auto topology = comm::make_topology(ranks_, 1);
    const Sample ends{Ids(batch_size * seq, eod), Ids(batch_size * seq, 1)};

    const Result got = step(ctx, a, topology, {packed(ctx, ends, {eod, true, true})}, 1);

    EXPECT_EQ(got.sums.tokens, 0);
    EXPECT_EQ(got.sums.objective(distill::parse_loss_terms("kl=1,ce=0.3", 1.5)), 0);
    EXPECT_EQ(got.distance, 0);
    for (const float g : got.student->gradients().span<float>()) ASSERT_EQ(g, 0);
}

}  // namespace
}  // namespace espalier::train
