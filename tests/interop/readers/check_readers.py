"""check_readers.py DUMP_TENSORS WRITE_MODEL: our readers and writer against gguf-py, safetensors and torch, bit by bit."""
import collections
import json
import os
import subprocess
import sys
import tempfile

import gguf
import numpy as np
import safetensors.torch
import torch

DUMP, WRITE = sys.argv[1:3]
FOLDER = tempfile.TemporaryDirectory()
checked = 0


def path(name):
    return os.path.join(FOLDER.name, name)


def dump(weights):
    """{name: (type, array)}: what our reader makes of the file; bf16 as uint16, None where it cannot be read."""
    with tempfile.TemporaryDirectory() as out:
        lines = subprocess.run([DUMP, weights, out], check=True, capture_output=True, text=True).stdout.splitlines()
        tensors = {}
        for line in lines:
            number, name, kind, dtype, shape = line.split("\t")
            shape = [int(n) for n in shape.split(",") if n]
            file = os.path.join(out, number)
            values = None
            if os.path.exists(file):
                values = np.fromfile(file, {"f32": np.uint32, "bf16": np.uint16}[dtype]).reshape(shape)
            tensors[name] = kind, values
        return tensors


def expect(name, values, expected):
    """The same bits, except that any NaN equals any NaN."""
    global checked
    assert values is not None, f"{name}: not read"
    assert values.shape == expected.shape, f"{name}: shape {values.shape}, expected {expected.shape}"
    bits = np.atleast_1d(expected).view(values.dtype).reshape(values.shape)
    same = values == bits
    if values.dtype == np.uint32:
        same |= np.isnan(np.atleast_1d(values).view(np.float32).reshape(values.shape)) & np.isnan(expected)
    assert same.all(), f"{name}: {np.count_nonzero(~same)} of {same.size} elements differ"
    checked += values.size


def bits_of(tensor):
    """A torch tensor as our reader gives it: bf16 kept, everything else f32."""
    if tensor.dtype == torch.bfloat16:
        return tensor.contiguous().view(torch.int16).numpy().view(np.uint16)
    return tensor.to(torch.float32).numpy()


