#!/usr/bin/env python3
"""Dropping layers: scattered ones by block influence or by loss, against one contiguous block by either (arXiv 2408.11796:
contiguous blocks win)."""

import lab


def main():
    o = lab.arguments(__doc__, tokens=8192, drop=6)
    here = lab.Lab(o)
    layers = lab.depth(here) - o.drop
    for text in here.texts:
        scores = here.importance(text, "--depth", "bi,ppl", "--depth-block", o.drop)
        rows = []
        for by in ("bi", "ppl"):
            for name, style in (("scattered", []), ("contiguous", ["--contiguous"])):
                cut, _ = here.prune("--importance", scores, "--layers", layers, "--depth-by", by, *style)
                after = here.over_seeds(lambda seed, cut=cut: here.distill(cut, text, seed=seed)[-1][1])
                rows.append([f"{name} by {by}", here.loss(cut, text), after])
        here.write(f"contiguous-{text.name}", f"Dropping {o.drop} layers on {text.name}",
                   ["which", "loss after the cut", "after distillation"], rows,
                   f"Best after distillation: {min(rows, key=lambda r: r[2][0])[0]}.")


if __name__ == "__main__":
    main()
