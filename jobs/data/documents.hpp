// Samples that hold several documents: what the user wants of them, and micro-batches made accordingly.
#pragma once

#include "jobs/files/model_file.hpp"
#include "jobs/session/options.hpp"
#include "src/data/document_masks.hpp"
#include "src/data/samples.hpp"
#include "src/train/pipeline.hpp"

namespace espalier::jobs {

struct DocumentOptions {
    bool reset_attention = false, mask_eod = false;
    int64_t eod = -1;  ///< -1: the model's
};

/// --reset-attention and --eod; --mask-eod too, where there is a loss.
void declare_reset_attention(Options& options, DocumentOptions& o);
void declare_documents(Options& options, DocumentOptions& o);

/// Collective. Where no --eod is given, the token that `tokenize --append-eod` takes from the tokenizer
/// inside the model, else, also where that cannot be read, the end token of the model's architecture. Throws
/// UserError where there is neither.
data::DocumentMasks document_masks(const Session& session, const DocumentOptions& o, const ModelFile& model);

/// Samples [first, first + count) as one micro-batch.
train::MicroBatch read_micro_batch(Context& ctx, const data::Samples& samples,
                                   const data::DocumentMasks& masks, int64_t first, int64_t count);

}  // namespace espalier::jobs
