#include "src/train/snapshot.hpp"

#include "kernels/elementwise.hpp"

namespace espalier::train {

Snapshot::Snapshot(std::vector<Tensor> pieces)
    : pieces_(std::move(pieces)), copies_(pieces_.size()), next_(pieces_.size()), copied_(pieces_.size()) {}

void Snapshot::take(Context& ctx) {
    {
        const std::lock_guard lock(mutex_);
        next_ = 0;
        copied_ = ctx.on_gpu() ? 0 : pieces_.size();
    }
    if (!ctx.on_gpu()) return;
    for (size_t piece = 0; piece < pieces_.size(); ++piece)
        from_device_ = ctx.begin_read(pieces_[piece], copy_of(ctx, piece));
}

Tensor& Snapshot::copy_of(Context& ctx, size_t piece) {
    Tensor& copy = copies_[piece];
    if (!copy) copy = ctx.empty_on_host(pieces_[piece].shape(), DType::f32);
    return copy;
}

void Snapshot::read(const std::function<void(size_t, const Tensor&)>& use) {
    std::unique_lock lock(mutex_);
    while (next_ < pieces_.size()) {
        const size_t piece = next_++;
        in_place_ = piece < copied_;
        const Tensor& values = in_place_ ? pieces_[piece] : copies_[piece];
        lock.unlock();
        std::exception_ptr failure;
        try {
            use(piece, values);
        } catch (...) {
            failure = std::current_exception();
        }
        lock.lock();
        in_place_ = false;
        if (failure) next_ = pieces_.size();
        released_.notify_one();
        if (failure) std::rethrow_exception(failure);
    }
}

void Snapshot::detach(Context& ctx) {
    std::unique_lock lock(mutex_);
    while (next_ < copied_) {
        const size_t piece = copied_ - 1;
        lock.unlock();
        copy(ctx, pieces_[piece], copy_of(ctx, piece));  // by all threads
        lock.lock();
        copied_ = piece;
    }
    released_.wait(lock, [&] { return !in_place_; });
}

int64_t Snapshot::bytes() const {
    int64_t bytes = 0;
    for (const auto& piece : pieces_) bytes += static_cast<int64_t>(piece.bytes());
    return bytes;
}

int64_t Snapshot::copied_bytes() const {
    int64_t bytes = 0;
    for (size_t piece = copied_; piece < pieces_.size(); ++piece)
        bytes += static_cast<int64_t>(pieces_[piece].bytes());
    return bytes;
}

}  // namespace espalier::train
