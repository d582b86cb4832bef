"""Finished runs applied to other studies: the same numbers as the runs' own, the mean by hand, what differs is said,
what does not fit is refused."""
import json, re, shutil
from pathlib import Path
import numpy as np, pandas as pd, pytest, torch
from chromexpress import batch
from chromexpress.apply import binning_of, blind_to, mean_of, plan_application, read_member, to_fill
from chromexpress.crossval import COLUMNS, collect_tables
from chromexpress.evaluate import evaluate, read_table
from chromexpress.registry import MODELS, load_study
from chromexpress.tracks import Need
from chromexpress.units import choose, filled, plan_units
from toy import (HG19, PLUGIN, SMALL, UNLABELLED, cli, files, not_current, python, quiet_log, times, toy_genes,
                 write_study)

NAMES = list(dict.fromkeys([*MODELS, "profile_ridge"]))
PLUGINS = f'plugins = ["{PLUGIN}"]'
MARKS = ("H3K4me3", "H3K27ac")
BOTH = "+".join(MARKS)

@pytest.fixture(scope="module")
# a study with every model, run in cellA on both marks, folds 1 and 2; ridge on single marks, too
def trained(tmp_path_factory):
    torch.set_num_threads(1)
    tables = "\n".join(f"[models.{n}]\nmarks = [\"all\"]\n{SMALL.get(n, '')}" for n in NAMES if n != "ridge")
    path = write_study(tmp_path_factory.mktemp("trained"), json.dumps(NAMES),
                       tables + '\n[models.ridge]\nmarks = ["each", "all"]\n',
                       top=PLUGINS, profiles=True, contacts=True)
    units = plan_units(*load_study(path))
    with quiet_log(): batch.run_units(path, choose(units, dict(cells=["cellA"])), device="cpu")
    return path

def runs_of(path, model="ridge", marks=BOTH):
    return next((path.parent/"results"/"runs").glob(f"{model}-*/cellA/{marks}"))

# a study of one cell of the toy, called mine
def another(trained, folder, change=lambda text: text, cell="cellB", expression=False):
    folder.mkdir(exist_ok=True)
    for f in trained.parent.glob("*.*"): shutil.copy(f, folder)
    text = trained.read_text().replace('name = "toy"', 'name = "new"').replace(f"[tracks.{cell}]", "[tracks.mine]")
    keep = {"genes", "tracks.mine"} | ({"expression", "expression.cells"} if expression else set())
    parts = re.split(r"^(?=\[)", text, flags=re.M)
    text = parts[0] + "".join(p for p in parts[1:] if re.match(r"\[(.*?)\]", p)[1] in keep)
    if expression: text = re.sub(r'(\[expression.cells\]\n)(.*\n)+?(?=\[)', rf'\1mine = "{cell}"\n', text)
    (folder/"study.toml").write_text(change(text))
    return folder/"study.toml"

def predict(path, *args): # the table, from the command line
    out = path.parent/"out.csv"
    assert cli("predict", path, "--jobs", "1", "--device", "cpu", "--out", out, *args) == 0
    return read_table(out)

def record(path): return json.loads((path.parent/"out.json").read_text())
def warnings(path): return [w for w in record(path)["warnings"] if "not blind" not in w]

# the same numbers

@pytest.mark.parametrize("model", NAMES)
def test_a_run_applied_to_its_own_study_gives_its_own_predictions(model, trained, tmp_path):
    before = not_current(trained)
    for fold in "12":
        run = runs_of(trained, model)/f"{fold}-s0"
        out = tmp_path/f"{fold}.csv"
        assert cli("predict", trained, "--run", run, "--cells", "cellA", "--device", "cpu", "--out", out) == 0
        a, b = [pd.read_csv(f, dtype=str, keep_default_na=False) for f in (out, run/"predictions.csv")]
        assert list(a) == list(b) == COLUMNS and len(a) == 240
        assert set(a.split) == {"applied"}
        # text by text, bit by bit
        pd.testing.assert_frame_equal(a.drop(columns="split"), b.drop(columns="split"))
        if model == "profile_ridge":
            np.testing.assert_array_equal(np.load(tmp_path/f"{fold}-profiles.npy"), np.load(run/"profiles.npy"))
    # and the study's units are what they were
    assert not_current(trained) == before

