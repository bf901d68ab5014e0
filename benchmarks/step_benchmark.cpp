// Whole passes against G, the best matmul rate of the same run: forward, importance scoring, a distillation
// step. The shapes are SmolLM2-135M's and a student of the same layers and heads with hidden 384 and MLP
// 1024; weights are random.
//   step_benchmark [--tp N --pp N] [--batch 4] [--micro-batch 1] [--seq-len 512] [--rounds 4] [--dtype
//   f32|bf16]
// under mpirun for several ranks. Prints JSON: tokens/s, model GFLOP/s, their ratio to G, peak memory of the
// largest rank.
#include <fmt/core.h>
#include <sys/resource.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>

#include "benchmarks/yardstick.hpp"
#include "kernels/elementwise.hpp"
#include "src/comm/mpi.hpp"
#include "src/core/random.hpp"
#include "src/distill/objective.hpp"
#include "src/prune/scoring_pass.hpp"
#include "src/train/gradient_sync.hpp"
#include "src/train/optimizer.hpp"
#include "src/train/pipeline.hpp"

namespace {

using namespace espalier;
namespace po = boost::program_options;

model::Architecture smollm2(int64_t hidden, int64_t ffn) {
    model::Architecture a;
    a.vocab = 49152;
    a.hidden = hidden;
    a.head_dim = a.rotary_dim = 64;
    a.layers.assign(30, {9, 3, ffn});
    a.tied = true;
    a.rotary_base = 1e5;
    a.max_positions = 8192;
    return a;
}

void randomise(Context& ctx, model::Transformer& model) {
    Tensor& flat = model.parameters().flat();
    Tensor values = ctx.empty(flat.shape(), DType::f32);
    float* v = values.data<float>();
    for (int64_t i = 0; i < values.size(); ++i) {
        v[i] = 0.07f *
               static_cast<float>(static_cast<int32_t>(mix64(static_cast<uint64_t>(i)) >> 40) - (1 << 23)) /
               (1 << 23);
    }
    convert(ctx, values, flat);
}

struct Setup {
    Context& ctx;
    comm::Topology topology;
    DType dtype;
    int64_t batch, micro_batch, seq;
    int rounds;
};

std::vector<train::MicroBatch> micro_batches(const Setup& s) {
    std::vector<train::MicroBatch> out;
    const Range mine = split_evenly(s.batch / s.micro_batch, s.topology.layout.dp, s.topology.data.rank());
    for (int64_t m = mine.begin; m < mine.end; ++m) {
        std::vector<int32_t> ids;
        for (int64_t i = 0; i < s.micro_batch * s.seq; ++i)
            ids.push_back(static_cast<int32_t>(mix64(static_cast<uint64_t>(m * 100000 + i)) % 49152));
        Tensor labels = s.ctx.empty({s.micro_batch * s.seq}, DType::i32);
        std::copy(ids.begin(), ids.end(), labels.data<int32_t>());
        out.push_back({model::make_batch(s.ctx, ids, s.micro_batch, s.seq), labels});
    }
    return out;
}

/// Seconds of the fastest of the rounds, the slowest rank's.
double fastest(const Setup& s, const std::function<void()>& work) {
    work();
    double best = 1e30;
    for (int i = 0; i < s.rounds; ++i) {
        s.topology.world.barrier();
        const auto begin = std::chrono::steady_clock::now();
        work();
        double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        s.topology.world.all_reduce({&seconds, 1}, comm::Reduction::max);
        best = std::min(best, seconds);
    }
    return best;
}

/// Forward only, with or without gathering importance.
double forward_seconds(const Setup& s, model::Transformer& model, bool scoring) {
    const auto batches = micro_batches(s);
    prune::ScoreSums sums(model.architecture(), 0);
    prune::Scorer scorer(model, prune::NeuronSite::after_activation, sums);
    distill::Objective loss(distill::parse_loss_terms("ce", 1));
    return fastest(s, [&] {
        model::Outbox outbox;
        for (const auto& b : batches) {
            if (scoring) {
                prune::scoring_pass(s.ctx, model, s.topology, b.tokens, b.labels, {}, scorer, sums, outbox);
            } else if (const Tensor hidden =
                           model::forward_pipeline(s.ctx, model, s.topology, b.tokens, outbox)) {
                loss.forward(s.ctx, model, hidden, {}, b.labels);
            }
        }
        outbox.drain();
        loss.sums(s.ctx);
    });
}

double step_seconds(const Setup& s, model::Transformer& teacher, model::Transformer& student) {
    const auto batches = micro_batches(s);
    train::Optimizer optimizer(s.ctx, student, {}, s.topology.data);
    distill::Objective objective(distill::parse_loss_terms("kl", 1));
    train::Pipeline pipeline(s.topology, student, &teacher);
    int64_t step = 0;
    return fastest(s, [&] {
        fill(s.ctx, 0.0f, student.gradients());
        pipeline.step(s.ctx, batches, batches,
                      [&](const train::MicroBatch& b, int64_t, const Tensor& hidden, const Tensor& from) {
                          return objective.backward(s.ctx, student, hidden,
                                                    distill::live_teacher(teacher, from), b.labels,
                                                    1.0 / static_cast<double>(s.batch * s.seq));
                      });
        train::synchronise_gradients(s.ctx, student, s.topology, optimizer.shards());
        objective.sums(s.ctx);
        const double norm = train::gradient_norm(s.ctx, student, s.topology, optimizer.shards());
        optimizer.step(s.ctx, ++step, 1e-4, std::min(1.0, 1.0 / norm));
    });
}

int run(int argc, char** argv) {
    int tp = 1, pp = 1, rounds = 4;
    int64_t batch = 4, micro_batch = 1, seq = 512;
    std::string dtype = "f32";
    po::options_description options;
    options.add_options()("tp", po::value(&tp))("pp", po::value(&pp))("batch", po::value(&batch))(
        "micro-batch", po::value(&micro_batch))("seq-len", po::value(&seq))("rounds", po::value(&rounds))(
        "dtype", po::value(&dtype));
    po::variables_map values;
    po::store(po::parse_command_line(argc, argv, options), values);
    po::notify(values);

    Context ctx = benchmarks::make_context();
    const Setup s{
        ctx, comm::make_topology(tp, pp), dtype_from_string(dtype).value(), batch, micro_batch, seq, rounds};
    const auto teacher_shape = smollm2(576, 1536), student_shape = smollm2(384, 1024);
    const double forward = model::forward_flops_per_token(teacher_shape, seq),
                 step = forward + 3 * model::forward_flops_per_token(student_shape, seq);
    // All ranks measure at once: what the machine gives them together.
    s.topology.world.barrier();
    double g = benchmarks::yardstick(ctx, s.dtype);
    s.topology.world.all_reduce({&g, 1});
    model::Transformer teacher(ctx, teacher_shape, s.topology, s.dtype, model::Gradients::none);
    randomise(ctx, teacher);
    nlohmann::ordered_json out{{"ranks", s.topology.world.size()}, {"tp", tp},       {"pp", pp},
                               {"threads", ctx.threads()},         {"dtype", dtype}, {"batch", batch},
                               {"micro_batch", micro_batch},       {"seq_len", seq}, {"gemm_gflops", g}};
    const auto report = [&](const char* name, double seconds, double flops) {
        const double rate = static_cast<double>(batch * seq) / seconds;
        out[name] = {
            {"tokens_per_second", rate}, {"gflops", rate * flops / 1e9}, {"of_gemm", rate * flops / 1e9 / g}};
    };
    report("forward", forward_seconds(s, teacher, false), forward);
    report("scoring", forward_seconds(s, teacher, true), forward);
    ctx.trim();
    model::Transformer student(ctx, student_shape, s.topology, s.dtype, model::Gradients::keep);
    randomise(ctx, student);
    report("distill", step_seconds(s, teacher, student), step);
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    double peak = static_cast<double>(usage.ru_maxrss) / 1024;
    s.topology.world.all_reduce({&peak, 1}, comm::Reduction::max);
    out["peak_mb"] = peak;
    if (s.topology.world.rank() == 0) fmt::print("{}\n", out.dump(1));
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    comm::Mpi mpi(argc, argv);
    return run(argc, argv);
}
