#include "tests/support/device.hpp"

#include <cstdlib>
#include <cstring>
#include <string>

#include "src/core/device.hpp"
#include "src/core/has_cuda.hpp"

namespace espalier::test {
namespace {

/// After all that is on the device.
void copy_now([[maybe_unused]] std::byte* to, [[maybe_unused]] const std::byte* from,
              [[maybe_unused]] size_t bytes, [[maybe_unused]] device::Copy direction) {
    if constexpr (has_cuda) {
        device::wait_for_all();
        const device::Stream stream = device::make_stream();
        device::copy(to, from, bytes, direction, stream);
        device::wait(stream);
        device::destroy(stream);
    }
}

}  // namespace

Device test_device() {
    const char* name = std::getenv("ESPALIER_TEST_DEVICE");
    return name && std::string(name) == "cuda" ? Device::cuda : Device::cpu;
}

ContextOptions on_test_device(int threads) {
    return {test_device(), threads};
}

std::optional<ContextOptions> on_test_device_of_rank(int rank, int ranks) {
    ContextOptions options = on_test_device();
    if constexpr (has_cuda) {
        if (options.device == Device::cpu) return options;
        const int devices = device::count();
        if (std::getenv("ESPALIER_TEST_SHARE_DEVICE")) {
            setenv("NCCL_MULTI_RANK_GPU_ENABLE", "1", 0);
        } else if (ranks > devices) {
            return std::nullopt;
        }
        options.device_index = rank % devices;
    }
    return options;
}

Tensor on_host(const Tensor& x) {
    if (x.device() == Device::cpu) return x;
    auto memory = std::shared_ptr<std::byte>(new std::byte[x.bytes()], std::default_delete<std::byte[]>());
    copy_now(memory.get(), x.raw(), x.bytes(), device::Copy::to_host);
    return Tensor(std::move(memory), x.shape(), x.dtype());
}

void set(Tensor& x, const Tensor& host) {
    if (x.device() == Device::cpu) {
        if (x.raw() != host.raw()) std::memcpy(x.raw(), host.raw(), host.bytes());
    } else {
        copy_now(x.raw(), host.raw(), host.bytes(), device::Copy::to_device);
    }
}

}  // namespace espalier::test
