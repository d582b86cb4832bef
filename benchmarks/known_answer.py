"""The simulated study of 2,000 genes: every model on every mark and on all, against what an oracle could explain.

With the CNN on single marks this takes about half an hour on two cores.
"""
import sys, tempfile
from pathlib import Path
import pandas as pd
from chromexpress.cli import main as chromexpress
from chromexpress.simulate import simulate
from common import parser, report


def main():
    p = parser(__doc__)
    p.add_argument("--genes", type=int, default=2000)
    p.add_argument("--models", default="ridge,promoter_cnn")
    p.add_argument("--folder", help="keep the study here; it goes on where it was")
    args = p.parse_args()
    study = simulate(args.folder or tempfile.mkdtemp(), genes=args.genes, cells=1)
    chromexpress(["run", str(study), "--models", args.models])
    truth = pd.read_csv(study.parent/"truth"/"marks.csv").set_index("mark").oracle_r2
    metrics = pd.read_csv(study.parent/"results"/"metrics.csv").query("fold == 'all'")
    metrics["mark"] = metrics.marks.where(~metrics.marks.str.contains("+", regex=False), "all")
    table = metrics.pivot(index="mark", columns="model", values="r2").join(truth).sort_values("oracle_r2")
    print(table.round(3).to_string(), file=sys.stderr)
    single = table.drop("all")
    figures = {}
    for model in metrics.model.unique():
        figures[f"{model}: R² of all marks over the oracle's"] = float(table[model]["all"] / table.oracle_r2["all"])
        wrong = [(a, b) for a in single.index for b in single.index if truth[a] > truth[b] + .02 and single[model][a] <= single[model][b]]
        figures[f"{model}: pairs of marks ranked against the truth"] = f"{len(wrong)} {wrong or ''}".strip()
    report(figures, args.json)


if __name__ == "__main__": main()
