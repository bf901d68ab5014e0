#include "jobs/data/tokens.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "io/collective.hpp"
#include "io/sha256.hpp"
#include "src/core/error.hpp"
#include "src/core/parse_number.hpp"

namespace espalier::jobs {
namespace {

std::shared_ptr<const io::IndexedDataset> open(const comm::Communicator& world, const std::string& prefix,
                                               int64_t vocab) {
    std::shared_ptr<const io::IndexedDataset> dataset;
    io::on_all(world.handle(), [&] {
        dataset = std::make_shared<io::IndexedDataset>(prefix);
        dataset->check_ids(vocab, split_evenly(dataset->tokens(), world.size(), world.rank()));
    });
    return dataset;
}

}  // namespace

void declare_split(Options& options, std::string& split) {
    options.add(
        "split", split,
        "A,B,C: shares of the documents of each file of --data that train, are held out, and are left "
        "for tests, as in Megatron-LM; empty: all train");
}

std::vector<data::Source> open_data(const comm::Communicator& world, const std::vector<std::string>& words,
                                    int64_t vocab) {
    ESPALIER_REQUIRE(!words.empty(), "--data is empty; give a PREFIX, or WEIGHT PREFIX pairs");
    if (words.size() == 1) return {{open(world, words[0], vocab), std::nullopt, words[0]}};
    ESPALIER_REQUIRE(words.size() % 2 == 0, "--data takes one PREFIX, or pairs WEIGHT PREFIX; got {} words",
                     words.size());
    std::vector<data::Source> out;
    for (size_t i = 0; i < words.size(); i += 2) {
        const auto weight = parse_number(words[i]);
        ESPALIER_REQUIRE(weight && std::isfinite(*weight) && *weight > 0,
                         "--data: \"{}\" stands where a weight > 0 is expected", words[i]);
        out.push_back({open(world, words[i + 1], vocab), *weight, words[i + 1]});
    }
    return out;
}

std::string data_fingerprint(const comm::Communicator& world, const std::vector<std::string>& data,
                             const data::Split& split) {
    return io::on_root(world.handle(), [&] {
        io::Sha256 hash;
        for (size_t i = 0; i < data.size(); ++i) {
            const bool is_weight = data.size() > 1 && i % 2 == 0;
            if (is_weight) {
                hash.update(data[i] + "\n");
            } else {
                hash.update(io::sha256_of_file(data[i] + ".idx"));
                hash.update(fmt::format(" {}\n", std::filesystem::file_size(data[i] + ".bin")));
            }
        }
        const double share = split.share(data::Part::train);
        if (share < 1) hash.update(fmt::format("train {}\n", share));
        return hash.hex();
    });
}

std::string data_identity(const comm::Communicator& world, const std::vector<std::string>& data,
                          const data::Split& split, const data::Samples& samples) {
    constexpr int64_t looked_at = 64;
    const std::string files = data_fingerprint(world, data, split);
    return io::on_root(world.handle(), [&] {
        io::Sha256 hash;
        hash.update(files);
        std::vector<int32_t> ids(static_cast<size_t>(samples.seq_len() + 1));
        for (int64_t i = 0; i < std::min(looked_at, samples.count()); ++i) {
            samples.read(i, ids);
            hash.update({reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof ids[0]});
        }
        return hash.hex();
    });
}

void tell_epochs(const Log& log, const data::Samples& samples) {
    const auto most = samples.most_used(samples.count());
    if (most.epochs > 1)
        log.info("{} samples are {:.1f} epochs of {}", most.samples, most.epochs, most.source);
}

TokenStream::TokenStream(std::shared_ptr<const data::Documents> documents)
    : documents_(std::move(documents)) {
    for (int64_t d = 0; d < documents_->count(); ++d) {
        starts_.push_back(tokens_);
        tokens_ += documents_->length(d);
    }
}

void TokenStream::read(int64_t begin, std::span<int32_t> out) const {
    auto document = std::upper_bound(starts_.begin(), starts_.end(), begin) - starts_.begin() - 1;
    for (size_t done = 0; done < out.size(); ++document) {
        const int64_t offset = begin + static_cast<int64_t>(done) - starts_.at(static_cast<size_t>(document));
        const int64_t take =
            std::min(documents_->length(document) - offset, static_cast<int64_t>(out.size() - done));
        if (take <= 0) continue;
        documents_->read(document, offset, out.subspan(done, static_cast<size_t>(take)));
        done += static_cast<size_t>(take);
    }
}

std::vector<int32_t> read_tokens(const std::string& prefix, int64_t vocab, End end, int64_t most) {
    const auto dataset = std::make_shared<io::IndexedDataset>(prefix);
    const int64_t count = std::min(most, dataset->tokens()),
                  begin = end == End::first ? 0 : dataset->tokens() - count;
    dataset->check_ids(vocab, {begin, begin + count});
    std::vector<int32_t> ids(static_cast<size_t>(count));
    TokenStream(dataset).read(begin, ids);
    return ids;
}

}  // namespace espalier::jobs
