// libFuzzer's entry for tokenizer.json: whatever the bytes, a tokenizer that works, or UserError. Without a
// corpus it starts from the seeds that the mutation test in tests/tokenizer uses.
#include <filesystem>
#include <fstream>

#include "src/core/error.hpp"
#include "tests/tokenizer/seeds.hpp"

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
    static std::string corpus = "tokenizer_json.corpus";
    std::filesystem::create_directories(corpus);
    int number = 0;
    for (const auto& seed : espalier::test::tokenizer_seeds()) {
        std::ofstream(corpus + "/seed" + std::to_string(number++), std::ios::binary) << seed;
    }
    static std::vector<char*> arguments(*argv, *argv + *argc);
    arguments.push_back(corpus.data());
    *argc = static_cast<int>(arguments.size());
    arguments.push_back(nullptr);
    *argv = arguments.data();
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    try {
        espalier::test::use_tokenizer({reinterpret_cast<const char*>(data), size});
    } catch (const espalier::UserError&) {
    }
    return 0;
}
