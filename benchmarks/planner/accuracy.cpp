// The planner's error table: predicted against published step times, constants fitted globally for each
// system. Fails where a bar is missed, or share/systems is not what was fitted.
//   planner_accuracy [--data DIR] [--systems DIR] [--out FILE.md] [--check FILE.md]
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <boost/program_options.hpp>
#include <cmath>
#include <fstream>
#include <iostream>
#include <limits>
#include <sstream>

#include "benchmarks/planner/fit.hpp"
#include "benchmarks/planner/table.hpp"
#include "src/core/error.hpp"
#include "src/plan/step.hpp"

namespace {

using namespace espalier;
using namespace espalier::benchmarks;
using plan::System;

const Constant matmul_best{"matmul.best", [](System& s) -> double& { return s.matmul.best; }, 0.3, 1};
const Constant matmul_half{"matmul.half_size", [](System& s) -> double& { return s.matmul.half_size; }, 1,
                           4000};
const Constant unaligned{"matmul.unaligned", [](System& s) -> double& { return s.matmul.unaligned; }, 0.1, 1};
const Constant attention{"attention_efficiency", [](System& s) -> double& { return s.attention_efficiency; },
                         0.02, 1};
const Constant memory{"memory_efficiency", [](System& s) -> double& { return s.memory_efficiency; }, 0.1, 1};
const Constant launch{"launch_seconds", [](System& s) -> double& { return s.launch_seconds; }, 1e-6, 1e-4};
const Constant node{"node.efficiency", [](System& s) -> double& { return s.node.efficiency; }, 0.05, 1};
const Constant node_latency{"node.latency", [](System& s) -> double& { return s.node.latency; }, 1e-6, 1e-4};
const Constant network{"network.efficiency", [](System& s) -> double& { return s.network.efficiency; }, 0.02,
                       1};
const Constant network_latency{"network.latency", [](System& s) -> double& { return s.network.latency; },
                               1e-6, 1e-3};

System read_system(const std::string& path) {
    std::ifstream in(path);
    ESPALIER_REQUIRE(in.good(), "{} cannot be read; run from the project's root or give --systems", path);
    return plan::system_from_json(nlohmann::json::parse(in), path);
}

struct Errors {
    double mean = 0;
    double worst = 0;
};
Errors summarise(const std::vector<double>& errors) {
    Errors out;
    for (const double e : errors) {
        out.mean += std::abs(e) / static_cast<double>(errors.size());
        out.worst = std::max(out.worst, std::abs(e));
    }
    return out;
}

std::string percent(double x) {
    return fmt::format("{:.2f} %", 100 * x);
}

/// What errors may be: of rows in and out of the fit.
struct Bar {
    double mean, worst;
    std::string words;

    /// Empty where they are within.
    std::string missed_by(const Errors& errors) const {
        if (errors.mean <= mean && errors.worst <= worst) return "";
        return fmt::format("mean {}, worst {}; the bar is: {}", percent(errors.mean), percent(errors.worst),
                           words);
    }
};
constexpr double any = std::numeric_limits<double>::infinity();

/// Points by which the growth of a step from the fewest to the most GPUs may be off.
constexpr double slope_bar = 0.01;

/// A set of measurements that share a system, and what came of it.
struct Study {
    std::string title;
    std::vector<Measurement> rows;
    std::vector<Constant> constants;
    System start;
    int folds;
    Training training;
    Bar bar;

    System fitted{};
    Errors in_sample{}, held_out{};

