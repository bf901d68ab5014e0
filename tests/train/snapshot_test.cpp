#include "src/train/snapshot.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <future>
#include <map>
#include <string>
#include <thread>

namespace espalier::train {
namespace {

constexpr int64_t piece_size = 5;
constexpr size_t pieces = 7;

/// Whether a thread of this process sleeps.
bool sleeps(pid_t thread) {
    std::ifstream in("/proc/self/task/" + std::to_string(thread) + "/stat");
    std::string line;
    std::getline(in, line);
    return line.find(") S ") != std::string::npos;
}

/// A tensor whose elements are all `value`, in pieces, and what a reader saw of it.
class SnapshotOfATensor : public testing::Test {
protected:
    void set(float value) { std::ranges::fill(state_.span<float>(), value); }

    std::vector<Tensor> views() {
        std::vector<Tensor> out;
        for (int64_t i = 0; i < int64_t{pieces}; ++i)
            out.push_back(state_.slice(i * piece_size, {piece_size}));
        return out;
    }
    bool in_place(size_t piece, const Tensor& values) { return values.raw() == views()[piece].raw(); }
    void note(size_t piece, const Tensor& values) {
        const auto elements = values.span<float>();
        EXPECT_TRUE(std::ranges::all_of(elements, [&](float x) { return x == elements[0]; }));
        seen_[piece] = elements[0];
    }
    void expect_seen(float value) {
        EXPECT_EQ(seen_.size(), pieces);
        for (const auto& [piece, x] : seen_) EXPECT_EQ(x, value) << "piece " << piece;
    }

    Context ctx_{ContextOptions{}};
    Tensor state_ = ctx_.zeros({int64_t{pieces} * piece_size}, DType::f32);
    std::map<size_t, float> seen_;
};

TEST_F(SnapshotOfATensor, IsReadInPlaceWhereNothingChanges) {
    Snapshot snapshot(views());
    set(1);
    snapshot.take(ctx_);
    size_t read_in_place = 0;

    snapshot.read([&](size_t piece, const Tensor& values) {
        read_in_place += in_place(piece, values) ? 1 : 0;
        note(piece, values);
    });
    snapshot.detach(ctx_);

    expect_seen(1);
    EXPECT_EQ(read_in_place, pieces);
    EXPECT_EQ(snapshot.copied_bytes(), 0);
}

TEST_F(SnapshotOfATensor, IsThatOfItsMomentWhenAllChangesBeforeTheReaderBegins) {
    Snapshot snapshot(views());
    for (const float moment : {1.0F, 2.0F}) {  // the second time into the same copies
        set(moment);
        snapshot.take(ctx_);

        snapshot.detach(ctx_);
        set(-1);
        snapshot.read([&](size_t piece, const Tensor& values) { note(piece, values); });

        expect_seen(moment);
        EXPECT_EQ(snapshot.copied_bytes(), snapshot.bytes());
    }
}

TEST_F(SnapshotOfATensor, IsThatOfItsMomentWhenTheChangeComesAtAnyPieceOfTheReader) {
    for (size_t held = 0; held < pieces; ++held) {
        Snapshot snapshot(views());
        set(1);
        snapshot.take(ctx_);
        std::promise<void> reached, released, changed;
        auto release = released.get_future();
        auto change = changed.get_future().share();
        auto reader = std::async(std::launch::async, [&] {
            snapshot.read([&](size_t piece, const Tensor& values) {
                if (piece == held) {
                    reached.set_value();
                    release.wait();
                } else if (!in_place(piece, values)) {
                    change.wait();
                }
                note(piece, values);
            });
        });
        reached.get_future().wait();
        std::promise<pid_t> thread;
        auto detached = std::async(std::launch::async, [&] {
            thread.set_value(gettid());
            snapshot.detach(ctx_);
        });
        const pid_t detaching = thread.get_future().get();
        const auto is_pending = [&] {
            return detached.wait_for(std::chrono::seconds(0)) == std::future_status::timeout;
        };
        while (is_pending() && !sleeps(detaching)) std::this_thread::yield();

        EXPECT_TRUE(is_pending());
        released.set_value();
        detached.get();
        set(-1);
        changed.set_value();
        reader.get();

        expect_seen(1);
    }
}

TEST_F(SnapshotOfATensor, KeepsNobodyWaitingWhenTheReaderFails) {
    Snapshot snapshot(views());
    snapshot.take(ctx_);

    EXPECT_THROW(snapshot.read([](size_t, const Tensor&) { throw UserError("the disk is gone"); }),
                 UserError);
    snapshot.detach(ctx_);

    EXPECT_EQ(snapshot.copied_bytes(), 0);
}

}  // namespace
}  // namespace espalier::train