def test_the_same_in_another_study_that_has_the_same_tracks(trained, tmp_path):
    path = another(trained, tmp_path/"s", cell="cellA")
    t = predict(path, "--run", runs_of(trained, "promoter_cnn")/"2-s0")
    own = read_table(runs_of(trained, "promoter_cnn")/"2-s0"/"predictions.csv")
    np.testing.assert_array_equal(t.y_pred, own.y_pred)
    assert t.gene_id.tolist() == own.gene_id.tolist() and t.y_true.isna().all()
    keys = t[["study", "model", "trained_on", "cell", "marks", "fold", "seed",
              "split"]].drop_duplicates().values.tolist()
    assert keys == [["new", "promoter_cnn", "cellA", "mine", BOTH, "2", 0, "applied"]]

def test_stores_are_those_of_the_training(trained, tmp_path):
    "Boosting alone would be given windows of 10 kb; beside gene_score it was trained on a part of windows of 200 kb."
    a = plan_application(another(trained, tmp_path/"s"), [runs_of(trained, "boosting")])
    assert a.stores == {Need(10_000, 500): Need(200_000, 500)}
    assert [u.work.stores for u in a.units.values()] == [(Need(200_000, 500),)]*2

# the mean

def test_the_mean_of_the_runs_by_hand(trained, tmp_path):
    path, folder = another(trained, tmp_path/"s"), runs_of(trained)
    one, two = [predict(path, "--run", folder/f"{f}-s0") for f in "12"]
    t = predict(path, "--run", folder, "--members", tmp_path/"members.csv")
    np.testing.assert_allclose(t.y_pred, (one.y_pred + two.y_pred)/2, rtol=1e-8)
    assert set(t.fold) == {"mean of 1+2"} and set(t.seed) == {0} and len(t) == 240
    m = read_table(tmp_path/"members.csv")
    pd.testing.assert_frame_equal(m, pd.concat([one, two], ignore_index=True))
    assert [r["fold"] for r in record(path)["runs"]] == ["1", "2"]
    # each counts once, in any order
    both = predict(path, "--run", folder/"2-s0", "--run", folder/"1-s0", "--run", folder)
    pd.testing.assert_frame_equal(both, t)

def test_several_cells(trained, tmp_path):
    path = another(trained, tmp_path/"s", lambda t: t.replace("[tracks.cellA]", "[tracks.a]"))
    path.write_text(path.read_text() +
                    f'[tracks.same]\nH3K27ac = "cellB-H3K27ac.bedGraph"\nH3K4me3 = "cellB-H3K4me3.bedGraph"\n')
    t = predict(path, "--run", runs_of(trained))
    assert t.cell.tolist() == ["mine"]*240 + ["same"]*240
    # assays in another order are the same
    np.testing.assert_array_equal(t.y_pred[:240], t.y_pred[240:])
    assert set(predict(path, "--run", runs_of(trained), "--cells", "same").cell) == {"same"}
    assert cli("predict", path, "--run", runs_of(trained), "--cells", "sane") == 2

def test_profiles_stand_in_the_order_of_the_table(trained, tmp_path):
    path = another(trained, tmp_path/"s")
    t = predict(path, "--run", runs_of(trained, "profile_ridge"), "--blind")
    y = np.load(tmp_path/"s"/"out-profiles.npy")
    assert y.shape == (len(t), 3) and y.dtype == np.float32 and 0 < len(t) < 240
    np.testing.assert_allclose(y.mean(1), t.y_pred, rtol=1e-5)

