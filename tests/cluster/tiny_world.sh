# For sourcing: a model, a tokenizer and text small enough that every stage takes a second, and a pipeline's file for them.
# shellcheck shell=bash

# make_world FOLDER ESPALIER: FOLDER/hf (weights, config, tokenizer) and FOLDER/text/{train,valid}/*.txt
make_world() {
    local world=$1 espalier=$2 i
    mkdir -p "$world/text"/{train,valid}
    cat > "$world/arch.json" << 'JSON'
{"architectures": ["LlamaForCausalLM"], "vocab_size": 272, "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 4,
 "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 128, "rms_norm_eps": 1e-5}
JSON
    "$espalier" init --arch "$world/arch.json" --out "$world/random.h5" --quiet
    "$espalier" export --model "$world/random.h5" --out "$world/hf" --quiet
    write_byte_tokenizer "$world/hf/tokenizer.json"
    # Any text will do; this is a walk through squares and sevens.
    for i in $(seq 12); do
        seq "$((i * 400))" "$((i * 400 + 300))" | awk '{ printf "%d squared is %d, and leaves %d by seven.\n", $1, $1 * $1, $1 % 7 }' > "$world/text/train/$i.txt"
    done
    mv "$world/text/train/12.txt" "$world/text/valid/"
}

# A byte-level BPE without merges: one token a byte.
write_byte_tokenizer() {
    python3 - "$1" << 'PYTHON'
import json, sys
plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
rest = [b for b in range(256) if b not in plain]
letter = {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(rest)}
json.dump({"version": "1.0", "added_tokens": [], "normalizer": None, "post_processor": None,
           "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
           "decoder": {"type": "ByteLevel"},
           "model": {"type": "BPE", "unk_token": None, "vocab": {letter[b]: b for b in range(256)}, "merges": []}},
          open(sys.argv[1], "w"))
PYTHON
}

# write_pipeline FILE OUT [TOKENS]: FILE beside the world's folders
write_pipeline() {
    cat > "$1" << INI
[pipeline]
model = hf
out = $2
espalier = $espalier
cluster = $(dirname "${BASH_SOURCE[0]}")/four_nodes.env

[tokenize]
train = text/train/*.txt
valid = text/valid/*.txt

[importance]
samples = 32
seq-len = 32
micro-batch = 4
tp = 2
dtype = f32

[prune]
hidden = 40
ffn = 64
layers = 3

[correct]
tokens = 4096
tp = 2
pp = 2
dtype = f32

[distill]
tokens = ${3:-8192}
seq-len = 32
global-batch = 16
micro-batch = 2
lr = 2e-3
min-lr = 2e-4
warmup-steps = 2
checkpoint-every = 20
log-every = 20
tp = 2
pp = 2
dtype = f32

[evaluate]
dtype = f32

[export]

[resources]
nodes = 4
ranks-per-node = 2
time = 5

[resources.importance]
nodes = 1
INI
}
