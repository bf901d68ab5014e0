"""What the scripts of this folder share: they call the espalier program, keep what is finished, and write tables.

Every job's outputs are named by a hash of its arguments, the program's version, and the model's and texts' files as they are now,
so that a script that was stopped, or another one that needs the same cut or the same run, does nothing twice."""

import argparse
import hashlib
import json
import math
import os
import pathlib
import shlex
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def arguments(description, tokens, **more):
    """The options of all scripts; `more` maps names of a script's own to their defaults."""
    p = argparse.ArgumentParser(description=description)
    p.add_argument("--model", required=True, help="M.h5, the teacher")
    p.add_argument("--text", nargs=3, action="append", required=True, metavar=("NAME", "TRAIN", "VALID"),
                   help="token file prefixes to calibrate and train on, and to measure on; may be given again")
    p.add_argument("--out", default=str(ROOT / "build/science"), help="folder for models, runs, tables and figures")
    p.add_argument("--espalier", default=str(ROOT / "build/release/espalier"), help="the program")
    p.add_argument("--launch", default="", help='as in --launch "mpirun -n 2"')
    p.add_argument("--layout", default="", help='as in --layout "--tp 2"')
    p.add_argument("--dtype", default="f32", choices=["f32", "bf16"], help="of passes and products")
    p.add_argument("--tokens", type=int, default=tokens, help=f"of each distillation (default {tokens})")
    p.add_argument("--samples", type=int, default=64, help="for importance (default 64)")
    p.add_argument("--seq-len", type=int, default=256)
    p.add_argument("--global-batch", type=int, default=2)
    p.add_argument("--micro-batch", type=int, default=2, help="of trainings; as much as a GPU takes (default 2)")
    p.add_argument("--lr", type=float, default=4e-4, help="peak; the last is a tenth of it (default 4e-4)")
    p.add_argument("--seeds", type=int, default=1, help="orders of the samples; tables show mean and spread")
    for name, default in more.items():
        p.add_argument("--" + name.replace("_", "-"), type=type(default), default=default)
    return p.parse_args()


class Text:
    def __init__(self, name, train, valid):
        self.name, self.train, self.valid = name, os.path.abspath(train), os.path.abspath(valid)