def test_runs_of_other_seeds_have_their_own_permuted_contacts(tmp_path):
    path = write_study(tmp_path, '["chromoformer"]', contacts=True, folds='["1"]', tables=f"""[models.chromoformer]
contacts = "permuted"
seeds = [0, 1]
{SMALL["chromoformer"].replace("epochs = 2", "epochs = 1")}
""")
    units = plan_units(*load_study(path))
    with quiet_log(): batch.run_units(path, choose(units, dict(cells=["cellA"])), device="cpu")
    runs = runs_of(path, "chromoformer")
    predict(path, "--run", runs, "--cells", "cellA", "--members", tmp_path/"members.csv")
    own = pd.concat([read_table(runs/f"1-s{s}"/"predictions.csv") for s in (0, 1)], ignore_index=True)
    m = read_table(tmp_path/"members.csv")
    assert m.seed.tolist() == own.seed.tolist()
    np.testing.assert_array_equal(m.y_pred, own.y_pred)

def test_what_a_mean_was_taken_over():
    assert list(mean_of([[1, 0, 1], [0, 1, 0], [1, 1, 1]], ["1", "2", "3"])) == ["mean of 1+3", "2", "mean of 1+2+3"]
    assert list(mean_of([[1, 1], [0, 1]], [0, 5])) == ["mean of 0+5", 5]

def test_the_table_is_the_houses(trained, tmp_path):
    path = another(trained, tmp_path/"s", expression=True)
    t = predict(path, "--run", runs_of(trained))
    study, _ = load_study(trained)
    y = pd.Series(study.y("cellB"), study.genes.gene_id)[t.gene_id]
    np.testing.assert_allclose(t.y_true, y, rtol=1e-8)
    assert record(path)["metrics"]["mine"]["n"] == 240 - len(UNLABELLED["cellB"])
    (tmp_path/"all").mkdir()
    collect_tables([runs_of(trained)/"1-s0"/"predictions.csv", path.parent/"out.csv"],
                   tmp_path/"all"/"predictions.csv")
    assert len(read_table(tmp_path/"all"/"predictions.csv", split="applied")) == 240
    # what was applied is no blind test
    metrics, _ = evaluate(tmp_path/"all", study.genes.set_index("gene_id").chrom, draws=10)
    assert set(metrics.cell) == {"cellA"}

# blind

def test_blind_predictions_by_hand(trained, tmp_path):
    path, folder = another(trained, tmp_path/"s"), runs_of(trained)
    blind, every = [predict(path, "--run", folder, *o, "--members", tmp_path/"m.csv") for o in (["--blind"], [])]
    chroms = {f: json.loads((folder/f"{f}-s0"/"run.json").read_text())["chromosomes"]["test"] for f in "12"}
    genes = toy_genes().set_index("gene_id").chrom
    sees = {f: {g for g, c in genes.items() if c in chroms[f]} | set(UNLABELLED["cellA"]) for f in "12"}
    assert set(blind.gene_id) == sees["1"] | sees["2"] and set(blind.split) == {"blind"}
    assert set(every.split) == {"applied"}
    say = lambda g: "mean of 1+2" if g in sees["1"] & sees["2"] else "1" if g in sees["1"] else "2"
    assert blind.fold.tolist() == [say(g) for g in blind.gene_id]
    m = read_table(tmp_path/"m.csv").pivot(index="gene_id", columns="fold", values="y_pred")
    hand = [m.loc[g, [f for f in "12" if g in sees[f]]].mean() for g in blind.gene_id]
    np.testing.assert_allclose(blind.y_pred, hand, rtol=1e-8)

def test_by_chromosome_where_ids_are_not_known(trained):
    m, genes = read_member(runs_of(trained)/"1-s0"), toy_genes()
    test = genes.chrom.isin(m.about["chromosomes"]["test"]).to_numpy()
    # ten on each of chromosomes 5, 6, 8 and Y
    assert test.sum() == 40
    np.testing.assert_array_equal(blind_to(m, genes.assign(gene_id=genes.gene_id + ".1")), test)
    np.testing.assert_array_equal(blind_to(m, genes), test | genes.gene_id.isin(UNLABELLED["cellA"]))

