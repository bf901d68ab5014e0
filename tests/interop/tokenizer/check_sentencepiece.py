"""Ids and decoded text of our tokenizer against Hugging Face's, for vocabularies of the SentencePiece kind.

    check_sentencepiece.py ENCODE_LINES FOLDER

Trains small tokenizers of characters with bytes for the rest, and gives them the normalisers, pre-tokenizers and
decoders with which Llama, Mistral, TinyLlama and Gemma folders come; then as GGUF files, and as the tokenizer.model that
we make of those, in folders with added tokens.
"""
import json
import os

import gguf
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, LlamaTokenizer
from transformers.tokenization_utils_base import generate_merges

from comparison import CORPUS, TEXTS, compare, failures, finish, finish_gguf, folder, ours

MARK = "\u2581"
SPECIAL = ["<unk>", "<s>", "</s>"]
BYTES = [f"<0x{b:02X}>" for b in range(256)]
TEXTS += [
    " leading", "  two leading", "trailing ", "trailing  ", f"{MARK}marked {MARK} in {MARK}{MARK}text{MARK}", f" {MARK}", f"{MARK} ",
    "a" * 40, "=" * 33 + " " * 33 + "=", "the  theory   of    things", "<0x41><0x0A>\n<0xE2><0x96>", "<s>", "</s></s>", " <s> the </s> ",
    "<unk>x <unk> y<unk>", "the<word>thing <word> <strip>  the  <strip>", "pre<mid>fix <mid> <mid>s", "東京\u3000の😀😀 é\u00a0\u2009x", "\x00\x01\t\r\n\x7f",
    f"<s>{MARK}the", "<s> the", f"{MARK}</s>", "\u0301 alone", "the\nthe\n\n the\t the", "<|im_end|>the", "<|im_end|> the<|im_end|>\n",
]


def trained(cross_words=False, size=1500, missing=()):
    t = Tokenizer(models.BPE(byte_fallback=True))
    t.normalizer = normalizers.Replace(" ", MARK)
    if not cross_words:
        t.pre_tokenizer = pre_tokenizers.Metaspace()
    tokens = SPECIAL + [b for b in BYTES if b not in missing]
    trainer = trainers.BpeTrainer(vocab_size=size, limit_alphabet=250, show_progress=False, special_tokens=tokens, max_token_length=12)
    t.train_from_iterator(CORPUS, trainer)
    return json.loads(t.to_str())["model"]


WORDS, CROSSING, FEW_BYTES = trained(), trained(cross_words=True), trained(missing=BYTES[0x80:0xA0])
STRIPPED = decoders.Sequence([decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
UNSTRIPPED = decoders.Sequence([decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse()])
LEGACY = normalizers.Sequence([normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)])


def metaspace(scheme, split=True):
    return pre_tokenizers.Metaspace(replacement=MARK, prepend_scheme=scheme, split=split)


def added_tokens(tokenizer, normalized):
    tokenizer.add_special_tokens([AddedToken(t, normalized=normalized, special=True) for t in SPECIAL])
    tokenizer.add_tokens([AddedToken("<strip>", lstrip=True, rstrip=True, normalized=False), AddedToken("<word>", single_word=True, normalized=False),
                          AddedToken("<mid>", normalized=True), AddedToken("the theory", normalized=True), AddedToken("<|im_end|>", special=True)])


def describe(wanted, got, text):
    return f"\n  {text[:60]!r}\n    ours   {got[:80]!r}\n    theirs {wanted[:80]!r}"


def compare_decoded(name, decode_batch, got, kinds=(("text", False), ("plain", True))):
    for key, skip in kinds:
        want = decode_batch([g["ids"] for g in got], skip_special_tokens=skip)
        wrong = [describe(w, g[key], t) for w, g, t in zip(want, got, TEXTS) if w != g[key]]
        if wrong:
            failures.append(f"{name}: {key}")
            print(f"FAIL {name}: decoded {key}", *wrong[:3])


def family(name, model=WORDS, normalizer=None, pre_tokenizer=None, decoder=STRIPPED, normalized_specials=False, older_merges=False, **options):
    options = {"byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>", **options}
    merges = [tuple(merge) for merge in model["merges"]]
    t = Tokenizer(models.BPE(vocab=model["vocab"], merges=merges, **options))
    t.normalizer, t.decoder = normalizer, decoder
    if pre_tokenizer:
        t.pre_tokenizer = pre_tokenizer
    added_tokens(t, normalized_specials)
    t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", t.token_to_id("<s>"))])
    where = os.path.join(folder, name)
    export = os.path.join(where, "export")
    os.makedirs(export, exist_ok=True)
    path = os.path.join(where, "tokenizer.json")
    t.save(path)
    if older_merges:
        document = json.load(open(path))
        document["model"]["merges"] = [" ".join(merge) for merge in merges]
        json.dump(document, open(path, "w"))
    for special in ("add", "none"):
        got = ours(path, special, export, texts=TEXTS)
        compare(f"{name}, special tokens {special}", got, [e.ids for e in t.encode_batch(TEXTS, add_special_tokens=special == "add")])
        # Of special tokens that its normaliser respells, `tokenizers` leaves none out when it is asked to.
        compare_decoded(name, t.decode_batch, got, [("text", False)] + ([] if normalized_specials else [("plain", True)]))
    again = Tokenizer.from_file(os.path.join(export, "tokenizer.json"))
    compare(f"{name}, our tokenizer.json in tokenizers", got, [e.ids for e in again.encode_batch(TEXTS, add_special_tokens=False)])


family("llama-2", normalizer=LEGACY)
family("llama-2-normalized-specials", normalizer=LEGACY, normalized_specials=True, older_merges=True)
family("mistral", pre_tokenizer=metaspace("first", split=False))
family("gemma", normalizer=normalizers.Replace(" ", MARK), pre_tokenizer=pre_tokenizers.Split(" ", "merged_with_previous"), decoder=UNSTRIPPED)
family("crossing-words", CROSSING, normalizer=LEGACY)
family("crossing-words-first", CROSSING, pre_tokenizer=metaspace("first", split=False), normalized_specials=True)
family("crossing-words-split", CROSSING, pre_tokenizer=metaspace("always"))
for scheme in ("first", "always", "never"):
    for split in (True, False):
        family(f"metaspace-{scheme}-{split}", pre_tokenizer=metaspace(scheme, split), decoder=decoders.Metaspace(MARK, scheme, split))
family("nfkc", normalizer=normalizers.NFKC(), pre_tokenizer=metaspace("first"))
family("replace", normalizer=normalizers.Replace("th", "ht"), pre_tokenizer=metaspace("always"))
family("digits", pre_tokenizer=pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), metaspace("first")]))
family("other-mark", pre_tokenizer=pre_tokenizers.Metaspace("_", "always", True), decoder=decoders.Metaspace("_", "always", True))
family("ignore-merges", normalizer=LEGACY, ignore_merges=True)
family("ignore-merges-split", pre_tokenizer=metaspace("first"), ignore_merges=True)
for fuse in (True, False):
    family(f"few-bytes-{fuse}", FEW_BYTES, normalizer=LEGACY, fuse_unk=fuse)
    family(f"no-bytes-{fuse}", normalizer=LEGACY, fuse_unk=fuse, byte_fallback=False)
    family(f"unknown-dropped-{fuse}", FEW_BYTES, pre_tokenizer=metaspace("first"), fuse_unk=fuse, unk_token=None)
