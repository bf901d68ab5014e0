// Every kernel of a model's step on a GPU against what the card can move and compute, and whole passes
// against its peak, in one table. The shapes are those of docs/performance.md; `of bound` is the time that
// the card's bandwidth or peak allows over the time it took, with bytes and FLOPs of
// benchmarks/operations.hpp.
#include <fmt/core.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <chrono>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "benchmarks/command_line.hpp"
#include "benchmarks/operations.hpp"
#include "benchmarks/passes.hpp"
#include "src/comm/mpi.hpp"
#include "src/core/device.hpp"
#include "src/core/error.hpp"
#include "src/core/has_cuda.hpp"

namespace {

using namespace espalier;
using namespace espalier::benchmarks;
namespace po = boost::program_options;

struct Options {
    int64_t batch = 2, micro_batch = 0, seq = 4096, layers = 12, vocab = 128256;
    int64_t hidden = 4096, ffn = 14336, heads = 32, kv_heads = 8, head_dim = 128;
    int64_t student_hidden = 3072, student_ffn = 9216;
    int64_t logit_rows = 2048, weights = 200'000'000;
    double bandwidth = 0, peak = 0, seconds = 0.2;
    std::string dtype = "bf16", activation = "swiglu", only, json;

    int64_t tokens() const { return batch * seq; }
    DType type() const { return dtype_from_string(dtype).value(); }
    Activation nonlinearity() const { return activation_from_string(activation).value(); }
};

/// What a card can do: bytes a second, and FLOPs a second of dense bf16 products. 0: not known.
struct Card {
    std::string name;
    double bandwidth = 0, peak = 0;
};

Card card_here(const Options& o) {
    // The first whose name is in the card's.
    const std::vector<Card> known = {
        {"H100 PCIe", 2.04e12, 756e12},       {"H100 80GB HBM3", 3.35e12, 989e12},
        {"GH200 480GB", 4e12, 989e12},        {"NVIDIA H200", 4.8e12, 989e12},
        {"A100-SXM4-80GB", 2.04e12, 312e12},  {"A100 80GB PCIe", 1.94e12, 312e12},
        {"A100-SXM4-40GB", 1.555e12, 312e12}, {"A100-PCIE-40GB", 1.555e12, 312e12},
        {"NVIDIA B200", 8e12, 2250e12}};
    Card card;
    if constexpr (has_cuda) card.name = device::facts(0).name;
    for (const Card& k : known) {
        if (card.name.find(k.name) == std::string::npos) continue;
        card.bandwidth = k.bandwidth;
        card.peak = k.peak;
        break;
    }
    if (o.bandwidth > 0) card.bandwidth = o.bandwidth;
    if (o.peak > 0) card.peak = o.peak;
    return card;
}

/// Fastest of three rounds, each of as many calls as fill `at_least`.
double seconds_of(Context& ctx, const Work& work, double at_least) {
    const auto timed = [&](int calls) {
        ctx.wait();
        const auto start = std::chrono::steady_clock::now();
        for (int i = 0; i < calls; ++i) work();
        ctx.wait();
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / calls;
    };
    timed(1);
    const int calls = static_cast<int>(std::clamp(at_least / timed(1), 1.0, 1000.0));
    return std::min({timed(calls), timed(calls), timed(calls)});
}

struct Named {
    std::string name;
    std::function<Operation(Context&)> make;
};

std::vector<Named> kernels(const Options& o) {
    const DType type = o.type();
    const test::RowCase hidden{"", o.tokens(), o.hidden}, neurons{"", o.tokens(), o.ffn},
        weights{"", 1, o.weights};
    const test::RotaryCase turned{"",         o.tokens(),     o.heads + o.kv_heads,
                                  o.head_dim, o.head_dim / 2, o.kv_heads * o.head_dim};
    const test::EmbeddingCase table{"", o.tokens(), o.vocab, o.hidden, 0};
    const test::MomentsCase samples{"", o.batch, o.seq, o.ffn, {0, o.ffn}};
    const test::VocabularyCase block{"", o.logit_rows, o.vocab, 1.0f};
    AttentionShape heads{o.batch, o.seq, o.heads, o.kv_heads, o.head_dim, o.heads / o.kv_heads};
    heads.scale = 1.0f / std::sqrt(static_cast<float>(o.head_dim));

    std::vector<Named> out;
    const auto enter = [&](std::string name, std::function<Operation(Context&)> make) {
        out.push_back({std::move(name), std::move(make)});
    };
    for (const auto& [pass, after] : {std::pair{Pass::forward, ""}, std::pair{Pass::backward, " backward"}}) {
        enter(fmt::format("norm{}", after),
              [=, p = pass](Context& ctx) { return norm(ctx, p, hidden, type); });
        enter(fmt::format("swiglu{}", after),
              [=, p = pass](Context& ctx) { return activation(ctx, p, Activation::swiglu, neurons, type); });
        enter(fmt::format("attention{}", after),
              [=, p = pass](Context& ctx) { return attention(ctx, p, heads, o.seq, type); });
        enter(fmt::format("own attention{}", after),
              [=, p = pass](Context& ctx) { return attention(ctx, p, heads, o.seq, type, By::own_kernels); });
        enter(fmt::format("embedding{}", after),
              [=, p = pass](Context& ctx) { return embedding(ctx, p, table, type); });
    }
    enter("add", [=](Context& ctx) { return add(ctx, hidden, type); });
    enter("rotary", [=](Context& ctx) { return rotation(ctx, turned, type); });
    enter("logits", [=](Context& ctx) { return logits(ctx, o.logit_rows, o.hidden, o.vocab, type); });
    for (const auto& [name, phase] :
         {std::pair{"softmax statistics", Phase::statistics}, std::pair{"divergence sums", Phase::sums},
          std::pair{"logit gradient", Phase::gradient}, std::pair{"KL, all phases", Phase::all}})
        enter(name, [=, p = phase](Context& ctx) { return divergence(ctx, p, Divergence::kl, block); });
    enter("add and norm", [=](Context& ctx) { return add_norm(ctx, hidden, type); });
    enter("moments", [=](Context& ctx) { return moments(ctx, samples, type); });
    enter("swiglu with moments", [=](Context& ctx) { return swiglu_with_moments(ctx, samples, type); });
    enter("AdamW", [=](Context& ctx) { return adamw(ctx, weights, type); });
    enter("gradient norm", [=](Context& ctx) { return square_sum(ctx, weights); });
    return out;
}

model::Architecture architecture(const Options& o, int64_t hidden, int64_t ffn) {
    model::Architecture a;
    a.vocab = o.vocab;
    a.hidden = hidden;
    a.head_dim = a.rotary_dim = o.head_dim;
    a.layers.assign(static_cast<size_t>(o.layers), {o.heads, o.kv_heads, ffn});
    a.max_positions = o.seq;
    a.activation = o.nonlinearity();
    return a;
}

class Table {
public:
    Table(const Options& o, Context& ctx, Card card) : o_(o), ctx_(ctx), card_(std::move(card)) {
        fmt::print("{}: {}\n", card_.name,
                   card_.bandwidth > 0 && card_.peak > 0
                       ? fmt::format("{:.2f} TB/s, {:.0f} TFLOP/s", card_.bandwidth / 1e12, card_.peak / 1e12)
                       : "a card unknown here; --bandwidth and --peak tell what it can do");
        fmt::print("{} x {} tokens, {}\n\n", o.batch, o.seq, o.dtype);
    }