def test_genes_without_a_run_are_counted(trained, tmp_path, capsys):
    path = another(trained, tmp_path/"s")
    n = len(predict(path, "--run", runs_of(trained)/"1-s0", "--blind"))
    # and g003 of chromosome 4, which had no label
    assert n == 41
    assert (f"mine: 199 of 240 genes are left out, every run has trained or validated on "
            "them." in capsys.readouterr().err)
    assert record(path)["genes"]["left_out"] == dict(mine=199) and record(path)["blind"]

def test_no_gene_left(trained, tmp_path, capsys):
    path = another(trained, tmp_path/"s")
    genes = pd.read_csv(path.parent/"genes.tsv", sep="\t")
    genes[genes.chrom == "chr2"].query("gene_id not in @UNLABELLED['cellA']").to_csv(path.parent/"genes.tsv",
        sep="\t", index=False)
    assert cli("predict", path, "--run", runs_of(trained)/"1-s0", "--blind", "--out", tmp_path/"x.csv") == 2
    assert "--blind: no gene is left" in capsys.readouterr().err and not list(tmp_path.glob("x*"))

# what differs is said, once

def swap(old, new): return lambda text: text.replace(old, new)

def test_nothing_to_say(trained, tmp_path, capsys):
    path = another(trained, tmp_path/"s")
    predict(path, "--run", runs_of(trained))
    lines = [l for l in capsys.readouterr().err.splitlines() if l.startswith("WARNING")]
    n = 240 - len([g for g in UNLABELLED["cellA"]]) - len(never_used(trained))
    assert lines == [f"WARNING {n} of 240 genes are among those that the runs were trained or validated on: "
                     "predictions for these are not "
                     "blind (--blind takes the runs alone that have not seen a gene)."]

def never_used(trained): # labelled genes that both folds test
    parts = [pd.read_csv(runs_of(trained)/f"{f}-s0"/"predictions.csv").set_index("gene_id").split for f in "12"]
    return [g for g in parts[0].index if all(p[g] == "test" for p in parts)]

def test_another_assembly(trained, tmp_path):
    path = another(trained, tmp_path/"s", swap('assembly = "hg19"', 'assembly = "mine1"\nchrom_sizes = "sizes.txt"'))
    (path.parent/"sizes.txt").write_text("".join(f"{c}\t{n}\n" for c, n in HG19.items()))
    predict(path, "--run", runs_of(trained))
    assert warnings(path) == ["the assembly is mine1, in training it was hg19."]

def test_other_lengths_of_genes(trained, tmp_path):
    "A gene score is relative to the longest and the shortest gene; ridge does not look."
    path = another(trained, tmp_path/"s")
    toy_genes()[120:].to_csv(path.parent/"genes.tsv", sep="\t", index=False)
    predict(path, "--run", runs_of(trained, "gene_score"))
    assert len([w for w in warnings(path) if "gene_score looks at lengths" in w]) == 1
    predict(path, "--run", runs_of(trained))
    assert not [w for w in warnings(path) if "lengths" in w]

def test_another_scale(trained, tmp_path):
    path = another(trained, tmp_path/"s", swap('"cellB-H3K4me3.bedGraph"',
                                               '{path = "cellB-H3K4me3.bedGraph", scale = "ratio", uncovered = 0}'))
    predict(path, "--run", runs_of(trained))
    assert warnings(path) == ["[tracks.mine] H3K4me3: its scale is ratio, in training it was linear."]

