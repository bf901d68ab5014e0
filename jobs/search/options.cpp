#include "jobs/search/options.hpp"

#include <cmath>
#include <sstream>

#include "jobs/files/json_file.hpp"
#include "src/core/error.hpp"
#include "src/core/parse_number.hpp"

namespace espalier::jobs {
namespace {

/// "29,30": numbers with commas between.
std::vector<double> numbers(const std::string& text, const char* option) {
    std::vector<double> out;
    std::istringstream parts(text);
    for (std::string part; std::getline(parts, part, ',');) {
        const auto value = parse_number(part);
        ESPALIER_REQUIRE(value,
                         "{} {}: \"{}\" is not a number; give numbers with commas between, as in {} 24,32",
                         option, text, part, option);
        out.push_back(*value);
    }
    return out;
}

std::vector<int64_t> integers(const std::string& text, const char* option) {
    std::vector<int64_t> out;
    for (const double v : numbers(text, option)) {
        ESPALIER_REQUIRE(v == std::floor(v) && std::abs(v) < 1e15, "{} {}: {} is not a whole number", option,
                         text, v);
        out.push_back(static_cast<int64_t>(v));
    }
    return out;
}

void declare_space(SearchOptions& o, Options& options) {
    options.optional("params", o.params, "parameters wanted");
    options.add("tolerance", o.tolerance, "of --params, as a fraction");
    options.optional("params-min", o.params_min, "parameters, instead of --params");
    options.optional("params-max", o.params_max, "");
    options.optional("max-memory", o.max_memory, "bytes of weights and of the cache of keys and values");
    options.optional("max-flops", o.max_flops, "of a token's forward pass");
    options.optional("max-latency", o.max_latency,
                     "seconds for a generated token of each sequence on --system");
    options.add("system", o.system,
                "FILE.json of the machine that serves the model (share/systems, or plan --calibrate)");
    options.add("latency-tp", o.latency_tp, "GPUs of it that share the model");
    options.add("memory-dtype", o.memory_dtype, "of weights and cache");
    options.add("memory-batch", o.memory_batch, "sequences in the cache");
    options.add(
        "memory-seq-len", o.memory_seq_len,
        "tokens of each, for --max-flops and --max-latency too; 0: the model's positions, at most 4096");
    options.add("layers", o.layers,
                "list, as in 29,30,31,32; all lists: empty for one derived from the model");
    options.add("hidden", o.hidden, "list");
    options.add("heads", o.heads, "list");
    options.add("kv-heads", o.kv_heads, "list");
    options.add("ffn", o.ffn, "list of neurons in a layer");
    options.add("ffn-ratio", o.ffn_ratio,
                "list of neurons over hidden; where that is not whole, the nearest multiple of 8");
    options.add("loadable-only", o.loadable_only, "only shapes that transformers loads");
}

void declare_ranking(SearchOptions& o, Options& options) {
    auto& t = o.training;
    t.global_batch = 8;
    options.add("importance", o.importance, "I.h5 of the model: cuts every candidate and measures its loss");
    options.add("data", t.data, "PREFIX, or WEIGHT PREFIX pairs");
    options.add("valid", t.valid,
                "PREFIX of the token files that losses are measured on; default: the end of --data");
    options.add("batch-aggregate", o.batch, "as in prune");
    options.add("seq-aggregate", o.sequence, "as in prune");
    options.add("depth-by", o.depth_by, "as in prune");
    options.add("head-residual", o.residual, "as in prune");
    options.add("retrain-tokens", t.tokens,
                "distil candidates on so many tokens; 0: rank by the loss after the cut");
    options.add("rungs", o.rungs,
                "times at which the better half goes on; 1: all get all tokens; 0: until one is left");
    options.add("candidate", o.candidate,
                "K: only the work of candidate K of the enumeration, from 0; -1: what other jobs have left, "
                "and the result");
    options.add("teacher", t.teacher, "T.h5; default: --model");
    options.add("seq-len", t.seq_len, "tokens of a sample; 0: the model's positions, at most 2048");
    options.add("global-batch", t.global_batch, "samples of a step");
    options.add("micro-batch", t.micro_batch, "samples at a time");
    options.add("lr", t.lr, "peak learning rate");
    options.add("min-lr", t.min_lr, "learning rate at the last of all tokens");
    options.add("warmup-steps", t.warmup_steps, "linear warm-up");
    options.add("weight-decay", t.weight_decay, "");
    options.add("clip-grad", t.clip_grad, "");
    options.add("loss", t.loss, "as in distill");
    options.add("temperature", t.temperature, "as in distill");
    options.add("top-k", t.top_k, "as in distill");
    options.add("recompute", t.recompute, "as in distill");
    declare_documents(options, t.documents);
    options.add("valid-every", t.valid_every, "steps, to which rungs are rounded up; 0: only at rungs");
    options.add("checkpoint-every", t.checkpoint_every, "steps; 0: only at rungs and stops");
    options.add("exit-after-minutes", t.exit_after_minutes, "checkpoint and exit with code 3; 0: never");
}

}  // namespace

void declare(SearchOptions& o, Options& options) {
    options.add("model", o.model, "M.h5");
    options.add("arch", o.arch, "ARCH.json instead, to enumerate only");
    options.required("out", o.training.out, "CANDIDATES.json");
    declare_space(o, options);
    declare_ranking(o, options);
}

void check(const SearchOptions& o, const Options& given) {
    ESPALIER_REQUIRE(o.model.empty() != o.arch.empty(), "give --model M.h5 or --arch ARCH.json, one of them");
    ESPALIER_REQUIRE(!o.measures() || (o.arch.empty() && !o.training.data.empty()),
                     "--importance: candidates are cut from --model M.h5 and measured on --data PREFIX; give "
                     "both");
    ESPALIER_REQUIRE(o.measures() || (!o.retrains() && o.candidate < 0),
                     "--retrain-tokens and --candidate need --importance I.h5 to cut candidates by");
    ESPALIER_REQUIRE(o.candidate >= -1 && o.rungs >= 0 && o.training.tokens >= 0 && o.training.seq_len >= 0,
                     "--candidate must be at least -1; --rungs, --retrain-tokens and --seq-len not negative");
    ESPALIER_REQUIRE(o.candidate < 0 || !given.given("force"),
                     "--force starts a search over, and so cannot go with --candidate");
    ESPALIER_REQUIRE(!given.given("params") || !(given.given("params-min") || given.given("params-max")),
                     "--params with --tolerance and --params-min, --params-max exclude each other");
    if (!given.given("params")) given.refuse_given({"tolerance"}, "it is of --params, which is not given");
    if (!o.measures())
        given.refuse_given({"data",
                            "valid",
                            "batch-aggregate",
                            "seq-aggregate",
                            "depth-by",
                            "head-residual",
                            "rungs",
                            "teacher",
                            "seq-len",
                            "global-batch",
                            "micro-batch",
                            "lr",
                            "min-lr",
                            "warmup-steps",
                            "weight-decay",
                            "clip-grad",
                            "loss",
                            "temperature",
                            "top-k",
                            "recompute",
                            "reset-attention",
                            "mask-eod",
                            "eod",
                            "valid-every",
                            "checkpoint-every"},
                           "candidates are cut, measured and retrained only with --importance I.h5");
    if (o.system.empty())
        given.refuse_given({"latency-tp"}, "it is of the machine that --system FILE.json describes");
    ESPALIER_REQUIRE(o.tolerance >= 0 && o.tolerance < 1, "--tolerance {}: choose from 0 to below 1",
                     o.tolerance);
    ESPALIER_REQUIRE(
        !given.given("max-latency") || !o.system.empty(),
        "--max-latency needs --system FILE.json, the machine that serves the model; share/systems "
        "has files for common ones, and `espalier plan --calibrate --out FILE.json` writes one for "
        "this machine");
    ESPALIER_REQUIRE(o.latency_tp >= 1, "--latency-tp {}: it must be at least 1", o.latency_tp);
    ESPALIER_REQUIRE(
        (o.memory_dtype == "f32" || o.memory_dtype == "bf16") && o.memory_batch > 0 && o.memory_seq_len >= 0,
        "--memory-dtype must be f32 or bf16, --memory-batch at least 1, --memory-seq-len not "
        "negative");
}

search::Space space_of(const SearchOptions& o) {
    return {integers(o.layers, "--layers"), integers(o.hidden, "--hidden"),
            integers(o.heads, "--heads"),   integers(o.kv_heads, "--kv-heads"),
            integers(o.ffn, "--ffn"),       numbers(o.ffn_ratio, "--ffn-ratio")};
}

search::Budget budget_of(const SearchOptions& o, const Options& given) {
    const auto limit = [&](const char* name, double value) -> std::optional<int64_t> {
        if (!given.given(name)) return std::nullopt;
        ESPALIER_REQUIRE(value >= 1 && value < 9e18, "--{} {}: it must be positive", name, value);
        return std::llround(value);
    };
    search::Budget out{limit("params-min", o.params_min),
                       limit("params-max", o.params_max),
                       limit("max-memory", o.max_memory),
                       {},
                       {}};
    if (limit("params", o.params)) {
        out.min_parameters = std::llround(o.params * (1 - o.tolerance));
        out.max_parameters = std::llround(o.params * (1 + o.tolerance));
    }
    if (limit("max-flops", o.max_flops)) out.max_flops = o.max_flops;
    if (given.given("max-latency")) {
        ESPALIER_REQUIRE(o.max_latency > 0, "--max-latency {}: it must be positive", o.max_latency);
        out.max_latency = o.max_latency;
    }
    ESPALIER_REQUIRE(out.limits(),
                     "no budget: give --params N [--tolerance 0.05], --params-min and --params-max, "
                     "--max-memory, --max-flops or --max-latency");
    ESPALIER_REQUIRE(!out.min_parameters || !out.max_parameters || *out.min_parameters <= *out.max_parameters,
                     "--params-min {} exceeds --params-max {}", *out.min_parameters, *out.max_parameters);
    return out;
}

search::Use use_of(const SearchOptions& o, const model::Architecture& a) {
    search::Use use{*dtype_from_string(o.memory_dtype), o.memory_batch,
                    o.memory_seq_len > 0 ? o.memory_seq_len : std::min<int64_t>(a.max_positions, 4096)};
    if (!o.system.empty()) use.system = plan::system_from_json(read_json(o.system), o.system);
    use.tp = o.latency_tp;
    return use;
}

}  // namespace espalier::jobs
