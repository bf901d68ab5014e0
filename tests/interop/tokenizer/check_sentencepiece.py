"""Ids and decoded text of our tokenizer against Hugging Face's, for vocabularies of the SentencePiece kind.

    check_sentencepiece.py ENCODE_LINES FOLDER

Trains small tokenizers of characters with bytes for the rest, and gives them the normalisers, pre-tokenizers and
decoders with which Llama, Mistral, TinyLlama and Gemma folders come.
"""
import json
import os

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from comparison import CORPUS, TEXTS, compare, failures, finish, folder, ours

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


def compare_decoded(name, tokenizer, got, kinds):
    for key, skip in kinds:
        want = tokenizer.decode_batch([g["ids"] for g in got], skip_special_tokens=skip)
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
        compare_decoded(name, t, got, [("text", False)] + ([] if normalized_specials else [("plain", True)]))
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

finish()
