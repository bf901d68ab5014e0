// What is planned: a step of training or distillation, how a program runs it, and how it is laid out on
// ranks.
#pragma once

#include <optional>
#include <string>

#include "src/core/dtype.hpp"
#include "src/model/architecture.hpp"
#include "src/model/recompute.hpp"

namespace espalier::plan {

struct Layout {
    int64_t tp = 1;
    int64_t pp = 1;
    int64_t virtual_stages = 1;  ///< of a pipeline rank
    int64_t dp = 1;
    int64_t micro_batch = 1;
    model::Recompute recompute = model::Recompute::selective;  ///< in other programs as Practice says

    int64_t ranks() const { return tp * pp * dp; }
    bool operator==(const Layout&) const = default;
};
/// "tp 2 pp 4 v 1 dp 8 micro-batch 2 selective"
std::string to_string(const Layout& layout);

/// How the program that runs the step does it; the defaults are Espalier's. The others describe published
/// runs.
struct Practice {
    enum class Attention { fused, materialised };
    enum class Stages { balanced, even };  ///< by the products of layers and head, or by the number of layers
    /// What selective recomputation computes again: with attention its probabilities, which only
    /// Recompute::none keeps where they are materialised. Outputs of split norms are gathered again too.
    enum class Selective { norms_and_activations, attention };
    /// What full recomputation computes again: what backward reads, or the layer's output too.
    enum class Full { what_is_read, whole_layer };
    enum class Norms { split_tokens, every_rank };  ///< sequence parallelism or not
    enum class Head { blocks, whole };              ///< when logits exist
    enum class State { sharded, replicated };       ///< ZeRO-1 or not
    enum class Gradients { overlapped, after_backward };
    enum class Order { tp_pp_dp, tp_dp_pp };  ///< of ranks, the fastest first

    Attention attention = Attention::fused;
    Stages stages = Stages::balanced;
    Selective selective = Selective::norms_and_activations;
    Full full = Full::what_is_read;
    Norms norms = Norms::split_tokens;
    Head head = Head::blocks;
    State state = State::sharded;
    Gradients gradients = Gradients::overlapped;
    Order order = Order::tp_pp_dp;
    double gradient_bytes = 4;  ///< of a weight, kept and sent
    double dropout_bytes = 0;   ///< of an element's mask
    /// Gradients and weights travel in buckets of max(bucket, bucket_of_replica dp) weights (Megatron-LM's
    /// distributed optimizer: 40 M, 1 M); the last one cannot be hidden.
    double bucket = 40e6;
    double bucket_of_replica = 1e6;
};

/// A step: F_t + 3 F_s FLOPs where there is a teacher, 3 F_s without.
struct Step {
    model::Architecture model;
    std::optional<model::Architecture> teacher;
    int64_t global_batch = 1;
    int64_t seq_len = 1;
    DType dtype = DType::bf16;  ///< bf16 or f32
    Practice practice;

    double tokens() const { return static_cast<double>(global_batch) * static_cast<double>(seq_len); }
    /// Model FLOPs: nothing recomputed.
    double flops() const;
};

/// What the replica with the most to do has of a step. A job cuts the batch into ceil(global_batch /
/// micro_batch) micro-batches, of which the last may be short, and deals them out evenly, the first replicas
/// one more.
struct Share {
    int64_t micro_batches;
    int64_t samples;  ///< short only where there is one replica
};
Share fullest_share(const Step& step, const Layout& layout);

/// Empty for a layout that the step can run on, else why not and what to choose instead.
std::string objection(const Step& step, const Layout& layout);

}  // namespace espalier::plan
