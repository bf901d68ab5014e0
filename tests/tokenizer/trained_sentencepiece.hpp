// A SentencePiece model trained on the spot.
#pragma once

#include <string>

namespace espalier::test {

/// The bytes of a BPE model of about 300 pieces, with byte fallback and, as ids 0 to 3, <unk>, <s>, </s>,
/// <pad>. `options` of spm_train are added.
std::string trained_sentencepiece(const std::string& options = "");

}  // namespace espalier::test
