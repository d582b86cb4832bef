"""The whole grid on GM12878 and H1 (ENCODE, hg38): every model on each track and on all seven, in both cells and
four folds.

--data is the folder encode_hg38 (genes.tsv, cage.tsv, gm12878/*.narrowPeak, h1/*.narrowPeak) or a tar of it. The
tracks are binned, then each model is run by itself, then all are evaluated and drawn. It prints what each step took,
r of each model with its 95 % intervals, and the paired comparisons of models. With --out, an interrupted benchmark
goes on where it was: its times are then added up. `sum of units` is the time that the finished units say they took,
whichever call did them. Calls with other models or options, each with an --out of its own, are evaluated together by
a call with --join.
"""
from common import ROOT, parse, parser, report, units_in_child, watch
import json, sys, tarfile, tempfile
from pathlib import Path
import pandas as pd
from chromexpress.core import InputError, write_json
from chromexpress.crossval import collect_tables, grid
from chromexpress.evaluate import evaluate, read_table
from chromexpress.registry import MODELS, load_study
from chromexpress.units import choose, plan_units, state

STUDY = ROOT/"tests"/"studies"/"encode_hg38.toml"
quoted = lambda names: json.dumps(list(names))


def lay_out(data, out):
    "Links to the inputs in `out`; a tar is unpacked there."
    if data.is_file():
        if not (out/"data").exists():
            with tempfile.TemporaryDirectory(dir=out) as tmp, tarfile.open(data) as t:
                t.extractall(tmp, **dict(filter="data") if hasattr(tarfile, "data_filter") else {})    # from 3.11.4 on
                Path(tmp).joinpath("unpacked").mkdir()
                next(Path(tmp).rglob("genes.tsv")).parent.rename(out/"data")
        data = out/"data"
    for name in ("genes.tsv", "cage.tsv", "gm12878", "h1"):
        if not (data/name).exists(): sys.exit(f"{data}: no {name} in it; give the folder encode_hg38, or its tar.")
        (out/name).unlink(missing_ok=True)
        (out/name).symlink_to((data/name).resolve())


def write_study(out, models, marks, folds, precision="float32", options=()):
    """The study of the tests, with another grid; with these options, and another precision, for those models that
    have them. There are no contacts."""
    text = STUDY.read_text().split("[grid]")[0]
    for m in models:
        known, given = MODELS[m].options(), [o.split("=", 1) for o in options]
        own = dict(contacts="false") if hasattr(known, "contacts") else {}
        if precision != "float32" and hasattr(known, "precision"): own["precision"] = json.dumps(precision)
        own |= {k: v for k, v in given if hasattr(known, k)}
        if own: text += f"[models.{m}]\n" + "".join(f"{k} = {v}\n" for k, v in own.items()) + "\n"
    folds = quoted(folds) if folds else '"all"'
    text += f"[grid]\nmodels = {quoted(models)}\nmarks = {quoted(marks)}\nfolds = {folds}\n"
    (out/"study.toml").write_text(text)
    return out/"study.toml"


def usable(out, models, marks, folds, asked):
    "The models that this study has all for; it is said which have not."
    kept = []
    for m in models:
        try: grid(*load_study(write_study(out, [m], marks, folds))); kept.append(m)
        except InputError as e:
            if asked: sys.exit(str(e))
            print(f"{m} is left out: {e}", file=sys.stderr)
    return kept


def size_of(*folders):
    "Megabytes on disk."
    return sum(f.stat().st_size for d in folders for f in Path(d).rglob("*") if f.is_file())/1e6


def units_of(study, kind, only):
    "The units of one kind that this part of the grid takes."
    return [u for u in choose(plan_units(*load_study(study)), only).values() if u.kind == kind]


