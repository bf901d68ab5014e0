#!/usr/bin/env python3
"""How many times more tokens a random model needs for the loss that the cut and distilled one reaches (the papers' claim: up to
40 times fewer tokens). The random model has --scratch times the student's tokens; where it does not get there, the factor is
only known to be larger."""

import figure
import lab


def crossing(curve, loss):
    """Tokens at which a falling curve passes `loss`, on the line between two measurements; None where it does not."""
    for (t0, l0), (t1, l1) in zip(curve, curve[1:]):
        if l1 <= loss < l0:
            return t0 + (t1 - t0) * (l0 - loss) / (l0 - l1), t1 - t0
    return None


def main():
    o = lab.arguments(__doc__, tokens=6144, hidden=504, ffn=1152, layers=28, scratch=8, scratch_lr=1e-3, points=16)
    here = lab.Lab(o)
    for text in here.texts:
        cut, _ = here.prune("--importance", here.importance(text), "--hidden", o.hidden, "--ffn", o.ffn, "--layers", o.layers)
        student = here.distill(cut, text, "--loss", "kl=1,ce=1", points=4)
        scratch = here.train(here.random(cut), text, tokens=o.scratch * o.tokens, lr=o.scratch_lr, points=o.points)[0]
        rows = []
        for tokens, loss in student:
            met = crossing(scratch, loss)
            factor = (f"{met[0] / tokens:.1f} ± {met[1] / 2 / tokens:.1f}" if met else
                      f"more than {scratch[-1][0] / tokens:.0f} (best {min(l for _, l in scratch):.3f})")
            rows.append([f"{tokens:.0f}", loss, factor])
        here.write(f"equal-loss-{text.name}", f"Tokens to equal loss on {text.name}",
                   ["tokens of distillation", "loss", "times as many from random weights"], rows,
                   "The error is half the distance between two measurements of the random model's loss; the teacher's own "
                   "training is not counted.")
        figure.lines(here.folder / f"equal-loss-{text.name}.svg", f"Cut and distilled against random, {text.name}", "tokens",
                     "held-out loss", {"cut, KL + CE": student, "random, CE": scratch})


if __name__ == "__main__":
    main()
