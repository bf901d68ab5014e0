// sum over elements of (bits(i) + 1) * weight(i) mod 2^64, i the element's place in the flat global tensor.
// Weights are odd, so invertible mod 2^64: a change of one element, by less than 2^64 and not 0, never
// cancels. A change of several cancels only where the weighted changes sum to 0, which for weights without
// structure happens about once in 2^64. weight(i) = a(i / 256) * b(i % 256), both mixed and odd: the inner
// loop costs one multiplication an element.
#include "io/checksum.hpp"

#include <array>
#include <cstring>

#include "io/hyperslab.hpp"
#include "io/tensor_file.hpp"
#include "src/core/random.hpp"

namespace espalier::io {
namespace {

constexpr int64_t period = 256;

constexpr auto inner_weights = [] {
    std::array<uint64_t, period> weights{};
    for (uint64_t i = 0; i < period; ++i) weights[i] = mix64(~i) | 1;
    return weights;
}();

uint64_t outer_weight(int64_t block) {
    return mix64(static_cast<uint64_t>(block)) | 1;
}

template <class Bits>
uint64_t sum_of_run(const std::byte* data, int64_t first, int64_t count) {
    uint64_t total = 0;
    while (count > 0) {
        const int64_t place = first % period, n = std::min(count, period - place);
        const uint64_t* weights = inner_weights.data() + place;
        uint64_t sum = 0;
        for (int64_t i = 0; i < n; ++i) {
            Bits bits;
            std::memcpy(&bits, data + i * static_cast<int64_t>(sizeof(Bits)), sizeof(Bits));
            sum += (uint64_t{bits} + 1) * weights[i];
        }
        total += sum * outer_weight(first / period);
        first += n;
        count -= n;
        data += n * static_cast<int64_t>(sizeof(Bits));
    }
    return total;
}

}  // namespace

uint64_t checksum_of_run(const std::byte* data, size_t element_size, int64_t first, int64_t count) {
    switch (element_size) {
        case 1:
            return sum_of_run<uint8_t>(data, first, count);
        case 2:
            return sum_of_run<uint16_t>(data, first, count);
        case 4:
            return sum_of_run<uint32_t>(data, first, count);
        case 8:
            return sum_of_run<uint64_t>(data, first, count);
        default:
            throw InternalError("checksum: unknown element size");
    }
}

uint64_t checksum(const Shape& global, const Box& box, const Tensor& data) {
    return checksum(global, box, data, box);
}

uint64_t checksum(const Shape& global, const Box& box, const Tensor& data, const Box& part) {
    expect_inside(whole(global), box, "checksum");
    expect_inside(box, part, "checksum");
    const size_t size = size_of(data.dtype());
    uint64_t sum = 0;
    for_each_run(global, box, part, [&](int64_t global_index, int64_t box_index, int64_t count) {
        sum += checksum_of_run(data.raw() + static_cast<size_t>(box_index) * size, size, global_index, count);
    });
    return sum;
}

}  // namespace espalier::io
