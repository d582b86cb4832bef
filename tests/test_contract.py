"What every model has to keep, whichever it is; and a complete one of the user's own, from its file to the metrics."
import dataclasses, json
import numpy as np, pandas as pd, pytest, torch
from chromexpress.batch import run_units
from chromexpress.core import InputError
from chromexpress.crossval import COLUMNS, execute, grid, load_fitted
from chromexpress.data import make_data, tensors
from chromexpress.perturb import field_of, gene_effects, is_seen, tile_places
from chromexpress.registry import MODELS, load_study
from chromexpress.tracks import Need, read_windows, store_paths
from chromexpress.train import fit_network, predict_network
from chromexpress.units import plan_units, state
from toy import PLUGIN, SMALL, UNLABELLED, UNSEEN, cli, quiet_log, toy_edges, toy_genes, write_study

NAMES = list(dict.fromkeys([*MODELS, "profile_ridge"]))
PLUGINS = f'plugins = ["{PLUGIN}"]'

def tables(names, marks='["all"]'):
    return "\n".join(f"[models.{n}]\nmarks = {marks}\n{SMALL.get(n, '')}" for n in names)

@pytest.fixture(scope="module")
def binned(tmp_path_factory): # the study with every model in its grid, and its units; all tracks are binned
    torch.set_num_threads(1)
    path = write_study(tmp_path_factory.mktemp("contract"), models=json.dumps(NAMES), tables=tables(NAMES),
                       top=PLUGINS, profiles=True, contacts=True)
    study, models = load_study(path)
    units = plan_units(study, models)
    with quiet_log(): run_units(path, {i: u for i, u in units.items() if u.kind in ("contacts", "bin")}, device="cpu")
    return study, units, grid(study, models)

@pytest.fixture(scope="module", params=NAMES)
def task(request, binned): # its run on both marks of cellA, fold 1
    return next(t for t in binned[2] if (t.run.model, t.run.cell, t.run.fold) == (request.param, "cellA", "1"))

@pytest.fixture(scope="module")
def done(task, tmp_path_factory): # the folder of that run
    folder = tmp_path_factory.mktemp(task.model.name)
    execute(task, folder, device="cpu")
    return folder

def test_options_are_frozen_and_have_defaults(task):
    options = task.model.options()
    assert dataclasses.fields(options)
    with pytest.raises(dataclasses.FrozenInstanceError): setattr(options, dataclasses.fields(options)[0].name, 1)

def test_needs_are_met(task, binned):
    needs = task.model.needs(task.options)
    assert needs and all(n in task.stores for n in needs)
    assert task.folders()
    for folder in task.folders():
        for n in needs: assert all(p.exists() for p in store_paths(folder, task.stores[n]))

def floats(x): # the arrays of numbers that may be missing
    return {k: v for k, v in x.items() if isinstance(v, np.ndarray) and v.dtype.kind == "f"}

def of_gene(x, i): # all that a network, or another model, is given for one gene, as one row of numbers
    return np.concatenate([v.numpy().ravel() for v in tensors({k: v[[i]] for k, v in x.items()}).values()])

def test_inputs(task):
    n = len(task.study.genes)
    x = task.model.inputs(task, np.arange(n))
    assert x and all(len(v) == n for v in x.values()) and all(np.isfinite(of_gene(x, i)).all() for i in range(n))
    assert all(v.dtype == (np.float32 if k in floats(x) else np.int64) for k, v in x.items() if isinstance(v, np.ndarray))
    rows = np.array([200, 3, 3, 71])
    some = task.model.inputs(task, rows)
    for i, r in enumerate(rows): np.testing.assert_array_equal(of_gene(some, i), of_gene(x, r))          # a gene's input is its own
    one = task.model.inputs(task, [5])
    assert all(len(v) == 1 and np.shape(v)[1:] == np.shape(x[k])[1:] for k, v in one.items())