family("strip-each", normalizer=LEGACY, decoder=decoders.Sequence([decoders.Replace(MARK, " "), decoders.Strip(" ", 1, 0), decoders.ByteFallback()]))


def write_gguf(path, user_defined=(), **flags):
    tokens = [token for token, _ in sorted(WORDS["vocab"].items(), key=lambda item: item[1])]
    rank = {"".join(merge): i for i, merge in reversed(list(enumerate(WORDS["merges"])))}
    types = [2, 3, 3] + [6] * 256 + [1] * (len(tokens) - 259)
    for token in user_defined:
        types[WORDS["vocab"][token]] = 4
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0 if i < 259 else float(-rank.get(token, len(rank) + i)) for i, token in enumerate(tokens)])
    writer.add_token_types(types)
    writer.add_unk_token_id(0)
    finish_gguf(writer, flags)


def gguf_file(name, user_defined=(), **flags):
    """The file in transformers, and the folder that we make of it."""
    path, export = os.path.join(folder, f"{name}.gguf"), os.path.join(folder, f"{name}-export")
    os.makedirs(export, exist_ok=True)
    write_gguf(path, user_defined, **flags)
    got = ours(path, "add", export, texts=TEXTS)
    again = AutoTokenizer.from_pretrained(export)
    compare(f"{name}.gguf, our files in AutoTokenizer", got, again(TEXTS)["input_ids"])
    compare_decoded(f"{name}.gguf", again.batch_decode, got)
    if "add_add_space_prefix" in flags:  # which transformers does not look at
        return export
    theirs = AutoTokenizer.from_pretrained(folder, gguf_file=f"{name}.gguf")
    want = theirs(TEXTS)["input_ids"]
    compare(f"{name}.gguf in transformers", got, want)
    compare(f"{name}.gguf, our tokenizer.json", ours(os.path.join(export, "tokenizer.json"), "add", texts=TEXTS), want)
    return export


def model_file(name, source, config, added=None, **options):
    """A folder with the tokenizer.model of `source`, against the class that transformers would make of it."""
    where = os.path.join(folder, name)
    os.makedirs(where, exist_ok=True)
    with open(os.path.join(source, "tokenizer.model"), "rb") as model, open(os.path.join(where, "tokenizer.model"), "wb") as copy:
        copy.write(model.read())
    for file, content in (("tokenizer_config.json", config), ("added_tokens.json", added or {})):
        with open(os.path.join(where, file), "w") as out:
            json.dump(content, out)
    vocab = dict(sorted(WORDS["vocab"].items(), key=lambda item: item[1]))
    theirs = LlamaTokenizer(vocab=vocab, merges=generate_merges(vocab), additional_special_tokens=["<s>", "</s>"], **options)
    got = ours(os.path.join(where, "tokenizer.model"), "add", texts=TEXTS)
    compare(f"{name}: tokenizer.model", got, theirs(TEXTS)["input_ids"])
    compare_decoded(name, theirs.batch_decode, got)


made = gguf_file("plain", add_add_bos_token=True, add_add_eos_token=True)
gguf_file("user-defined", user_defined=("the", "ing"))
gguf_file("without-prefix", add_add_space_prefix=False)
model_file("folder", made, {"add_bos_token": True}, add_bos_token=True)
model_file("folder-legacy", made, {"legacy": True, "add_eos_token": True}, legacy=True, add_eos_token=True)
model_file("folder-without-prefix", made, {"add_prefix_space": False}, add_prefix_space=False)
model_file("folder-added", made, {"eos_token": "<|im_end|>"}, {"<|im_end|>": 1500, "<word>": 1501}, eos_token="<|im_end|>",
           added_tokens_decoder={1500: AddedToken("<|im_end|>", special=True), 1501: AddedToken("<word>")})

finish()
