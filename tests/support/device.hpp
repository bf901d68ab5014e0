// Where the ops are tested: one set of tests for CPU and GPU.
#pragma once

#include "src/core/context.hpp"

namespace espalier::test {

/// The CPU, or what ESPALIER_TEST_DEVICE says (cpu, cuda).
Device test_device();
ContextOptions on_test_device(int threads = 1);

/// A copy on the host of what a tensor holds once all work is done; the tensor itself where it is there
/// already.
Tensor on_host(const Tensor& x);

}  // namespace espalier::test
