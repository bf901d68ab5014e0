// libFuzzer's entry for one reader, named by FUZZ_READER. Without a corpus on the command line it makes one
// of the reader's seeds in FUZZ_READER.corpus of the current folder.
#include <filesystem>
#include <fstream>

#include "src/core/error.hpp"
#include "tests/fuzz/readers.hpp"

namespace {

const espalier::test::Reader& target() {
    static const auto& reader = espalier::test::reader(FUZZ_READER);
    return reader;
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
    for (int i = 1; i < *argc; ++i) {
        if ((*argv)[i][0] != '-') return 0;
    }
    static std::string corpus = FUZZ_READER ".corpus";
    std::filesystem::create_directories(corpus);
    int number = 0;
    for (const auto& seed : target().seeds()) {
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
        target().read(std::string(reinterpret_cast<const char*>(data), size));
    } catch (const espalier::UserError&) {
    }
    return 0;
}