    void run() {
        std::cerr << title << ": " << rows.size() << " rows\n";
        fitted = fit(start, constants, rows);
        std::vector<double> errors;
        for (const auto& m : rows) errors.push_back(relative_error(fitted, m));
        in_sample = summarise(errors);
        held_out = summarise(cross_validate(start, constants, rows, folds, training));
    }
    std::string summary_line() const {
        return fmt::format("| {} | {} | {} | {} | {} | {} | {} | {} |\n", title, rows.size(),
                           constants.size(), percent(in_sample.mean), percent(in_sample.worst),
                           percent(held_out.mean), percent(held_out.worst), bar.words);
    }
    std::string constant_lines() const {
        System copy = fitted;
        std::string out = fmt::format("| {} |", title);
        for (const auto& c : constants) out += fmt::format(" {} {:.4g};", c.name, c.of(copy));
        out.back() = ' ';
        return out + "|\n";
    }
    std::string rows_table() const {
        std::string out =
            "| run | measured s | predicted s | error | compute | tensor | pipeline | bubble | data |\n"
            "|---|---|---|---|---|---|---|---|---|\n";
        for (const auto& m : rows) {
            const auto b = plan::breakdown(fitted, *m.step, m.layout, *m.partition);
            out += fmt::format(
                "| {} | {:.2f} | {:.2f} | {:+.1f} % | {:.2f} | {:.2f} | {:.2f} | {:.2f} | {:.2f} |\n",
                m.label, m.seconds, b.sum(), 100 * (b.sum() / m.seconds - 1), b.compute + b.optimizer,
                b.tensor, b.pipeline, b.bubble, b.data);
        }
        return "\n### " + title + "\n\n" + out;
    }
};

/// From the first row to the last: as measured, as predicted.
struct Slopes {
    double measured, predicted;
};
Slopes slopes(const Study& study) {
    const auto seconds = [&](const Measurement& m) {
        return plan::breakdown(study.fitted, *m.step, m.layout, *m.partition).sum();
    };
    const auto &first = study.rows.front(), &last = study.rows.back();
    return {last.seconds / first.seconds - 1, seconds(last) / seconds(first) - 1};
}

/// A line for each bar that is missed.
std::string missed_bars(std::span<const Study* const> studies, const Slopes& nemotron) {
    std::string out;
    for (const Study* study : studies) {
        for (const auto& [rows, errors] :
             {std::pair{"fitted", study->in_sample}, {"held out", study->held_out}}) {
            const std::string missed = study->bar.missed_by(errors);
            if (!missed.empty()) out += fmt::format("{}, {} rows: {}\n", study->title, rows, missed);
        }
    }
    if (std::abs(nemotron.predicted - nemotron.measured) > slope_bar)
        out += fmt::format(
            "Nemotron-4 from 16 to 2048 GPUs: measured +{}, predicted +{}; the bar is: within 1 point\n",
            percent(nemotron.measured), percent(nemotron.predicted));
    return out;
}

/// The system that users get must be the one that was fitted.
std::string difference(const Study& study, System shipped) {
    System copy = study.fitted;
    std::string out;
    for (const auto& c : study.constants) {
        const double a = c.of(copy), b = c.of(shipped);
        if (std::abs(a / b - 1) > 0.02) out += fmt::format(" {} is {:.4g}, fitted {:.4g};", c.name, b, a);
    }
    return out;
}

std::string report(const Study& nemotron, const Study& selene, const Study& single, const Study& multi) {
    const auto [measured, slope] = slopes(nemotron);
    std::string out =
        "# How far the planner is off\n\nPredicted against published step times. Made by "
        "`build/release/benchmarks/planner_accuracy --out benchmarks/results/planner.md`; sources of the "
        "measurements: benchmarks/planner/data/README.md.\n\nConstants are efficiencies and latencies of a "
        "system, "
        "shared by all of its rows. \"Held out\" rows were not fitted: leave one out for the two small sets, "
        "five "
        "folds with the constants of the other four for vTrain's many nodes, and for its one node five folds "
        "with "
        "the constants of one fold alone.\n\n"
        "| measurements | rows | constants | fitted: mean | worst | held out: mean | worst | bar |\n"
        "|---|---|---|---|---|---|---|---|\n";
    for (const auto* s : {&nemotron, &selene, &single, &multi}) out += s->summary_line();
    out += fmt::format(
        "\nNemotron-4 from 16 to 2048 GPUs: measured +{}, predicted +{} (bar: within 1 point).\n\n",
        percent(measured), percent(slope));
    out += "| measurements | constants found |\n|---|---|\n";
    for (const auto* s : {&nemotron, &selene, &single, &multi}) out += s->constant_lines();
    out +=
        "\nvTrain's one-node rows are grouped by layer time: within a width, tensor parallel size and "
        "micro-batch "
        "the planner's form fits to about 1 %, but those layer times scatter where the host starts kernels "
        "too "
        "slowly (hidden 2048, tp 4: 3.05 ms at micro-batch 1, 2.80 ms at 2), which no layout explains. Its "
        "configuration files say that activations were recomputed; at one node that would be 215 TFLOP/s of "
        "312 "
        "with materialised attention, and rows fit as runs without. Among the many-node rows hidden 8192 "
        "holds "
        "pairs that contradict each other (tp 4 pp 8: micro-batch 6 faster than 3 and 2 alike; tp 2 pp 16 at "
        "1.7 "
        "times tp 4 pp 16): the worst errors are theirs.\n";
    out +=
        "\nConstants at a bound (vTrain: matmul.best 1 with a half_size of 1600 and more, node.efficiency 1 "
        "with a "
        "long latency) describe the sizes that were measured, not what endless ones would get.\n";
    out += nemotron.rows_table() + selene.rows_table() + multi.rows_table();
    return out;
}

std::string read_file(const std::string& path) {
    std::ifstream in(path);
    ESPALIER_REQUIRE(in.good(), "{} cannot be read", path);
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
}

int run(int argc, char** argv) {
    namespace po = boost::program_options;
    std::string data = "benchmarks/planner/data", systems = "share/systems", out, committed;
    po::options_description options("planner_accuracy");
    options.add_options()("help", "")("data", po::value(&data))("systems", po::value(&systems))(
        "out", po::value(&out), "FILE.md; default: standard output")(
        "check", po::value(&committed), "FILE.md: fail where it is not what would be written");
    po::variables_map values;
    po::store(po::parse_command_line(argc, argv, options), values);
    po::notify(values);
    if (values.count("help")) {
        std::cout << options;
        return 0;
    }
    const System a100 = read_system(systems + "/a100-80.json"),
                 h100 = read_system(systems + "/h100-sxm.json");
    const std::vector<Constant> all{matmul_best, matmul_half, unaligned,    attention, memory,
                                    launch,      node,        node_latency, network,   network_latency};
    Study nemotron{"Nemotron-4 15B, H100",
                   nemotron4(data),
                   {matmul_best, network, network_latency},
                   h100,
                   8,
                   Training::all_but_one_fold,
                   {any, 0.05, "each within 5 %"}};
    Study selene{"Korthikanti Table 5, A100",
                 korthikanti(data),
                 {matmul_best, attention, node, network},
                 a100,
                 8,
                 Training::all_but_one_fold,
                 {0.05, 0.09, "mean 5 %, worst 9 %"}};
    const Bar vtrain{0.07, any, "mean 7 %"};
    Study single{"vTrain, one node, A100", vtrain_single(data), all, a100, 5, Training::one_fold, vtrain};
    // One node has no network.
    single.constants.erase(single.constants.end() - 2, single.constants.end());
    Study multi{
        "vTrain, 64 to 512 GPUs, A100", vtrain_multi(data), all, a100, 5, Training::all_but_one_fold, vtrain};
    for (auto* study : {&nemotron, &selene, &single, &multi}) study->run();

    const std::string text = report(nemotron, selene, single, multi);
    if (!out.empty()) {
        std::ofstream(out) << text;
    } else if (committed.empty()) {
        std::cout << text;
    }
    std::string wrong =
        missed_bars(std::array<const Study*, 4>{&nemotron, &selene, &single, &multi}, slopes(nemotron));
    const std::string stale = difference(nemotron, h100) + difference(selene, a100);
    if (!stale.empty()) wrong += fmt::format("share/systems differs from the fit:{}\n", stale);
    const std::string differs = committed.empty() ? "" : first_difference(text, read_file(committed));
    if (!differs.empty())
        wrong += fmt::format("{} is not what the planner says now, {}\nmake it anew with --out {}\n",
                             committed, differs, committed);
    std::cerr << wrong;
    return wrong.empty() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return run(argc, argv);
    } catch (const std::exception& e) {
        std::cerr << "planner_accuracy: " << e.what() << "\n";
        return 2;
    }
}