    bool wants(const std::string& name) const {
        return o_.only.empty() || name.find(o_.only) != std::string::npos;
    }

    void kernel(const Named& k) {
        if (!wants(k.name)) return;
        const Operation op = k.make(ctx_);
        const double seconds = seconds_of(ctx_, op.work, o_.seconds);
        if (!kernels_begun_)
            fmt::print("{:<24}{:>10}{:>9}{:>10}{:>11}\n", "kernel", "ms", "GB/s", "TFLOP/s", "of bound");
        kernels_begun_ = true;
        nlohmann::ordered_json row{
            {"name", k.name}, {"seconds", seconds}, {"bytes", op.bytes}, {"flops", op.flops}};
        std::string of_bound = "-";
        if (card_.bandwidth > 0 && card_.peak > 0) {
            const double bound = std::max(op.bytes / card_.bandwidth, op.flops / card_.peak);
            row["of_bound"] = bound / seconds;
            of_bound = fmt::format("{:.2f}", bound / seconds);
        }
        fmt::print("{:<24}{:>10.3f}{:>9.0f}{:>10.1f}{:>11}\n", k.name, seconds * 1e3,
                   op.bytes / seconds * 1e-9, op.flops / seconds * 1e-12, of_bound);
        rows_.push_back(row);
        ctx_.wait();
        ctx_.trim();
    }

