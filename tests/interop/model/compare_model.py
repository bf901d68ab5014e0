"""Logits, loss and the gradient of every parameter against transformers, live, on tiny random models; of some also from a GGUF file
that gguf-py wrote.

usage: compare_model.py DUMP_MODEL [bf16]"""
import json
import math
import os
import subprocess
import sys
import tempfile

import gguf
import torch
from safetensors.torch import load_file
from transformers import (Gemma2Config, Gemma2ForCausalLM, GemmaConfig, GemmaForCausalLM, LlamaConfig, LlamaForCausalLM, MistralConfig,
                          MistralForCausalLM, NemotronConfig, NemotronForCausalLM, Phi3Config, Phi3ForCausalLM, PhiConfig, PhiForCausalLM, Qwen2Config, Qwen2ForCausalLM,
                          Qwen3Config, Qwen3ForCausalLM)
from transformers.utils import logging

logging.set_verbosity_error()
logging.disable_progress_bar()
torch.set_num_threads(2)
dump_model, native_bf16 = sys.argv[1], "bf16" in sys.argv[2:]
BATCH, SEQ = 3, 41

llama = dict(vocab_size=211, hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=3,
             head_dim=16, rms_norm_eps=1e-5, max_position_embeddings=256)
llama3 = dict(rope_type="llama3", rope_theta=5e5, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)
nemotron = dict(vocab_size=197, hidden_size=40, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
                head_dim=16, norm_eps=1e-5, max_position_embeddings=256)
phi = dict(vocab_size=197, hidden_size=40, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
           head_dim=16, max_position_embeddings=256, attn_implementation="eager")
