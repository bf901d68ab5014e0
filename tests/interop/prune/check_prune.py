"""Cut models and cut tokenizers as Hugging Face's own code loads them.

usage: check_prune.py ESPALIER"""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (AutoModelForCausalLM, AutoTokenizer, Gemma2Config, Gemma2ForCausalLM, GemmaConfig, GemmaForCausalLM, LlamaConfig,
                          LlamaForCausalLM, NemotronConfig, NemotronForCausalLM, PhiConfig, PhiForCausalLM, Qwen2Config, Qwen2ForCausalLM,
                          Qwen3Config, Qwen3ForCausalLM)
from transformers.utils import logging

logging.set_verbosity_error()
logging.disable_progress_bar()
torch.manual_seed(1)
torch.set_num_threads(2)
espalier = sys.argv[1]
failed = False

TEXT = """An espalier is a tree that is pruned and trained to a frame. What goes is chosen by how little it is missed,
what stays is bound to the frame, and the tree learns its shape. Größe, naïve, 東京, emoji 🌳🌲: bytes stay whole.
In the 1850s gardeners wrote 12 345 pages about it; they're still read today, aren't they?\n\n  Indented lines\tand tabs.
"""


def check(ok, what):
    global failed
    print("ok" if ok else "FAILED", what)
    failed = failed or not ok


def run(*arguments):
    result = subprocess.run([espalier, *map(str, arguments), "--quiet"], capture_output=True, text=True,
                            env=dict(os.environ, OMP_WAIT_POLICY="passive"))
    if result.returncode:
        raise SystemExit(result.stderr)


def ids_of(prefix):
    """Token ids of PREFIX.bin: 16 bit for these small vocabularies."""
    return np.fromfile(prefix + ".bin", dtype=np.uint16).astype(np.int64)


def train_tokenizer(path):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                       pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<bos>", "<eos>"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([TEXT, open(__file__).read()], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", 0)])
    tokenizer.save(path)
    return tokenizer.get_vocab_size()


def loss(folder, ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        logits = model(torch.tensor(ids)[None, :-1]).logits[0]
    return torch.nn.functional.cross_entropy(logits, torch.tensor(ids)[1:]).item()


def randomise(model):
    with torch.no_grad():
        for p in model.parameters():
            noise = torch.randn(p.shape)
            p.add_(0.1 * noise) if p.dim() == 1 else p.copy_(0.2 * noise)
    return model


common = dict(hidden_size=48, intermediate_size=80, num_hidden_layers=4, num_attention_heads=6, num_key_value_heads=2, head_dim=16,
              max_position_embeddings=512, bos_token_id=0, eos_token_id=1)
llama3 = dict(rope_type="llama3", rope_theta=1e4, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)

with tempfile.TemporaryDirectory() as folder:
    path = lambda name: os.path.join(folder, name)
    size = train_tokenizer(path("tokenizer.json"))
    open(path("text.txt"), "w").write(TEXT)
    cases = {"llama": LlamaForCausalLM(LlamaConfig(**common, vocab_size=size, tie_word_embeddings=True)),
             "llama3": LlamaForCausalLM(LlamaConfig(**common, vocab_size=size, rope_parameters=llama3)),
             "qwen2": Qwen2ForCausalLM(Qwen2Config(**common, vocab_size=size, use_sliding_window=True, sliding_window=20,
                                                   max_window_layers=1)),
             "qwen3": Qwen3ForCausalLM(Qwen3Config(**common, vocab_size=size, tie_word_embeddings=True)),
             "gemma": GemmaForCausalLM(GemmaConfig(**common, vocab_size=size)),
             "gemma2": Gemma2ForCausalLM(Gemma2Config(**common, vocab_size=size, sliding_window=20, query_pre_attn_scalar=24,
                                                      attn_logit_softcapping=2.0, final_logit_softcapping=3.0)),
             "phi": PhiForCausalLM(PhiConfig(**common, vocab_size=size, partial_rotary_factor=0.5)),
             "nemotron": NemotronForCausalLM(NemotronConfig(**common, vocab_size=size + 6, partial_rotary_factor=0.5))}
    for name, model in cases.items():
        hf = path(name)
        randomise(model).save_pretrained(hf)
        os.link(path("tokenizer.json"), os.path.join(hf, "tokenizer.json"))
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<bos>", "eos_token": "<eos>"},
                  open(os.path.join(hf, "tokenizer_config.json"), "w"))
        run("import", "--from", hf, "--out", path("whole.h5"), "--force")
        run("tokenize", "--tokenizer", path("whole.h5"), "--input", path("text.txt"), "--out", path("text"), "--force")
        run("importance", "--model", path("whole.h5"), "--data", path("text"), "--samples", 2, "--seq-len", 32, "--head-dims", "--dtype",
            "f32", "--out", path("i.h5"), "--force")
        run("prune", "--model", path("whole.h5"), "--importance", path("i.h5"), "--out", path("cut.h5"), "--hidden", 40, "--heads", 4,
            "--head-dim", 8, "--ffn", 60, "--layers", 3, "--vocab", 300, "--vocab-data", path("text"),
            "--head-residual", "laco" if name == "qwen3" else "paper",  # a sum of heads does not pass a norm
            "--check", path("text"), "--dtype", "f32", "--summary", path("s.json"), "--force")
        summary = json.load(open(path("s.json")))
        check(summary["check_max_error"] < 1e-4, f"{name}: masked = cut ({summary['check_max_error']:.1e})")
        out = path(name + "-cut")
        run("export", "--model", path("cut.h5"), "--out", out)

        run("tokenize", "--tokenizer", path("cut.h5"), "--input", path("text.txt"), "--out", path("fresh"), "--force")
        ours = ids_of(path("fresh"))
        theirs = Tokenizer.from_file(os.path.join(out, "tokenizer.json"))
        auto = AutoTokenizer.from_pretrained(out)
        check(theirs.encode(TEXT).ids == list(ours), f"{name}: tokenizers gives our ids")
        check(auto.encode(TEXT) == list(ours), f"{name}: AutoTokenizer gives our ids")
        check(theirs.decode(list(ours), skip_special_tokens=True) == TEXT, f"{name}: decode(encode(text)) is the text")
        check(ours.max() < 300 and auto.bos_token_id == 0 and auto.eos_token_id == 1, f"{name}: ids are the small vocabulary's")
        check(auto.encode("tree")[0] == auto.bos_token_id, f"{name}: the template's <bos> has its new id")
        run("evaluate", "--model", path("cut.h5"), "--data", path("fresh"), "--seq-len", 512, "--dtype", "f32", "--summary",
            path("e.json"), "--force")
        got, want = json.load(open(path("e.json")))["loss"], loss(out, ours)
        rotary = json.load(open(os.path.join(out, "config.json")))["rope_parameters"]
        check(abs(got - want) < 2e-4 * want, f"{name}: loss {got:.6f} is transformers' {want:.6f}, rotary {rotary}")
sys.exit(failed)
