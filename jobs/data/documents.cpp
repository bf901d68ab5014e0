#include "jobs/data/documents.hpp"

#include <algorithm>
#include <string>

#include "io/collective.hpp"
#include "jobs/files/tokenizer_files.hpp"
#include "src/core/error.hpp"

namespace espalier::jobs {
namespace {

/// Collective. One rank looks for all: what it alone cannot read must not make it another token there.
int64_t end_named_by(const Session& session, const ModelFile& model, const DocumentOptions& o) {
    const bool has_tokenizer = carries_tokenizer(model.reader());
    return std::stoll(io::on_root(session.world().handle(), [&] {
        std::string trouble;
        if (has_tokenizer) {
            try {
                if (const auto eos = open_tokenizer(model.path(), session.log()).eos())
                    return std::to_string(*eos);
            } catch (const UserError& e) {
                trouble = e.what();
            }
        }
        const auto& eos = model.architecture().conventions.eos;
        ESPALIER_REQUIRE(!eos.empty() || trouble.empty(),
                         "{}\n  or give --eod ID, the token that ends a document", trouble);
        ESPALIER_REQUIRE(!eos.empty(), "{}: {} does not say which token ends a document; give --eod ID",
                         o.reset_attention ? "--reset-attention" : "--mask-eod", model.path());
        return std::to_string(eos.front());
    }));
}

}  // namespace

void declare_reset_attention(Options& options, DocumentOptions& o) {
    options.add("reset-attention", o.reset_attention,
                "tokens see only their own document; --eod names what ends one");
    options.add(
        "eod", o.eod,
        "ID of the token that ends a document; -1: that of the model's tokenizer, or the model's own");
}

void declare_documents(Options& options, DocumentOptions& o) {
    declare_reset_attention(options, o);
    options.add("mask-eod", o.mask_eod, "predictions made at the end of a document do not count in the loss");
}

data::DocumentMasks document_masks(const Session& session, const DocumentOptions& o, const ModelFile& model) {
    if (!o.reset_attention && !o.mask_eod) {
        ESPALIER_REQUIRE(o.eod == -1, "--eod {}: nothing asks for documents; give --reset-attention{} too",
                         o.eod, session.options().contains("mask-eod") ? " or --mask-eod" : "");
        return {};
    }
    const int64_t eod = o.eod == -1 ? end_named_by(session, model, o) : o.eod,
                  vocab = model.architecture().vocab;
    ESPALIER_REQUIRE(eod >= 0 && eod < vocab, "--eod {}: {} has {} tokens; choose an ID of 0 to {}", eod,
                     model.path(), vocab, vocab - 1);
    session.log().info("documents end with token {}", eod);
    return {narrow<int32_t>(eod), o.reset_attention, o.mask_eod};
}

train::MicroBatch read_micro_batch(Context& ctx, const data::Samples& samples,
                                   const data::DocumentMasks& masks, int64_t first, int64_t count) {
    const int64_t seq = samples.seq_len();
    std::vector<int32_t> ids, labels, sample(static_cast<size_t>(seq + 1));
    for (int64_t i = 0; i < count; ++i) {
        samples.read(first + i, sample);
        ids.insert(ids.end(), sample.begin(), sample.end() - 1);
        labels.insert(labels.end(), sample.begin() + 1, sample.end());
    }
    train::MicroBatch out;
    out.tokens = model::make_batch(ctx, ids, count, seq);
    if (masks.attention)
        out.tokens.starts = model::ids_tensor(ctx, data::document_starts(ids, seq, masks.eod));
    if (masks.loss) data::mask_ends(ids, masks.eod, labels);
    out.labels = model::ids_tensor(ctx, labels);
    out.first_sample = first;
    out.scored = std::count_if(labels.begin(), labels.end(), [](int32_t label) { return label >= 0; });
    return out;
}

}  // namespace espalier::jobs
