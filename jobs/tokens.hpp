// --data: token files as samples.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "io/indexed_dataset.hpp"
#include "src/comm/communicator.hpp"
#include "src/data/samples.hpp"

namespace espalier::jobs {

/// Collective: each rank looks at a part of the tokens. One prefix, or weight-prefix pairs, one pair being a
/// blend of one. Throws UserError for anything else, for files that do not open, and for a token outside the
/// vocabulary.
std::vector<data::Source> open_data(const comm::Communicator& world, const std::vector<std::string>& words,
                                    int64_t vocab);

/// What makes token files others: a hash over the indexes, and over weights and sizes.
std::string data_fingerprint(const std::vector<std::string>& data);
/// Collective. The same with the tokens of the first samples: of files by their content, not by their names.
std::string data_identity(const comm::Communicator& world, const std::vector<std::string>& data,
                          const data::Samples& samples);

/// Tokens of all documents in order, as one stream.
class TokenStream {
public:
    explicit TokenStream(const std::string& prefix, int64_t vocab);
    int64_t tokens() const { return dataset_.tokens(); }
    void read(int64_t begin, std::span<int32_t> out) const;

private:
    io::IndexedDataset dataset_;
    std::vector<int64_t> starts_;
};

}  // namespace espalier::jobs
