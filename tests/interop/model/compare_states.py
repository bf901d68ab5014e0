"""The loss on hidden states and all gradients of a distillation against transformers and autograd, live, on tiny random models.

usage: compare_states.py DUMP_STATES"""
import json
import math
import os
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file
from torch.nn.functional import cosine_similarity, cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, NemotronConfig, NemotronForCausalLM
from transformers.utils import logging

logging.set_verbosity_error()
logging.disable_progress_bar()
torch.set_num_threads(2)
BATCH, SEQ, TAU = 2, 23, 1.5

llama = dict(vocab_size=211, num_attention_heads=6, num_key_value_heads=3, head_dim=16, rms_norm_eps=1e-5, max_position_embeddings=256,
             attn_implementation="eager")
nemotron = dict(vocab_size=197, num_attention_heads=4, num_key_value_heads=2, head_dim=16, norm_eps=1e-5, max_position_embeddings=256,
                attn_implementation="eager")
cases = {  # student, teacher, map, distance
    "llama, wider teacher": (LlamaForCausalLM(LlamaConfig(**llama, hidden_size=42, intermediate_size=60, num_hidden_layers=3)),
                             LlamaForCausalLM(LlamaConfig(**llama, hidden_size=48, intermediate_size=80, num_hidden_layers=5)),
                             "embedding,1:0,block:3:1,4:2,mlp:2:1,attention:3:2", "cosine"),
    "llama, same width": (LlamaForCausalLM(LlamaConfig(**llama, hidden_size=42, intermediate_size=60, num_hidden_layers=2)),
                          LlamaForCausalLM(LlamaConfig(**llama, hidden_size=42, intermediate_size=60, num_hidden_layers=4)),
                          "embedding,3:1,mlp:1:0", "cosine"),
    "nemotron, mse": (NemotronForCausalLM(NemotronConfig(**nemotron, hidden_size=40, intermediate_size=96, num_hidden_layers=3)),
                      NemotronForCausalLM(NemotronConfig(**nemotron, hidden_size=44, intermediate_size=96, num_hidden_layers=3)),
                      "embedding,2:2,mlp:1:1,attention:0:1", "mse"),
}


def randomise(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            noise = torch.randn(p.shape, generator=generator)
            p.add_(0.2 * noise) if p.dim() == 1 else p.copy_(0.15 * noise)
    return model.float().eval()


def run_with_states(model, ids):
    """Logits, and states by the names that a map gives them: ("", -1) the embedding, ("", l) normed, ("block", l), ("mlp", l),
    ("attention", l)."""
    states, hooks = {}, []

    def keep(name):
        return lambda module, inputs, output: states.__setitem__(name, output[0] if isinstance(output, tuple) else output)

    hooks.append(model.model.embed_tokens.register_forward_hook(keep(("", -1))))
    for l, layer in enumerate(model.model.layers):
        hooks.append(layer.register_forward_hook(keep(("block", l))))
        hooks.append(layer.input_layernorm.register_forward_hook(keep(("attention", l))))
        hooks.append(layer.post_attention_layernorm.register_forward_hook(keep(("mlp", l))))
    last = len(model.model.layers) - 1
    hooks.append(model.model.norm.register_forward_hook(keep(("", last))))
    logits = model(ids, use_cache=False).logits
    states.update({("", l): states["attention", l + 1] for l in range(last)})
    for hook in hooks:
        hook.remove()
    return logits, states


def pairs(text):
    for word in text.split(","):
        *site, t, s = ["", "-1", "-1"] if word == "embedding" else ([""] + word.split(":"))[-3:]
        yield (site[0], int(t)), (site[0], int(s))


def error(got, want):
    return ((got.double() - want.double()).norm() / want.double().norm().clamp(min=1e-30)).item()


failed = 0
for seed, (name, (student, teacher, text, distance)) in enumerate(cases.items()):
    randomise(student, seed), randomise(teacher, 100 + seed)
    tokens = torch.randint(0, student.config.vocab_size, (BATCH, SEQ + 1), generator=torch.Generator().manual_seed(seed))
    with tempfile.TemporaryDirectory() as folder:
        student.save_pretrained(os.path.join(folder, "s"))
        teacher.save_pretrained(os.path.join(folder, "t"))
        json.dump(tokens.tolist(), open(os.path.join(folder, "tokens.json"), "w"))
        os.mkdir(os.path.join(folder, "out"))
        printed = subprocess.run([sys.argv[1]] + [os.path.join(folder, f) for f in ("s", "t", "tokens.json", "out")] + [text, distance],
                                 check=True, capture_output=True, text=True).stdout
        got = load_file(os.path.join(folder, "out", "model.safetensors"))

    student.double(), teacher.double()
    lift = got["projection"].double().requires_grad_()
    with torch.no_grad():
        z_t, states_t = run_with_states(teacher, tokens[:, :-1])
    z_s, states_s = run_with_states(student, tokens[:, :-1])
    log_t, log_s = torch.log_softmax(z_t / TAU, -1), torch.log_softmax(z_s / TAU, -1)
    kl = (log_t.exp() * (log_t - log_s)).sum(-1).mean()
    ce = cross_entropy(z_s.reshape(-1, z_s.shape[-1]), tokens[:, 1:].reshape(-1))
    hidden = 0
    for t, s in pairs(text):
        x, y = states_s[s], states_t[t]
        x = x @ lift.T if x.shape[-1] != y.shape[-1] else x
        hidden = hidden + ((1 - cosine_similarity(x, y, dim=-1)) if distance == "cosine" else ((x - y) ** 2).mean(-1)).mean()
    alpha = (kl / hidden).detach()
    (kl + 0.3 * ce + alpha * hidden).backward()

    want = torch.stack([kl, ce, hidden, alpha]).detach()
    errors = {"terms": error(torch.tensor([float(x) for x in printed.split()]), want)}
    errors.update({n: error(got[n], p.grad) for n, p in student.named_parameters()})
    if lift.grad is not None:
        errors["d_projection"] = error(got["d_projection"], lift.grad)
    worst = max(errors, key=lambda n: math.inf if math.isnan(errors[n]) else errors[n])
    # 2^-24 an operation, some hundreds of them in a chain through norms that amplify (compare_model.py).
    ok = all(e <= 2e-5 for e in errors.values()) and len(got) == len(list(student.parameters())) + 2
    failed += not ok
    print(f"{'ok    ' if ok else 'FAIL  '}{name}: worst relative error {errors[worst]:.1e} ({worst})", flush=True)
sys.exit(1 if failed else 0)
