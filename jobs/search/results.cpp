#include "jobs/search/results.hpp"

#include <limits>

#include "io/journal.hpp"
#include "src/core/error.hpp"

namespace espalier::jobs {
namespace {

struct Measured {
    int64_t candidate, step;
    double loss;
};

Measured parse(const std::string& line, const std::string& path) {
    const auto object = nlohmann::json::parse(line, nullptr, false);
    const bool good = object.is_object() && object.contains("candidate") &&
                      object["candidate"].is_number_integer() && object.contains("step") &&
                      object["step"].is_number_integer() && object.contains("loss") &&
                      (object["loss"].is_number() || object["loss"].is_null());
    ESPALIER_REQUIRE(good,
                     "{}: \"{}\" is not a line of a search; remove it, and the candidate is measured again",
                     path, line);
    return {object["candidate"], object["step"], as_loss(object["loss"])};
}

}  // namespace

double as_loss(const nlohmann::json& value) {
    return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
}

std::map<int64_t, search::Losses> SearchResults::read() const {
    std::string content;
    if (session_.root()) {
        for (const auto& line : io::read_lines(path_)) content += line + "\n";
    }
    content = session_.world().broadcast(std::move(content));
    std::map<int64_t, search::Losses> out;
    for (size_t begin = 0, end; (end = content.find('\n', begin)) != std::string::npos; begin = end + 1) {
        const auto m = parse(content.substr(begin, end - begin), path_);
        out[m.step].emplace(m.candidate, m.loss);
    }
    return out;
}

void SearchResults::add(int64_t candidate, int64_t step, double loss) const {
    if (session_.root()) {
        const nlohmann::ordered_json line{{"candidate", candidate}, {"step", step}, {"loss", loss}};
        io::append_line(path_, line.dump(), [&](const std::string& there) {
            const auto m = parse(there, path_);
            return m.candidate == candidate && m.step == step;
        });
    }
    session_.world().barrier();
}

}  // namespace espalier::jobs
