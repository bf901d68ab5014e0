#include "jobs/report/page.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "jobs/report/chart.hpp"
#include "jobs/report/style.hpp"

namespace espalier::jobs {
namespace {

constexpr size_t colours = 8;

struct Figure {
    const char* metric;
    const char* title;
};
constexpr std::array figures{Figure{"loss", "Loss (the objective)"},
                             Figure{"valid_loss", "Loss on held-out text"},
                             Figure{"kd_loss", "Divergence from the teacher"},
                             Figure{"lm_loss", "Cross entropy against the text"},
                             Figure{"lr", "Learning rate"},
                             Figure{"grad_norm", "Gradient norm before clipping"},
                             Figure{"tokens_per_second", "Tokens per second"}};

using Cell = std::string;  // HTML
using Row = std::vector<Cell>;

std::string table(const Row& head, const std::vector<Row>& rows, const char* kind) {
    const auto row = [](const Row& cells, const char* tag) {
        std::string out = "<tr>";
        for (size_t i = 0; i < cells.size(); ++i) {
            const char* element = i == 0 ? "th" : tag;
            out += fmt::format("<{}>{}</{}>", element, cells[i], element);
        }
        return out + "</tr>\n";
    };
    std::string out = fmt::format("<div class=\"scroll\"><table class=\"{}\">\n<thead>", kind) +
                      row(head, "th") + "</thead>\n<tbody>\n";
    for (const auto& cells : rows) out += row(cells, "td");
    return out + "</tbody></table></div>\n";
}

std::string number(const std::optional<double>& value, fmt::format_string<const double&> format = "{:.4f}") {
    return value ? fmt::format(format, *value) : "–";
}

std::string swatch(const std::vector<RunRecord>& runs, size_t i) {
    return fmt::format(
        "<svg class=\"swatch\" viewBox=\"0 0 22 6\"><g class=\"line bold c{}\"><path d=\"M0 "
        "3H22\"/></g></svg>{}",
        i % colours, escape_html(runs[i].name));
}

Row run_names(const std::vector<RunRecord>& runs) {
    Row out{""};
    for (size_t i = 0; i < runs.size(); ++i) out.push_back(swatch(runs, i));
    return out;
}

std::string charts(const std::vector<RunRecord>& runs, double MetricsLine::*x, const char* x_label) {
    std::string out;
    for (const auto& figure : figures) {
        std::vector<Series> series;
        for (size_t i = 0; i < runs.size(); ++i) {
            Series s{runs[i].name, i % colours, {}};
            for (const auto& line : runs[i].lines) {
                const auto found = line.values.find(figure.metric);
                if (found != line.values.end()) s.points.emplace_back(line.*x, found->second);
            }
            series.push_back(std::move(s));
        }
        const std::string drawn = line_chart(figure.title, x_label, series);
        if (!drawn.empty()) out += "<figure>" + drawn + "</figure>\n";
    }
    return out;
}

/// What the runs are compared by: the loss on held-out text where all have one, else their own objective.
std::string final_figures(const std::vector<RunRecord>& runs) {
    const bool held_out =
        std::ranges::all_of(runs, [](const RunRecord& r) { return r.last("valid_loss").has_value(); });
    const auto compared = [&](const RunRecord& r) {
        return held_out ? r.last("valid_loss") : r.late_mean("loss");
    };
    double best = 1e300, worst = 0;
    for (const auto& r : runs) {
        best = std::min(best, compared(r).value_or(best));
        worst = std::max(worst, compared(r).value_or(worst));
    }
    std::vector<Row> rows;
    for (size_t i = 0; i < runs.size(); ++i) {
        const auto& r = runs[i];
        double seconds = 0;
        for (const auto& line : r.lines) {
            const auto found = line.values.find("seconds");
            seconds += found == line.values.end() ? 0 : found->second;
        }
        const double tokens = r.lines.back().tokens - r.lines.front().tokens,
                     first = r.lines.front().values.contains("seconds") ? r.lines.front().values.at("seconds")
                                                                        : 0;
        const auto value = compared(r);
        // From the end of the first step on.
        const std::string rate = seconds > first ? fmt::format("{:.0f}", tokens / (seconds - first)) : "–";
        std::string bar = "–";
        if (value) {
            bar = fmt::format("<span class=\"bar c{}\" style=\"width:{:.1f}em\"></span> {:+.4f}", i % colours,
                              worst > best ? 6 * (*value - best) / (worst - best) : 0.0, *value - best);
        }
        rows.push_back({swatch(runs, i), escape_html(r.job), r.finished ? "finished" : "unfinished",
                        fmt::format("{:.0f}", r.lines.back().step), short_number(r.lines.back().tokens),
                        number(r.last("loss")), number(r.late_mean("loss")), number(r.late_mean("kd_loss")),
                        number(r.late_mean("lm_loss")), number(r.last("valid_loss")), bar, rate,
                        number(r.last("skipped_steps"), "{:.0f}")});
    }
    return table({"run", "job", "state", "steps", "tokens", "loss, last step", "loss, last tenth",
                  "divergence, last tenth", "cross entropy, last tenth", "held-out loss",
                  held_out ? "held-out loss above the best" : "loss (last tenth) above the best", "tokens/s",
                  "skipped steps"},
                 rows, "figures");
}

/// A row for each key of any run, a column for each run; what differs is marked.
std::string comparison(const std::vector<RunRecord>& runs,
                       const std::vector<std::vector<std::pair<std::string, std::string>>>& columns) {
    std::vector<std::string> keys;
    for (const auto& column : columns) {
        for (const auto& [key, value] : column) {
            if (std::ranges::find(keys, key) == keys.end()) keys.push_back(key);
        }
    }
    std::vector<Row> rows;
    for (const auto& key : keys) {
        Row row{escape_html(key)};
        for (const auto& column : columns) {
            const auto found = std::ranges::find(column, key, &std::pair<std::string, std::string>::first);
            row.push_back(found == column.end() ? "–" : escape_html(found->second));
        }
        const bool same = std::all_of(row.begin() + 1, row.end(), [&](const Cell& c) { return c == row[1]; });
        if (!same) row[0] = "<mark>" + row[0] + "</mark>";
        rows.push_back(std::move(row));
    }
    return table(run_names(runs), rows, "comparison");
}

std::vector<std::pair<std::string, std::string>> facts_of(const RunRecord& run) {
    std::vector<std::pair<std::string, std::string>> out;
    if (!run.facts.is_object()) return out;
    const auto flat = run.facts.flatten();
    for (const auto& [key, value] : flat.items()) {
        std::string name = key.substr(1);
        std::ranges::replace(name, '/', ' ');
        out.emplace_back(name, value.is_string() ? value.get<std::string>() : value.dump());
    }
    return out;
}

}  // namespace

std::string report_page(const std::vector<RunRecord>& runs) {
    std::vector<std::vector<std::pair<std::string, std::string>>> options, facts;
    std::string names, legend;
    for (size_t i = 0; i < runs.size(); ++i) {
        options.push_back(runs[i].options);
        facts.push_back(facts_of(runs[i]));
        names += (i == 0 ? "" : ", ") + runs[i].name;
        legend += "<span>" + swatch(runs, i) + "</span>\n";
    }
    return std::string(page_begins_with) +
           "\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
           "content=\"width=device-width\">\n<title>" +
           escape_html(names) + "</title>\n<style>\n" + report_style + "</style>\n</head>\n<body>\n<h1>" +
           (runs.size() == 1 ? "Training run" : "Training runs") + "</h1>\n<div class=\"legend\">" + legend +
           "</div>\n<h2>Final figures</h2>\n" + final_figures(runs) +
           "<h2>Curves</h2>\n<input type=\"radio\" name=\"axis\" id=\"steps\" checked><label "
           "for=\"steps\">over steps</label>\n<input type=\"radio\" name=\"axis\" id=\"tokens\"><label "
           "for=\"tokens\">over tokens</label>\n<div class=\"charts by-step\">\n" +
           charts(runs, &MetricsLine::step, "step") + "</div>\n<div class=\"charts by-token\">\n" +
           charts(runs, &MetricsLine::tokens, "tokens") + "</div>\n<h2>Options</h2>\n" +
           comparison(runs, options) + "<h2>Build and machine</h2>\n" + comparison(runs, facts) +
           "<footer>espalier " ESPALIER_VERSION " report</footer>\n</body>\n</html>\n";
}

}  // namespace espalier::jobs
