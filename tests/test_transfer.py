"Models in other cells: the same numbers as `predict` gives, blind genes alone, what is missing is said, and nothing depends on the order or on an interruption."
import numpy as np, pandas as pd, pytest, torch
from chromexpress import batch
from chromexpress.core import InputError
from chromexpress.registry import load_study
from chromexpress.transfer import COLUMNS, SIGNALS, gene_r, match_quantiles, read_scores, score_pair, track_quantiles, transfer_all, transfer_units
from chromexpress.units import choose, plan_units
from toy import SMALL, UNLABELLED, cli, files, killed_at_rename, quiet_log, times, write_study

MARKS = "H3K4me3+H3K27ac"

@pytest.fixture(scope="module")
def trained(tmp_path_factory): # ridge on single marks and both, a small network on both, in both cells and two folds
    torch.set_num_threads(1)
    tables = f'[models.ridge]\nmarks = ["each", "all"]\n[models.promoter_cnn]\n{SMALL["promoter_cnn"]}\n'
    path = write_study(tmp_path_factory.mktemp("transfer"), '["ridge", "promoter_cnn"]', tables)
    with quiet_log(): batch.run_units(path, units_of(path), device="cpu")
    return path

def units_of(path): return plan_units(*load_study(path))

def planned(path): return load_study(path)[0], units_of(path)

@pytest.fixture(scope="module")
def done(trained):
    with quiet_log(): tables = transfer_all(*planned(trained))
    return trained.parent/"results", *tables

def rows(out, model="ridge", marks=MARKS):
    return pd.read_csv(next((out/"transfer").glob(f"{model}-*/{marks}/predictions.csv.gz")), dtype=dict(fold=str))

def test_pairs(done):
    out, pairs, genes = done
    assert genes.empty and read_scores(out/"transfer_genes.csv").empty              # two cells are too few
    assert sorted(zip(pairs.model, pairs.marks, pairs.trained_on, pairs.cell, pairs.signal)) == sorted(
        (m, k, a, b, s) for m, k in (("ridge", MARKS), ("ridge", "H3K4me3"), ("ridge", "H3K27ac"), ("promoter_cnn", MARKS))
        for a, b in (("cellA", "cellB"), ("cellB", "cellA")) for s in SIGNALS)
    assert read_scores(out/"transfer.csv").shape == pairs.shape

@pytest.mark.parametrize("model", ["ridge", "promoter_cnn"])
def test_as_predict(trained, done, model, tmp_path): # another way to the same numbers: `predict` applies the run of a fold to the study
    out, *_ = done
    for fold in ("1", "2"):
        run = next((out/"runs").glob(f"{model}-*/cellA/{MARKS}/{fold}-s0"))
        assert cli("predict", trained, "--run", run, "--cells", "cellB", "--out", tmp_path/"p.csv", "--device", "cpu") == 0
        expected = pd.read_csv(tmp_path/"p.csv").set_index("gene_id").y_pred
        found = rows(out, model).query("trained_on == 'cellA' and fold == @fold").set_index("gene_id").y_pred
        assert len(found) >= 20
        np.testing.assert_allclose(found, expected[found.index], rtol=1e-5)

def test_only_blind_genes(trained, done):
    study = load_study(trained)[0]
    chrom = study.genes.set_index("gene_id").chrom
    for fold, part in rows(done[0]).groupby("fold"): assert set(chrom[part.gene_id]) == set(study.folds[fold].test)

def test_rows(done, trained):
    t, study = rows(done[0]), load_study(trained)[0]
    assert list(t) == COLUMNS and not t.duplicated(["trained_on", "cell", "seed", "gene_id"]).any()
    y = {c: pd.Series(study.y(c), study.genes.gene_id) for c in study.cells}
    for a, b in (("cellA", "cellB"), ("cellB", "cellA")):
        part = t[t.trained_on == a]
        np.testing.assert_allclose(part.y_true, y[b][part.gene_id], rtol=1e-7)
        np.testing.assert_allclose(part.y_trained_on, y[a][part.gene_id], rtol=1e-7)
        own = pd.read_csv(next((done[0]/"runs").glob(f"ridge-*/{a}/{MARKS}/1-s0"))/"predictions.csv").set_index("gene_id").y_pred
        first = part[part.fold == "1"]
        np.testing.assert_allclose(first.y_pred_trained_on, own[first.gene_id], rtol=1e-6)
    lost = {g for ids in UNLABELLED.values() for g in ids} & set(t.gene_id)
    assert all(done[1].n == t.gene_id.nunique() - len(lost))

def test_toy_cells_have_little_in_common(done): # expression follows H3K4me3 in cellA, H3K27ac in cellB, independent of each other
    pairs = done[1][done[1].signal == "raw"].set_index(["model", "marks", "trained_on"])
    assert pairs.loc[("ridge", MARKS, "cellA"), "own"] > .9
    assert abs(pairs.loc[("ridge", MARKS, "cellA"), "pearson"]) < .4
    assert abs(pairs.baseline).max() < .4

def test_matched_signal_undoes_a_monotone_change():
    rng = np.random.default_rng(0)
    x = rng.gamma(1., 2., (300, 4, 2)).astype(np.float32)
    for change in (lambda v: 3*v + 1, np.log1p, lambda v: v**2):
        y = change(x)
        np.testing.assert_allclose(match_quantiles(y, track_quantiles(y), track_quantiles(x)), x, atol=.06, rtol=.03)
    lacks = np.full((2001, 2), np.nan)
    assert np.array_equal(match_quantiles(x, track_quantiles(x), lacks), x)

