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
#include <nlohmann/json.hpp>

#include "benchmarks/command_line.hpp"
#include "benchmarks/passes.hpp"
#include "benchmarks/yardstick.hpp"
#include "src/comm/mpi.hpp"
#include "src/core/error.hpp"

namespace {

using namespace espalier;
using benchmarks::Scoring;
using benchmarks::Setup;
namespace po = boost::program_options;

model::Architecture smollm2(int64_t vocab, int64_t hidden, int64_t ffn) {
    model::Architecture a;
    a.vocab = vocab;
    a.hidden = hidden;
    a.head_dim = a.rotary_dim = 64;
    a.layers.assign(30, {9, 3, ffn});
    a.tied = true;
    a.rotary_base = 1e5;
    a.max_positions = 8192;
    return a;
}

/// Something to be timed.
struct Probe {
    std::string name;
    double flops_per_token;  ///< 0: not compared with G
    benchmarks::Work work;
    std::vector<double> seconds = {};  ///< of each round, the slowest rank's
    double fastest() const { return *std::min_element(seconds.begin(), seconds.end()); }
};

/// All probes in turn, round after round, each round beside one of the yardstick: other load on the machine
/// falls on all. Returns G.
double time_in_turn(const Setup& s, int rounds, std::vector<Probe>& probes) {
    for (const auto& p : probes) p.work();
    double g = 0;
    for (int round = 0; round < rounds; ++round) {
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
    int64_t vocab = 49152, batch = 4, micro_batch = 1, seq_len = 512, top_k = 0;
    double temperature = 1;
    std::string dtype = "f32", loss = "kl", only;
};

int run(const Options& o) {
    Context ctx = benchmarks::make_context();
    const Setup s{
        ctx,      comm::make_topology(o.tp, o.pp), dtype_from_string(o.dtype).value(), o.batch, o.micro_batch,
        o.seq_len};
    const auto teacher_shape = smollm2(o.vocab, 576, 1536), student_shape = smollm2(o.vocab, 384, 1024);
    const double forward = model::forward_flops_per_token(teacher_shape, o.seq_len),
                 step = forward + 3 * model::forward_flops_per_token(student_shape, o.seq_len);
    model::Transformer teacher(ctx, teacher_shape, s.topology, s.dtype, model::Gradients::none);
    model::Transformer student(ctx, student_shape, s.topology, s.dtype, model::Gradients::keep);
    benchmarks::randomise(ctx, teacher);
    benchmarks::randomise(ctx, student);
    std::vector<Probe> probes{{"forward", forward, benchmarks::forward(s, teacher, Scoring::no)},
                              {"scoring", forward, benchmarks::forward(s, teacher, Scoring::yes)},
                              {"distill", step, benchmarks::training_step(s, &teacher, student)}};
    if (o.pp == 1) {
        probes.push_back({"head", 0,
                          benchmarks::fused_head(s, distill::parse_loss_terms(o.loss, o.temperature, o.top_k),
                                                 teacher, student)});
        probes.push_back({"head_products", 0, benchmarks::head_products(s, teacher, student)});
    }
    if (!o.only.empty()) std::erase_if(probes, [&](const Probe& p) { return !p.name.starts_with(o.only); });
    const double g = time_in_turn(s, o.rounds, probes);

    nlohmann::ordered_json out{{"ranks", s.topology.world.size()},
                               {"tp", o.tp},
                               {"pp", o.pp},
                               {"threads", ctx.threads()},
                               {"dtype", o.dtype},
                               {"vocab", o.vocab},
                               {"batch", o.batch},
                               {"micro_batch", o.micro_batch},
                               {"seq_len", o.seq_len},
                               {"gemm_gflops", g}};
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
    double peak = static_cast<double>(usage.ru_maxrss) / 1024;  // MiB, as PyTorch's baseline counts
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
        "vocab", po::value(&o.vocab)->default_value(o.vocab), "tokens of both models")(
        "batch", po::value(&o.batch)->default_value(o.batch), "samples of a step")(
        "micro-batch", po::value(&o.micro_batch)->default_value(o.micro_batch), "samples at a time")(
        "seq-len", po::value(&o.seq_len)->default_value(o.seq_len), "tokens of a sample")(
        "rounds", po::value(&o.rounds)->default_value(o.rounds), "of which the fastest counts")(
        "dtype", po::value(&o.dtype)->default_value(o.dtype), "f32 or bf16")(
        "loss", po::value(&o.loss)->default_value(o.loss), "of the head, as distill takes it")(
        "temperature", po::value(&o.temperature)->default_value(o.temperature), "of that loss")(
        "top-k", po::value(&o.top_k)->default_value(o.top_k), "of that loss")(
        "only", po::value(&o.only)->default_value(o.only), "forward, scoring, distill or head");
    return benchmarks::run_command("step_benchmark", all, argc, argv, [&](comm::Mpi&) {
        ESPALIER_REQUIRE(dtype_from_string(o.dtype), "--dtype {}: choose f32 or bf16", o.dtype);
        return run(o);
    });
}