class Lab:
    def __init__(self, options):
        self.o = options
        self.model = os.path.abspath(options.model)
        self.texts = [Text(*t) for t in options.text]
        self.folder = pathlib.Path(options.out)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.started = time.time()
        version = subprocess.run([options.espalier, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
        files = [self.model, *(f"{prefix}.bin" for t in self.texts for prefix in (t.train, t.valid))]
        self.premises = [version, *(f"{path} {facts.st_size} {facts.st_mtime_ns}" for path in files for facts in [os.stat(path)])]

    def job(self, name, suffix, *words):
        """Runs a job whose output ends in `suffix`, unless it is there; returns the output's path and the summary."""
        words = [str(w) for w in words]
        key = self.key([name, *words])
        out, summary = self.folder / f"{name}-{key}{suffix}", self.folder / f"{name}-{key}.json"
        if not summary.exists():
            command = [*shlex.split(self.o.launch), self.o.espalier, name, *words, *shlex.split(self.o.layout), "--quiet",
                       "--summary", f"{summary}.part"]
            if suffix:
                command += ["--out", str(out)]
            if suffix and out.exists():
                command += ["--force"]  # its job was cut off before its summary
            say(f"{name} " + " ".join(w if len(w) < 40 else os.path.basename(w) for w in words))
            done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
            if done.returncode != 0:
                sys.exit(f"{' '.join(command)}\nended with code {done.returncode}\n{done.stderr}")
            os.replace(f"{summary}.part", summary)
        return str(out), json.loads(summary.read_text())

    def importance(self, text, *more):
        o = self.o
        return self.job("importance", ".h5", "--model", self.model, "--data", text.train, "--samples", o.samples,
                        "--seq-len", o.seq_len, "--micro-batch", 4, "--dtype", o.dtype, *more)[0]

    def prune(self, *target):
        """The cut model and its number of parameters."""
        out, summary = self.job("prune", ".h5", "--model", self.model, *target)
        return out, summary["parameters"]

    def random(self, model):
        """A model of the same shape with random weights."""
        shape = pathlib.Path(model).with_suffix(".arch.json")
        if not shape.exists():
            said = subprocess.run([self.o.espalier, "inspect", model, "--json"], stdout=subprocess.PIPE, check=True)
            shape.write_bytes(said.stdout)
        return self.job("init", ".h5", "--arch", shape)[0]

    def loss(self, model, text):
        o = self.o
        return self.job("evaluate", "", "--model", model, "--data", text.valid, "--seq-len", o.seq_len, "--micro-batch", 4,
                        "--dtype", o.dtype)[1]["loss"]

    def batch(self, text, seed, tokens, lr):
        o = self.o
        steps = math.ceil((tokens or o.tokens) / (o.seq_len * o.global_batch))
        return ["--data", text.train, "--valid", text.valid, "--tokens", tokens or o.tokens, "--seq-len", o.seq_len,
                "--global-batch", o.global_batch, "--micro-batch", min(o.micro_batch, o.global_batch), "--lr", lr or o.lr, "--min-lr",
                (lr or o.lr) / 10, "--warmup-steps", min(10, steps // 4), "--seed", seed, "--dtype", o.dtype]

    def distill(self, student, text, *more, seed=1, tokens=None, lr=None, points=1, teacher=None):
        """Loss on held-out text after each of `points` equal shares of the tokens: [(tokens, loss)]."""
        o = self.o
        steps = math.ceil((tokens or o.tokens) / (o.seq_len * o.global_batch))
        run = self.job("distill", "", "--teacher", teacher or self.model, "--student", student, "--out",
                       self.run_folder("distill", student, text.train, seed, tokens, lr, points, teacher, *more),
                       *self.batch(text, seed, tokens, lr), "--valid-every", max(1, steps // points), *more)[1]
        return self.curve(run["options"]["out"])

    def train(self, model, text, *more, seed=1, tokens=None, lr=None, points=1):
        """The same without a teacher; also the trained model."""
        o = self.o
        steps = math.ceil((tokens or o.tokens) / (o.seq_len * o.global_batch))
        run = self.job("train", "", "--model", model, "--out",
                       self.run_folder("train", model, text.train, seed, tokens, lr, points, *more),
                       *self.batch(text, seed, tokens, lr), "--valid-every", max(1, steps // points), *more)[1]
        return self.curve(run["options"]["out"]), run["options"]["out"] + "/model.h5"

    def run_folder(self, job, *key):
        o = self.o
        return self.folder / f"{job}-run-{self.key([*key, o.tokens, o.seq_len, o.global_batch, o.lr, o.dtype])}"

    def key(self, words):
        return hashlib.sha256("\0".join(map(str, [*self.premises, *words])).encode()).hexdigest()[:12]

    @staticmethod
    def curve(run):
        lines = [json.loads(line) for line in open(os.path.join(run, "metrics.jsonl"), encoding="utf-8")]
        return [(line["tokens"], line["valid_loss"]) for line in lines if "valid_loss" in line]

    def over_seeds(self, measure):
        """mean and spread (largest - smallest) of measure(seed)."""
        values = [measure(seed) for seed in range(1, self.o.seeds + 1)]
        return sum(values) / len(values), max(values) - min(values)

    def write(self, name, heading, columns, rows, note=""):
        """A table in Markdown, to FOLDER/NAME.md and the terminal."""
        lines = [f"### {heading}", "", "| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        lines += ["| " + " | ".join(cell(c) for c in row) + " |" for row in rows]
        if note:
            lines += ["", note]
        minutes = (time.time() - self.started) / 60
        lines += ["", f"{self.o.tokens} tokens of distillation, {self.o.samples} x {self.o.seq_len} tokens of calibration, "
                  f"{self.o.dtype}, {self.o.seeds} order(s) of samples; {minutes:.1f} minutes.", ""]
        (self.folder / f"{name}.md").write_text("\n".join(lines))
        print("\n".join(lines))


def cell(value):
    if isinstance(value, tuple):  # mean, spread
        return f"{value[0]:.3f}" if value[1] == 0 else f"{value[0]:.3f} ± {value[1] / 2:.3f}"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def say(text):
    print("==", text, file=sys.stderr, flush=True)


def depth(here):
    """The number of the teacher's layers."""
    said = subprocess.run([here.o.espalier, "inspect", here.model, "--json"], stdout=subprocess.PIPE, check=True)
    layers = json.loads(said.stdout)["architecture"]["layers"]
    return len(layers) if isinstance(layers, list) else layers
