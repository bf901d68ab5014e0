// A teacher's distributions on disk, sample by sample: DIR/teacher.h5. Keyed by sample, so that any layout
// can use what any other wrote; docs/formats.md describes it.
#pragma once

#include <memory>

#include "io/temporary.hpp"
#include "io/tensor_file.hpp"
#include "jobs/data/tokens.hpp"
#include "jobs/session/output_lock.hpp"
#include "jobs/session/session.hpp"
#include "src/data/samples.hpp"
#include "src/distill/teacher.hpp"

namespace espalier::jobs {

constexpr const char* teacher_cache_format = "espalier-teacher-cache";

/// What a cache is of. A run may use it only where all of it is the run's own.
struct TeacherCacheKey {
    std::string teacher_sha256;
    std::string data;  ///< data_fingerprint
    int64_t vocab = 0, seq_len = 0, samples = 0, seed = 0;
    int64_t top_k = 0;          ///< 0: whole distributions
    double temperature = 1;     ///< of the top tokens' probabilities; whole ones serve any
    int64_t reset_at = -1;      ///< the token after which attention began anew; -1: it crossed documents
    std::string text_ids = {};  ///< text_ids_hash of the teacher's model, or, of a run, the student's
};

/// Collective; each rank reads a part. A hash of every sample's tokens and place.
std::string samples_hash(const Session& session, const data::Samples& samples);

class TeacherCacheWriter {
public:
    /// Collective; makes the folder, which goes again unless publish() comes. `samples`: those of the key,
    /// whose hash goes with them.
    TeacherCacheWriter(Session& session, const std::string& folder, const TeacherCacheKey& key,
                       const data::Samples& samples);

    /// The block of tokens [begin, begin + rows) of the samples from `first_sample` on, which lie one after
    /// another; called by the tensor parallel ranks of a last stage together. logits [rows, vocab of this
    /// rank] f32, ids from first_id on.
    void write(Context& ctx, const comm::Communicator& tensor, int64_t first_sample, int64_t begin,
               const Tensor& logits, int64_t first_id);
    /// Collective.
    void publish(const nlohmann::ordered_json& provenance);

private:
    TeacherCacheKey key_;
    std::unique_ptr<io::Temporary> made_;
    OutputLock lock_;
    io::TensorFileWriter writer_;
};

class TeacherCache {
public:
    /// Collective. Throws UserError naming the difference unless it was made of `wanted`; an empty
    /// teacher_sha256 is of any teacher, empty text_ids on either side of any tokenizer, and a top_k of 0 in
    /// the file serves any. Reads all of it once, each
    /// rank a part, against its checksums.
    TeacherCache(Session& session, const std::string& folder, const TeacherCacheKey& wanted);

    /// Collective. Throws UserError unless the cache was made of exactly these.
    void check_samples(const Session& session, const data::Samples& samples) const;

    const TeacherCacheKey& key() const { return key_; }
    /// The teacher for a micro-batch of samples from `first_sample` on; `vocabulary`: ids of this rank.
    distill::Teacher of(int64_t first_sample, Range vocabulary);

private:
    distill::TeacherBlock read(Context& ctx, int64_t first_token, int64_t rows, Range vocabulary);

    TeacherCacheKey key_;
    io::TensorFileReader reader_;
};

}  // namespace espalier::jobs
