"""Perturbing: what it costs to take marks away at the promoters and tiles of genes, against a loop that predicts each edit by itself.

The loop is the plain way: for every gene, place and dose the inputs of that gene are made with the edit, and predicted, whether the model
sees the place or not. `perturb.gene_effects` makes the inputs of many genes at once, leaves out the places that no input shows and the genes
whose inputs an edit does not change, and predicts the others in batches. Both give the same effects, which is checked first. The promoter
CNN as published sees 6 kb, of all places the promoter alone; with a window of 40 kb it sees all of them. Its weights are those of one
epoch. Seconds are those of the processor; the loop is timed on some genes, and scaled. Memory is that of a process of its own, above what it
had after the imports and the plan.
"""
from common import alternate, check, parse, parser, report, resident
import json, subprocess, sys, tempfile, time
from pathlib import Path
import numpy as np, torch
from chromexpress.core import setup_log
from chromexpress.crossval import load_fitted
from chromexpress.perturb import Perturbed, edits_at, field_of, gene_effects, genes_at_once, is_seen, places_for
from chromexpress.registry import load_study
from chromexpress.simulate import simulate
from chromexpress.study import read_perturb
from chromexpress.units import do_unit, plan_units

GRID = """[grid]
models = ["promoter_cnn", "wide"]
marks = ["all"]
folds = ["1"]

[models.promoter_cnn]
epochs = 1

[models.wide]
base = "promoter_cnn"
window = 40000
bin = BIN
epochs = 1

[perturb]
marks = ["all"]
doses = [0.5, 0]
"""


def planned(path, model):
    "The run of a model, its folder, and its places."
    study, models = load_study(path)
    unit = next(u for i, u in plan_units(study, models).items() if i.startswith(f"run:{model}:"))
    wanted = read_perturb(path)
    return unit.work, unit.folder, Perturbed(unit.work, unit.folder, places_for(unit.work, wanted), wanted["doses"], False)


def perturbed(work, predict, genes):
    "The effects of the first genes, as a unit of perturbation finds them, part by part."
    field, parts, left = field_of(work.task), [], genes
    for rows, of in work.chunks(min(genes, genes_at_once(work.task))):
        rows = rows[:left]
        p = work.places.iloc[of].reset_index(drop=True)
        p = p[p.gene_id.isin(set(work.task.study.genes.gene_id.iloc[rows]))].reset_index(drop=True)
        parts.append(gene_effects(predict, work.task, rows, p, is_seen(p, field), work.doses)[1])
        left -= len(rows)
        if not left: break
    return np.concatenate(parts)


def looped(work, predict, genes):
    "The same, one edit after another; 0 where the model does not see the place."
    task, out = work.task, []
    for row in range(genes):
        base = predict(task.model.inputs(task, [row]))[0]
        mine = work.places[work.places.gene_id == task.study.genes.gene_id[row]]
        for k in range(len(mine)):
            x = [task.model.inputs(task, [row], edits_at(mine.iloc[k:k + 1], task.run.marks, d)) for d in work.doses]
            out.append([predict(v)[0] - base for v in x])
    return np.array(out)


def memory(path, model, genes):
    "MiB that perturbing takes above what the process had before."
    r = subprocess.run([sys.executable, __file__, "--child", str(path), model, str(genes)], capture_output=True, text=True, check=True)
    return json.loads(r.stdout.splitlines()[-1])


def child(path, model, genes):
    "Perturb, and print by how much the memory grew."
    task, folder, work = planned(path, model)
    predict, before = load_fitted(task, folder), resident("VmRSS")
    perturbed(work, predict, int(genes))
    print(json.dumps(resident("VmHWM") - before))


def measure(a, path, model, genes):
    "The figures of one model."
    task, folder, work = planned(path, model)
    predict, plain = load_fitted(task, folder), min(a.plain, genes)
    same = np.allclose(np.nan_to_num(perturbed(work, predict, plain)), looped(work, predict, plain), atol=1e-4)
    seconds = alternate(dict(ours=lambda: perturbed(work, predict, genes), loop=lambda: looped(work, predict, plain)), a.rounds, time.process_time)
    edits = genes*len(work.doses)*(len(work.places)/len(task.study.genes))
    name, loop = f"{model}, {genes} genes", seconds["loop"]*genes/plain
    return {f"{name}: equal to the loop": check(same, name), f"{name}: edits": round(edits), f"{name}: CPU s": seconds["ours"],
            f"{name}: CPU ms an edit": 1000*seconds["ours"]/edits, f"{name}: loop, CPU s (scaled from {plain} genes)": loop,
            f"{name}: loop / ours": loop/seconds["ours"], f"{name}: memory, MiB": memory(path, model, genes)}


def main():
    p = parser(__doc__)
    p.add_argument("--genes", type=int, default=2000, help="for the published window")
    p.add_argument("--wide", type=int, default=200, help="genes for the window of 40 kb")
    p.add_argument("--bin", type=int, default=100, help="bp, of the window of 40 kb")
    p.add_argument("--plain", type=int, default=20, help="genes of the loop")
    a = parse(p, rounds=1, genes=48, wide=48, bin=1000, plain=1)
    torch.set_num_threads(1)
    setup_log("ERROR")
    with tempfile.TemporaryDirectory() as folder:
        path = simulate(Path(folder)/"study", genes=max(a.genes, a.wide, 48), cells=1, grid=GRID.replace("BIN", str(a.bin)))
        units = plan_units(*load_study(path))
        for u in units.values(): do_unit(u, units)
        figures = {f"{k}: {n}": v for k, n, v in [("places of a gene", "most", planned(path, "wide")[2].places.groupby("gene_id").size().max())]}
        for model, genes in (("promoter_cnn", a.genes), ("wide", a.wide)): figures |= measure(a, path, model, genes)
    report({k: v.item() if hasattr(v, "item") else v for k, v in figures.items()}, a.json)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]: child(*sys.argv[2:])
    else: main()
