#include "src/comm/unwinding.hpp"

#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

namespace espalier::comm {
namespace {

/// Notes at its end what it saw.
class Witness {
public:
    explicit Witness(std::vector<bool>& seen) : seen_(seen) {}
    ~Witness() { seen_.push_back(unwinding_.under_way()); }
    Witness(const Witness&) = delete;
    Witness& operator=(const Witness&) = delete;

private:
    std::vector<bool>& seen_;
    Unwinding unwinding_;
};

/// Makes a witness in its destructor, and lets it end there.
struct Cleaner {
    std::vector<bool>& seen;
    ~Cleaner() { const Witness inside(seen); }
};

TEST(Unwinding, IsUnderWayForWhatWasThereWhenTheExceptionWasThrown) {
    std::vector<bool> seen;
    try {
        const Witness witness(seen);
        throw std::runtime_error("");
    } catch (const std::runtime_error&) {
        const Witness after(seen);
    }

    EXPECT_EQ(seen, (std::vector<bool>{true, false}));
}

TEST(Unwinding, IsNotForWhatLivesInsideOfADestructor) {
    std::vector<bool> seen;
    try {
        const Cleaner cleaner{seen};
        throw std::runtime_error("");
    } catch (const std::runtime_error&) {
    }

    EXPECT_EQ(seen, std::vector<bool>{false});
}

}  // namespace
}  // namespace espalier::comm
