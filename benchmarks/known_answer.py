"""The simulated study of 2,000 genes: every model on every mark and on all, against what an oracle could explain.

With the CNN on single marks this takes about half an hour on two cores.
"""
from common import do_units, parse, parser, report
import os, sys, tempfile
import pandas as pd
from chromexpress.core import setup_log
from chromexpress.simulate import simulate


def compare(args, study):
    "Run the models, and set them against the oracle."
    do_units(study, dict(models=args.models.split(",")), args.jobs, tables=True)
    truth = pd.read_csv(study.parent/"truth"/"marks.csv").set_index("mark").oracle_r2
    metrics = pd.read_csv(study.parent/"results"/"metrics.csv").query("fold == 'all'")
    metrics["mark"] = metrics.marks.where(~metrics.marks.str.contains("+", regex=False), "all")
    table = metrics.pivot(index="mark", columns="model", values="r2").join(truth).sort_values("oracle_r2")
    print(table.round(3).to_string(), file=sys.stderr)
    single = table.drop("all")
    figures = {}
    for model in metrics.model.unique():
        figures[f"{model}: R² of all marks over the oracle's"] = float(table[model]["all"] / table.oracle_r2["all"])
        wrong = [(a, b) for a in single.index for b in single.index if truth[a] > truth[b] + .02
                 and single[model][a] <= single[model][b]]
        figures[f"{model}: pairs of marks ranked against the truth"] = len(wrong)
        if wrong:
            print(f"{model} ranks against the truth: {', '.join(' above '.join(w[::-1]) for w in wrong)}",
                  file=sys.stderr)
    report(figures, args.json)


def main():
    p = parser(__doc__)
    p.add_argument("--genes", type=int, default=2000)
    p.add_argument("--models", default="ridge,promoter_cnn")
    p.add_argument("--jobs", type=int, default=os.cpu_count())
    p.add_argument("--folder", help="keep the study here; it goes on where it was")
    args = parse(p, genes=200, models="ridge", jobs=1)
    setup_log()
    with tempfile.TemporaryDirectory() as tmp: compare(args, simulate(args.folder or tmp, genes=args.genes, cells=1))


if __name__ == "__main__": main()
