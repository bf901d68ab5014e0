// Whole passes against G, the best matmul rate of the same run: forward, importance scoring, a distillation
// step. The shapes are SmolLM2-135M's and a student of the same layers and heads with hidden 384 and MLP
// 1024; weights are random.
// In each round all are timed in turn, G among them.
// Under mpirun for several ranks. Prints JSON: tokens/s, model GFLOP/s, their ratio to G; scoring over plain
// forward; the fused head's time over its matrix products' and memory over both models' logits; peak memory
// of the largest rank.
#include <fmt/core.h>
#include <sys/resource.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <chrono>
#include <functional>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "benchmarks/yardstick.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/matmul.hpp"
#include "src/comm/mpi.hpp"
#include "src/core/error.hpp"
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

/// Something to be timed; what it needs is made when it is.
struct Probe {
    std::string name;
    double flops_per_token;  ///< 0: not compared with G
    std::function<void()> work;
    std::vector<double> seconds;  ///< of each round, the slowest rank's
    double fastest() const { return *std::min_element(seconds.begin(), seconds.end()); }
};

/// All probes in turn, round after round, each round beside one of the yardstick: other load on the machine
/// falls on all. Returns G.
double time_in_turn(const Setup& s, std::vector<Probe>& probes) {
    for (const auto& p : probes) p.work();
    double g = 0;
    for (int round = 0; round < s.rounds; ++round) {
        s.topology.world.barrier();
        g = benchmarks::yardstick(s.ctx, s.dtype);
        for (auto& p : probes) {
            s.topology.world.barrier();
            const auto begin = std::chrono::steady_clock::now();
            p.work();
            double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
            s.topology.world.all_reduce({&seconds, 1}, comm::Reduction::max);
            p.seconds.push_back(seconds);
        }
    }
    s.topology.world.all_reduce({&g, 1});
    return g;
}

/// Forward only, with or without gathering importance.
Probe forward_probe(const Setup& s, model::Transformer& model, const std::string& name, double flops) {
    struct State {
        explicit State(const Setup& s, model::Transformer& model)
            : batches(micro_batches(s)),
              sums(model.architecture(), 0),
              scorer(model, prune::NeuronSite::after_activation, sums),
              loss(distill::parse_loss_terms("ce", 1)) {}
        std::vector<train::MicroBatch> batches;
        prune::ScoreSums sums;
        prune::Scorer scorer;
        distill::Objective loss;
    };
    auto state = std::make_shared<State>(s, model);
    return {name,
            flops,
            [=, &s, &model] {
                model::Outbox outbox;
                for (const auto& b : state->batches) {
                    if (name == "scoring") {
                        prune::scoring_pass(s.ctx, model, s.topology, b.tokens, b.labels, {}, state->scorer,
                                            state->sums, outbox);
                    } else if (const Tensor hidden =
                                   model::forward_pipeline(s.ctx, model, s.topology, b.tokens, outbox)) {
                        state->loss.forward(s.ctx, model, hidden, {}, b.labels);
                    }
                }
                outbox.drain();
                state->loss.sums(s.ctx);
            },
            {}};
}

