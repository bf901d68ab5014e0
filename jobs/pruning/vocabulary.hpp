// A model's vocabulary made smaller: which ids stay, and its tokenizer's files with them renumbered.
#pragma once

#include <optional>

#include "jobs/files/model_file.hpp"

namespace espalier::jobs {

struct VocabularyTarget {
    std::optional<int64_t> count;   ///< this many, by how often they occur in `data`
    std::vector<std::string> data;  ///< PREFIX of token files, or several
    std::string ids_file;           ///< or exactly these: a file of ids, in any order
    bool cuts() const { return count.has_value() || !ids_file.empty(); }
};

/// Collective. Ids that stay, ascending. The model's special ids and, with a tokenizer.json in its
/// file, special and byte tokens and the parts of merged ones stay too; UserError where they find no room, or
/// where the tokenizer is of a kind that cannot be cut.
std::vector<int64_t> choose_vocabulary(Session& session, const ModelFile& source,
                                       const VocabularyTarget& target);

/// Collective. The tokenizer's files of `source`, of which the ids `kept` stay.
void write_cut_tokenizer(ModelWriter& writer, const ModelFile& source, const std::vector<int64_t>& kept);

}  // namespace espalier::jobs
