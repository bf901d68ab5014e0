// --data and --split: token files as samples.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "io/indexed_dataset.hpp"
#include "jobs/session/options.hpp"
#include "src/comm/communicator.hpp"
#include "src/core/log.hpp"
#include "src/data/samples.hpp"
#include "src/data/split.hpp"

namespace espalier::jobs {

/// --split, of jobs that take samples.
void declare_split(Options& options, std::string& split);

/// Collective: each rank looks at a part of the tokens. One prefix, or weight-prefix pairs, one pair being a
/// blend of one. Throws UserError for anything else, for files that do not open, and for a token outside the
/// vocabulary.
std::vector<data::Source> open_data(const comm::Communicator& world, const std::vector<std::string>& words,
                                    int64_t vocab);

/// Collective. What makes training data others: a hash over the files' indexes, sizes and weights, and over
/// the share of their documents that trains, where it is not all.
std::string data_fingerprint(const comm::Communicator& world, const std::vector<std::string>& data,
                             const data::Split& split);
/// Collective. The same with the tokens of the first samples: of files by their content, not by their names.
std::string data_identity(const comm::Communicator& world, const std::vector<std::string>& data,
                          const data::Split& split, const data::Samples& samples);

/// Says how often samples go through the source that they repeat most, where that is more than once.
void tell_epochs(const Log& log, const data::Samples& samples);

/// Tokens of all documents in order, as one stream.
class TokenStream {
public:
    explicit TokenStream(std::shared_ptr<const data::Documents> documents);
    int64_t tokens() const { return tokens_; }
    void read(int64_t begin, std::span<int32_t> out) const;

private:
    std::shared_ptr<const data::Documents> documents_;
    std::vector<int64_t> starts_;
    int64_t tokens_ = 0;
};

enum class End { first, last };
/// At most so many tokens from either end of a token file. Throws UserError for files that do not open, and
/// where one of these tokens is outside the vocabulary.
std::vector<int32_t> read_tokens(const std::string& prefix, int64_t vocab, End end, int64_t most);

}  // namespace espalier::jobs
