#include "src/comm/request.hpp"

#include <exception>
#include <utility>

#include "src/comm/mpi.hpp"
#include "src/core/exact.hpp"
#include "src/core/has_cuda.hpp"

namespace espalier::comm {

Request::~Request() {
    // While an exception is on its way the peer may never answer; main ends the job.
    if (unwinding_.under_way()) return;
    try {
        finish();
    } catch (const std::exception&) {  // of the device, whose next call fails as well and says so
    }
}

void Request::wait() {
    CHECK_MPI(finish());
    tensor_ = {};
}

bool Request::test() {
    const Timed timed(watch_.get());
    if constexpr (has_cuda) {
        if (done_ && !device::passed(done_)) return false;
    }
    int done = 1;
    if (!pieces_.empty())
        CHECK_MPI(MPI_Testall(narrow<int>(pieces_.size()), pieces_.data(), &done, MPI_STATUSES_IGNORE));
    if (done) pieces_.clear();
    return done != 0;
}

void Request::cancel() {
    for (MPI_Request& piece : pieces_) CHECK_MPI(MPI_Cancel(&piece));
    wait();
}

void Request::swap(Request& other) noexcept {
    std::swap(tensor_, other.tensor_);
    std::swap(pieces_, other.pieces_);
    std::swap(done_, other.done_);
    std::swap(compute_, other.compute_);
    std::swap(watch_, other.watch_);
}

int Request::finish() {
    const Timed timed(watch_.get());
    if constexpr (has_cuda) {
        if (done_) device::order(std::exchange(done_, nullptr), compute_);
    }
    std::vector<MPI_Request> pieces = std::exchange(pieces_, {});
    if (pieces.empty()) return MPI_SUCCESS;
    return MPI_Waitall(static_cast<int>(pieces.size()), pieces.data(), MPI_STATUSES_IGNORE);
}

}  // namespace espalier::comm
