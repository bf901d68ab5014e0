#include "benchmarks/planner/measurements.hpp"

#include <fstream>
#include <sstream>

#include "src/core/error.hpp"
#include "src/core/exact.hpp"

namespace espalier::benchmarks {
namespace {

using model::Recompute;
using plan::Practice;

/// Cells of a CSV file below its header.
std::vector<std::vector<std::string>> read_rows(const std::string& path, size_t columns) {
    std::ifstream in(path);
    ESPALIER_REQUIRE(in.good(), "{} cannot be read; run from the project's root or give --data", path);
    std::vector<std::vector<std::string>> rows;
    std::string line;
    std::getline(in, line);
    while (std::getline(in, line)) {
        std::vector<std::string> cells;
        std::istringstream text(line);
        for (std::string cell; std::getline(text, cell, ',');) cells.push_back(cell);
        ESPALIER_REQUIRE(cells.size() == columns, "{}: {} cells in \"{}\", expected {}", path, cells.size(),
                         line, columns);
        rows.push_back(std::move(cells));
    }
    return rows;
}

int64_t integer(const std::string& cell) {
    return std::stoll(cell);
}

/// GPT-3: full attention, MLP of four times the width, a tied head, GELU, biases.
model::Architecture gpt(int64_t layers, int64_t hidden, int64_t heads, int64_t vocab, int64_t seq_len) {
    model::Architecture a;
    a.vocab = vocab;
    a.hidden = hidden;
    a.head_dim = div_exact(hidden, heads);
    a.layers.assign(static_cast<size_t>(layers), {heads, heads, 4 * hidden});
    a.activation = Activation::gelu;
    a.norm.kind = NormKind::layer;
    a.norm_bias = a.qkv_bias = a.attention_out_bias = a.mlp_bias = a.tied = true;
    a.max_positions = seq_len;
    return a;
}

/// Megatron-LM in all of the published runs.
Practice megatron() {
    Practice p;
    p.stages = Practice::Stages::even;
    p.selective = Practice::Selective::attention;
    p.full = Practice::Full::whole_layer;
    p.head = Practice::Head::whole;
    p.order = Practice::Order::tp_dp_pp;
    return p;
}

/// Before fused attention.
Practice megatron_2022() {
    Practice p = megatron();
    p.attention = Practice::Attention::materialised;
    p.norms = Practice::Norms::every_rank;
    p.state = Practice::State::replicated;
    p.gradients = Practice::Gradients::after_backward;
    p.dropout_bytes = 1;
    return p;
}

std::string describe(const plan::Layout& l, int64_t global_batch) {
    return fmt::format("batch {}, {}", global_batch, plan::to_string(l));
}

}  // namespace

std::vector<Measurement> korthikanti(const std::string& folder) {
    std::vector<Measurement> out;
    for (const auto& row : read_rows(folder + "/korthikanti_table5.csv", 12)) {
        Measurement m;
        m.layout = {integer(row[2]), integer(row[3]),
                    integer(row[4]), 1,
                    integer(row[6]), model::recompute_from_string(row[10], "recompute")};
        m.step->model = gpt(integer(row[7]), integer(row[8]), integer(row[9]), 51200, 2048);
        m.step->global_batch = integer(row[5]);
        m.step->seq_len = 2048;
        m.step->practice = megatron_2022();
        if (m.layout.recompute == Recompute::selective)
            m.step->practice.norms = Practice::Norms::split_tokens;
        m.seconds = std::stod(row[11]);
        m.label = row[0] + ", " + row[10];
        out.push_back(std::move(m));
    }
    return out;
}

std::vector<Measurement> nemotron4(const std::string& folder) {
    std::vector<Measurement> out;
    for (const auto& row : read_rows(folder + "/nemotron4_15b_h100.csv", 2)) {
        const int64_t gpus = integer(row[0]);
        Measurement m;
        auto& a = m.step->model;
        a.family = model::Family::nemotron;
        a.vocab = 256000;
        a.hidden = 6144;
        a.head_dim = 128;
        a.layers.assign(32, {48, 8, 24576});
        a.activation = Activation::relu2;
        a.norm.kind = NormKind::layer;
        a.norm_bias = true;
        a.max_positions = 4096;
        m.step->global_batch = 4 * gpus;
        m.step->seq_len = 4096;
        m.step->practice = megatron();
        m.step->practice.gradient_bytes = 2;
        m.layout = {2, 1, 1, gpus / 2, 2, Recompute::selective};
        m.seconds = std::stod(row[1]);
        m.label = fmt::format("{} GPUs", gpus);
        out.push_back(std::move(m));
    }
    return out;
}

namespace {

/// Columns from `first` on: GPUs, batch, micro-batch, hidden, heads, layers, sequence, tp, dp, pp,
/// milliseconds.
Measurement vtrain_row(const std::vector<std::string>& row, size_t first) {
    const auto cell = [&](size_t i) { return integer(row[first + i]); };
    Measurement m;
    m.layout = {cell(7), cell(9), 1, cell(8), cell(2), Recompute::full};
    m.step->model = gpt(cell(5), cell(3), cell(4), 50257, cell(6));
    m.step->global_batch = cell(1);
    m.step->seq_len = cell(6);
    m.step->practice = megatron_2022();
    m.step->practice.gradient_bytes = 2;
    m.seconds = std::stod(row[first + 10]) * 1e-3;
    m.label = fmt::format("hidden {}, {} layers, {}", cell(3), cell(5), describe(m.layout, cell(1)));
    return m;
}

}  // namespace

std::vector<Measurement> vtrain_single(const std::string& folder) {
    std::vector<Measurement> out;
    for (const auto& row : read_rows(folder + "/vtrain_single.csv", 11)) {
        out.push_back(vtrain_row(row, 0));
        // The rates of these rows are out of reach with anything computed twice (results/planner.md).
        out.back().layout.recompute = Recompute::none;
    }
    return out;
}

std::vector<Measurement> vtrain_multi(const std::string& folder) {
    std::vector<Measurement> out;
    for (const auto& row : read_rows(folder + "/vtrain_multi.csv", 12)) out.push_back(vtrain_row(row, 1));
    return out;
}

}  // namespace espalier::benchmarks
