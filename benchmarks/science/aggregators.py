#!/usr/bin/env python3
"""Which aggregation of activations finds the units that matter: all nine pairs, after the cut and after a short distillation
(arXiv 2407.14679, Table 11)."""

import lab

PAIRS = [(batch, sequence) for batch in ("l2", "mean", "var") for sequence in ("l2", "mean", "var")]


def main():
    o = lab.arguments(__doc__, tokens=8192, hidden=448, ffn=1024, heads=6)
    here = lab.Lab(o)
    for text in here.texts:
        scores = here.importance(text)
        rows = []
        for batch, sequence in PAIRS:
            cut, _ = here.prune("--importance", scores, "--hidden", o.hidden, "--ffn", o.ffn, "--heads", o.heads,
                                "--batch-aggregate", batch, "--seq-aggregate", sequence)
            after = here.over_seeds(lambda seed, cut=cut: here.distill(cut, text, seed=seed)[-1][1])
            rows.append([f"{batch}/{sequence}", here.loss(cut, text), after])
        best_cut, best = min(rows, key=lambda r: r[1])[0], min(rows, key=lambda r: r[2][0])[0]
        here.write(f"aggregators-{text.name}", f"Aggregators (batch/sequence) on {text.name}",
                   ["batch/seq", "loss after the cut", "after distillation"], rows,
                   f"hidden {o.hidden}, {o.ffn} neurons, {o.heads} heads. Best after the cut {best_cut}, after distillation {best}; "
                   "the paper's best are l2/mean and mean/mean.")


if __name__ == "__main__":
    main()
