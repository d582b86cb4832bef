"""The simulated study with contacts: Chromoformer with them, without them, and with contacts permuted within their
chromosomes (their number, scores and distances kept) and trained again.

Each arm is trained with every seed on every fold; only `contacts` differs between the arms. Prints r of each arm and
the paired difference from the arm without contacts, with the 95 % interval of the paired bootstrap over genes and
over chromosomes: seed by seed, and all seeds together (their differences averaged in each resample).

In the simulation, what the enhancers in contact give is their mean by default, weighted by score: then the number and
scores of contacts tell nothing by themselves. With --simulation sum they tell much, and the permuted arm, which keeps
them, gains from them too.

With --folder, an interrupted benchmark goes on where it was.
"""
from common import do_units, parse, parser, report
import json, sys, tempfile
from pathlib import Path
import numpy as np, pandas as pd
from chromexpress.core import InputError, setup_log
from chromexpress.evaluate import compare, read_table
from chromexpress.findings import turned
from chromexpress.registry import load_study
from chromexpress.simulate import simulate

ARMS = {"with": "true", "without": "false", "permuted": '"permuted"'}
SETTING = dict(bins="[500]", width="32", epochs="10")


def make_study(a, folder):
    "The simulated study, unless it is there, and the three arms as its models."
    study = folder/"study.toml"
    if not study.exists(): simulate(folder, genes=a.genes, cells=1, seed=a.simulation_seed, contacts=a.simulation)
    had = json.loads((folder/"simulation.json").read_text())
    if (had["genes"], had["seed"], had.get("contacts", "sum")) != (a.genes, a.simulation_seed, a.simulation):
        sys.exit(f"{folder}: holds another simulation ({had}); give another --folder.")
    options = SETTING | dict(s.split("=", 1) for s in a.option)
    models = "".join(f'\n[models.{arm}]\nbase = "chromoformer"\ncontacts = {contacts}\n' +
                     "".join(f"{k} = {v}\n" for k, v in options.items()) for arm, contacts in ARMS.items())
    grid = f'[grid]\nmodels = {json.dumps(list(ARMS))}\nmarks = ["all"]\nfolds = {json.dumps(a.folds)}\n' \
           f"seeds = {list(range(a.seeds))}\n"
    study.write_text(study.read_text().split("[grid]")[0] + grid + models)
    return study, options


def differences(predictions, chroms, seeds):
    "r of each arm and its paired lead over the arm without contacts: a row a seed, and one for all together."
    parts = []
    for seed in [*seeds, "all"] if len(seeds) > 1 else seeds:
        c = compare(predictions[(predictions.seed == seed) | (seed == "all")], chroms)
        c = turned(c, c.model_a == "without")
        rows = c[c.model_b == "without"].rename(columns=dict(model_a="contacts", r_a="r", r_b="r_without"))
        parts.append(rows.assign(seed=seed))
    shown = "contacts seed n r r_without delta low high p block_low block_high p_block".split()
    return pd.concat(parts)[shown].sort_values("contacts", ascending=False, kind="stable", ignore_index=True)


def told(folder, cell="cellA"):
    "R² of what contacts give to expression, by their number and scores alone (least squares)."
    edges = pd.read_csv(folder/"results"/"contacts"/f"{cell}.csv")
    truth = pd.read_csv(folder/"truth"/"genes.csv").set_index("gene_id").C
    by = edges.assign(root=edges.score**.5).groupby("gene_id")
    by = by.agg(n=("score", "size"), sum=("score", "sum"), root=("root", "sum"))
    by = by.reindex(truth.index, fill_value=0).assign(one=1, square=lambda t: t.n**2).to_numpy(float)
    left = truth - by @ np.linalg.lstsq(by, truth, rcond=None)[0]
    return float(1 - left.var()/truth.var())


def main():
    p = parser(__doc__)
    p.add_argument("--genes", type=int, default=8000)
    p.add_argument("--seeds", type=int, default=3, help="of training: weights, order of genes, and the permutation")
    p.add_argument("--folds", nargs="+", default=["1"], help="of the published four")
    p.add_argument("--simulation", choices=["mean", "sum"], default="mean",
                   help="what the enhancers in contact give to their gene")
    p.add_argument("--simulation-seed", type=int, default=0)
    p.add_argument("--option", action="append", default=[], metavar="NAME=VALUE",
                   help="an option of the model, as in a study file; the same in all arms. Without it: " +
                        ", ".join(f"{k}={v}" for k, v in SETTING.items()))
    p.add_argument("--jobs", type=int, default=1)
    p.add_argument("--folder", help="keep the study here; it goes on where it was")
    a = parse(p, genes=240, seeds=2, option=["epochs=1", "width=16"])
    setup_log()
    with tempfile.TemporaryDirectory() as tmp:
        study, options = make_study(a, Path(a.folder or tmp))
        try: do_units(study, {}, a.jobs, kinds=("contacts", "bin", "run"), tables=True)
        except InputError as e: sys.exit(f"{e}")
        results = study.parent/"results"
        predictions, history = read_table(results/"predictions.csv"), read_table(results/"history.csv")
        genes = load_study(study)[0].genes.set_index("gene_id")
        alone = told(study.parent)
    found = differences(predictions, genes.chrom, range(a.seeds))
    print(found.round(4).to_string(index=False), "\n")
    figures = {"genes": a.genes, "seeds": a.seeds, "folds": len(a.folds),
               "R² of the contacts' part by their number and scores alone": alone}
    for row in found[found.seed == found.seed.iloc[-1]].itertuples():
        figures |= {f"{row.contacts}: Δr": row.delta, f"{row.contacts}: Δr, low": row.low,
                    f"{row.contacts}: Δr, high": row.high}
    figures |= {f"{m}: training, s": float(s) for m, s in history.groupby("model").seconds.sum().items()}
    plain = lambda t: json.loads(t.to_json(orient="records", double_precision=6))
    report(figures, a.json, tables=dict(differences=plain(found), simulation=a.simulation, options=options))


if __name__ == "__main__":
    try: main()
    except KeyboardInterrupt: sys.exit(130)
