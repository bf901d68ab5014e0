#include "io/event_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "io/system_error.hpp"

namespace espalier::io {
namespace {

constexpr auto crc_table = [] {
    constexpr uint32_t reversed_polynomial = 0x82f63b78;
    std::array<uint32_t, 256> table{};
    for (uint32_t byte = 0; byte < table.size(); ++byte) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1) != 0 ? reversed_polynomial : 0);
        table[byte] = crc;
    }
    return table;
}();

/// Little-endian, as both TFRecord and protobuf's fixed fields are.
template <class T>
std::string fixed(T value) {
    static_assert(std::endian::native == std::endian::little);
    std::string out(sizeof value, '\0');
    std::memcpy(out.data(), &value, sizeof value);
    return out;
}

uint32_t masked_crc(std::string_view bytes) {
    return std::rotr(crc32c(bytes), 15) + 0xa282ead8;
}

// Protocol buffers: a field is (number << 3 | wire type), then its value.
enum class Wire : uint8_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

std::string varint(uint64_t value) {
    std::string out;
    for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
    return out + static_cast<char>(value);
}

std::string key(int number, Wire wire) {
    return varint(static_cast<uint64_t>(number) << 3 | static_cast<uint64_t>(wire));
}

std::string double_field(int number, double value) {
    return key(number, Wire::fixed64) + fixed(value);
}
std::string float_field(int number, float value) {
    return key(number, Wire::fixed32) + fixed(value);
}
std::string integer_field(int number, int64_t value) {
    return key(number, Wire::varint) + varint(static_cast<uint64_t>(value));
}
std::string bytes_field(int number, std::string_view value) {
    return key(number, Wire::bytes) + varint(value.size()) + std::string(value);
}

// Event: wall_time = 1, step = 2, file_version = 3, summary = 5, session_log = 7.
std::string event(double time, int64_t step) {
    return double_field(1, time) + (step == 0 ? "" : integer_field(2, step));
}

double now() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
    uint32_t crc = ~0U;
    for (const char c : bytes) crc = crc >> 8 ^ crc_table[(crc ^ static_cast<unsigned char>(c)) & 0xff];
    return ~crc;
}

std::string tf_record(std::string_view bytes) {
    const std::string length = fixed(uint64_t{bytes.size()});
    return length + fixed(masked_crc(length)) + std::string(bytes) + fixed(masked_crc(bytes));
}

std::string version_event(double time) {
    return event(time, 0) + bytes_field(3, "brain.Event:2");
}

std::string start_event(double time, int64_t first_step) {
    constexpr int64_t start = 1;  // SessionLog: status = 1
    return event(time, first_step) + bytes_field(7, integer_field(1, start));
}

std::string scalars_event(double time, int64_t step, std::span<const Scalar> scalars) {
    std::string summary;  // Summary: value = 1; its Value: tag = 1, simple_value = 2
    for (const auto& [tag, value] : scalars)
        summary += bytes_field(1, bytes_field(1, tag) + float_field(2, static_cast<float>(value)));
    return event(time, step) + bytes_field(5, summary);
}

EventFile::EventFile(const std::string& folder, int64_t first_step) {
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    const double time = now();
    // Two starts in one second: the later one takes the next.
    for (auto second = static_cast<int64_t>(time); !file_; ++second) {
        std::string path = fmt::format("{}/events.out.tfevents.{:010}.{}", folder, second, host);
        Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666));
        if (!file && errno != EEXIST) fail_of_system("cannot write " + path, errno);
        if (file) file_.emplace(std::move(path), std::move(file));
    }
    file_->append(tf_record(version_event(time)) + tf_record(start_event(time, first_step)));
}

bool EventFile::write(int64_t step, std::span<const Scalar> scalars) {
    return file_->append(tf_record(scalars_event(now(), step, scalars)));
}

}  // namespace espalier::io