phi3 = dict(**{k: v for k, v in llama.items() if k != "head_dim"} | {"hidden_size": 96}, pad_token_id=None, attn_implementation="eager")
# Caps that bend scores and logits of models as small as these.
gemma2 = dict(**llama, pad_token_id=None, sliding_window=13, attn_logit_softcapping=2.0, final_logit_softcapping=3.0, attn_implementation="eager")
cases = {
    "llama": LlamaForCausalLM(LlamaConfig(**llama, attn_implementation="eager")),
    "llama, tied": LlamaForCausalLM(LlamaConfig(**llama, tie_word_embeddings=True, attn_implementation="eager")),
    "llama, biases": LlamaForCausalLM(LlamaConfig(**llama, attention_bias=True, mlp_bias=True, attn_implementation="eager")),
    "llama, llama3 rotary": LlamaForCausalLM(LlamaConfig(**llama, rope_parameters=llama3, attn_implementation="eager")),
    "llama, linear rotary": LlamaForCausalLM(LlamaConfig(**llama, rope_parameters=dict(rope_type="linear", rope_theta=1e4, factor=2.5), attn_implementation="eager")),
    "llama, yarn": LlamaForCausalLM(LlamaConfig(**llama, rope_parameters=dict(rope_type="yarn", rope_theta=1e3, factor=3.0, beta_fast=4.0,
                                                                              original_max_position_embeddings=32), attn_implementation="eager")),
    "qwen2, yarn, bounds between pairs": Qwen2ForCausalLM(Qwen2Config(**llama, rope_parameters=dict(
        rope_type="yarn", rope_theta=1e3, factor=3.0, beta_fast=4.0, attention_factor=0.8, truncate=False, original_max_position_embeddings=32),
        attn_implementation="eager")),
    "mistral, 9 heads on 51 channels": MistralForCausalLM(MistralConfig(**{**llama, "hidden_size": 51, "num_attention_heads": 9}, sliding_window=None, attn_implementation="eager")),
    "mistral, window 13": MistralForCausalLM(MistralConfig(**llama, sliding_window=13, attn_implementation="eager")),
    "qwen2": Qwen2ForCausalLM(Qwen2Config(**llama, attn_implementation="eager")),
    "qwen2, tied, 9 heads on 51 channels": Qwen2ForCausalLM(Qwen2Config(**{**llama, "hidden_size": 51, "num_attention_heads": 9},
                                                                        tie_word_embeddings=True, attn_implementation="eager")),
    "qwen2, window 13": Qwen2ForCausalLM(Qwen2Config(**llama, use_sliding_window=True, sliding_window=13, max_window_layers=0,
                                                     attn_implementation="eager")),
    "qwen2, window 13 from the second layer on": Qwen2ForCausalLM(Qwen2Config(**llama, use_sliding_window=True, sliding_window=13, max_window_layers=1,
                                                                              attn_implementation="eager")),
    "qwen3": Qwen3ForCausalLM(Qwen3Config(**llama, attn_implementation="eager")),
    "qwen3, tied, biases, an epsilon that counts": Qwen3ForCausalLM(Qwen3Config(**{**llama, "rms_norm_eps": 0.1}, attention_bias=True,
                                                                                tie_word_embeddings=True, attn_implementation="eager")),
    "qwen3, 9 heads on 51 channels": Qwen3ForCausalLM(Qwen3Config(**{**llama, "hidden_size": 51, "num_attention_heads": 9},
                                                                  attn_implementation="eager")),
    "gemma": GemmaForCausalLM(GemmaConfig(**llama, pad_token_id=None, attn_implementation="eager")),
    "gemma, untied, biases, 9 heads on 51 channels": GemmaForCausalLM(GemmaConfig(**{**llama, "hidden_size": 51, "num_attention_heads": 9}, pad_token_id=None, attention_bias=True,
                                                                                  tie_word_embeddings=False, attn_implementation="eager")),
    "gemma2": Gemma2ForCausalLM(Gemma2Config(**gemma2, query_pre_attn_scalar=24)),
    "gemma2, scores scaled by the heads' width": Gemma2ForCausalLM(Gemma2Config(**gemma2, query_pre_attn_scalar=16)),
    "nemotron": NemotronForCausalLM(NemotronConfig(**nemotron, attn_implementation="eager")),
    "nemotron, tied": NemotronForCausalLM(NemotronConfig(**nemotron, tie_word_embeddings=True, attn_implementation="eager")),
    "nemotron, biases": NemotronForCausalLM(NemotronConfig(**nemotron, attention_bias=True, mlp_bias=True, attn_implementation="eager")),
    "phi3": Phi3ForCausalLM(Phi3Config(**phi3)),
    "phi3, window 13, tied": Phi3ForCausalLM(Phi3Config(**phi3, sliding_window=13, tie_word_embeddings=True)),
    "phi": PhiForCausalLM(PhiConfig(**phi)),
    "phi, tied, rotary of 0.4 of a head": PhiForCausalLM(PhiConfig(**phi, tie_word_embeddings=True, partial_rotary_factor=0.4)),
    "nemotron, whole rotary": NemotronForCausalLM(NemotronConfig(**nemotron, partial_rotary_factor=1.0, attn_implementation="eager")),
}


in_gguf = {"llama", "gemma", "gemma2, scores scaled by the heads' width", "qwen2", "qwen2, tied, 9 heads on 51 channels", "qwen3", "qwen3, tied, biases, an epsilon that counts", "phi", "phi, tied, rotary of 0.4 of a head"}
assert in_gguf <= set(cases)


