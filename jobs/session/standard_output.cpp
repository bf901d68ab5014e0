#include "jobs/session/standard_output.hpp"

#include <cstdio>

#include "src/core/error.hpp"

namespace espalier::jobs {

void print_text(std::string_view text) {
    static_cast<void>(std::fwrite(text.data(), 1, text.size(), stdout));
}

void finish_printing() {
    ESPALIER_REQUIRE(std::fflush(stdout) == 0 && std::ferror(stdout) == 0,
                     "standard output cannot be written; is the disk full?");
}

}  // namespace espalier::jobs
