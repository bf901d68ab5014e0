"""Ids of our tokenizer against Hugging Face's, for every family, on odd and random text.

    check_tokenizer.py ENCODE_LINES FOLDER [GGUF ...]

Trains small tokenizers of each family's make-up; a GGUF that is named is compared with what transformers
reads from it, directly and through the tokenizer.json that we write.
"""
import json
import os
import sys

import gguf
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

from comparison import CORPUS, TEXTS, compare, failures, finish, finish_gguf, folder, ours

os.makedirs(folder, exist_ok=True)

CASELESS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = CASELESS + r"\p{N}{1,3}" + REST
QWEN2 = CASELESS + r"\p{N}" + REST


def family(name, splits, normalizer=None, post="byte-level", **model):
    t = Tokenizer(models.BPE(**model))
    t.normalizer = normalizer
    t.pre_tokenizer = splits
    t.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=900, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
                                  special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    t.train_from_iterator(CORPUS, trainer)
    t.add_tokens([AddedToken("<strip>", lstrip=True, rstrip=True, normalized=False), AddedToken("<word>", single_word=True, normalized=False),
                  AddedToken("e\u0301<norm>", normalized=True), AddedToken("<norm>", normalized=True)])
    if post == "template":
        bos = t.token_to_id("<|im_start|>")
        eos = t.token_to_id("<|im_end|>")
        t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
            single="<|im_start|> $A <|im_end|>", pair="<|im_start|> $A <|im_start|> $B", special_tokens=[("<|im_start|>", bos), ("<|im_end|>", eos)])])
    else:
        t.post_processor = processors.ByteLevel(trim_offsets=False)
    where = os.path.join(folder, name)
    os.makedirs(os.path.join(where, "export"), exist_ok=True)
    path = os.path.join(where, "tokenizer.json")
    t.save(path)
    for special in ("add", "none"):
        want = [e.ids for e in t.encode_batch(TEXTS, add_special_tokens=special == "add")]
        got = ours(path, special, os.path.join(where, "export"))
        compare(f"{name}, special tokens {special}", got, want)
    if not normalizer and "add_prefix_space=True" not in repr(splits) and "Removed" not in repr(splits):
        for g, w in zip(got, TEXTS):
            if g["text"] != w and "<strip>" not in w:
                failures.append(f"{name}: decode")
                print(f"FAIL {name}: decode(encode({w[:60]!r})) = {g['text'][:60]!r}")
                break
    again = Tokenizer.from_file(os.path.join(where, "export", "tokenizer.json"))
    compare(f"{name}, our tokenizer.json in tokenizers", ours(path, "add"), [e.ids for e in again.encode_batch(TEXTS)])
    loaded = AutoTokenizer.from_pretrained(os.path.join(where, "export"))
    compare(f"{name}, our files in AutoTokenizer", ours(path, "add"), loaded(TEXTS)["input_ids"])
    return t


def regex(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


byte_level = pre_tokenizers.ByteLevel
llama3 = family("llama3", regex(LLAMA3), post="template", ignore_merges=True)
qwen2 = family("qwen2", regex(QWEN2), normalizer=normalizers.NFC())
gpt2 = family("gpt2", byte_level(add_prefix_space=False))
family("gpt2-prefix-space", byte_level(add_prefix_space=True))
family("nfkd", byte_level(add_prefix_space=False), normalizer=normalizers.Sequence([normalizers.NFD(), normalizers.NFKC()]))
family("smollm", pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level(add_prefix_space=False)]))
family("digits-together", pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=False), byte_level(add_prefix_space=False)]))
for behavior in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"):
    for invert in (False, True):
        family(f"split-{behavior}-{invert}", pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(r"[0-9]|\s|e*"), behavior, invert), pre_tokenizers.Split(".", behavior, invert),
            byte_level(add_prefix_space=False, use_regex=True)]))


def write_gguf(path, tokenizer, pre, **flags):
    tokens = [t for t, _ in sorted(tokenizer.get_vocab(with_added_tokens=False).items(), key=lambda item: item[1])]
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if i < 2 else 4 if i == 300 else 1 for i in range(len(tokens))])
    writer.add_token_merges([" ".join(m) for m in merges])
    finish_gguf(writer, flags)


def gguf_file(path, texts=TEXTS):
    where, file = os.path.split(path)
    theirs = AutoTokenizer.from_pretrained(where, gguf_file=file)
    want = theirs(texts)["input_ids"]
    export = os.path.join(folder, file + "-export")
    os.makedirs(export, exist_ok=True)
    compare(f"{file} in transformers", ours(path, "add", export, texts=texts), want, texts)
    compare(f"{file}, our tokenizer.json read again", ours(os.path.join(export, "tokenizer.json"), "add", texts=texts), want, texts)
    again = AutoTokenizer.from_pretrained(export)
    compare(f"{file}, our files in AutoTokenizer", ours(path, "add", texts=texts), again(texts)["input_ids"], texts)
    for name in ("bos_token_id", "eos_token_id", "unk_token_id", "pad_token_id", "chat_template"):
        if getattr(again, name) != getattr(theirs, name) and getattr(theirs, name) is not None:
            print(f"  {file}: {name} is {getattr(again, name)!r}, transformers has {getattr(theirs, name)!r}")
            if not (name == "unk_token_id" or name == "pad_token_id"):
                failures.append(f"{file}: {name}")


for pre, tokenizer, flags in (("llama-bpe", llama3, {"add_add_bos_token": True}), ("qwen2", qwen2, {}), ("gpt-2", gpt2, {"add_add_eos_token": True}),
                              ("smollm", gpt2, {}), ("default", gpt2, {}), ("tekken", llama3, {})):
    path = os.path.join(folder, f"{pre}.gguf")
    write_gguf(path, tokenizer, pre, **flags)
    gguf_file(path)
for path in sys.argv[3:]:
    gguf_file(path)

finish()