Probe step_probe(const Setup& s, model::Transformer& teacher, model::Transformer& student, double flops) {
    struct State {
        State(const Setup& s, model::Transformer& teacher, model::Transformer& student)
            : batches(micro_batches(s)),
              optimizer(s.ctx, student, {}, s.topology.data),
              objective(distill::parse_loss_terms("kl", 1)),
              pipeline(s.topology, student, &teacher) {}
        std::vector<train::MicroBatch> batches;
        train::Optimizer optimizer;
        distill::Objective objective;
        train::Pipeline pipeline;
        int64_t step = 0;
    };
    auto state = std::make_shared<State>(s, teacher, student);
    return {"distill",
            flops,
            [=, &s, &teacher, &student] {
                fill(s.ctx, 0.0f, student.gradients());
                const auto loss = [&](const train::MicroBatch& b, int64_t, const Tensor& hidden,
                                      const Tensor& from) {
                    return state->objective.backward(s.ctx, student, hidden,
                                                     distill::live_teacher(teacher, from), b.labels,
                                                     1.0 / static_cast<double>(s.batch * s.seq));
                };
                state->pipeline.step(s.ctx, state->batches, state->batches, loss);
                state->objective.sums(s.ctx);
                auto& optimizer = state->optimizer;
                train::synchronise_gradients(s.ctx, student, s.topology, optimizer.shards());
                const double norm =
                    train::gradient_norm(s.ctx, student.gradients(), optimizer.owned(), s.topology);
                optimizer.step(s.ctx, ++state->step, 1e-4, std::min(1.0, 1.0 / norm));
            },
            {}};
}

/// The fused head of a micro-batch: teacher's and student's logits, KL, gradients of hidden states and head.
Probe head_probe(const Setup& s, model::Transformer& teacher, model::Transformer& student) {
    const int64_t tokens = s.micro_batch * s.seq;
    const Tensor hidden_t = benchmarks::numbers(s.ctx, {tokens, teacher.architecture().hidden}, s.dtype),
                 hidden_s = benchmarks::numbers(s.ctx, {tokens, student.architecture().hidden}, s.dtype),
                 labels = micro_batches(s).at(0).labels;
    auto objective = std::make_shared<distill::Objective>(distill::parse_loss_terms("kl", 1));
    return {"head",
            0,
            [=, &s, &teacher, &student] {
                objective->backward(s.ctx, student, hidden_s, distill::live_teacher(teacher, hidden_t),
                                    labels, 1.0 / static_cast<double>(tokens));
                objective->sums(s.ctx);
            },
            {}};
}

/// Its matrix products alone, on the logits of the whole micro-batch: what a loss costs beside them is the
/// difference.
Probe head_products_probe(const Setup& s, model::Transformer& teacher, model::Transformer& student) {
    const int64_t tokens = s.micro_batch * s.seq;
    const Tensor hidden_t = benchmarks::numbers(s.ctx, {tokens, teacher.architecture().hidden}, s.dtype),
                 hidden_s = benchmarks::numbers(s.ctx, {tokens, student.architecture().hidden}, s.dtype),
                 d_logits = benchmarks::numbers(s.ctx, {tokens, student.head().dim(0)}, s.dtype);
    Tensor z = s.ctx.empty({tokens, student.head().dim(0)}, DType::f32),
           d_hidden = s.ctx.empty(hidden_s.shape(), s.dtype);
    return {"head_products",
            0,
            [=, &s, &teacher, &student]() mutable {
                matmul(s.ctx, hidden_t, teacher.head(), {}, z);
                matmul(s.ctx, hidden_s, student.head(), {}, z);
                matmul_backward_input(s.ctx, d_logits, student.head(), d_hidden);
                Tensor d_head = student.head_gradient();
                matmul_backward_weight(s.ctx, d_logits, hidden_s, d_head);
            },
            {}};
}

/// Bytes that a head pass needs beside what it is given and gives, over those of both models' logits in f32.
double head_memory(const Setup& s, const Probe& head, const model::Transformer& student) {
    s.ctx.trim();
    const size_t before = s.ctx.pooled_bytes();
    head.work();
    const double logits = 8.0 * static_cast<double>(s.micro_batch * s.seq * student.head().dim(0));
    return static_cast<double>(s.ctx.pooled_bytes() - before) / logits;
}

struct Options {
    int tp = 1, pp = 1, rounds = 4;
    int64_t batch = 4, micro_batch = 1, seq_len = 512;
    std::string dtype = "f32", only;
};

