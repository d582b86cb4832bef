"""Element effects: do models lose most where most is lost? The simulated study says what each enhancer gives its gene.

Models of one mark that look 40 kb far are asked what would be left of a gene's expression without the mark in each enhancer and promoter
that they see (`chromexpress perturb --bed`, predictions of genes they were not trained on); their answers are ranked against the
simulation's. Beside them the same ranking by what needs no model: the mark's activity in the element, the nearness of its TSS, and
activity over distance. Intervals are those of 1,000 resamples of genes.
"""
from common import do_units, parse, parser, report
import sys, tempfile
from pathlib import Path
import numpy as np, pandas as pd
from chromexpress.core import seed_of, setup_log
from chromexpress.perturb import collect_effects, perturb_units, read_effects
from chromexpress.qtl import activity_of
from chromexpress.registry import load_study
from chromexpress.simulate import simulate
from chromexpress.study import read_perturb
from chromexpress.units import do_unit, plan_units, state

SCORERS = ["activity", "nearness", "activity / distance"]
WIDE = dict.fromkeys(("ridge", "boosting", "promoter_cnn"), "window = 40000\nbin = 500\n")   # nested looks as far by itself


def grid_of(models, mark, folds):
    "What the study runs."
    listed = lambda names: "[" + ", ".join(f'"{n}"' for n in names) + "]"
    return f"[grid]\nmodels = {listed(models)}\nmarks = {listed([mark])}\nfolds = {listed(folds)}\n" + "".join(
        f"[models.{m}]\n{WIDE[m]}" for m in models if m in WIDE)


def predicted(study, bed, mark):
    "Models × elements: the loss of log2 expression that each model predicts for genes it was not trained on."
    s, models = load_study(study)
    units, wanted = plan_units(s, models), read_perturb(study, dict(bed=str(bed), doses=(1., 0.), marks=(mark,), blind=True))
    units |= perturb_units(s, units, wanted)
    for u in units.values():
        if u.kind == "perturb" and state(u) != "current": do_unit(u, units)
    files = collect_effects(s, units, wanted).parent.glob("*/*.csv.gz")
    t = pd.concat([read_effects(f) for f in files]).query("dose == 0 and n > 0")
    return t.assign(loss=-t.effect).pivot(index=["place", "gene_id"], columns="model", values="loss")


def activity(study, elements, mark):
    "ln(mean signal + 1) of the mark in each element, from its track."
    s = load_study(study)[0]
    return activity_of(elements, [s.tracks["cellA"][mark]], s.sizes)


def ranks(values, rows):
    "Spearman's correlation of each column with the last one, over these rows."
    r = values.iloc[rows].rank().to_numpy()
    with np.errstate(invalid="ignore"): return np.corrcoef(r.T)[-1, :-1]        # all alike: no ρ


def compared(t, draws, seed=0):
    "A line for each scorer: Spearman's ρ, its interval, and by how much it is ahead of the mark's activity."
    rng, genes = np.random.default_rng(seed_of("effects", seed)), t.gene_id.to_numpy()
    rows = pd.Series(range(len(t))).groupby(genes).apply(list).tolist()
    values = t.drop(columns=["gene_id"])
    drawn = np.array([ranks(values, np.concatenate([rows[i] for i in rng.integers(len(rows), size=len(rows))])) for _ in range(draws)])
    names, rho = list(values.columns[:-1]), ranks(values, np.arange(len(t)))
    ahead = drawn - drawn[:, [names.index("activity")]]
    low, high = np.nanpercentile(drawn, [2.5, 97.5], axis=0)
    lead_low, lead_high = np.nanpercentile(ahead, [2.5, 97.5], axis=0)
    return pd.DataFrame(dict(scorer=names, rho=rho, low=low, high=high, lead=rho - rho[names.index("activity")], lead_low=lead_low,
                             lead_high=lead_high, zero=[float((t[n] == 0).mean()) for n in names]))


def elements_of(study):
    "Promoters, and the enhancers within 20 kb of the TSS of their gene: what each gives, and how far it is."
    e, genes = pd.read_csv(study.parent/"truth"/"elements.csv"), pd.read_csv(study.parent/"genes.tsv", sep="\t").set_index("gene_id")
    far = ((e.start + e.end)//2 - genes.tss[e.gene_id].to_numpy()).abs()
    return e.assign(place=e.element_id, distance=far)[far <= 19_500].reset_index(drop=True)


def beds(study, e):
    "The elements as they are, and with 2 kb of their surroundings: name → BED file."
    found = {}
    for name, margin in dict(elements=0, elements_and_2_kb=2_000).items():
        found[name] = study.parent/f"{name}.bed"
        found[name].write_text("".join(f"{r.chrom}\t{max(0, r.start - margin)}\t{r.end + margin}\t{r.place}\n" for r in e.itertuples()))
    return found


def told(what, table, models):
    "The figures of one table."
    figures = {}
    for r in table.itertuples():
        figures |= {f"{what}, {r.scorer}: ρ": r.rho, f"{what}, {r.scorer}: ρ, low": r.low, f"{what}, {r.scorer}: ρ, high": r.high}
        if r.scorer in models: figures |= {f"{what}, {r.scorer}: without effect, %": 100*r.zero, f"{what}, {r.scorer}: ahead of activity": r.lead}
    return figures


def compare(args, study):
    "Run the models, take the mark out of each element, and rank: enhancers by themselves, and with promoters."
    do_units(study)
    e, figures, tables = elements_of(study), {}, []
    e = e.assign(activity=activity(study, e, args.mark), nearness=-e.distance)
    e["activity / distance"] = e.activity/e.distance.clip(lower=3_000)      # half a promoter
    for name, bed in beds(study, e).items():
        loss = predicted(study, bed, args.mark)
        t = e.merge(loss.reset_index(), on=["place", "gene_id"], validate="one_to_one").dropna(subset=[*loss.columns])
        some = {"enhancers": t[t.kind != "promoter"], "enhancers and promoters": t}
        if name != "elements": some = {"enhancers with 2 kb on either side": some["enhancers"]}
        for what, rows in some.items():
            table = compared(rows[["gene_id", *loss.columns, *SCORERS, "effect"]].reset_index(drop=True), args.draws).assign(elements=what, n=len(rows))
            print(f"{what}, n = {len(rows)}\n{table.round(3).to_string(index=False)}", file=sys.stderr)
            figures |= {what: len(rows)} | told(what, table, loss.columns)
            tables.append(table)
    report(figures | dict(genes=t.gene_id.nunique()), args.json, tables=dict(effects=pd.concat(tables).to_dict("records")))


def main():
    p = parser(__doc__)
    p.add_argument("--genes", type=int, default=1500)
    p.add_argument("--models", default="ridge,boosting,nested,promoter_cnn")
    p.add_argument("--mark", default="H3K27ac", help="the mark that models see and lose")
    p.add_argument("--folds", default="1,2")
    p.add_argument("--draws", type=int, default=1000)
    p.add_argument("--folder", help="keep the study here; it goes on where it was")
    args = parse(p, genes=120, models="ridge", folds="1", draws=20)
    setup_log()
    grid = grid_of(args.models.split(","), args.mark, args.folds.split(","))
    with tempfile.TemporaryDirectory() as tmp:
        compare(args, simulate(Path(args.folder or tmp)/"study", genes=args.genes, cells=1, grid=grid))


if __name__ == "__main__": main()
