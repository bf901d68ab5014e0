// dump_tensors WEIGHTS FOLDER: writes what the readers make of a weight file, for other programs to compare.
// FOLDER/<number> holds the elements of each tensor as read_rows gives them; standard output has one line for
// each, separated by tabs: number, name, type in the file, dtype of the elements, shape.
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "io/tensor_source.hpp"

namespace {

using namespace espalier;

void dump(const io::TensorSource& source, size_t index, const std::filesystem::path& path) {
    const auto& info = source.tensors()[index];
    const auto rows = io::row_count(info.shape);
    const auto row_bytes = static_cast<size_t>(row_elements(info.shape)) * size_of(info.dtype);
    std::ofstream file(path, std::ios::binary);
    std::vector<std::byte> row_group;
    constexpr int64_t group = 3;  // rows at a time: several calls for every tensor, the last one shorter
    for (int64_t row = 0; row < rows; row += group) {
        const auto count = std::min(group, rows - row);
        row_group.resize(static_cast<size_t>(count) * row_bytes);
        source.read_rows(index, row, count, row_group);
        file.write(reinterpret_cast<const char*>(row_group.data()),
                   static_cast<std::streamsize>(row_group.size()));
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        fmt::print(stderr, "usage: dump_tensors WEIGHTS FOLDER\n");
        return 2;
    }
    try {
        const auto source = io::open_weights(argv[1]);
        for (size_t i = 0; i < source->tensors().size(); ++i) {
            const auto& info = source->tensors()[i];
            fmt::print("{}\t{}\t{}\t{}\t{}\n", i, info.name, info.type, to_string(info.dtype),
                       fmt::join(info.shape, ","));
            if (info.readable) dump(*source, i, std::filesystem::path(argv[2]) / std::to_string(i));
        }
    } catch (const UserError& error) {
        fmt::print(stderr, "{}\n", error.what());
        return 2;
    }
    return 0;
}