def take(out, step, run, current):
    """Do a step, unless it is finished and current, and add what it took to what was noted; leaves if it failed or
    was interrupted."""
    file = out/"benchmark.json"
    noted = json.loads(file.read_text()) if file.exists() else {}
    before = noted.get(step, dict(finished=False, calls=0, seconds=0., cpu=0., largest=0., together=0.))
    if before["finished"] and current: return before
    m = run()
    noted[step] = dict(finished=m["status"] == 0, calls=before["calls"] + 1)
    noted[step] |= {k: before[k] + m[k] for k in ("seconds", "cpu")}
    noted[step] |= {k: max(before[k], m[k]) for k in ("largest", "together")}
    write_json(file, noted)
    if m["status"]: sys.exit(f"{step} ended with status {m['status']}; with the same --out it goes on where it was.")
    return noted[step]


def costs(study, out, models, a):
    "A row for each step: what it took, and what it left on disk."
    rows, results, ran = [], out/"results", []
    def add(step, run, units=list, pattern=None):
        def noted(): ran.append(step); return run()
        m = take(out, step, noted, all(state(u) == "current" for u in units()) if pattern else not ran)
        done = [u for u in units() if state(u) == "current"]
        seconds = sum(json.loads(u.marker.read_text())["seconds"] for u in done)
        disk = size_of(*results.glob(pattern)) if pattern else size_of(results) - sum(r["disk_MB"] for r in rows)
        rows.append(dict(step=step, calls=m["calls"], units=len(done), wall_s=m["seconds"], cpu_s=m["cpu"],
                         units_s=seconds, largest_MiB=m["largest"], together_MiB=m["together"], disk_MB=disk))
    def add_units(step, kind, pattern, **only):
        only["cells"] = a.cells
        add(step, lambda: units_in_child(study, kinds=[kind], jobs=a.jobs, only=only),
            lambda: units_of(study, kind, only), pattern)
    add_units("prepare", "bin", "tracks")
    for m in models: add_units(m, "run", f"runs/{m}-*", models=[m])
    step, last = "tables", ["collect", study]
    if not a.no_report:
        step += " and report"
        last = ["run", study, "--jobs", a.jobs, "--cells", ",".join(a.cells), "--device", "cpu"]
    add(step, lambda: watch([sys.executable, "-m", "chromexpress.cli", *last]))
    return pd.DataFrame(rows)


def join(outs, results):
    "Evaluate together the runs that other calls have left; a row for each model of each call, as they noted it."
    runs = [f for o in outs for f in sorted((o/"results"/"runs").glob("*/*/*/*/run.unit.json"))]
    if not runs: sys.exit(f"--join {' '.join(map(str, outs))}: no finished run there.")
    collect_tables([f.with_name("predictions.csv") for f in runs], results/"predictions.csv")
    evaluate(results, load_study(outs[0]/"study.toml")[0].genes.set_index("gene_id").chrom)
    rows = []
    for o in outs:
        noted = json.loads((o/"benchmark.json").read_text())
        for m in sorted(set(noted) & set(MODELS)):
            done = [json.loads(f.read_text())["seconds"] for f in runs if f.is_relative_to(o/"results"/"runs")
                    and f.relative_to(o/"results"/"runs").parts[0].rsplit("-", 1)[0] == m]
            n = noted[m]
            rows.append(dict(step=m, calls=n["calls"], units=len(done), wall_s=n["seconds"], cpu_s=n["cpu"],
                             units_s=sum(done), largest_MiB=n["largest"], together_MiB=n["together"],
                             disk_MB=size_of(*(o/"results").glob(f"runs/{m}-*"))))
    return pd.DataFrame(rows)


def named(model, config):
    "Models as tables call them: with their configuration, where a model has several."
    several = set(model[(model + "-" + config).groupby(model).transform("nunique") > 1])
    return (model + "-" + config).where(model.isin(several), model)