def test_another_format(trained, tmp_path):
    path = another(trained, tmp_path/"s", swap("cellB-H3K4me3.bedGraph", "k4.narrowPeak"))
    t = pd.read_csv(path.parent/"cellB-H3K4me3.bedGraph", sep="\t", header=None,
                    names=["chrom", "start", "end", "value"])
    t[t.value > 0].assign(name=".", score=0, strand=".", p=-1, q=-1, peak=-1)[["chrom", "start", "end", "name",
                                                                               "score", "strand", "value",
                                                               "p", "q", "peak"]].to_csv(path.parent/"k4.narrowPeak",
        sep="\t", header=False, index=False)
    predict(path, "--run", runs_of(trained))
    # bedGraph is as bigWig
    assert warnings(path) == ["[tracks.mine] H3K4me3: its format is narrowpeak, in training it was bigwig."]

@pytest.mark.parametrize("factor,said", [(2, False), (.5, False), (10, True), (.1, True)])
def test_another_level(factor, said, trained, tmp_path):
    path = another(trained, tmp_path/"s")
    name = path.parent/"cellB-H3K27ac.bedGraph"
    t = pd.read_csv(name, sep="\t", header=None)
    t[3] *= factor
    t.to_csv(name, sep="\t", header=False, index=False)
    predict(path, "--run", runs_of(trained))
    assert len(warnings(path)) == said
    if said:
        assert re.fullmatch(r"\[tracks.mine\] H3K27ac: its mean around the TSS is [\d.]+, in training it was 1\.\d+; "
                            r"is it the same quantity\?",
                                 warnings(path)[0])

def test_levels_are_means_before_the_log(trained):
    about = json.loads((runs_of(trained)/"1-s0"/"run.json").read_text())
    p = pd.read_csv(runs_of(trained)/"1-s0"/"predictions.csv").set_index("gene_id").split
    t = pd.read_csv(trained.parent/"cellA-H3K27ac.bedGraph", sep="\t", header=None)
    genes = toy_genes().set_index("gene_id")[lambda g: p[g.index] == "train"]
    total = sum(t[3][(t[0] == g.chrom) & (t[1] >= g.tss - 1 - 3000) & (t[2] <= g.tss - 1 + 3000)].sum()/3
                for g in genes.itertuples())
    assert about["tracks"][1]["level"] == pytest.approx(total/len(genes), rel=1e-6)

def test_another_unit_is_not_filled_in(trained, tmp_path):
    path = another(trained, tmp_path/"s", swap('table = "rpkm.tsv"', 'table = "rpkm.tsv"\ntransform = "ln"'),
                   expression=True)
    assert predict(path, "--run", runs_of(trained)).y_true.isna().all()
    assert warnings(path) == ["the runs predict log2(RPKM + 1), the expression of the study is ln(RPKM + 1): y_true "
                              "stays empty."]

def test_other_ids(trained, tmp_path):
    path = another(trained, tmp_path/"s")
    genes = path.parent/"genes.tsv"
    genes.write_text(re.sub(r"^g(\d)", r"ENSG\1", genes.read_text(), flags=re.M).replace("ENSGene", "gene"))
    predict(path, "--run", runs_of(trained))
    assert warnings(path) == ["no gene has the id of a gene of the runs: whether predictions are blind cannot be "
                              "told by gene."]

def test_runs_that_are_not_finished(trained, tmp_path):
    shutil.copytree(runs_of(trained).parents[1], tmp_path/"runs")
    (tmp_path/"runs"/"cellA"/BOTH/"3-s0").mkdir()
    (tmp_path/"runs"/"cellA"/BOTH/"3-s0"/"checkpoint.pt").write_bytes(b"half")
    path = another(trained, tmp_path/"s")
    assert set(predict(path, "--run", tmp_path/"runs"/"cellA"/BOTH).fold) == {"mean of 1+2"}
    assert warnings(path) == ["--run: 1 runs are not finished and take no part (3-s0)."]

