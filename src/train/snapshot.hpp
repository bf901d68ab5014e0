// What tensors hold at one moment, for a thread that reads them while training goes on: in place for as long
// as they do not change, from copies where they would have.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <vector>

#include "src/core/context.hpp"

namespace espalier::train {

/// The owner of the tensors calls take(), and detach() before it next changes any of them; between, a
/// reader's thread calls read() once. Both go through the pieces one at a time, the reader from the first,
/// detach() from the last, and they meet.
///
/// Why this has no race: a piece is read in place only if it was claimed, under the mutex, while below
/// copied_; detach() lowers copied_ to or below next_, the first unclaimed piece, and then waits until what
/// was claimed in place is done with. So when it returns nothing is read in place any more, nor can be. Until
/// then nobody writes to the tensors, so that a piece may be read and copied at once. A copy is written
/// before copied_, under the mutex, says that it is there, and not again before the next take().
class Snapshot {
public:
    /// `pieces`: views of the tensors, f32.
    explicit Snapshot(std::vector<Tensor> pieces);

    /// What the pieces hold now is what read() will see. No read() is under way. On a GPU begins to copy them
    /// all, beside what runs there, and they may change after Context::after_reads().
    void take(Context& ctx);
    /// Whether read() may begin: a device has copied.
    bool ready() const { return from_device_.done(); }
    void wait() const { from_device_.wait(); }
    /// Calls use(i, values) for each piece, values being on the host; what it throws ends the reading,
    /// and is thrown on.
    void read(const std::function<void(size_t, const Tensor&)>& use);
    /// After this the tensors of a CPU may change. Copies what is not read yet; memory for that is kept for
    /// the next time.
    void detach(Context& ctx);

    /// Of all pieces: what the copies take at most.
    int64_t bytes() const;
    /// That detach() copied since take(); the owner's to ask.
    int64_t copied_bytes() const;

private:
    Tensor& copy_of(Context& ctx, size_t piece);

    const std::vector<Tensor> pieces_;
    std::vector<Tensor> copies_;  // empty until first needed
    PendingRead from_device_;     // the last of them

    std::mutex mutex_;  // of what follows
    std::condition_variable released_;
    size_t next_;            // the piece that read() claims next
    size_t copied_;          // from here on, pieces have copies
    bool in_place_ = false;  // read() has a piece that is not a copy
};

}  // namespace espalier::train
