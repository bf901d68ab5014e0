#include "tests/cuda_on_host/shared_variables.hpp"

#include <elf.h>
#include <link.h>

#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>

namespace espalier::rig {
namespace {

/// Where the program was loaded, less where its file says.
size_t load_address() {
    size_t address = 0;
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* out) {
            *static_cast<size_t*>(out) = info->dlpi_addr;
            return 1;  // the first is the program itself
        },
        &address);
    return address;
}

std::vector<std::span<char>> find() {
    std::ifstream in("/proc/self/exe", std::ios::binary);
    const std::string file{std::istreambuf_iterator<char>(in), {}};
    const auto* const header = reinterpret_cast<const Elf64_Ehdr*>(file.data());
    const auto* const sections = reinterpret_cast<const Elf64_Shdr*>(file.data() + header->e_shoff);
    const size_t loaded = load_address();
    std::vector<std::span<char>> out;
    bool has_symbols = false;
    for (int s = 0; s < header->e_shnum; ++s) {
        if (sections[s].sh_type != SHT_SYMTAB) continue;
        has_symbols = true;
        const auto* const symbols = reinterpret_cast<const Elf64_Sym*>(file.data() + sections[s].sh_offset);
        const char* const names = file.data() + sections[sections[s].sh_link].sh_offset;
        for (size_t i = 0; i < sections[s].sh_size / sizeof(Elf64_Sym); ++i) {
            const bool is_data = ELF64_ST_TYPE(symbols[i].st_info) == STT_OBJECT;
            // _ZZ: a name inside of a function
            if (!is_data || !std::string_view(names + symbols[i].st_name).starts_with("_ZZN8espalier4cuda"))
                continue;
            out.emplace_back(reinterpret_cast<char*>(loaded + symbols[i].st_value), symbols[i].st_size);
        }
    }
    if (!has_symbols)
        throw std::runtime_error("the program is stripped: its shared variables cannot be found");
    return out;
}

}  // namespace

const std::vector<std::span<char>>& shared_variables() {
    static const auto variables = find();
    return variables;
}

}  // namespace espalier::rig