def test_genes_on_the_minus_strand_are_turned_around(task):
    """The study is made of blocks of 2 kb with one level each, upstream first; a gene is seen the same way on both
    strands."""
    genes, x = task.study.genes, task.model.inputs(task, np.arange(len(task.study.genes)))
    need = task.model.needs(task.options)[0]
    if set(x) != {"signal"} or x["signal"].shape[1] != need.bins:
        pytest.skip("its inputs are not the bins around the TSS")
    inner = slice((need.window - 6000)//2//need.bin, (need.window + 6000)//2//need.bin)
    k4 = np.expm1(x["signal"][:, inner, 0]).reshape(len(genes), 3, -1).mean(2)
    y = task.study.expression.set_index(["cell", "gene_id"]).y["cellA"][genes.gene_id].to_numpy()
    # at the TSS, and downstream
    expected = 5 + 3*np.log1p(k4[:, 1]) - 1.5*np.log1p(k4[:, 2])
    for strand in "+-":
        of = (genes.strand == strand).to_numpy() & ~np.isnan(y)
        assert of.sum() > 100
        np.testing.assert_allclose(expected[of], y[of], rtol=1e-4)

def edit(genes, k, factor, assay="H3K4me3", **more): # the kilobase around a gene's TSS
    g = genes.iloc[k]
    return pd.DataFrame([dict(chrom=g.chrom, start=g.tss - 500, end=g.tss + 500, assay=assay, factor=factor, **more)])

def changed(task, edits): # which genes have other inputs in the edited genome
    rows = np.arange(len(task.study.genes))
    x, y = task.model.inputs(task, rows), task.model.inputs(task, rows, edits)
    return {i for i in rows if (of_gene(x, i) != of_gene(y, i)).any()}

def seen_by(task, chrom, start, end): # which genes have the place in a window, or in a partner
    genes, widest = task.study.genes, max(n.window for n in task.model.needs(task.options))
    see = set(np.flatnonzero((genes.chrom == chrom) & (genes.tss - widest//2 < end) & (genes.tss + widest//2 > start)))
    if not any(n.regions == "partners" for n in task.model.needs(task.options)): return see
    e = toy_edges(toy_genes())
    touch = e.gene_id[(e.chrom == chrom) & (e.start < end) & (e.end > start)]
    return see | set(np.flatnonzero(genes.gene_id.isin(set(touch))))

def test_edits_change_only_the_genes_that_see_the_place(task):
    genes, level = task.study.genes, task.study.y("cellA")
    # genes with much H3K4me3 at the TSS
    for k in np.argsort(-np.nan_to_num(level))[:3]:
        g = genes.iloc[k]
        see = seen_by(task, g.chrom, g.tss - 500, g.tss + 500)
        for factor in (0., 3.): assert k in changed(task, edit(genes, k, factor)) <= see
        assert changed(task, edit(genes, k, 0., gene_id=g.gene_id)) == {k}

def test_edits_that_change_nothing(task):
    genes = task.study.genes
    everywhere = pd.concat([edit(genes, k, 1.) for k in range(0, 240, 7)])
    assert changed(task, everywhere) == set()
    assert changed(task, edit(genes, 5, 0., assay="DNase")) == set()
    assert changed(task, edit(genes, 5, 0.).assign(chrom="chrM")) == set()
    assert changed(task, edit(genes, 5, 0.).iloc[:0]) == set()

def test_the_same_predictions_every_time(task, done, tmp_path):
    execute(task, tmp_path, device="cpu")
    for name in ["predictions.csv"] + ["profiles.npy"]*(task.model.target == "profile"):
        assert (tmp_path/name).read_bytes() == (done/name).read_bytes()

def test_every_gene_is_predicted(task, done):
    t, genes = pd.read_csv(done/"predictions.csv"), task.study.genes
    assert list(t) == COLUMNS
    # unlabelled ones too
    assert t.gene_id.tolist() == genes.gene_id.tolist() and np.isfinite(t.y_pred).all()
    keys = ["toy", task.run.model, task.run.config, "cellA", "cellA", "H3K4me3+H3K27ac", 1, 0]
    assert t[COLUMNS[:8]].drop_duplicates().values.tolist() == [keys]
    none = t.gene_id.isin(UNSEEN if task.model.target == "profile" else UNLABELLED["cellA"])
    assert none.sum() > 1 and (t.split[none] == "unlabelled").all() and t.y_true[none].isna().all()
    fold = task.study.folds["1"]
    for name in ("train", "valid", "test"):
        assert set(genes.chrom[(t.split == name).to_numpy()]) == set(getattr(fold, name))
        assert t.y_true[t.split == name].notna().all()

def test_targets_are_what_the_study_says(task, done):
    t, data = pd.read_csv(done/"predictions.csv"), make_data(task)
    if task.model.target == "gene": np.testing.assert_allclose(t.y_true, task.study.y("cellA"), rtol=1e-8)
    else:
        need = task.model.profile(task.options)[1]
        y = np.load(done/"profiles.npy")
        assert data.y.shape == y.shape == (240, need.bins) and y.dtype == np.float32 and np.isfinite(y).all()
        np.testing.assert_allclose(t.y_pred, y.mean(1), rtol=1e-5)
        np.testing.assert_allclose(t.y_true, data.y.mean(1), rtol=1e-5)

def test_a_fitted_model_is_taken_up_again(task, done, tmp_path):
    y = np.load(done/"profiles.npy") if task.model.target == "profile" else pd.read_csv(
        done/"predictions.csv").y_pred.to_numpy()
    predict, rows = load_fitted(task, done), np.arange(240)
    x = task.model.inputs(task, rows)
    np.testing.assert_allclose(predict(x), y, rtol=1e-6, atol=1e-7)
    # of some genes, as of all
    np.testing.assert_allclose(predict(task.model.inputs(task, rows[::-3])), y[::-3], rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="no fitted model"): load_fitted(task, tmp_path)

def test_every_model_can_be_perturbed(task, done):
    "Twelve genes, their promoters and tiles: dose 1 changes nothing, dose 0 of all marks something, and what is not seen stays empty."
    genes, rows = task.study.genes, np.arange(0, 240, 20)
    places, field = tile_places(genes.iloc[rows], task.study.sizes), field_of(task)
    seen = is_seen(places, field)
    base, e = gene_effects(load_fitted(task, done), task, rows, places, seen, (1., .5, 0.))
    assert base.shape == (12,) and e.shape == (12*17, 3) and (np.isnan(e).all(1) == ~seen).all() and np.isfinite(e[seen]).all()
    assert (e[seen, 0] == 0).all() and seen[(places.place == "promoter").to_numpy()].all() and (e[seen] != 0).any()
    far = places.assign(start=places.start + 50_000_000, end=places.end + 50_000_000)
    assert not is_seen(far, field).any()

def test_what_was_not_measured_takes_the_training_mean(task, done):
    predict, x = load_fitted(task, done), task.model.inputs(task, np.arange(30))
    holes, filled, train = {k: v.copy() for k, v in floats(x).items()}, {}, make_data(task).rows("train")
    for k, v in holes.items():
        v[4, -1], v[9] = np.nan, np.nan
        mean = task.model.inputs(task, train)[k].reshape(-1, v.shape[-1]).mean(0, dtype=float)
        filled[k] = np.where(np.isnan(v), mean.astype(np.float32), v)
    np.testing.assert_allclose(predict(x | holes), predict(x | filled), rtol=1e-4, atol=1e-5)

def test_blind_genes_teach_nothing(task):
    "Other targets, and other inputs, of test and unlabelled genes leave every other prediction as it is."
    data = make_data(task)
    blind = np.isin(data.split, ["test", "unlabelled"])
    where_blind = lambda new, old: np.where(blind.reshape(-1, *[1]*(old.ndim - 1)), new, old)
    other = dataclasses.replace(data, x=data.x | {k: where_blind(5 - v, v) for k, v in floats(data.x).items()},
                                y=where_blind(99., data.y))
    a, b = [predictions(task, d)[~blind] for d in (data, other)]
    np.testing.assert_array_equal(a, b)

def predictions(task, data):
    m = task.model
    if not m.network: return m.predict(m.fit(task, data), data.x)
    return predict_network(fit_network(lambda: m.network(task.options, data.x), data, task.options,
                                       task.run.random_seed)[0], data.x)

def test_a_run_says_how_it_was_made(task, done):
    run = json.loads((done/"run.json").read_text())
    plain = lambda o: json.loads(json.dumps(o))
    assert run["run"] == plain(task.run.keys) and run["options"] == plain(dataclasses.asdict(task.options))
    assert run["chromosomes"]["test"] == list(task.study.folds["1"].test)
    assert {"python", "torch", "numpy", "pandas", "chromexpress"} <= set(run["versions"])
    assert not (done/"checkpoint.pt").exists()
    if task.model.network:
        h = pd.read_csv(done/"history.csv")
        assert list(h) == ["epoch", "train_loss", "valid_loss", "lr", "seconds"] and h.epoch.tolist() == [1, 2]

# what is recovered

def test_ridge_recovers_a_linear_function_of_one_mark(tmp_path):
    "In cellA expression follows H3K4me3, in cellB H3K27ac; the other mark is noise."
    path = write_study(tmp_path, models='["ridge"]', tables=tables(["ridge"], '["each", "all"]'), folds='"all"')
    with quiet_log(): run_units(path, plan_units(*load_study(path)), device="cpu")
    assert cli("collect", path) == 0
    r = pd.read_csv(tmp_path/"results"/"metrics.csv").query("fold == 'all'").set_index(["cell", "marks"]).pearson
    assert min(r["cellA", "H3K4me3"], r["cellB", "H3K27ac"], r["cellA", "H3K4me3+H3K27ac"],
               r["cellB", "H3K4me3+H3K27ac"]) > .95
    assert max(r["cellA", "H3K27ac"], r["cellB", "H3K4me3"]) < .4

def test_the_mean_signal_is_over_what_was_measured(tmp_path):
    """H3K27ac is measured within 3 kb of each TSS. Over 8 kb, nothing is known of the outer bins: what counts is the
    6 kb, and a gene's score is as if the rest had their weighted mean."""
    path = write_study(tmp_path, models='["activity", "gene_score"]', folds='["1"]',
                       tables="[models.activity]\nwindow = 8000\n[models.gene_score]\nwindow = 8000\n")
    path.write_text(path.read_text().replace('"cellA-H3K27ac.bedGraph"',
                                             '{path = "cellA-H3K27ac.bedGraph", uncovered = "skip"}'))
    study, models = load_study(path)
    units = plan_units(study, models)
    with quiet_log(): run_units(path, {i: u for i, u in units.items() if "bin:cellA" in i}, device="cpu")
    run, score = [next(t for t in grid(study, models) if (t.run.model, t.run.cell) == (m, "cellA")) for m in models]
    rows, g = np.arange(240), study.genes
    x = read_windows(run.folders(), Need(8000, 100), run.stores[Need(8000, 100)], g)
    assert np.isnan(x[:, :10, 1]).all() and not np.isnan(x[:, 10:70]).any()
    known = np.log1p(x[:, 10:70, 1].astype(float)).mean(1)
    np.testing.assert_allclose(run.model.inputs(run, rows)["signal"][:, 0, 1], known, rtol=1e-5)
    i = 3                                                              # on '+', from its TSS to 1,051 bp further on
    at = np.arange(-3750, 4000, 500)
    w = np.exp(-np.maximum(np.maximum(-5000 - at, at - 1051), 0)/5000) + np.exp(-1)
    length = 1000 + 17*np.arange(240)
    w *= 1 + 4/1051/(1/1000 - 1/length[-1])
    seen = x[g.gene_id.tolist().index("g003"), 10:70, 1].astype(float).reshape(-1, 5).mean(1)
    want = np.log1p((w[2:14]*seen).sum()/w[2:14].sum()*w.mean())
    got = score.model.inputs(score, rows)["signal"][g.gene_id.tolist().index("g003"), 0, 1]
    np.testing.assert_allclose(got, want, rtol=1e-5)

# a model of one's own, through the command line

@pytest.fixture(scope="module")
def own(tmp_path_factory): # a study of the profile model alone, prepared, run and drawn
    path = write_study(tmp_path_factory.mktemp("own"), models='["profile_ridge", "coarse"]', top=PLUGINS, profiles=True, tables="""
[models.profile_ridge]
marks = ["each"]
[models.coarse]
base = "profile_ridge"
out_bin = 6000
folds = ["1"]
""")
    assert cli("prepare", path, "--jobs", "1") == 0
    assert (path.parent/"results"/"profiles"/"cellA"/"cage").is_dir()
    assert cli("run", path, "--jobs", "1") == 0
    return path

def test_the_whole_way_for_a_profile_model(own):
    out = own.parent/"results"
    t = pd.read_csv(out/"predictions.csv")
    # cellB has no profile
    assert list(t) == COLUMNS and set(t.cell) == {"cellA"}
    runs = t.groupby(["model", "marks", "fold"], sort=False).size()
    each = {("profile_ridge", m, f): 240 for m in ("H3K4me3", "H3K27ac") for f in (1, 2)}
    assert runs.to_dict() == each | {("coarse", "H3K4me3+H3K27ac", 1): 240}
    for (model, config, marks, fold), p in t.groupby(["model", "config", "marks", "fold"]):
        y = np.load(out/"runs"/f"{model}-{config}"/"cellA"/marks/f"{fold}-s0"/"profiles.npy")
        assert y.shape == (240, 1 if model == "coarse" else 3)
        np.testing.assert_allclose(p.y_pred, y.mean(1), rtol=1e-5)
    m = pd.read_csv(out/"metrics.csv").set_index(["model", "marks", "fold"]).pearson
    assert m["profile_ridge", "H3K4me3", "all"] > .95 > .5 > m["profile_ridge", "H3K27ac", "all"]
    assert (out/"report.html").stat().st_size > 10_000 and (out/"notebooks"/"cellA-60_cell.ipynb").exists()

def test_profiles_are_recovered_bin_by_bin(own):
    study, models = load_study(own)
    task = next(t for t in grid(study, models) if t.run.model == "profile_ridge" and t.run.marks == ("H3K4me3",))
    y, data = np.load(study.out/"runs"/task.run.folder/"profiles.npy"), make_data(task)
    test = data.rows("test")
    for b in range(3): assert np.corrcoef(y[test, b], data.y[test, b])[0, 1] > .95

def test_running_again_does_nothing(own):
    study, models = load_study(own)
    assert all(state(u) == "current" for u in plan_units(study, models).values())
    before = {p: p.stat().st_mtime_ns for p in (own.parent/"results").rglob("*.unit.json")}
    assert cli("run", own, "--jobs", "1") == 0 and len(before) > 10
    assert {p: p.stat().st_mtime_ns for p in (own.parent/"results").rglob("*.unit.json")} == before

def test_a_study_without_the_profile_is_told_so(tmp_path, capsys):
    path = write_study(tmp_path, models='["profile_ridge"]', tables="", top=PLUGINS)
    assert cli("units", path) == 2
    assert "[models.profile_ridge]: no [profiles.<cell>] has 'cage', which it predicts." in capsys.readouterr().err

def test_gene_and_profile_models_in_one_study(tmp_path):
    path = write_study(tmp_path, models='["ridge", "profile_ridge"]', tables="", folds='["1"]', top=PLUGINS,
                       profiles=True)
    with quiet_log(): run_units(path, plan_units(*load_study(path)), device="cpu")
    assert cli("collect", path) == 0
    r = pd.read_csv(tmp_path/"results"/"metrics.csv").query("fold != 'all'").set_index(["cell", "model"]).pearson
    assert set(r.index) == {("cellA", "ridge"), ("cellA", "profile_ridge"), ("cellB", "ridge")} and r.min() > .95

def test_two_profile_models_with_other_bins(tmp_path):
    path = write_study(tmp_path, models='["profile_ridge", "fine"]', folds='["1"]', top=PLUGINS, profiles=True,
                       tables='[models.profile_ridge]\nout_bin = 2000\n[models.fine]\nbase = '
                              '"profile_ridge"\nout_bin = 1500\n')
    with quiet_log(): run_units(path, plan_units(*load_study(path)), device="cpu")
    assert len(list((tmp_path/"results").rglob("profiles.npy"))) == 2

def test_a_profile_needs_no_expression(tmp_path):
    path = write_study(tmp_path, models='["profile_ridge"]', tables="", folds='["1"]', top=PLUGINS, profiles=True)
    text = path.read_text()
    path.write_text(text[:text.index("[expression]")] + text[text.index("[tracks.cellA]"):])
    with quiet_log(): run_units(path, plan_units(*load_study(path)), device="cpu")
    assert len(list((tmp_path/"results").rglob("profiles.npy"))) == 1
