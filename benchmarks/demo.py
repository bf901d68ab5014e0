"""Random models and tokens to measure with: losses mean nothing, but must agree."""
import json
import random
import struct
import subprocess


def make_model(espalier, arch, path):
    """A model file of that architecture, where there is none."""
    if path.exists():
        return
    description = path.with_suffix(".json")
    description.write_text(json.dumps(arch))
    subprocess.run([espalier, "init", "--arch", description, "--out", path, "--quiet"], check=True)


def write_tokens(prefix, documents, length, vocabulary):
    """Megatron's indexed data set, of random 16-bit tokens, where there is none."""
    if prefix.with_suffix(".idx").exists():
        return
    source = random.Random(1)
    with open(f"{prefix}.bin", "wb") as out:
        for _ in range(documents):
            out.write(struct.pack(f"<{length}H", *(source.randrange(vocabulary) for _ in range(length))))
    with open(f"{prefix}.idx", "wb") as out:
        out.write(b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, 8, documents, documents + 1))
        out.write(struct.pack(f"<{documents}i", *[length] * documents))
        out.write(struct.pack(f"<{documents}q", *(2 * length * i for i in range(documents))))
        out.write(struct.pack(f"<{documents + 1}q", *range(documents + 1)))
