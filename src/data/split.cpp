#include "src/data/split.hpp"

#include <cmath>
#include <numeric>
#include <sstream>

#include "src/core/names.hpp"
#include "src/core/parse_number.hpp"
#include "src/data/blend.hpp"

namespace espalier::data {
namespace {

constexpr std::array part_names{Named{Part::train, "train"}, Named{Part::valid, "valid"},
                                Named{Part::test, "test"}};

class SomeDocuments : public Documents {
public:
    SomeDocuments(std::shared_ptr<const Documents> all, Range range) : all_(std::move(all)), range_(range) {}

    int64_t count() const override { return range_.size(); }
    int64_t length(int64_t document) const override { return all_->length(range_.begin + document); }
    void read(int64_t document, int64_t offset, std::span<int32_t> out) const override {
        all_->read(range_.begin + document, offset, out);
    }

private:
    std::shared_ptr<const Documents> all_;
    Range range_;
};

std::string without_spaces_around(const std::string& text) {
    const auto first = text.find_first_not_of(' ');
    return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(' ') + 1 - first);
}

std::vector<double> shares(const std::string& text) {
    std::vector<double> out;
    std::istringstream words(text + ",");
    for (std::string word; std::getline(words, word, ',');) {
        const auto share = parse_number(without_spaces_around(word));
        ESPALIER_REQUIRE(share && *share >= 0 && out.size() < part_names.size(),
                         "--split {}: give shares of train, valid and test with commas between, as in "
                         "--split 969,30,1",
                         text);
        out.push_back(*share);
    }
    out.resize(part_names.size());
    const double sum = std::accumulate(out.begin(), out.end(), 0.0);
    ESPALIER_REQUIRE(sum > 0 && std::isfinite(sum),
                     "--split {}: the shares sum to {}; give at least one that is positive", text, sum);
    return out;
}

}  // namespace

Part part_from_string(const std::string& text, const char* option) {
    return chosen(part_names, text, option);
}

Split::Split(const std::string& text) : text_(text) {
    if (text.empty()) return;
    const auto fractions = normalised(shares(text));
    std::partial_sum(fractions.begin(), fractions.end(), bounds_.begin() + 1);
}

Range Split::documents(Part part, int64_t count) const {
    const auto bound = [&](size_t i) {
        return static_cast<int64_t>(std::nearbyint(bounds_[i] * static_cast<double>(count)));
    };
    const auto i = static_cast<size_t>(part);
    return {bound(i), bound(i + 1)};
}

double Split::share(Part part) const {
    const auto i = static_cast<size_t>(part);
    return bounds_[i + 1] - bounds_[i];
}

std::vector<Source> part_of(std::vector<Source> sources, const Split& split, Part part) {
    for (Source& source : sources) {
        const int64_t all = source.documents->count();
        const Range range = split.documents(part, all);
        ESPALIER_REQUIRE(part != Part::train || range.size() > 0 || all == 0,
                         "--split {}: none of the {} documents of {} would train; give the first part more",
                         split.text(), all, source.name);
        if (range == Range{0, all}) continue;
        source.documents = std::make_shared<SomeDocuments>(std::move(source.documents), range);
        source.name = fmt::format("the {} part of {} ({} of {} documents)", name_of(part_names, part),
                                  source.name, range.size(), all);
    }
    return sources;
}

}  // namespace espalier::data
