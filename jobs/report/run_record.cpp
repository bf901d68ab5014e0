#include "jobs/report/run_record.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <sstream>

#include "io/publish.hpp"
#include "src/core/error.hpp"

namespace espalier::jobs {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

MetricsLine parse_line(const json& object) {
    MetricsLine out;
    for (const auto& [key, value] : object.items()) {
        if (!value.is_number()) continue;  // a loss that is not finite is null
        if (std::isfinite(value.get<double>())) out.values[key] = value.get<double>();
    }
    out.step = out.values["step"];
    out.tokens = out.values["tokens"];
    return out;
}

std::vector<MetricsLine> read_metrics(const std::string& path) {
    std::istringstream in(io::read_file(path));
    std::vector<MetricsLine> out;
    int number = 0;
    for (std::string line; std::getline(in, line);) {
        ++number;
        const auto object = json::parse(line, nullptr, false);
        if (object.is_discarded() && in.eof()) break;  // the line that a running or killed job is writing
        ESPALIER_REQUIRE(object.is_object() && object.contains("step") && object["step"].is_number(),
                         "{}, line {}: expected a JSON object with a number \"step\"", path, number);
        out.push_back(parse_line(object));
    }
    ESPALIER_REQUIRE(!out.empty(), "{}: holds no step; report on the run once it has made one", path);
    return out;
}

/// "[job]", then "key = value"; a key may come several times.
void read_config(const std::string& text, RunRecord& run) {
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) {
        const size_t equals = line.find(" = ");
        if (line.starts_with('[')) {
            run.job = line.substr(1, line.find(']') - 1);
        } else if (equals != std::string::npos) {
            const std::string key = line.substr(0, equals), value = line.substr(equals + 3);
            if (!run.options.empty() && run.options.back().first == key) {
                run.options.back().second += " " + value;
            } else {
                run.options.emplace_back(key, value);
            }
        }
    }
}

}  // namespace

RunRecord read_run(const std::string& folder) {
    ESPALIER_REQUIRE(fs::is_directory(folder), "{}: no such folder", folder);
    ESPALIER_REQUIRE(fs::exists(folder + "/metrics.jsonl"),
                     "{}: has no metrics.jsonl, so it is no folder of `distill` or `train`", folder);
    RunRecord out;
    const auto path = fs::absolute(folder).lexically_normal();
    out.name = (path.has_filename() ? path : path.parent_path()).filename().string();
    out.lines = read_metrics(folder + "/metrics.jsonl");
    if (fs::exists(folder + "/config.ini")) read_config(io::read_file(folder + "/config.ini"), out);
    if (fs::exists(folder + "/facts.json")) {
        out.facts = nlohmann::ordered_json::parse(io::read_file(folder + "/facts.json"), nullptr, false);
        ESPALIER_REQUIRE(out.facts.is_object(), "{}/facts.json: is no JSON object", folder);
    }
    out.finished = fs::exists(folder + "/model.h5");
    return out;
}

std::optional<double> RunRecord::last(const std::string& metric) const {
    for (auto line = lines.rbegin(); line != lines.rend(); ++line) {
        if (const auto found = line->values.find(metric); found != line->values.end()) return found->second;
    }
    return std::nullopt;
}

std::optional<double> RunRecord::late_mean(const std::string& metric) const {
    double sum = 0, count = 0;
    for (size_t i = lines.size() - (lines.size() + 9) / 10; i < lines.size(); ++i) {
        const auto found = lines[i].values.find(metric);
        if (found == lines[i].values.end()) continue;
        sum += found->second;
        ++count;
    }
    return count > 0 ? std::optional(sum / count) : std::nullopt;
}

}  // namespace espalier::jobs
