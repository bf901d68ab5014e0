// The fuzzer's short and repeatable brother.
#include <gtest/gtest.h>

#include "src/core/error.hpp"
#include "tests/fuzz/mutation.hpp"
#include "tests/tokenizer/seeds.hpp"

namespace espalier::test {
namespace {

bool is_usable(const std::string& bytes) {
    try {
        use_tokenizer(bytes);
        return true;
    } catch (const UserError&) {
        return false;
    }
}

TEST(DamagedTokenizerJson, IsUsableWhenItIsNotDamaged) {
    for (const auto& seed : tokenizer_seeds()) EXPECT_NO_THROW(use_tokenizer(seed));
}

TEST(DamagedTokenizerJson, IsUsedOrRefused) {
    int usable = 0, refused = 0;
    for (const auto& seed : tokenizer_seeds()) {
        for (uint64_t i = 0; i < 3000; ++i) {
            ASSERT_NO_THROW(++(is_usable(mutate(seed, i)) ? usable : refused)) << "mutation " << i;
        }
    }

    EXPECT_GT(usable, 0);
    EXPECT_GT(refused, 0);
}

TEST(DamagedTokenizerJson, IsRefusedWhenItEndsEarly) {
    for (const auto& seed : tokenizer_seeds()) {
        for (size_t size = 0; size < seed.size(); size += 7) EXPECT_FALSE(is_usable(seed.substr(0, size)));
    }
}

TEST(DamagedTokenizerJson, IsRefusedWhenNestedWithoutEnd) {
    std::string open, close;
    for (int i = 0; i < 100000; ++i) {
        open += R"({"type":"Sequence","pretokenizers":[)";
        close += "]}";
    }

    EXPECT_FALSE(is_usable(R"({"model":{"vocab":{},"merges":[]},"pre_tokenizer":)" + open + close + "}"));
}

}  // namespace
}  // namespace espalier::test
