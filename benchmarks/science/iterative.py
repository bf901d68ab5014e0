#!/usr/bin/env python3
"""One shot against iterative cuts: scoring again after each of T steps (arXiv 2407.14679, Table 12: no gain)."""

import lab


def main():
    o = lab.arguments(__doc__, tokens=8192, hidden=448, ffn=1024, heads=6)
    here = lab.Lab(o)
    for text in here.texts:
        rows = []
        for steps in (1, 2, 4):
            cut, _ = here.prune("--data", text.train, "--samples", o.samples, "--seq-len", o.seq_len, "--micro-batch", 4,
                                "--dtype", o.dtype, "--iterations", steps, "--hidden", o.hidden, "--ffn", o.ffn, "--heads", o.heads)
            after = here.over_seeds(lambda seed, cut=cut: here.distill(cut, text, seed=seed)[-1][1])
            rows.append([steps, here.loss(cut, text), after])
        here.write(f"iterative-{text.name}", f"Iterative cuts on {text.name}",
                   ["T", "loss after the cut", "after distillation"], rows)


if __name__ == "__main__":
    main()
