// A model and a cluster small enough to reckon with by hand.
#pragma once

#include "src/plan/layout.hpp"
#include "src/plan/system.hpp"

namespace espalier::test {

/// 4 layers, hidden 8, 4 heads of 2 with 2 KV heads, 32 neurons, vocabulary 16, untied, no biases, RMS norms:
/// a layer has 8 (query) 8 + 4 8 (key) + 4 8 (value) + 8 8 (out) + 32 8 (up) + 8 32 (down) + 2 8 (norms) =
/// 720 weights, the embedding 128, the tail 128 + 8.
inline model::Architecture small_model() {
    model::Architecture a;
    a.family = model::Family::nemotron;
    a.vocab = 16;
    a.hidden = 8;
    a.head_dim = 2;
    a.layers.assign(4, {4, 2, 32});
    a.activation = Activation::relu2;
    a.max_positions = 64;
    return a;
}

/// Round numbers: a TFLOP/s, a TB/s, nodes of 4 with links of 1 GB/s, a network of 0.1 GB/s.
inline plan::System round_system() {
    plan::System s;
    s.name = "round";
    s.gpus_per_node = 4;
    s.memory_bytes = 1e9;
    s.peak_flops[DType::bf16] = s.peak_flops[DType::f32] = 1e12;
    s.attention_efficiency = 1;
    s.memory_bandwidth = 1e12;
    s.node = {1e9, 1, 1e-6};
    s.network = {1e8, 1, 1e-5};
    return s;
}

inline plan::Step small_step() {
    plan::Step step;
    step.model = small_model();
    step.global_batch = 8;
    step.seq_len = 16;
    return step;
}

}  // namespace espalier::test