def r_table(results):
    "r of every model and set of marks, folds pooled, with both 95 % intervals."
    t = read_table(results/"metrics.csv", fold="all")
    t["marks"] = t.marks.where(~t.marks.str.contains("+", regex=False), "all")
    t["model"] = named(t.model, t.config)
    shown = ["cell", "marks", "model", "n", "pearson",
             *(f"pearson_{k}" for k in ("low", "high", "block_low", "block_high")), "spearman", "auroc"]
    return t[shown].sort_values(["cell", "marks", "pearson"], ascending=[True, True, False], ignore_index=True)


def pair_table(results):
    "The paired comparisons of models on the same marks."
    t = read_table(results/"comparisons.csv", kind="models")
    both = named(pd.concat([t.model_a, t.model_b]), pd.concat([t.config_a, t.config_b]))
    t["model_a"], t["model_b"] = both[:len(t)], both[len(t):]
    t["marks"] = t.marks_a.where(~t.marks_a.str.contains("+", regex=False), "all")
    t = t.drop(columns=["kind", "study", "trained_on", "config_a", "config_b", "marks_a", "marks_b"])
    return t[["cell", "marks", *t.columns.drop(["cell", "marks"])]]


def main():
    p = parser(__doc__)
    p.add_argument("--data", help="the folder encode_hg38, or a tar of it")
    p.add_argument("--join", nargs="+", metavar="OUT", help="run nothing; evaluate together what calls left in these")
    p.add_argument("--models", nargs="+", help="names of the registry; without it all that this study suffices for")
    p.add_argument("--folds", nargs="+", help="without it all four")
    p.add_argument("--cells", nargs="+", default=["gm12878", "h1"])
    p.add_argument("--marks", nargs="+", default=["each", "all"])
    p.add_argument("--jobs", type=int, default=1)
    p.add_argument("--precision", default="float32", choices=["float32", "bf16"], help="of the products in networks")
    p.add_argument("--option", action="append", default=[], metavar="NAME=VALUE",
                   help="an option of models, as in a study file, for those that have it")
    p.add_argument("--out", help="folder of the study; kept, and gone on with")
    p.add_argument("--no-report", action="store_true", help="tables, but no figures")
    a = parse(p, models=["ridge", "activity"], folds=["1"], marks=["DNase", "H3K4me3"], no_report=True)
    if not a.data and not a.join: p.error("give --data, or --join")
    with tempfile.TemporaryDirectory() as tmp:
        out = Path(a.out or tmp).resolve()
        out.mkdir(parents=True, exist_ok=True)
        if a.join: cost = join([Path(o).resolve() for o in a.join], out/"results")
        else:
            lay_out(Path(a.data), out)
            models = usable(out, a.models or list(MODELS), a.marks, a.folds, bool(a.models))
            cost = costs(write_study(out, models, a.marks, a.folds, a.precision, a.option), out, models, a)
        r, pairs = r_table(out/"results"), pair_table(out/"results")
    for title, table in dict(cost=cost, r=r, comparisons=pairs).items():
        print(f"\n{title}\n{table.round(3).to_string(index=False)}")
    print()
    ran = cost[cost.step.isin(set(MODELS))]
    figures = {"models": len(ran), "runs": int(ran.units.sum())} | ({} if a.join else {"jobs": a.jobs})
    taken = {"wall, s": "wall_s", "CPU, s": "cpu_s", "sum of units, s": "units_s",
             "largest process, MiB": "largest_MiB", "all together, MiB": "together_MiB", "disk, MB": "disk_MB"}
    for row in [] if a.join else cost.itertuples():
        figures |= {f"{row.step}: {k}": float(getattr(row, f)) for k, f in taken.items()}
    figures |= {"total wall, s": float(cost.wall_s.sum()), "total CPU, s": float(cost.cpu_s.sum()),
                "total disk, MB": float(cost.disk_MB.sum())}
    plain = lambda t: json.loads(t.to_json(orient="records", double_precision=6))
    report(figures, a.json, tables=dict(cost=plain(cost), r=plain(r), comparisons=plain(pairs)))


if __name__ == "__main__":
    try: main()
    except KeyboardInterrupt: sys.exit(130)