def test_runs_that_lost_their_predictions(trained, tmp_path):
    shutil.copytree(runs_of(trained)/"1-s0", tmp_path/"1-s0")
    (tmp_path/"1-s0"/"predictions.csv").unlink()
    path = another(trained, tmp_path/"s")
    assert len(predict(path, "--run", tmp_path/"1-s0", "--blind")) == 40                           # by chromosome
    predict(path, "--run", tmp_path/"1-s0")
    assert warnings(path) == ["no predictions.csv in 1 runs (1-s0): which genes they have seen is not known, only "
                              "which chromosomes."]

def test_other_code(trained, tmp_path):
    shutil.copytree(runs_of(trained), tmp_path/"runs")
    file = tmp_path/"runs"/"2-s0"/"run.json"
    about = json.loads(file.read_text())
    about["made_from"]["code"] = "0"*12
    file.write_text(json.dumps(about))
    path = another(trained, tmp_path/"s")
    predict(path, "--run", tmp_path/"runs")
    assert [w.split(":")[0] for w in warnings(path)] == ["1 of 2 runs were made by other code than this (2-s0)",
                                                        "the runs were not all made from the same code; run their "
                                                        "study again."]

# what does not fit is refused

def spoil(run, what): # a copy of a run, spoilt
    if what == "short": (run/"model.pt").write_bytes((run/"model.pt").read_bytes()[:1000])
    if what == "older":
        (run/"run.json").write_text(json.dumps({k: v for k, v in json.loads((run/"run.json").read_text()).items()
                                                               if k not in ("tracks", "files")}))
    if what == "json": (run/"run.json").write_text('{"run": ')
    if what == "option": edit_json(run/"run.json", lambda a: a["options"].update(batch=65))
    if what == "unknown option": edit_json(run/"run.json", lambda a: a["options"].update(depth=3))
    if what == "unknown model": edit_json(run/"run.json", lambda a: a.update(base="mine", plugin="my_models.py"))
    if what == "no model": (run/"model.pt").unlink()

def edit_json(file, change):
    about = json.loads(file.read_text())
    change(about)
    file.write_text(json.dumps(about))

@pytest.mark.parametrize("what,message", [
    ("short", r"model\.pt: not the file that run\.json speaks of; it was cut short, damaged or replaced"),
    ("older", r"run\.json: made by an older version, which did not note tracks, files; run this part of its "
              r"study again"),
    ("json", r"run\.json: not valid JSON"),
    ("option", r"promoter_cnn has other options now than when this run was made"),
    ("unknown option", r"options depth: promoter_cnn has no such option"),
    ("unknown model", r"the model 'mine' is not known here; name its plugin, my_models\.py, under `plugins`"),
    ("no model",
     r"no finished run in it or below it, only 1 that are not finished \(r\); `chromexpress run` makes them")])
def test_a_spoilt_run(what, message, trained, tmp_path, capsys):
    shutil.copytree(runs_of(trained, "promoter_cnn")/"1-s0", tmp_path/"r")
    spoil(tmp_path/"r", what)
    path = another(trained, tmp_path/"s")
    refused(capsys, message, path, "--run", tmp_path/"r")

def refused(capsys, message, path, *args):
    before = files(path.parent)
    assert cli("predict", path, "--jobs", "1", "--device", "cpu", *args) == 2
    out, err = capsys.readouterr()
    last = err.strip().splitlines()[-1]
    assert re.search(message, last), err
    assert out == "" and "Traceback" not in err and files(path.parent) == before

@pytest.mark.parametrize("change,message", [
    (swap("H3K27ac =", "H3K27Ac ="),
     r"study\.toml: \[tracks\.mine\]: no 'H3K27ac', which the runs were trained on; did you mean 'H3K27Ac'\?$"),
    (swap("[tracks.mine]", "[mine]"), r"  - \[tracks\.<cell>\]: missing"),
    (swap('assembly = "hg19"', ""), r"top level assembly: missing"),
    (swap("cellB-H3K27ac.bedGraph", "nowhere.bedGraph"), r"no file .*nowhere\.bedGraph")])
