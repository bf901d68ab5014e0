// Which documents of a token file train and which are held out: Megatron-LM's --split
// (parse_and_normalize_split and convert_split_vector_to_split_matrix of
// megatron/core/datasets/blended_megatron_dataset_config.py, _build_megatron_dataset_splits of
// blended_megatron_dataset_builder.py).
#pragma once

#include <array>
#include <string>
#include <vector>

#include "src/core/exact.hpp"
#include "src/data/source.hpp"

namespace espalier::data {

enum class Part { train, valid, test };

/// Throws UserError that names `option`.
Part part_from_string(const std::string& text, const char* option);

class Split {
public:
    /// All documents train.
    Split() = default;
    /// "969,30,1": shares of train, valid and test, which need not sum to 1; those left out are 0, and "" is
    /// the same as "1". Throws UserError for anything else, and where all are 0.
    explicit Split(const std::string& text);

    /// [round(bound n), round(next bound n)) of n documents, a half to the even number, as Python rounds.
    Range documents(Part part, int64_t count) const;

    /// A fraction of 1.
    double share(Part part) const;
    const std::string& text() const { return text_; }

private:
    std::string text_;
    std::array<double, 4> bounds_{0, 1, 1, 1};  ///< of the three parts, as fractions of the documents
};

/// A part of each source's documents, under a name that says so where it is not all of them. Throws UserError
/// where none of a source's documents train and `part` is these.
std::vector<Source> part_of(std::vector<Source> sources, const Split& split, Part part);

}  // namespace espalier::data
