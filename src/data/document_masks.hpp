// What the token that ends a document does to samples that hold several, as Megatron-LM has it
// (_get_ltor_masks_and_position_ids in megatron/core/datasets/gpt_dataset.py): it belongs to the document
// that it ends.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace espalier::data {

struct DocumentMasks {
    int32_t eod = -1;        ///< that token
    bool attention = false;  ///< a token sees its own document alone (reset_attention_mask)
    bool loss = false;       ///< what follows an eod is not to be predicted from it (eod_mask_loss)
};

/// For each token of sequences of `seq`, one after another: where its document starts in its sequence.
std::vector<int32_t> document_starts(std::span<const int32_t> ids, int64_t seq, int32_t eod);

/// labels = -1 where the input is eod; both [tokens].
void mask_ends(std::span<const int32_t> ids, int32_t eod, std::span<int32_t> labels);

}  // namespace espalier::data
