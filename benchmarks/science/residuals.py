#!/usr/bin/env python3
"""What kept query heads take over from dropped ones of their group: nothing, the paper's sign, or LaCo's."""

import lab


def main():
    o = lab.arguments(__doc__, tokens=8192, heads=6)
    here = lab.Lab(o)
    for text in here.texts:
        scores = here.importance(text)
        rows = []
        for residual in ("off", "paper", "laco"):
            cut, _ = here.prune("--importance", scores, "--heads", o.heads, "--head-residual", residual)
            after = here.over_seeds(lambda seed, cut=cut: here.distill(cut, text, seed=seed)[-1][1])
            rows.append([residual, here.loss(cut, text), after])
        here.write(f"residuals-{text.name}", f"Head residuals on {text.name}, {o.heads} query heads",
                   ["residual", "loss after the cut", "after distillation"], rows)


if __name__ == "__main__":
    main()
