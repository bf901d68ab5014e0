#include "jobs/session/ending.hpp"

#include <semaphore.h>
#include <unistd.h>

#include <array>
#include <csignal>

#include "io/temporary.hpp"

namespace espalier::jobs {
namespace {

constexpr std::array ending_signals{SIGINT, SIGTERM, SIGHUP, SIGUSR1};

// A signal handler can reach nothing but globals.
volatile std::sig_atomic_t received = 0;
sem_t wanted;

extern "C" void want_end(int signal) {
    received = signal;
    std::signal(signal, SIG_DFL);  // a second one does not wait for a slow disk
    sem_post(&wanted);
}

void remove_and_end() {
    while (sem_wait(&wanted) != 0) {
    }
    if (received == 0) return;  // the destructor asked
    io::remove_temporaries();
    std::signal(received, SIG_DFL);
    std::raise(received);
    _exit(128 + received);  // the first process of a container is not ended by its own signals
}

}  // namespace

OrderlyEnding::OrderlyEnding() {
    sem_init(&wanted, 0, 0);
    remover_ = std::thread(remove_and_end);
    for (const int signal : ending_signals) {
        if (std::signal(signal, want_end) == SIG_IGN) std::signal(signal, SIG_IGN);
    }
}

OrderlyEnding::~OrderlyEnding() {
    for (const int signal : ending_signals) {
        if (std::signal(signal, SIG_DFL) == SIG_IGN) std::signal(signal, SIG_IGN);
    }
    sem_post(&wanted);
    remover_.join();
    sem_destroy(&wanted);
}

}  // namespace espalier::jobs
