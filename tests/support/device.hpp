// Where the ops are tested: one set of tests for CPU and GPU.
#pragma once

#include <optional>

#include "src/core/context.hpp"

namespace espalier::test {

/// The CPU, or what ESPALIER_TEST_DEVICE says (cpu, cuda).
Device test_device();
ContextOptions on_test_device(int threads = 1);
/// The same for one of several ranks of this node, which each have a GPU of their own unless
/// ESPALIER_TEST_SHARE_DEVICE is set; empty where there are too few.
std::optional<ContextOptions> on_test_device_of_rank(int rank, int ranks);

/// A copy on the host of what a tensor holds once all work is done; the tensor itself where it is there
/// already.
Tensor on_host(const Tensor& x);
/// x, wherever it is, = a tensor of the host.
void set(Tensor& x, const Tensor& host);

}  // namespace espalier::test
