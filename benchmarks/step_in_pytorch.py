#!/usr/bin/env python3
"""What step_benchmark measures, in PyTorch and transformers as people write it: a forward pass and a distillation step of
SmolLM2-135M's shape into a student of the same layers and heads with hidden 384 and MLP 1024, weights random. Prints JSON:
tokens/s of each, the best matmul rate of the run, the rest over it, and the peak of memory.

    ~/.cache/espalier-venv/bin/python benchmarks/step_in_pytorch.py [--dtype bf16] [--batch 4] [--seq-len 512] [--rounds 4]"""

import argparse
import json
import os
import resource
import sys
import time

try:
    import torch
    from torch.nn.functional import kl_div, log_softmax
    from transformers import LlamaConfig, LlamaForCausalLM
except ImportError:
    torch = None

LAYERS, HEADS, KV_HEADS, HEAD_DIM, VOCAB = 30, 9, 3, 64, 49152


def model(hidden, neurons, dtype):
    config = LlamaConfig(vocab_size=VOCAB, hidden_size=hidden, intermediate_size=neurons, num_hidden_layers=LAYERS,
                         num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, head_dim=HEAD_DIM, tie_word_embeddings=True,
                         max_position_embeddings=8192)
    return LlamaForCausalLM(config).to(dtype)


def flops_per_token(hidden, neurons, seq_len):
    """Of a forward pass: its products, and causal attention's visible half."""
    layer = hidden * (2 * HEADS + 2 * KV_HEADS) * HEAD_DIM + 3 * hidden * neurons
    return 2 * (LAYERS * layer + VOCAB * hidden) + 2 * LAYERS * seq_len * HEADS * HEAD_DIM


def fastest(work, rounds):
    work()
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)


def best_product(dtype, rounds):
    """FLOP/s, the best of square matrices."""
    rates = []
    for n in (1024, 2048, 4096):
        a, b = torch.randn(n, n).to(dtype), torch.randn(n, n).to(dtype)
        rates.append(2 * n**3 / fastest(lambda a=a, b=b: a @ b, rounds))
    return max(rates)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--dtype", default="f32", choices=["f32", "bf16"])
    p.add_argument("--batch", type=int, default=4)
    p.add_argument("--seq-len", type=int, default=512)
    p.add_argument("--rounds", type=int, default=4)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    o = p.parse_args()
    if not torch:
        sys.exit("step_in_pytorch: this Python has no torch and transformers; scripts/install --with-interop makes one that has, "
                 "~/.cache/espalier-venv/bin/python")
    torch.set_num_threads(o.threads)
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[o.dtype]
    best = best_product(dtype, o.rounds)
    teacher, student = model(576, 1536, dtype).eval(), model(384, 1024, dtype)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-4, foreach=True)
    ids = torch.randint(0, VOCAB, (o.batch, o.seq_len))

    def forward():
        with torch.no_grad():
            return teacher(ids, use_cache=False).logits

    def step():
        target = log_softmax(forward().float(), -1)
        got = log_softmax(student(ids, use_cache=False).logits.float(), -1)
        (kl_div(got, target, log_target=True, reduction="sum") / ids.numel()).backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    of_teacher, of_student = flops_per_token(576, 1536, o.seq_len), flops_per_token(384, 1024, o.seq_len)
    out = {"dtype": o.dtype, "best_gflops": best / 1e9}
    for name, work, flops in (("forward", forward, of_teacher), ("distillation", step, of_teacher + 3 * of_student)):
        rate = ids.numel() / fastest(work, o.rounds)
        out[name] = {"tokens_per_second": rate, "of_best": rate * flops / best}
    out["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
