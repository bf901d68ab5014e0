// Scores, as a user asks for them.
#include <gtest/gtest.h>

#include "io/tensor_file.hpp"
#include "src/core/context.hpp"
#include "tests/jobs/outcome.hpp"
#include "tests/jobs/program.hpp"
#include "tests/support/tolerance.hpp"

namespace espalier::test {
namespace {

TEST(Importance, ScoresNeuronsBeforeTheirActivationOrBehindIt) {
    const TinyWorld world;
    world.write("arch.json",
                R"({"architectures": ["NemotronForCausalLM"], "vocab_size": 97, "hidden_size": 24,
        "intermediate_size": 200, "num_hidden_layers": 2, "num_attention_heads": 3, "num_key_value_heads": 3,
        "head_dim": 8, "max_position_embeddings": 64, "norm_eps": 1e-5, "partial_rotary_factor": 0.5,
        "hidden_act": "relu2"})");
    expect_done(
        espalier({"init", "--arch", world.path("arch.json"), "--out", world.path("n.h5"), "--quiet"}));
    // Of one token: the absolute value.
    const auto scores = [&](const char* site) {
        expect_done(espalier({"importance", "--model", world.path("n.h5"), "--data", world.path("tokens"),
                              "--samples", "1", "--seq-len", "1", "--ffn-site", site, "--out",
                              world.path("i.h5"), "--dtype", "f32", "--quiet", "--force"}));
        io::TensorFileReader reader(world.path("i.h5"), MPI_COMM_SELF, "");
        EXPECT_EQ(reader.text("ffn_site"), site);
        const std::string table = "ffn/mean-l2";
        Context ctx({});
        Tensor out = ctx.empty_on_host(reader.find(table)->shape, DType::f64);
        reader.read(table, whole(out.shape()), out);
        return std::vector<double>(out.data<double>(), out.data<double>() + out.size());
    };

    const auto before = scores("pre"), behind = scores("post");

    ASSERT_EQ(before.size(), 400U);
    const double rounding = tolerance(Device::cpu, DType::f32).relative;
    int64_t positive = 0;
    for (size_t i = 0; i < before.size(); ++i) {
        if (behind[i] == 0) continue;  // relu squared of a negative number
        ++positive;
        EXPECT_NEAR(behind[i], before[i] * before[i], rounding * behind[i]) << i;
    }
    EXPECT_NEAR(static_cast<double>(positive), 200, 7 * 10);  // half of 400, and seven standard deviations
}

}  // namespace
}  // namespace espalier::test