int run(const Options& o) {
    Context ctx = benchmarks::make_context();
    const Setup s{ctx,
                  comm::make_topology(o.tp, o.pp),
                  dtype_from_string(o.dtype).value(),
                  o.batch,
                  o.micro_batch,
                  o.seq_len,
                  o.rounds};
    const auto teacher_shape = smollm2(576, 1536), student_shape = smollm2(384, 1024);
    const double forward = model::forward_flops_per_token(teacher_shape, o.seq_len),
                 step = forward + 3 * model::forward_flops_per_token(student_shape, o.seq_len);
    model::Transformer teacher(ctx, teacher_shape, s.topology, s.dtype, model::Gradients::none);
    model::Transformer student(ctx, student_shape, s.topology, s.dtype, model::Gradients::keep);
    randomise(ctx, teacher);
    randomise(ctx, student);
    std::vector<Probe> probes{forward_probe(s, teacher, "forward", forward),
                              forward_probe(s, teacher, "scoring", forward),
                              step_probe(s, teacher, student, step)};
    if (o.pp == 1) {
        probes.push_back(head_probe(s, teacher, student));
        probes.push_back(head_products_probe(s, teacher, student));
    }
    if (!o.only.empty()) std::erase_if(probes, [&](const Probe& p) { return !p.name.starts_with(o.only); });
    const double g = time_in_turn(s, probes);

    nlohmann::ordered_json out{
        {"ranks", s.topology.world.size()}, {"tp", o.tp},           {"pp", o.pp},
        {"threads", ctx.threads()},         {"dtype", o.dtype},     {"batch", o.batch},
        {"micro_batch", o.micro_batch},     {"seq_len", o.seq_len}, {"gemm_gflops", g}};
    for (const auto& p : probes) {
        if (p.flops_per_token == 0) continue;
        const double rate = static_cast<double>(o.batch * o.seq_len) / p.fastest();
        out[p.name] = {{"tokens_per_second", rate},
                       {"gflops", rate * p.flops_per_token / 1e9},
                       {"of_gemm", rate * p.flops_per_token / 1e9 / g}};
    }
    const auto probe = [&](const char* name) {
        const auto found =
            std::find_if(probes.begin(), probes.end(), [&](const Probe& p) { return p.name == name; });
        return found == probes.end() ? nullptr : &*found;
    };
    if (probe("scoring") && probe("forward"))
        out["scoring_over_forward"] = probe("scoring")->fastest() / probe("forward")->fastest();
    if (probe("head")) {
        out["head_over_products"] = probe("head")->fastest() / probe("head_products")->fastest();
        out["head_memory_over_logits"] = head_memory(s, *probe("head"), student);
    }
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
    Options o;
    po::options_description all("step_benchmark");
    all.add_options()("help", "this text")("tp", po::value(&o.tp)->default_value(o.tp),
                                           "tensor parallel ranks")(
        "pp", po::value(&o.pp)->default_value(o.pp), "pipeline stages")(
        "batch", po::value(&o.batch)->default_value(o.batch), "samples of a step")(
        "micro-batch", po::value(&o.micro_batch)->default_value(o.micro_batch), "samples at a time")(
        "seq-len", po::value(&o.seq_len)->default_value(o.seq_len), "tokens of a sample")(
        "rounds", po::value(&o.rounds)->default_value(o.rounds), "of which the fastest counts")(
        "dtype", po::value(&o.dtype)->default_value(o.dtype), "f32 or bf16")(
        "only", po::value(&o.only)->default_value(o.only), "forward, scoring, distill or head");
    try {
        po::variables_map values;
        po::store(po::parse_command_line(argc, argv, all), values);
        po::notify(values);
        if (values.count("help")) {
            std::cout << all;
            return 0;
        }
        ESPALIER_REQUIRE(dtype_from_string(o.dtype), "--dtype {}: choose f32 or bf16", o.dtype);
        comm::Mpi mpi(argc, argv);
        return run(o);
    } catch (const std::exception& e) {
        fmt::print(stderr, "step_benchmark: {}\n", e.what());
        return 2;
    }
}