    void pass(const std::string& name, double flops, const Work& work) {
        ctx_.wait();
        ctx_.trim();
        const size_t before = ctx_.pooled_bytes();
        const double seconds = seconds_of(ctx_, work, o_.seconds);
        if (!passes_begun_)
            fmt::print("\n{:<24}{:>10}{:>11}{:>10}{:>7}{:>8}\n", "pass", "ms", "tokens/s", "TFLOP/s", "MFU",
                       "GB");
        passes_begun_ = true;
        const double memory = static_cast<double>(ctx_.pooled_bytes()) - static_cast<double>(before);
        nlohmann::ordered_json row{
            {"name", name}, {"seconds", seconds}, {"flops", flops}, {"memory", memory}};
        std::string mfu = "-";
        if (card_.peak > 0) {
            row["mfu"] = flops / seconds / card_.peak;
            mfu = fmt::format("{:.3f}", flops / seconds / card_.peak);
        }
        fmt::print("{:<24}{:>10.2f}{:>11.0f}{:>10.1f}{:>7}{:>8.2f}\n", name, seconds * 1e3,
                   static_cast<double>(o_.tokens()) / seconds, flops / seconds * 1e-12, mfu, memory * 1e-9);
        rows_.push_back(row);
    }

    void write() const {
        if (o_.json.empty()) return;
        std::ofstream file(o_.json);
        const nlohmann::ordered_json shapes{
            {"batch", o_.batch},       {"seq", o_.seq},     {"hidden", o_.hidden},
            {"ffn", o_.ffn},           {"heads", o_.heads}, {"kv_heads", o_.kv_heads},
            {"head_dim", o_.head_dim}, {"vocab", o_.vocab}, {"logit_rows", o_.logit_rows},
            {"weights", o_.weights},   {"dtype", o_.dtype}, {"seconds", o_.seconds}};
        const nlohmann::ordered_json all{{"card", card_.name}, {"shapes", shapes}, {"rows", rows_}};
        file << all.dump(1) << '\n';
        ESPALIER_REQUIRE(file.good(), "{}: cannot be written", o_.json);
    }

private:
    const Options& o_;
    Context& ctx_;
    Card card_;
    nlohmann::ordered_json rows_ = nlohmann::ordered_json::array();
    bool kernels_begun_ = false, passes_begun_ = false;
};

/// All layers of both models are on the card, so there are fewer of them than in the models that have such
/// layers.
void time_passes(const Options& o, Context& ctx, Table& table) {
    const int64_t micro_batch = o.micro_batch > 0 ? o.micro_batch : o.batch;
    const Setup s{ctx, comm::make_topology(1, 1), o.type(), o.batch, micro_batch, o.seq};
    const auto large = architecture(o, o.hidden, o.ffn),
               small = architecture(o, o.student_hidden, o.student_ffn);
    const double tokens = s.tokens(), forward_t = tokens * model::forward_flops_per_token(large, o.seq),
                 forward_s = tokens * model::forward_flops_per_token(small, o.seq);
    const auto wanted = [&](auto... names) { return (table.wants(names) || ...); };
    if (!wanted("forward", "scoring", "distillation step", "training step", "fused head")) return;
    model::Transformer teacher(ctx, large, s.topology, s.dtype, model::Gradients::none);
    randomise(ctx, teacher);
    if (table.wants("forward")) table.pass("forward", forward_t, forward(s, teacher, Scoring::no));
    if (table.wants("scoring")) table.pass("scoring", forward_t, forward(s, teacher, Scoring::yes));
    if (!wanted("distillation step", "training step", "fused head")) return;
    model::Transformer student(ctx, small, s.topology, s.dtype, model::Gradients::keep);
    randomise(ctx, student);
    if (table.wants("fused head")) {
        const double products =
            tokens * (model::head_product_flops(large) + 3 * model::head_product_flops(small));
        table.pass("fused head", products,
                   fused_head(s, distill::parse_loss_terms("kl", 1), teacher, student));
    }
    if (table.wants("distillation step"))
        table.pass("distillation step", forward_t + 3 * forward_s, training_step(s, &teacher, student));
    if (table.wants("training step"))
        table.pass("training step", 3 * forward_s, training_step(s, nullptr, student));
}

int run(const Options& o) {
    Context ctx({.device = Device::cuda, .threads = 1});
    Table table(o, ctx, card_here(o));
    for (const Named& k : kernels(o)) table.kernel(k);
    time_passes(o, ctx, table);
    table.write();
    return 0;
}

po::options_description options(Options& o) {
    po::options_description all("gpu_benchmark: kernels and passes on one GPU against its bounds");
    const auto number = [&](const char* name, auto& value, const char* what) {
        all.add_options()(name, po::value(&value)->default_value(value), what);
    };
    all.add_options()("help", "this text");
    number("batch", o.batch, "sequences");
    number("micro-batch", o.micro_batch, "of them at a time in the passes, a divisor; 0: all");
    number("seq", o.seq, "tokens of each");
    number("hidden", o.hidden, "channels of the kernels, the teacher and the scored model");
    number("ffn", o.ffn, "their neurons");
    number("heads", o.heads, "query heads of all");
    number("kv-heads", o.kv_heads, "KV heads of all");
    number("head-dim", o.head_dim, "dims of a head");
    number("vocab", o.vocab, "ids");
    number("student-hidden", o.student_hidden, "channels of the student and of the model in training");
    number("student-ffn", o.student_ffn, "its neurons");
    number("layers", o.layers, "of the models in passes");
    number("logit-rows", o.logit_rows, "tokens of a block of logits, in the kernels");
    number("weights", o.weights, "of AdamW and the gradient norm");
    number("dtype", o.dtype, "f32 or bf16");
    number("activation", o.activation, "of the models in passes: swiglu, geglu, relu2, gelu or silu");
    number("bandwidth", o.bandwidth, "bytes/s of the card; 0: by its name");
    number("peak", o.peak, "FLOP/s of the card; 0: by its name");
    number("seconds", o.seconds, "of a round of calls, at least");
    number("only", o.only, "rows whose names hold this");
    number("json", o.json, "FILE for the rows");
    return all;
}

}  // namespace

int main(int argc, char** argv) {
    Options o;
    const auto all = options(o);
    return run_command("gpu_benchmark", all, argc, argv, [&](comm::Mpi&) {
        ESPALIER_REQUIRE(dtype_from_string(o.dtype), "--dtype {}: choose f32 or bf16", o.dtype);
        ESPALIER_REQUIRE(o.micro_batch == 0 || o.batch % o.micro_batch == 0,
                         "--micro-batch {} does not divide --batch {}", o.micro_batch, o.batch);
        ESPALIER_REQUIRE(activation_from_string(o.activation), "--activation {}: see --help", o.activation);
        return run(o);
    });
}
