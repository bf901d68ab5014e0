#include "tests/support/device.hpp"

#include <cstdlib>
#include <string>

#include "src/core/device.hpp"
#include "src/core/has_cuda.hpp"

namespace espalier::test {

Device test_device() {
    const char* name = std::getenv("ESPALIER_TEST_DEVICE");
    return name && std::string(name) == "cuda" ? Device::cuda : Device::cpu;
}

ContextOptions on_test_device(int threads) {
    return {test_device(), threads};
}

Tensor on_host(const Tensor& x) {
    if (x.device() == Device::cpu) return x;
    auto memory = std::shared_ptr<std::byte>(new std::byte[x.bytes()], std::default_delete<std::byte[]>());
    if constexpr (has_cuda) {
        device::wait_for_all();
        const device::Stream stream = device::make_stream();
        device::copy(memory.get(), x.raw(), x.bytes(), device::Copy::to_host, stream);
        device::wait(stream);
        device::destroy(stream);
    }
    return Tensor(std::move(memory), x.shape(), x.dtype());
}

}  // namespace espalier::test