def test_nothing_is_matched_without_the_training_cells_tracks(trained):
    only = transfer_units(*planned(trained), dict(cells=["cellA", "cellB"], models=["ridge"], marks=[MARKS]))
    assert len(only) == 1 and only[0].work.cells == ("cellA", "cellB")

def test_scores_by_hand():
    part = pd.DataFrame(dict(gene_id=list("abcde"), y_true=[1., 2, 3, np.nan, 9], y_trained_on=[1., 1, 1, 1, np.nan], y_pred_trained_on=[0., 0, 1, 0, 0],
                             y_pred=[1., 3, 2, 7, 7], y_pred_matched=[3., 2, 1, 7, 7], y_own=[1., 2, 3, 4, 5]))
    raw, matched = score_pair(part, 100, "x")
    assert raw["n"] == 3 and raw["pearson"] == pytest.approx(.5) and matched["pearson"] == pytest.approx(-1) and raw["own"] == pytest.approx(1)
    assert np.isnan(raw["baseline"]) and np.isnan(raw["gain"])                      # one value says nothing
    assert raw["difference"] == pytest.approx(np.corrcoef([0, 1, 2], [1, 3, 1])[0, 1])
    assert raw["spearman"] == pytest.approx(.5)

def test_gene_r_needs_three_cells():
    assert np.isnan(gene_r(np.array([[1., 2, np.nan]]), np.ones((1, 3)))).all()
    assert gene_r(np.array([[1., 2, 3]]), np.array([[5., 6, 7]])) == pytest.approx([1])

def test_current_is_not_redone_and_stale_is(trained, done):
    out = done[0]/"transfer"
    before = times(out)
    with quiet_log(): transfer_all(*planned(trained))
    assert times(out) == before
    unit = transfer_units(*planned(trained), dict(marks=["H3K27ac"]))[0]
    unit.marker.write_text(unit.marker.read_text().replace('"transfer"', '"other"'))
    with quiet_log(): transfer_all(*planned(trained))
    changed = {k for k, v in times(out).items() if before[k] != v}
    assert changed and all("H3K27ac/" in k and "+" not in k for k in changed)

def test_killed_and_taken_up_again(trained, done):
    out = done[0]/"transfer"
    whole, n = files(out), 0
    for unit in transfer_units(*planned(trained), dict(models=["ridge"])): unit.marker.unlink()
    with quiet_log():
        while killed_at_rename(n, lambda: transfer_all(*planned(trained))): n += 4
        transfer_all(*planned(trained))
    timeless = lambda d: {k: v for k, v in d.items() if not k.endswith(".unit.json")}
    assert n and timeless(files(out)) == timeless(whole)

def test_missing_runs_and_cells_are_named(tmp_path, hear, caplog):
    path = write_study(tmp_path, '["ridge"]', "")
    with pytest.raises(InputError, match="nothing to transfer; it takes finished runs"): transfer_units(*planned(path))
    with quiet_log(): batch.run_units(path, choose(units_of(path), dict(cells=["cellA"], folds=["1"])), device="cpu")
    with pytest.raises(InputError, match="nothing to transfer"): transfer_units(*planned(path))
    assert "cellB not binned, so not predicted" in caplog.text and "3 runs of ridge" in caplog.text

def test_a_model_without_plain_arrays_does_not_stop_the_others(tmp_path, hear, caplog): # the partners of Chromoformer, here none
    tables = f'[models.ridge]\n[models.chromoformer]\n{SMALL["chromoformer"]}\ncontacts = false\n'
    path = write_study(tmp_path, '["chromoformer", "ridge"]', tables, folds='["1"]')
    with quiet_log(): batch.run_units(path, choose(units_of(path), dict(models=["ridge"])), device="cpu")
    assert [u.id for u in transfer_units(*planned(path))] == [f"transfer:ridge:{MARKS}"]
    assert f"transfer:chromoformer:{MARKS}: its inputs are no plain arrays (partners)" in caplog.text
    assert [u.id for u in transfer_units(*planned(path), planned=True)] == [f"transfer:ridge:{MARKS}"]
    with pytest.raises(InputError, match="nothing to transfer.* --models"): transfer_units(*planned(path), dict(models=["chromoformer"]))
    study, units = planned(path)
    del study.tracks["cellB"]["H3K27ac"]                                            # and a cell that lacks a mark is named
    with pytest.raises(InputError, match="nothing to transfer"): transfer_units(study, units)
    assert f"transfer:ridge:{MARKS}: cellB has no H3K27ac, so it is not predicted" in caplog.text

def test_command(trained, done, capsys, monkeypatch):
    every = batch.notebook_units                           # the others are drawn by other tests
    monkeypatch.setattr(batch, "notebook_units", lambda *a: [n for n in every(*a) if n.id == "notebook:67_transfer"])
    assert cli("transfer", trained, "--models", "ridge", "--marks", MARKS, "--device", "cpu") == 0
    assert capsys.readouterr().out.split() == [str(done[0]/"transfer.csv"), str(done[0]/"report.html")]
    assert len(read_scores(done[0]/"transfer.csv")) == 4
    assert list((done[0]/"figures").glob("across-ridge-*-transfer.svg")) and "Across cells" in (done[0]/"report.html").read_text()
    assert cli("transfer", trained, "--models", "rige") == 2
