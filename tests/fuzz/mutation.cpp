#include "tests/fuzz/mutation.hpp"

#include <array>
#include <cctype>

#include "src/core/random.hpp"

namespace espalier::test {
namespace {

class Draws {
public:
    explicit Draws(uint64_t seed) : state_(mix64(seed)) {}
    uint64_t below(uint64_t n) { return n == 0 ? 0 : (state_ = mix64(state_)) % n; }

private:
    uint64_t state_;
};

constexpr std::array<uint64_t, 16> extremes{
    0,          1,          2,          0x7f,       0x80,
    0xff,       0x7fff,     0xffff,     0x7fffffff, 0x80000000,
    0xffffffff, 1ULL << 32, 1ULL << 40, 1ULL << 62, 0x7fffffffffffffff,
    ~0ULL};

void overwrite_field(std::string& bytes, Draws& draw) {
    uint64_t value = extremes[draw.below(extremes.size())] + draw.below(3) - 1;
    if (draw.below(4) == 0) value = bytes.size() + draw.below(3) - 1;
    const size_t width = size_t{1} << draw.below(4), at = draw.below(bytes.size());
    for (size_t i = 0; i < width && at + i < bytes.size(); ++i)
        bytes[at + i] = static_cast<char>(value >> 8 * i);
}

void replace_decimal(std::string& bytes, Draws& draw) {
    size_t begin = draw.below(bytes.size());
    while (begin < bytes.size() && !std::isdigit(static_cast<unsigned char>(bytes[begin]))) ++begin;
    size_t end = begin;
    while (end < bytes.size() && std::isdigit(static_cast<unsigned char>(bytes[end]))) ++end;
    bytes.replace(begin, end - begin, std::to_string(extremes[draw.below(extremes.size())]));
}

void damage(std::string& bytes, Draws& draw) {
    const size_t at = draw.below(bytes.size()), length = draw.below(16);
    switch (draw.below(8)) {
        case 0:
            bytes[at] = static_cast<char>(bytes[at] ^ 1 << draw.below(8));
            break;
        case 1:
            bytes[at] = static_cast<char>(draw.below(256));
            break;
        case 2:
            bytes.resize(at);
            break;
        case 3:
            bytes.erase(at, length);
            break;
        case 4:
            bytes.insert(at, bytes.substr(at, length));
            break;
        case 5:
            bytes.insert(at, length, static_cast<char>(draw.below(256)));
            break;
        case 6:
            overwrite_field(bytes, draw);
            break;
        default:
            replace_decimal(bytes, draw);
            break;
    }
}

}  // namespace

std::string mutate(std::string bytes, uint64_t seed) {
    Draws draw(seed);
    for (uint64_t left = 1 + draw.below(3); left > 0 && !bytes.empty(); --left) damage(bytes, draw);
    return bytes;
}

}  // namespace espalier::test
