#include "jobs/report/chart.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace espalier::jobs {
namespace {

using Points = std::vector<std::pair<double, double>>;

constexpr double width = 560, height = 280, left = 62, right = 14, top = 30, bottom = 44;
constexpr size_t most_points = 600, noisy_from = 60;

/// Values on their way to a coordinate, and the ticks between.
struct Axis {
    double low = std::numeric_limits<double>::infinity(), high = -low;
    bool logarithmic = false;

    void include(double value) {
        low = std::min(low, value);
        high = std::max(high, value);
    }
    double warp(double value) const { return logarithmic ? std::log10(value) : value; }
    /// 0 at low, 1 at high
    double share(double value) const { return (warp(value) - warp(low)) / (warp(high) - warp(low)); }
    std::vector<double> ticks() const;
};

/// 1, 2 or 5 times a power of ten, about a fifth of the span.
double tick_step(double span) {
    const double power = std::pow(10, std::floor(std::log10(span / 5)));
    for (const double factor : {1.0, 2.0, 5.0}) {
        if (span / (factor * power) <= 6) return factor * power;
    }
    return 10 * power;
}

std::vector<double> Axis::ticks() const {
    std::vector<double> out;
    if (logarithmic) {
        const bool decades_only = std::log10(high / low) > 3;
        const int first = static_cast<int>(std::floor(std::log10(low))),
                  last = static_cast<int>(std::floor(std::log10(high)));
        for (int exponent = first; exponent <= last; ++exponent) {
            const double power = std::pow(10, exponent);
            for (const double factor : {1.0, 2.0, 5.0}) {
                const double tick = factor * power;
                if ((factor == 1 || !decades_only) && tick >= low && tick <= high) out.push_back(tick);
            }
        }
        return out;
    }
    const double step = tick_step(high - low);
    const auto first = static_cast<int64_t>(std::ceil(low / step)),
               last = static_cast<int64_t>(std::floor(high * (1 + 1e-12) / step));
    for (int64_t i = first; i <= last; ++i) out.push_back(static_cast<double>(i) * step);
    return out;
}

/// The extremes of each of some hundred stretches, in the order in which they come.
Points thinned(const Points& points) {
    if (points.size() <= most_points) return points;
    Points out;
    const size_t stretches = most_points / 2;
    for (size_t s = 0; s < stretches; ++s) {
        const auto begin = points.begin() + static_cast<int64_t>(s * points.size() / stretches),
                   end = points.begin() + static_cast<int64_t>((s + 1) * points.size() / stretches);
        auto [low, high] =
            std::minmax_element(begin, end, [](auto& a, auto& b) { return a.second < b.second; });
        if (high < low) std::swap(low, high);
        out.push_back(*low);
        if (high != low) out.push_back(*high);
    }
    return out;
}

/// Mean over a fiftieth of the points around each.
Points running_mean(const Points& points) {
    const size_t half = std::max<size_t>(2, points.size() / 100);
    std::vector<double> sums{0};
    for (const auto& point : points) sums.push_back(sums.back() + point.second);
    Points out;
    for (size_t i = 0; i < points.size(); ++i) {
        const size_t reach = std::min({half, i, points.size() - 1 - i});
        out.emplace_back(points[i].first,
                         (sums[i + reach + 1] - sums[i - reach]) / static_cast<double>(2 * reach + 1));
    }
    return out;
}

class Canvas {
public:
    Canvas(Axis x, Axis y) : x_(x), y_(y) {}

    void frame(const std::string& title, const std::string& x_label) {
        svg_ += fmt::format(
            "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\"><text class=\"title\" x=\"{}\" "
            "y=\"17\">{}</text>\n",
            width, height, escape_html(title), left, escape_html(title));
        for (const double tick : x_.ticks()) {
            svg_ += fmt::format(
                "<path class=\"grid\" d=\"M{0:.1f} {1}V{2}\"/><text x=\"{0:.1f}\" y=\"{3}\" "
                "text-anchor=\"middle\">{4}</text>\n",
                across(tick), top, height - bottom, height - bottom + 15, short_number(tick));
        }
        for (const double tick : y_.ticks()) {
            svg_ += fmt::format(
                "<path class=\"grid\" d=\"M{1} {0:.1f}H{2}\"/><text x=\"{3}\" y=\"{4:.1f}\" "
                "text-anchor=\"end\">{5}</text>\n",
                down(tick), left, width - right, left - 6, down(tick) + 4, short_number(tick));
        }
        svg_ += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
                            (left + width - right) / 2, height - 8, escape_html(x_label));
    }

    void line(const Series& series, const Points& points, const char* weight) {
        svg_ += fmt::format("<g class=\"line {} c{}\"><title>{}</title>", weight, series.colour,
                            escape_html(series.name));
        if (points.size() == 1) {
            svg_ += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\"/></g>\n",
                                across(points[0].first), down(points[0].second));
            return;
        }
        svg_ += "<polyline points=\"";
        for (const auto& [x, y] : points) svg_ += fmt::format("{:.1f},{:.1f} ", across(x), down(y));
        svg_ += "\"/></g>\n";
    }

    std::string done() { return svg_ + "</svg>\n"; }

private:
    double across(double x) const { return left + x_.share(x) * (width - left - right); }
    double down(double y) const { return height - bottom - y_.share(y) * (height - top - bottom); }

    Axis x_, y_;
    std::string svg_;
};

/// Room at both ends, so that no line runs along the frame and a constant has a span.
void widen(Axis& y) {
    y.logarithmic = y.low > 0 && y.high / y.low > 30;
    const double margin = y.high > y.low ? 0.05 * (y.high - y.low) : std::max(1e-9, 0.1 * std::abs(y.high));
    y.low = y.logarithmic ? y.low / 1.2 : y.low - (y.low >= 0 ? std::min(y.low, margin) : margin);
    y.high = y.logarithmic ? y.high * 1.2 : y.high + margin;
}

}  // namespace

std::string line_chart(const std::string& title, const std::string& x_label,
                       const std::vector<Series>& series) {
    Axis x, y;
    for (const auto& s : series) {
        for (const auto& point : s.points) {
            x.include(point.first);
            y.include(point.second);
        }
    }
    if (!(x.low <= x.high)) return {};
    if (x.low == x.high) x.high = x.low + 1;
    widen(y);
    Canvas canvas(x, y);
    canvas.frame(title, x_label);
    for (const auto& s : series) {
        if (s.points.empty()) continue;
        const bool noisy = s.points.size() >= noisy_from;
        canvas.line(s, thinned(s.points), noisy ? "faint" : "bold");
        if (noisy) canvas.line(s, thinned(running_mean(s.points)), "bold");
    }
    return canvas.done();
}

std::string escape_html(const std::string& text) {
    std::string out;
    for (const char c : text) {
        switch (c) {
            case '&':
                out += "&amp;";
                break;
            case '<':
                out += "&lt;";
                break;
            case '>':
                out += "&gt;";
                break;
            case '"':
                out += "&quot;";
                break;
            case '\'':
                out += "&#39;";
                break;
            default:
                out += c;
        }
    }
    return out;
}

std::string short_number(double value) {
    const double size = std::abs(value);
    for (const auto& [scale, suffix] : {std::pair{1e12, " T"}, {1e9, " G"}, {1e6, " M"}, {1e4, " k"}}) {
        const double unit = scale == 1e4 ? 1e3 : scale;
        if (size >= scale) return fmt::format("{:.4g}{}", value / unit, suffix);
    }
    return fmt::format("{:.4g}", size < 1e-12 ? 0.0 : value);
}

}  // namespace espalier::jobs
