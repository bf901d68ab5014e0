// How fast this machine computes, in the terms of the planner: measured with the kernels that jobs run.
#pragma once

#include <functional>

#include "src/comm/communicator.hpp"
#include "src/core/context.hpp"
#include "src/plan/calibrate.hpp"

namespace espalier::jobs {

/// What is measured at growing sizes has grown enough when a call takes so many seconds.
constexpr double long_call = 0.02;

/// Times work on all ranks of a communicator at once; refers to its arguments.
class Timer {
public:
    Timer(Context& ctx, const comm::Communicator& ranks) : ctx_(ctx), ranks_(ranks) {}

    /// Seconds of a call until its results are there, on the slowest rank, best of some rounds. All ranks
    /// make the same number of calls.
    double seconds_of(const std::function<void()>& work) const { return best(work, Until::done); }
    /// Until it is put on the stream.
    double seconds_to_start(const std::function<void()>& work) const { return best(work, Until::started); }

private:
    enum class Until { started, done };
    double run(const std::function<void()>& work, int64_t calls, Until until) const;
    double best(const std::function<void()>& work, Until until) const;

    Context& ctx_;
    const comm::Communicator& ranks_;
};

/// Seconds that the host takes to start the smallest kernel; 0 on a CPU.
double launch_seconds(Context& ctx, const Timer& timer);

/// The curve of a linear layer's products: of 64, 128, ... until one takes 50 ms, at most 8192; forward and
/// its two gradients, each a third. On a GPU without those whose start takes as long (`launch_seconds`).
plan::MatmulFit matmul_rates(Context& ctx, const Timer& timer, DType dtype, double launch_seconds);

/// FLOP/s of attention's products, forward and backward, as the planner counts them: of a causal mask half of
/// 4 seq^2 width forward, and 2.5 times that backward.
double attention_rate(Context& ctx, const Timer& timer, DType dtype);

/// Bytes/s of two arrays read and one written, larger than any cache: on a device they grow until it is busy
/// with them, as far as its `memory` bytes go.
double memory_rate(Context& ctx, const Timer& timer, double memory);

/// Bytes/s of a step's element-wise work, of bytes as the planner counts them: norms, residual sums and
/// SwiGLU of a layer, and the divergence over a layer's share of a vocabulary, forward and backward. Less
/// than memory_rate where exponentials take longer than reading, and where a kernel moves more than it must.
double elementwise_rate(Context& ctx, const Timer& timer, DType dtype);

}  // namespace espalier::jobs
