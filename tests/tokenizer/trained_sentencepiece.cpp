#include "tests/tokenizer/trained_sentencepiece.hpp"

#include <sentencepiece_trainer.h>

#include <stdexcept>

namespace espalier::test {
namespace {

class Sentences : public sentencepiece::SentenceIterator {
public:
    bool done() const override { return left_ == 0; }
    void Next() override { --left_; }
    const std::string& value() const override { return text_; }
    sentencepiece::util::Status status() const override { return {}; }

private:
    int left_ = 50;
    std::string text_ = "the theory of the thing is that things tie in the end";
};

}  // namespace

std::string trained_sentencepiece(const std::string& options) {
    std::string proto;
    Sentences sentences;
    const auto status = sentencepiece::SentencePieceTrainer::Train(
        "--model_type=bpe --vocab_size=300 --byte_fallback=true --hard_vocab_limit=false --pad_id=3 "
        "--character_coverage=1.0 --minloglevel=2 " +
            options,
        &sentences, &proto);
    if (!status.ok()) throw std::runtime_error(status.ToString());
    return proto;
}

}  // namespace espalier::test
