#!/usr/bin/env python3
"""When the ranking of candidates settles: all shapes of a budget distilled to the end, and how well each earlier point orders
them as the last does (arXiv 2407.14679, section 4.5: it moves until about 300 of 400 steps)."""

import itertools
import json
import pathlib

import figure
import lab


def kendall(x, y):
    """Kendall's tau of two lists: 1 the same order, -1 the opposite one."""
    pairs = list(itertools.combinations(range(len(x)), 2))
    agree = sum(1 if (x[i] - x[j]) * (y[i] - y[j]) > 0 else -1 for i, j in pairs)
    return agree / len(pairs)


def main():
    o = lab.arguments(__doc__, tokens=8192, params=95e6, tolerance=0.03, hidden="480,512,544", layers="26,28,30",
                      ffn_ratio="2.0,2.333,2.667", points=8)
    here = lab.Lab(o)
    for text in here.texts:
        steps = -(-o.tokens // (o.seq_len * o.global_batch))
        every = max(1, steps // o.points)
        out, summary = here.job("search", ".candidates.json", "--model", here.model, "--importance", here.importance(text),
                                "--params", o.params, "--tolerance", o.tolerance, "--hidden", o.hidden, "--layers", o.layers,
                                "--ffn-ratio", o.ffn_ratio, "--retrain-tokens", o.tokens, "--rungs", 1, "--valid-every", every,
                                "--heads", 9, "--data", text.train, "--valid", text.valid, "--seq-len", o.seq_len,
                                "--global-batch", o.global_batch, "--micro-batch", min(o.micro_batch, o.global_batch), "--lr", o.lr,
                                "--dtype", o.dtype, "--min-lr", o.lr / 10, "--warmup-steps", min(10, steps // 4))
        curves = {}
        for c in summary["candidates"]:
            name = f"{c['layers']} x {c['hidden']} x {c['ffn']}"
            run = pathlib.Path(f"{out}.runs") / f"candidate-{c['candidate']}" / "run"
            curves[name] = [(0, c["loss_after_cut"]), *here.curve(run)]
        last = [curve[-1][1] for curve in curves.values()]
        points = [t for t, _ in next(iter(curves.values()))]
        tau = [kendall([curve[i][1] for curve in curves.values()], last) for i in range(len(points))]
        rows = [[name, *(loss for _, loss in curve)] for name, curve in curves.items()]
        rows.append(["Kendall's tau with the last", *tau])
        settled = next((t for i, t in enumerate(points) if all(x == 1 for x in tau[i:])), points[-1])  # losses may tie
        here.write(f"ranking-{text.name}", f"Ranking of {len(curves)} candidates on {text.name}, loss after tokens",
                   ["layers x hidden x neurons", *(f"{t:.0f}" for t in points)], rows,
                   f"The order of the last point stands from {settled:.0f} tokens on.")
        figure.lines(here.folder / f"ranking-{text.name}.svg", f"Candidates, {text.name}", "tokens", "held-out loss",
                     {name: curve[1:] for name, curve in curves.items()})
        (here.folder / f"ranking-{text.name}.json").write_text(json.dumps(curves))


if __name__ == "__main__":
    main()
