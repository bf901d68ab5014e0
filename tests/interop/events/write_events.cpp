// Event files of a run that was started twice: steps 1 to 6, then again from step 4 on to step 9.
// usage: write_events FOLDER
#include <array>

#include "io/event_file.hpp"

namespace {

void write_run(const char* folder, int64_t first, int64_t last, double loss) {
    espalier::io::EventFile events(folder, first);
    for (int64_t step = first; step <= last; ++step) {
        const std::array<espalier::io::Scalar, 2> scalars{
            {{"loss", loss + 0.25 * static_cast<double>(step)}, {"lr", 1e-4}}};
        events.write(step, scalars);
    }
    events.flush();
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) return 2;
    write_run(argv[1], 1, 6, 0);
    write_run(argv[1], 4, 9, 100);
}