def randomise(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            noise = torch.randn(p.shape, generator=generator)
            p.add_(0.2 * noise) if p.dim() == 1 else p.copy_(0.15 * noise)
    return model.float().eval()


def as_rotary_pairs(weight, heads):
    """Rows of each head as llama.cpp wants a Llama's queries and keys: 0, d/2, 1, d/2 + 1, ..."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape)


def fuse(weights):
    """Queries, keys and values of a layer as one tensor, as Phi's first files have them."""
    for query in [name for name in weights if ".q_proj." in name]:
        parts = [weights.pop(query.replace("q_proj", f"{x}_proj")) for x in "qkv"]
        weights[query.replace("self_attn.q_proj", "mixer.Wqkv").replace("model.layers", "transformer.h")] = torch.cat(parts)


def write_gguf(model, path):
    config = model.config
    architecture = "phi2" if config.model_type == "phi" else config.model_type
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    if architecture == "phi2":
        writer.add_layer_norm_eps(config.layer_norm_eps)
        writer.add_rope_dimension_count(int(config.head_dim * config.rope_parameters["partial_rotary_factor"]))
    else:
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if config.model_type == "gemma2":
        writer.add_sliding_window(config.sliding_window)
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    arch = next(a for a, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    weights = {name: p.detach() for name, p in model.named_parameters()}
    if architecture == "phi2" and config.tie_word_embeddings:
        fuse(weights)
    for name, weight in weights.items():
        if config.model_type == "llama" and ".q_proj." in name:
            weight = as_rotary_pairs(weight, config.num_attention_heads)
        if config.model_type == "llama" and ".k_proj." in name:
            weight = as_rotary_pairs(weight, config.num_key_value_heads)
        if config.model_type in ("gemma", "gemma2") and name.endswith("norm.weight"):
            weight = weight + 1
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), weight.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def run(model, tokens, dtype, source):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "m.gguf" if source == "GGUF" else "hf")
        write_gguf(model, path) if source == "GGUF" else model.save_pretrained(path)
        json.dump(tokens.tolist(), open(os.path.join(folder, "tokens.json"), "w"))
        out = os.path.join(folder, "out")
        os.mkdir(out)
        loss = float(subprocess.run([dump_model, path, os.path.join(folder, "tokens.json"), out, dtype], check=True, stdout=subprocess.PIPE, text=True).stdout)
        return loss, load_file(os.path.join(out, "model.safetensors"))


def error(got, want):
    return ((got.double() - want.double()).norm() / want.double().norm().clamp(min=1e-30)).item()


def parted(gradients, config):
    """Of Phi-3's fused weights: those of the matrices that stand in them."""
    kv = config.num_key_value_heads * config.hidden_size // config.num_attention_heads
    out = {}
    for name, gradient in gradients.items():
        if name.endswith("qkv_proj.weight"):
            parts = dict(zip("qkv", gradient.split([gradient.shape[0] - 2 * kv, kv, kv])))
            out |= {name.replace("qkv_proj", f"{part}_proj"): g for part, g in parts.items()}
        elif name.endswith("gate_up_proj.weight"):
            out |= {name.replace("gate_up_proj", f"{part}_proj"): g for part, g in zip(("gate", "up"), gradient.chunk(2))}
        else:
            out[name] = gradient
    return out


failed = 0
for seed, (name, model) in enumerate(cases.items()):
    randomise(model, seed)
    tokens = torch.randint(0, model.config.vocab_size, (BATCH, SEQ + 1), generator=torch.Generator().manual_seed(seed))
    # The reference runs in double, so that the difference is our rounding alone.
    reference = model.double()
    reference.zero_grad()
    logits = reference(tokens[:, :-1], use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), tokens[:, 1:].reshape(-1))
    loss.backward()
    gradients = {n: p.grad for n, p in reference.named_parameters()}
    if model.config.model_type == "phi3":
        gradients = parted(gradients, model.config)
    model.float()
    # f32: 2^-24 an operation, some hundreds of them in a chain through norms that amplify. bf16: 2^-9 of each of about ten roundings
    # a layer, forward and backward, that add up as a random walk.
    runs = [("f32", 2e-5, "folder")] + ([("bf16", 0.1, "folder")] if native_bf16 else []) + ([("f32", 2e-5, "GGUF")] if name in in_gguf else [])
    for dtype, bound, source in runs:
        got_loss, got = run(model, tokens, dtype, source)
        errors = {"loss": abs(got_loss - loss.item()) / loss.item(), "logits": error(got["logits"].reshape(logits.shape), logits)}
        errors.update({n: error(got[n], g) for n, g in gradients.items()})
        # The gradient of a key's bias is a sum that cancels but for what rotation makes of it, and keeps the roundings of its terms.
        allowed = {n: bound * (2 if dtype == "bf16" and n.endswith("k_proj.bias") else 1) for n in errors}
        ok = all(errors[n] <= allowed[n] for n in errors) and len(got) == len(gradients) + 1
        worst = max(errors, key=lambda n: math.inf if math.isnan(errors[n]) else errors[n] / allowed[n])
        failed += not ok
        print(f"{'ok    ' if ok else 'FAIL  '}{name}, {dtype} from a {source}: worst relative error {errors[worst]:.1e} ({worst})", flush=True)
sys.exit(1 if failed else 0)
