// Checkpoints of a state that moves on while they are written. Run on 1 and 2 ranks, which are replicas.
#include "jobs/training/checkpoint.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <future>

#include "kernels/elementwise.hpp"
#include "tests/model/tiny_models.hpp"
#include "tests/support/temporary_folder.hpp"

namespace espalier::jobs {
namespace {

/// A model in training whose gradients are its weights.
class Training {
public:
    explicit Training(const std::string& dtype) : session_(session(dtype)) {
        test::randomise(model_, 1);
        optimizer_.emplace(ctx(), model_, train::OptimizerOptions{}, session_->topology().data);
        checkpoints_.emplace(*session_, session_->world().broadcast(folder_.path().string()),
                             model_.architecture(), std::vector{trained("", model_, *optimizer_)},
                             nlohmann::ordered_json{{"lr", 1}}, 2);
    }

    void step() {
        convert(ctx(), model_.parameters().flat(), model_.gradients());
        checkpoints_->detach();
        optimizer_->step(ctx(), ++steps_, 0.1, 1.0);
    }
    Checkpoints& checkpoints() { return *checkpoints_; }
    /// The bits of this rank's share of master and moments, and of all weights.
    std::string state() {
        std::string bits;
        for (const Tensor& x : {optimizer_->master(), optimizer_->first_moment(), optimizer_->second_moment(),
                                model_.parameters().flat()})
            bits.append(reinterpret_cast<const char*>(x.raw()), x.bytes());
        return bits;
    }
    /// Goes on from the newest checkpoint.
    int64_t resume() { return checkpoints_->read().value().step; }

private:
    static std::unique_ptr<Session> session(const std::string& dtype) {
        CommonOptions common;
        Options options("train", common);
        EXPECT_TRUE(options.parse({"--threads", "1", "--device", "cpu", "--dtype", dtype}, true));
        return std::make_unique<Session>("train", options, common);
    }
    Context& ctx() { return session_->context(); }

    test::TemporaryFolder folder_;
    std::unique_ptr<Session> session_;
    model::Transformer model_{
        ctx(), test::tiny_llama(), session_->topology(), session_->dtype(), model::Gradients::keep, 1};
    std::optional<train::Optimizer> optimizer_;
    std::optional<Checkpoints> checkpoints_;
    int64_t steps_ = 0;
};

class Checkpoint : public testing::TestWithParam<const char*> {};

TEST_P(Checkpoint, OfAStateThatRestsIsReadBackWithoutACopy) {
    Training training(GetParam());
    training.step();
    const std::string then = training.state();

    training.checkpoints().begin({1, 0});
    training.checkpoints().finish();
    training.step();

    ASSERT_NE(training.state(), then);
    EXPECT_EQ(training.resume(), 1);
    EXPECT_EQ(training.state(), then);
    EXPECT_EQ(training.checkpoints().times().copied_bytes, 0);
}

TEST_P(Checkpoint, IsTheStateAtItsBeginningHoweverFarTrainingIsWhenItIsWritten) {
    Training training(GetParam());
    for (const int64_t number : {1, 2}) {  // the second time into the same copies
        training.step();
        const std::string then = training.state();
        std::promise<void> moved_on;

        training.checkpoints().begin({number, 0}, [&] { moved_on.get_future().wait(); });
        training.step();
        training.step();
        moved_on.set_value();
        training.checkpoints().finish();

        ASSERT_NE(training.state(), then);
        EXPECT_EQ(training.resume(), number);
        EXPECT_EQ(training.state(), then);
    }
    EXPECT_EQ(training.checkpoints().times().copied_bytes, 2 * training.checkpoints().copy_bytes());
}

INSTANTIATE_TEST_SUITE_P(Of, Checkpoint, testing::Values("f32", "bf16"));

}  // namespace
}  // namespace espalier::jobs
