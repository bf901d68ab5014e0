#!/usr/bin/env python3
"""Where a student begins and what it is trained on, at the same tokens: random weights, a cut, cross entropy, KL, and KL to a
teacher that has read the text (arXiv 2407.14679: random < cut + CE < cut + KL; 2408.11796: the teacher's correction)."""

import figure
import lab


def main():
    o = lab.arguments(__doc__, tokens=15360, hidden=504, ffn=1152, layers=28, points=3, scratch_lr=1e-3, correction_tokens=12288)
    here = lab.Lab(o)
    for text in here.texts:
        cut, _ = here.prune("--importance", here.importance(text), "--hidden", o.hidden, "--ffn", o.ffn, "--layers", o.layers)
        random = here.random(cut)
        teacher = here.train(here.model, text, tokens=o.correction_tokens, lr=o.lr / 5)[1]
        arms = {"random, CE": lambda s: here.train(random, text, seed=s, lr=o.scratch_lr, points=o.points)[0],
                "random, KL": lambda s: here.distill(random, text, seed=s, lr=o.scratch_lr, points=o.points),
                "cut, CE": lambda s: here.train(cut, text, seed=s, points=o.points)[0],
                "cut, KL": lambda s: here.distill(cut, text, seed=s, points=o.points),
                "cut, KL + CE": lambda s: here.distill(cut, text, "--loss", "kl=1,ce=1", seed=s, points=o.points),
                "cut, KL, corrected teacher":
                    lambda s: here.distill(cut, text, seed=s, points=o.points, teacher=teacher)}
        losses = {name: here.over_seeds(lambda s, arm=arm: arm(s)[-1][1]) for name, arm in arms.items()}
        rows = [["teacher, as it is", here.loss(here.model, text)], ["teacher, corrected", here.loss(teacher, text)],
                ["cut, not retrained", here.loss(cut, text)], *([name, loss] for name, loss in losses.items())]
        holds = losses["random, CE"][0] > losses["cut, CE"][0] > losses["cut, KL"][0]
        here.write(f"beginnings-{text.name}", f"Beginnings and objectives on {text.name}", ["student", "loss"], rows,
                   "The paper's order random < cut + CE < cut + KL " + ("holds." if holds else "does not hold on this text."))
        figure.lines(here.folder / f"beginnings-{text.name}.svg", f"Beginnings and objectives, {text.name}", "tokens",
                     "held-out loss", {name: arm(1) for name, arm in arms.items()})


if __name__ == "__main__":
    main()