def check_gguf():
    Type = gguf.GGMLQuantizationType
    rng = np.random.default_rng(1)
    weights = (rng.standard_normal((7, 512)) * 0.05).astype(np.float32)
    decoded = {Type.F32, Type.F16, Type.BF16, Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0, Type.Q4_K, Type.Q5_K,
               Type.Q6_K}
    writer = gguf.GGUFWriter(path("m.gguf"), "llama")
    writer.add_uint32("llama.block_count", 1)
    writer.add_array("tokenizer.ggml.tokens", ["a", "b"])
    expected = {}
    for kind, (block, size) in gguf.GGML_QUANT_SIZES.items():
        if kind.name in ("I8", "I16", "I32", "I64", "F64"):
            continue
        random = rng.integers(0, 256, (5, 1024 // block * size), dtype=np.uint8)
        sources = {"random": random}
        if kind in decoded and kind not in (Type.Q4_K, Type.Q5_K, Type.Q6_K):
            sources["quantised"] = np.ascontiguousarray(gguf.quants.quantize(weights, kind)).view(np.uint8)
        for source, raw in sources.items():
            name = f"{kind.name}.{source}"
            writer.add_tensor(name, raw, raw_dtype=kind)
            with np.errstate(all="ignore"):
                expected[name] = kind, raw if kind not in decoded else gguf.quants.dequantize(raw, kind)
    matrix = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    writer.add_tensor("three_axes", matrix)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    tensors = dump(path("m.gguf"))
    assert len(tensors) == len(expected) + 1
    expect("three_axes", tensors["three_axes"][1], matrix)
    for name, (kind, values) in expected.items():
        assert tensors[name][0] == kind.name
        if kind not in decoded:
            assert tensors[name][1] is None, f"{name}: read, although it is not listed as decoded here"
        elif kind == Type.BF16:
            expect(name, tensors[name][1], (values.view(np.uint32) >> 16).astype(np.uint16))
        else:
            expect(name, tensors[name][1], values)


def some_tensors():
    torch.manual_seed(1)
    tensors = collections.OrderedDict()
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        tensors[f"{dtype}".removeprefix("torch.")] = torch.randn(7, 5).to(dtype)
    tensors["scalar"] = torch.tensor(3.0)
    tensors["empty"] = torch.zeros(0, 4)
    tensors["integers"] = torch.arange(3)
    tensors["every_half"] = torch.arange(-32768, 32768, dtype=torch.int32).to(torch.int16).view(torch.float16)
    return tensors


def check_tensors(weights, tensors):
    ours = dump(weights)
    assert list(sorted(ours)) == list(sorted(tensors)), f"{weights}: {sorted(ours)}"
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            expect(name, ours[name][1], bits_of(tensor.detach()))
        else:
            assert ours[name][1] is None


def check_safetensors():
    tensors = some_tensors()
    tensors["eight_bits"] = torch.zeros(4, dtype=torch.int8)
    safetensors.torch.save_file(tensors, path("m.safetensors"), {"format": "pt"})
    check_tensors(path("m.safetensors"), tensors)


def check_torch():
    tensors = some_tensors()
    tensors["tied"] = tensors["float32"]
    tensors["rows"] = tensors["bfloat16"][2:5]
    tensors["parameter"] = torch.nn.Parameter(torch.randn(3, 3))
    torch.save(tensors, path("m.bin"))
    check_tensors(path("m.bin"), tensors)

    module = torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Linear(4, 3), torch.nn.LayerNorm(3)).half()
    torch.save(module.state_dict(), path("module.bin"))
    check_tensors(path("module.bin"), module.state_dict())

    torch.save(dict(tensors), path("old.bin"), _use_new_zipfile_serialization=False)
    check_conversion("old.bin", "saved by PyTorch before 1.6", "OUT.bin", tensors)
    torch.save({"w": torch.ones(2, 3).t()}, path("strided.bin"))
    check_conversion("strided.bin", "not contiguous", "OUT.bin", {"w": torch.ones(3, 2)})
    torch.save(dict(tensors), path("m.pth"))
    check_conversion("m.pth", "PyTorch training file", "model.safetensors", tensors)


def check_conversion(name, reason, converted, tensors):
    """We refuse the file; the command in the message, run as a user would, gives one that we read."""
    run = subprocess.run([DUMP, path(name), FOLDER.name], capture_output=True, text=True)
    assert run.returncode == 2 and reason in run.stderr, run.stderr
    command = run.stderr[run.stderr.index("python3 -c"):].strip().replace("python3", sys.executable)
    subprocess.run(command.replace("IN.bin", name), shell=True, check=True, cwd=FOLDER.name, stderr=subprocess.DEVNULL)
    check_tensors(path(converted), tensors)


def check_writer():
    folder = path("written")
    os.mkdir(folder)
    subprocess.run([WRITE, folder], check=True)
    index = json.load(open(os.path.join(folder, "model.safetensors.index.json")))
    assert index["metadata"]["total_size"] == 70, index
    shapes = {"embed": (5, 3), "norm": (3,), "layers.0.w": (4, 3), "scalar": ()}
    for number, (name, shape) in enumerate(shapes.items()):
        with safetensors.safe_open(os.path.join(folder, index["weight_map"][name]), "pt") as shard:
            assert shard.metadata() == {"format": "pt"}
            tensor = shard.get_tensor(name)
        expected = 100 * number + torch.arange(int(np.prod(shape))).reshape(shape)
        assert tensor.shape == shape and torch.equal(tensor.to(torch.int64), expected), name
    assert tensor.dtype == torch.float32
    assert len(set(index["weight_map"].values())) == 2, index


check_gguf()
check_safetensors()
check_torch()
check_writer()
print(f"{checked} elements equal bit by bit")