def test_a_study_that_does_not_fit(change, message, trained, tmp_path, capsys):
    refused(capsys, message, another(trained, tmp_path/"s", change), "--run", runs_of(trained))

@pytest.mark.parametrize("args,message", [
    ([], r"--run: missing; give the folder of a finished run"),
    (["--run", "nowhere"], r"--run nowhere: no such folder"),
    (["--run", "{runs}/1-s0/run.json"], r"run\.json: no such folder"),
    (["--run", "{study}/tracks"], r"tracks: no finished run in it or below it; `chromexpress run` makes them"),
    (["--run", "{study}/runs"], rf"--run: runs of {len(NAMES) + 2} kinds, where one model in one cell on one set of "
                                r"marks is needed; give one of these folders: "
                               r"\S+/runs/activity-\w+/cellA/H3K4me3\+H3K27ac \(2 runs\), "),
    (["--run", "{runs}", "--cells", "mime"], r"--cells mime: there is no \[tracks\.mime\]; did you mean 'mine'\?"),
    (["--run", "{runs}", "--out", "x.json"], r"--out x\.json: needs the name of a table, ending in \.csv"),
    (["--run", "{runs}", "--jobs", "-1"], r"--jobs -1: needs 0"),
    (["--run", "{runs}", "--device", "gpu"], r"--device: 'gpu' is none of")])
def test_words_that_do_not_fit(args, message, trained, tmp_path, capsys):
    args = [a.format(runs=runs_of(trained), study=trained.parent/"results") for a in args]
    refused(capsys, message, another(trained, tmp_path/"s"), *args)

def test_the_same_run_from_two_places(trained, tmp_path, capsys):
    shutil.copytree(runs_of(trained)/"1-s0", tmp_path/"r")
    refused(capsys, "are of the same fold and seed; give one", another(trained, tmp_path/"s"), "--run",
            runs_of(trained), "--run", tmp_path/"r")

def test_a_plugins_model_needs_the_plugin(trained):
    about = json.loads((runs_of(trained, "profile_ridge")/"1-s0"/"run.json").read_text())
    assert about["plugin"] == str(PLUGIN.resolve())
    assert json.loads((runs_of(trained)/"1-s0"/"run.json").read_text())["plugin"] is None

WITHOUT = """
import sys
from chromexpress.cli import main
main(["predict", sys.argv[1], "--run", sys.argv[2]])
"""
def test_in_a_process_that_does_not_know_it(trained, tmp_path):
    out, err = (p := python(WITHOUT, another(trained, tmp_path/"s", swap(PLUGINS, "")),
                            runs_of(trained, "profile_ridge"))).communicate(timeout=120)
    assert p.returncode == 2
    assert f"the model 'profile_ridge' is not known here; name its plugin, {PLUGIN.resolve()}, under `plugins`" in err

# a study without expression

def test_without_expression(trained, tmp_path, capsys):
    path = another(trained, tmp_path/"s")
    assert cli("prepare", path, "--jobs", "1") == 0
    for more in ([], ["--dry-run"], ["--only", f"run:ridge:mine:{BOTH}:1:0"]):
        before = files(path.parent)
        assert cli("run", path, "--jobs", "1", "--device", "cpu", *more) == 2
        assert re.search(r"study\.toml: no \[expression\], which ridge.* must have to learn from; add it, or apply a "
                         r"finished run to these "
                         r"tracks with `chromexpress predict`\.$", capsys.readouterr().err.strip())
        assert files(path.parent) == before
    assert cli("run", path, "--only", "bin:mine:H3K4me3", "--device", "cpu") == 0

def test_tables_that_are_not_needed_are_not_read(trained, tmp_path):
    path = another(trained, tmp_path/"s",
                   lambda t: t + '[grid]\nmodels = ["none"]\n[models.none]\nx = 1\n[splits]\nscheme = "?"\n')
    assert len(predict(path, "--run", runs_of(trained))) == 240

# binning

