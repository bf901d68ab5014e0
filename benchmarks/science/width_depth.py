#!/usr/bin/env python3
"""Cutting width against cutting depth at the same number of parameters, over tokens of retraining (arXiv 2407.14679, Table 1:
width wins after about 0.8 B tokens)."""

import figure
import lab


def main():
    o = lab.arguments(__doc__, tokens=30720, layers=23, ffn=1248, hidden=528, points=6)
    here = lab.Lab(o)
    for text in here.texts:
        scores = here.importance(text)
        models = {"depth": here.prune("--importance", scores, "--layers", o.layers),
                  "width": here.prune("--importance", scores, "--ffn", o.ffn, "--hidden", o.hidden)}
        curves = {}
        for name, (cut, _) in models.items():
            curves[name] = [(0, here.loss(cut, text)), *here.distill(cut, text, points=o.points)]
        tokens = [t for t, _ in curves["width"]]
        rows = [[f"{name} ({models[name][1]} parameters)", *(loss for _, loss in curves[name])] for name in curves]
        crossing = next((t for (t, w), (_, d) in zip(curves["width"], curves["depth"]) if t > 0 and w < d), None)
        here.write(f"width-depth-{text.name}", f"Width against depth on {text.name}, loss after tokens",
                   ["cut", *(f"{t:.0f}" for t in tokens)], rows,
                   f"width is better from {crossing:.0f} tokens on" if crossing else "width was not better at any point measured")
        figure.lines(here.folder / f"width-depth-{text.name}.svg", f"Width against depth, {text.name}", "tokens",
                     "held-out loss", curves)


if __name__ == "__main__":
    main()
