// Lines over a common axis, as SVG that takes its colours from the page's style sheet.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace espalier::jobs {

struct Series {
    std::string name;
    size_t colour = 0;                              ///< number of the style sheet's class
    std::vector<std::pair<double, double>> points;  ///< finite, ascending in x
};

/// Long series are thinned to what the width can show, keeping each stretch's extremes; a noisy one has its
/// running mean drawn over it. The y axis is logarithmic where the values are positive and span more than a
/// factor of 30. Empty when no series has a point.
std::string line_chart(const std::string& title, const std::string& x_label,
                       const std::vector<Series>& series);

/// Text for HTML and SVG: & < > " ' as entities.
std::string escape_html(const std::string& text);

/// 12.3 k, 4.5 M; small numbers in full, or as 1e-05.
std::string short_number(double value);

}  // namespace espalier::jobs