def test_what_is_binned_is_left_alone(trained, tmp_path, capsys):
    path, folder = another(trained, tmp_path/"s"), runs_of(trained)
    first = predict(path, "--run", folder)
    before = times(path.parent/"results"/"tracks")
    pd.testing.assert_frame_equal(predict(path, "--run", folder), first)
    assert times(path.parent/"results"/"tracks") == before
    assert "2 tracks: 2 binned already." in capsys.readouterr().err
    # a part of it is enough
    assert len(predict(path, "--run", runs_of(trained, marks="H3K4me3"))) == 240

def test_the_studys_own_units_know_what_became_of_their_stores(trained, tmp_path):
    "A source that was changed for a prediction, and changed back, is binned again."
    path = another(trained, tmp_path/"s")
    path.write_text(path.read_text() + '[grid]\nmodels = ["ridge"]\n')
    file = path.parent/"cellB-H3K4me3.bedGraph"
    text = file.read_text()
    first = predict(path, "--run", runs_of(trained))
    assert cli("prepare", path, "--jobs", "1") == 0 and not [u for u in not_current(path) if u.startswith("bin")]
    file.write_text(re.sub(r"\S+\n", "9\n", text, count=1))
    other = predict(path, "--run", runs_of(trained))
    assert (other.y_pred != first.y_pred).sum() == 1
    file.write_text(text)
    assert "bin:mine:H3K4me3" in not_current(path)
    pd.testing.assert_frame_equal(predict(path, "--run", runs_of(trained)), first)

def test_in_a_pool(trained, tmp_path, monkeypatch):
    path = another(trained, tmp_path/"s")
    recipe = binning_of, str(path), (str(runs_of(trained)),), ()
    a = plan_application(*recipe[1:])
    monkeypatch.setattr(batch, "_engine", lambda todo, jobs: batch._pooled)
    with quiet_log(): assert batch.run_units(path, to_fill(a), 1, device="cpu", recipe=recipe) == 2
    assert all(filled(u) for u in a.units.values()) and to_fill(a) == {}

# killed

KILLED = """
import json, shutil, sys
from pathlib import Path
from toy import cli, files, killed_at_rename
from chromexpress.core import file_digest
import torch; torch.set_num_threads(1)
study, runs, folder = map(Path, sys.argv[1:])
def predict(path):
    f = path.parent
    assert cli("predict", path, "--run", runs, "--jobs", "1", "--device", "cpu", "--out", f/"o.csv", "--members", f/"m.csv") == 0
shutil.copytree(study.parent, folder/"whole")
predict(folder/"whole"/study.name)
whole = {k: v for k, v in files(folder/"whole").items() if k.endswith((".csv", ".npy"))}
n, dead = 0, True
while dead:
    path = folder/f"killed-{n}"/study.name
    shutil.copytree(study.parent, path.parent)
    (path.parent/"o.csv").write_text("old")
    (path.parent/"o.json").write_text("old")
    dead = killed_at_rename(n, lambda: predict(path))
    now = files(path.parent)
    for k in ("o.csv", "m.csv"): assert now.get(k) in (whole[k], b"old", None), f"killed before file {n}: half of {k}"
    if now.get("o.json", b"old") != b"old":
        for f in json.loads(now["o.json"])["files"].values(): assert file_digest(f["path"]) == f["digest"]
    if now["o.csv"] != b"old": assert now.get("o.json") != b"old", f"killed before file {n}: a record of other results"
    predict(path)
    assert {k: v for k, v in files(path.parent).items() if k.endswith((".csv", ".npy"))} == whole
    n += 1
print(n - 1)
"""
def test_killed_before_any_of_its_files(trained, tmp_path):
    path = another(trained, tmp_path/"s")
    out, err = (p := python(KILLED, path, runs_of(trained), tmp_path)).communicate(timeout=300)
    assert p.returncode == 0, err
    # array, sidecar, marker of two tracks; members, table, record
    assert int(out.splitlines()[-1]) >= 2*3 + 3
