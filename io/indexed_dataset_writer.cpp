#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <vector>

#include "io/descriptor.hpp"
#include "io/indexed_dataset.hpp"
#include "io/indexed_dataset_format.hpp"
#include "io/positioned.hpp"
#include "io/publish.hpp"
#include "io/system_error.hpp"
#include "io/temporary.hpp"
#include "src/core/error.hpp"

namespace espalier::io {
namespace {

using namespace megatron;

constexpr size_t buffer_bytes = size_t{4} << 20;

/// Bytes on their way to the end of a file, which is there once it is published.
class Stream {
public:
    explicit Stream(std::string path) : partial_(std::move(path)), file_(make(partial_.path())) {
        buffer_.reserve(buffer_bytes);
    }

    template <class T>
    void put(T value) {
        if (buffer_.size() + sizeof value > buffer_bytes) flush();
        const auto* bytes = reinterpret_cast<const std::byte*>(&value);
        buffer_.insert(buffer_.end(), bytes, bytes + sizeof value);
    }
    void flush() {
        write_at(file_.get(), written_, buffer_, partial_.path());
        written_ += std::ssize(buffer_);
        buffer_.clear();
    }
    /// All is on the disk: what can fail, does so before anything else goes.
    void sync() {
        flush();
        if (::fsync(file_.get()) != 0)
            fail_of_system("cannot bring " + partial_.path() + " to the disk", errno);
    }
    void publish_as(const std::string& path) { partial_.publish_as(path); }

private:
    static Descriptor make(const std::string& path) {
        ::unlink(path.c_str());  // what a killed job left may be another user's
        Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
        if (!file) fail_of_system("cannot write " + path, errno);
        return file;
    }

    Temporary partial_;
    Descriptor file_;
    std::vector<std::byte> buffer_;
    int64_t written_ = 0;
};

/// An old pair of files makes way for a new one under other names, its index first and the new one's last: at
/// any moment a reader finds the old pair, none, or the new one.
class OldPair {
public:
    explicit OldPair(const std::string& prefix)
        : index_(prefix + ".idx"),
          tokens_(prefix + ".bin"),
          aside_{index_ + ".replaced", tokens_ + ".replaced"} {}

    /// Both, or, where this throws, none.
    void set_aside() const {
        move(index_, aside_.index);
        try {
            move(tokens_, aside_.tokens);
        } catch (...) {
            move(aside_.index, index_);
            throw;
        }
    }
    /// Back to one pair, of what failed or was killed in between: the new one where it is whole.
    void settle() const {
        if (std::filesystem::exists(aside_.index) && !std::filesystem::exists(index_)) {
            move(aside_.tokens, tokens_);
            move(aside_.index, index_);
        }
        remove();
    }
    void remove() const {
        ::unlink(aside_.index.c_str());
        ::unlink(aside_.tokens.c_str());
    }

private:
    /// A file that is not there stays away.
    static void move(const std::string& from, const std::string& to) {
        if (::rename(from.c_str(), to.c_str()) != 0 && errno != ENOENT)
            fail_of_system("cannot rename " + from + " to " + to, errno);
    }

    std::string index_, tokens_;
    struct {
        std::string index, tokens;
    } aside_;
};

}  // namespace

struct IndexedDatasetWriter::State {
    State(const std::string& p, int64_t v) : prefix(p), vocab(v), tokens_file(p + ".bin.partial") {}

    std::string prefix;
    int64_t vocab;
    Stream tokens_file;
    std::vector<int32_t> lengths;
    int64_t tokens = 0;
};

IndexedDatasetWriter::IndexedDatasetWriter(const std::string& prefix, int64_t vocab, Existing existing) {
    OldPair(prefix).settle();  // of a run that was killed
    // Of the two, .idx appears last: a .bin without it, beside the part of one, is what a killed run left.
    const bool half =
        !std::filesystem::exists(prefix + ".idx") && std::filesystem::exists(prefix + ".idx.partial");
    check_output(prefix + ".bin", half ? Existing::replace : existing);
    check_output(prefix + ".idx", existing);
    state_ = std::make_unique<State>(prefix, vocab);
}

IndexedDatasetWriter::~IndexedDatasetWriter() = default;

void IndexedDatasetWriter::add(std::span<const int32_t> document) {
    State& s = *state_;
    ESPALIER_REQUIRE(document.size() <= size_t{std::numeric_limits<int32_t>::max()},
                     "document {} of {} has {} tokens, more than Megatron-LM's index can hold; split it",
                     s.lengths.size(), s.prefix, document.size());
    const bool narrow = narrowest_for(s.vocab) == TokenType::u16;
    for (const int32_t token : document) {
        if (token < 0 || token >= s.vocab) {
            throw InternalError(fmt::format("token {} outside the vocabulary of {}", token, s.vocab));
        }
        if (narrow)
            s.tokens_file.put(static_cast<uint16_t>(token));
        else
            s.tokens_file.put(token);
    }
    s.lengths.push_back(static_cast<int32_t>(document.size()));
    s.tokens += std::ssize(document);
}

void IndexedDatasetWriter::finish() {
    State& s = *state_;
    const TokenType type = narrowest_for(s.vocab);
    const int64_t token_size = type == TokenType::u16 ? 2 : 4;

    Stream index(s.prefix + ".idx.partial");
    for (const char c : magic) index.put(c);
    index.put(uint64_t{1});
    index.put(type);
    index.put(uint64_t{s.lengths.size()});
    index.put(uint64_t{s.lengths.size()} + 1);
    for (const int32_t length : s.lengths) index.put(length);
    int64_t pointer = 0;
    for (const int32_t length : s.lengths) {
        index.put(pointer);
        pointer += length * token_size;
    }
    for (int64_t document = 0; document <= std::ssize(s.lengths); ++document) index.put(document);
    s.tokens_file.sync();
    index.sync();

    const auto together = hold_off_removal();
    const OldPair old(s.prefix);
    old.set_aside();
    try {
        s.tokens_file.publish_as(s.prefix + ".bin");
        index.publish_as(s.prefix + ".idx");
    } catch (...) {
        // Tokens alone would be in the way of the next run.
        if (!std::filesystem::exists(s.prefix + ".idx")) ::unlink((s.prefix + ".bin").c_str());
        old.settle();
        throw;
    }
    old.remove();
}

int64_t IndexedDatasetWriter::documents() const {
    return std::ssize(state_->lengths);
}
int64_t IndexedDatasetWriter::tokens() const {
    return state_->tokens;
}

}  // namespace espalier::io
