// write_model FOLDER: writes a small sharded safetensors model; element i of tensor t is 100 t + i.
#include <fmt/format.h>

#include <algorithm>

#include "io/safetensors_writer.hpp"

namespace {

using namespace espalier;

template <class T>
void write_part(io::SafetensorsWriter& writer, size_t tensor, int64_t first, int64_t rows, int64_t row) {
    std::vector<T> values;
    for (int64_t i = first * row; i < (first + rows) * row; ++i) {
        values.push_back(T(static_cast<float>(100 * static_cast<int64_t>(tensor) + i)));
    }
    writer.write_rows(tensor, first, std::as_bytes(std::span(values)));
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) return 2;
    const io::SafetensorsLayout layout({{"embed", {5, 3}, DType::bf16},
                                        {"norm", {3}, DType::f32},
                                        {"layers.0.w", {4, 3}, DType::bf16},
                                        {"scalar", {}, DType::f32}},
                                       50);
    io::SafetensorsWriter first(argv[1], layout, io::FileRole::create),
        second(argv[1], layout, io::FileRole::join);
    write_part<bfloat16>(first, 0, 0, 2, 3);
    write_part<bfloat16>(second, 0, 2, 3, 3);
    write_part<float>(second, 1, 0, 3, 1);
    write_part<bfloat16>(second, 2, 3, 1, 3);
    write_part<bfloat16>(first, 2, 0, 3, 3);
    write_part<float>(first, 3, 0, 1, 1);
    first.finish();
    second.finish();
    return 0;
}
