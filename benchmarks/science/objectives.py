#!/usr/bin/env python3
"""Which divergence, and how many of the teacher's tokens it must see: every loss beside cross entropy and KL alone, then KL over
the K most likely tokens and a tail (arXiv 2407.14679, Table 15: KL alone is best, CE beside MSE worst; top K <= 100 hurts)."""

import lab

LOSSES = ["ce=1,mse=1", "ce=1,reverse-kl=1", "ce=1,cosine=1", "ce=1,jsd=1", "ce=1,kl=1", "kl"]
TOP_K = [10, 100, 1000]


def main():
    o = lab.arguments(__doc__, tokens=8192, hidden=504, ffn=1152, layers=28)
    here = lab.Lab(o)
    for text in here.texts:
        cut, _ = here.prune("--importance", here.importance(text), "--hidden", o.hidden, "--ffn", o.ffn, "--layers", o.layers)
        arms = {loss: ["--loss", loss] for loss in LOSSES}
        arms.update({f"kl, top {k}": ["--loss", "kl", "--top-k", str(k)] for k in TOP_K})
        rows = [["cut, not retrained", here.loss(cut, text)]]
        for name, words in arms.items():
            rows.append([name, here.over_seeds(lambda s, words=words: here.distill(cut, text, *words, seed=s)[-1][1])])
        best = min(rows[1:], key=lambda r: r[1][0])[0]
        here.write(f"objectives-{text.name}", f"Objectives on {text.name}", ["objective", "held-out loss"], rows, f"Best: {best}.")


if __name__ == "__main__":
    main()
