// What the tests of the readers share: files with given bytes, tensors read whole, messages of errors.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "io/tensor_source.hpp"
#include "tests/io/weight_files.hpp"
#include "tests/support/temporary_folder.hpp"

namespace espalier::test {

inline std::string write_bytes(const std::filesystem::path& path, const std::string& bytes) {
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << bytes;
    return path.string();
}

inline std::vector<std::string> names(const io::TensorSource& source) {
    std::vector<std::string> out;
    for (const auto& info : source.tensors()) out.push_back(info.name);
    return out;
}

/// Rows [first, first + count) of the tensor called `name`, as float.
inline std::vector<float> read(const io::TensorSource& source, const std::string& name, int64_t first,
                               int64_t count) {
    const auto index = static_cast<size_t>(io::find(source, name));
    const auto& info = source.tensors().at(index);
    const auto elements = static_cast<size_t>(count * row_elements(info.shape));
    std::vector<float> values(elements);
    if (info.dtype == DType::f32) {
        source.read_rows(index, first, count, std::as_writable_bytes(std::span(values)));
        return values;
    }
    std::vector<bfloat16> narrow(elements);
    source.read_rows(index, first, count, std::as_writable_bytes(std::span(narrow)));
    std::ranges::transform(narrow, values.begin(), [](bfloat16 value) { return static_cast<float>(value); });
    return values;
}

inline std::vector<float> read(const io::TensorSource& source, const std::string& name) {
    const auto index = static_cast<size_t>(io::find(source, name));
    return read(source, name, 0, io::row_count(source.tensors().at(index).shape));
}

/// The message of the UserError that f throws; empty when it throws none.
template <class F>
std::string error_of(F&& f) {
    try {
        f();
    } catch (const UserError& error) {
        return error.what();
    }
    return {};
}

inline testing::AssertionResult contains(const std::string& text, const std::string& part) {
    if (text.find(part) != std::string::npos) return testing::AssertionSuccess();
    return testing::AssertionFailure()
           << "'" << part << "' is not in: " << (text.empty() ? "no error" : text);
}

}  // namespace espalier::test
