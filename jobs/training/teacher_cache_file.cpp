#include "jobs/training/teacher_cache_file.hpp"

#include <cmath>
#include <filesystem>

#include "io/collective.hpp"
#include "io/publish.hpp"
#include "io/sha256.hpp"
#include "jobs/files/model_file.hpp"
#include "src/core/error.hpp"
#include "src/core/random.hpp"
#include "src/model/logits.hpp"

namespace espalier::jobs {
namespace {

// Log-probabilities in 16 bits, off by at most 2.5e-4 down to -16 (a bf16 of -8 would be off by 3e-2) and by
// 2e-3 from there to -144: likely enough under a high temperature, and together many. Their dataset is one of
// 16-bit elements, which in our files is called bf16.
constexpr int64_t format_version = 3, oldest_version = 2;  // 2 has no log_p_tail
constexpr float fine_steps = 2048, coarse_steps = 256;     // of a nat
constexpr float coarse_from = 16, first_coarse = coarse_from * fine_steps, most_steps = 65535;

uint16_t encoded(float log_p) {
    const float nats = std::max(-log_p, 0.0f);
    const float steps =
        nats < coarse_from ? nats * fine_steps : first_coarse + (nats - coarse_from) * coarse_steps;
    return static_cast<uint16_t>(std::min(steps + 0.5f, most_steps));
}

float decoded(uint16_t code) {
    const auto steps = static_cast<float>(code);
    return steps < first_coarse ? -steps / fine_steps : -coarse_from - (steps - first_coarse) / coarse_steps;
}

std::string file_of(const std::string& folder) {
    return folder + "/teacher.h5";
}

std::vector<io::TensorSpec> specs(const TeacherCacheKey& key) {
    const int64_t tokens = key.samples * key.seq_len;
    if (key.top_k == 0) return {{"log_p_steps", {tokens, key.vocab}, DType::bf16, {"token", "vocab"}}};
    return {{"ids", {tokens, key.top_k}, DType::i32, {"token", "rank"}},
            {"log_p", {tokens, key.top_k}, DType::f32, {"token", "rank"}},
            {"log_p_tail", {tokens}, DType::f32, {"token"}}};
}

/// Of a cache without log_p_tail, as well as the K tokens tell: what is less than rounding leaves of 1 less
/// their sum counts as 1e-7.
float tail_of_rest(const float* log_p, int64_t k) {
    constexpr double least = 1e-7;
    double tail = 1;
    for (int64_t b = 0; b < k; ++b) tail -= std::exp(double{log_p[b]});
    return static_cast<float>(std::log(std::max(tail, least)));
}

/// Collective. Makes the folder, which goes again with the result; nothing where it is there already.
std::unique_ptr<io::Temporary> make_cache_folder(const Session& session, const std::string& folder) {
    std::unique_ptr<io::Temporary> made;
    io::on_root(session.world().handle(), [&] {
        if (std::filesystem::is_directory(folder)) return std::string();
        io::check_output(folder, io::Existing::keep, io::Output::folder);
        made = std::make_unique<io::Temporary>(folder);
        io::make_folder(folder);
        return std::string();
    });
    return made;
}

TeacherCacheKey read_key(const io::TensorFileReader& reader) {
    return {reader.text("teacher_sha256"),
            reader.text("data"),
            reader.integer("vocab"),
            reader.integer("seq_len"),
            reader.integer("samples"),
            reader.integer("seed"),
            reader.integer("top_k"),
            reader.number("temperature"),
            reader.has_attribute("reset_at") ? reader.integer("reset_at") : -1,
            reader.has_attribute("text_ids") ? reader.text("text_ids") : ""};
}

}  // namespace

std::string samples_hash(const Session& session, const data::Samples& samples) {
    const auto& world = session.world();
    const Range mine = split_evenly(samples.count(), world.size(), world.rank());
    std::vector<int32_t> ids(static_cast<size_t>(samples.seq_len() + 1));
    int64_t low = 0, high = 0;  // sums of halves of 64 bits: ranks join them in any order
    for (int64_t i = mine.begin; i < mine.end; ++i) {
        samples.read(i, ids);
        auto hash = static_cast<uint64_t>(i);
        for (const int32_t id : ids) hash = mix64(hash ^ static_cast<uint64_t>(id));
        low += static_cast<int64_t>(hash & 0xffffffffU);
        high += static_cast<int64_t>(hash >> 32);
    }
    return fmt::format("{:x}-{:x}", world.all_reduce(high, comm::Reduction::sum),
                       world.all_reduce(low, comm::Reduction::sum));
}

TeacherCacheWriter::TeacherCacheWriter(Session& session, const std::string& folder,
                                       const TeacherCacheKey& key, const data::Samples& samples)
    : key_(key),
      made_(make_cache_folder(session, folder)),
      lock_(session, file_of(folder)),
      writer_(file_of(folder), session.world().handle(), specs(key), session.common().existing()) {
    writer_.attribute("format", teacher_cache_format);
    writer_.attribute("format_version", format_version);
    writer_.attribute("teacher_sha256", key.teacher_sha256);
    writer_.attribute("data", key.data);
    writer_.attribute("vocab", key.vocab);
    writer_.attribute("seq_len", key.seq_len);
    writer_.attribute("samples", key.samples);
    writer_.attribute("seed", key.seed);
    writer_.attribute("top_k", key.top_k);
    writer_.attribute("temperature", key.temperature);
    writer_.attribute("reset_at", key.reset_at);
    if (!key.text_ids.empty()) writer_.attribute("text_ids", key.text_ids);
    writer_.attribute("samples_hash", samples_hash(session, samples));
}

void TeacherCacheWriter::write(Context& ctx, const comm::Communicator& tensor, int64_t first_sample,
                               int64_t begin, const Tensor& logits, int64_t first_id) {
    const int64_t rows = logits.dim(0), width = logits.dim(1);
    const int64_t first_token = first_sample * key_.seq_len + begin;
    const auto tau = static_cast<float>(key_.top_k == 0 ? 1.0 : key_.temperature);
    const Tensor lse = ctx.to_host(model::log_sum_exp(ctx, tensor, logits, tau));
    for (const float value : lse.span<float>()) {
        ESPALIER_REQUIRE(std::isfinite(value),
                         "the teacher's logits for sample {} are not numbers; are its weights damaged?",
                         first_sample + begin / key_.seq_len);
    }
    if (key_.top_k == 0) {
        const Tensor on_host = ctx.to_host(logits), codes = ctx.empty_on_host({rows, width}, DType::bf16);
#pragma omp parallel for num_threads(ctx.threads())
        for (int64_t i = 0; i < rows; ++i) {
            const float* const z = on_host.data<float>() + i * width;
            bfloat16* const out = codes.data<bfloat16>() + i * width;
            for (int64_t j = 0; j < width; ++j) out[j].bits = encoded(z[j] - lse.data<float>()[i]);
        }
        writer_.write("log_p_steps", {{first_token, first_id}, {rows, width}}, codes);
        return;
    }
    model::LogitParts whole([&](Context&, Range) { return logits; }, {first_id, first_id + width}, 1,
                            model::HeadBlocks::Storage::kept);
    const auto top = distill::top_tokens(ctx, tensor, whole, rows, key_.top_k, tau);
    if (tensor.rank() != 0) return;  // all have the same
    const Tensor values = ctx.to_host(top.top_values), tail = ctx.to_host(top.tail),
                 log_p = ctx.empty_on_host(values.shape(), DType::f32),
                 log_p_tail = ctx.empty_on_host(tail.shape(), DType::f32);
    for (int64_t i = 0; i < log_p.size(); ++i) {
        log_p.data<float>()[i] = values.data<float>()[i] / tau - lse.data<float>()[i / key_.top_k];
    }
    for (int64_t i = 0; i < rows; ++i) {
        log_p_tail.data<float>()[i] = tail.data<float>()[i] - lse.data<float>()[i];
    }
    const Box box{{first_token, 0}, {rows, key_.top_k}};
    writer_.write("ids", box, ctx.to_host(top.top_ids));
    writer_.write("log_p", box, log_p);
    writer_.write("log_p_tail", {{first_token}, {rows}}, log_p_tail);
}

void TeacherCacheWriter::publish(const nlohmann::ordered_json& provenance) {
    writer_.attribute("provenance", provenance.dump());
    writer_.publish();
    if (made_) made_->keep();
}

TeacherCache::TeacherCache(Session& session, const std::string& folder, const TeacherCacheKey& wanted)
    : reader_(file_of(folder), session.world().handle(), teacher_cache_format) {
    const auto version = reader_.integer("format_version");
    ESPALIER_REQUIRE(
        version >= oldest_version && version <= format_version,
        "{}: was made by another version of espalier; make it anew with `espalier teacher-cache`",
        file_of(folder));
    key_ = read_key(reader_);
    const auto same = [&](const auto& cached, const auto& ours, const char* what,
                          const std::string& way_out = "") {
        ESPALIER_REQUIRE(cached == ours,
                         "{}: its {} is {}, this run's is {}; {}make a cache for this run with `espalier "
                         "teacher-cache`",
                         file_of(folder), what, cached, ours, way_out);
    };
    if (!wanted.teacher_sha256.empty())
        same(key_.teacher_sha256, wanted.teacher_sha256, "teacher (by content hash)");
    same(key_.vocab, wanted.vocab, "vocabulary");
    ESPALIER_REQUIRE(
        key_.text_ids.empty() || wanted.text_ids.empty() || key_.text_ids == wanted.text_ids,
        "{}: its teacher's tokenizer and the student's give other ids to the same tokens; make a cache of a "
        "teacher that has the student's",
        file_of(folder));
    same(key_.data, wanted.data, "data (by hash)");
    same(key_.seq_len, wanted.seq_len, "--seq-len");
    same(key_.seed, wanted.seed, "--seed");
    same(key_.samples, wanted.samples, "number of samples, on which their order depends,");
    same(key_.reset_at, wanted.reset_at,
         "end of documents for --reset-attention (--eod; -1: attention crosses documents)");
    if (key_.top_k != 0) {
        same(key_.top_k, wanted.top_k, "--top-k", fmt::format("give --top-k {}, or ", key_.top_k));
        same(key_.temperature, wanted.temperature, "--temperature",
             fmt::format("give --temperature {}, or ", key_.temperature));
    }
    reader_.verify_all();
}

void TeacherCache::check_samples(const Session& session, const data::Samples& samples) const {
    ESPALIER_REQUIRE(reader_.text("samples_hash") == samples_hash(session, samples),
                     "{}: it was made of other samples than this run's; make a cache for this run with "
                     "`espalier teacher-cache`",
                     reader_.path());
}

distill::Teacher TeacherCache::of(int64_t first_sample, Range vocabulary) {
    return [this, first_token = first_sample * key_.seq_len, vocabulary](Context& ctx, int64_t begin,
                                                                         int64_t rows) {
        return read(ctx, first_token + begin, rows, vocabulary);
    };
}

distill::TeacherBlock TeacherCache::read(Context& ctx, int64_t first_token, int64_t rows, Range vocabulary) {
    distill::TeacherBlock out;
    if (key_.top_k > 0) {
        const Box box{{first_token, 0}, {rows, key_.top_k}};
        Tensor ids = ctx.empty_on_host(box.count, DType::i32),
               log_p = ctx.empty_on_host(box.count, DType::f32), tail = ctx.empty_on_host({rows}, DType::f32);
        reader_.read("ids", box, ids);
        reader_.read("log_p", box, log_p);
        if (reader_.find("log_p_tail")) {
            reader_.read("log_p_tail", {{first_token}, {rows}}, tail);
        } else {
            for (int64_t i = 0; i < rows; ++i)
                tail.data<float>()[i] = tail_of_rest(log_p.data<float>() + i * key_.top_k, key_.top_k);
        }
        for (float& v : log_p.span<float>()) v *= static_cast<float>(key_.temperature);
        out.top_ids = ctx.to_device(ids);
        out.top_values = ctx.to_device(log_p);
        out.tail = ctx.to_device(tail);
        return out;
    }
    const Box box{{first_token, vocabulary.begin}, {rows, vocabulary.size()}};
    Tensor codes = ctx.empty_on_host(box.count, DType::bf16);
    reader_.read("log_p_steps", box, codes);
    out.logits = [codes](Context& c, Range columns) {
        const int64_t width = codes.dim(1), count = columns.size();
        const Tensor log_p = c.empty_on_host({codes.dim(0), count}, DType::f32);
#pragma omp parallel for num_threads(c.threads())
        for (int64_t i = 0; i < codes.dim(0); ++i) {
            const bfloat16* const code = codes.data<bfloat16>() + i * width + columns.begin;
            float* const z = log_p.data<float>() + i * count;
            for (int64_t j = 0; j < count; ++j) z[j] = decoded(code[j].bits);
        }
        return c.to_device(log_p);
    };
    return out;
}

}  // namespace espalier::jobs
