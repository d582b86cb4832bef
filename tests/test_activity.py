"Activity: means over windows by hand, correlations beside models, and a study in which one mark makes expression."
import gzip
from dataclasses import replace
from types import SimpleNamespace
import numpy as np, pandas as pd, pytest, scipy.stats
from chromexpress.activity import (activity_groups, bootstrap_rho, cell_activity, correlate, correlation_columns, fields_of, long_activity, mean_log, ranks_within,
                                   receptive_fields, track_activity, windows_of, write_activity)
from chromexpress.combinations import adds
from chromexpress.core import InputError
from chromexpress.evaluate import resamples
from chromexpress.tracks import Need, store_paths
from toy import finish, units_of, write_study

def task(*needs, model="toy", config="c", marks=("K4",), cell="A"):
    return SimpleNamespace(run=SimpleNamespace(cell=cell, marks=marks, model=model, config=config), options=None, stores={n: n for n in needs},
                           model=SimpleNamespace(name=model, needs=lambda o: list(needs)))

# windows

def test_of_equal_windows_the_finest_bins_are_read_and_regions_are_no_window():
    t = task(Need(40_000, 2000), Need(40_000, 100), Need(0, 100, "partners"), Need(6000, 100))
    assert windows_of(t) == [Need(6000, 100), Need(40_000, 100)]
    found = fields_of([t, task(Need(6000, 50), marks=("K4", "K9"))])
    assert {w: n.bin for w, (n, _) in found["A", "K4"].items()} == {6000: 50, 40_000: 100} and list(found["A", "K9"]) == [6000]

def test_receptive_fields_take_the_widest_window():
    row = dict(study="s", model="toy", config="c", trained_on="A", cell="A", marks="K4", fold="all", seed=0, n=9, pearson=.5, pearson_low=.4, pearson_high=.6)
    found = receptive_fields(pd.DataFrame([row, row | dict(model="blind")]), [task(Need(1000, 20), Need(40_000, 2000)), task(Need(0, 100, "partners"), model="blind")])
    assert found[["model", "base", "window", "bin"]].values.tolist() == [["toy", "toy", 40_000, 2000]]

# activity by hand

@pytest.mark.parametrize("scale,expected", [("linear", [1., 3.]), ("log", [np.expm1(2) / 2, np.expm1(3)])])
def test_mean_log_by_hand(scale, expected):
    "Bins e⁰ − 1 and e² − 1; a bin that was not measured is left out of the mean."
    assert np.allclose(mean_log(np.expm1([[0, 2], [np.nan, 3]]), scale), expected, rtol=1e-6)

def test_nothing_measured_is_no_activity(): assert np.isnan(mean_log(np.full((1, 3), np.nan), "linear")).all()

def test_windows_of_both_strands(tmp_path):
    "Six bins of 1 kb around either TSS: the same bins count for + and −, for the strand turns a window around its own middle."
    need = Need(6000, 1000)
    np.save(store_paths(tmp_path, need)[0], np.expm1([[6, 0, 1, 3, 0, 2], [6, 0, 1, 3, 0, 2], [0, 0, np.nan, 4, 0, 0]]).astype(np.float32))
    store_paths(tmp_path, need)[1].write_text("{}")
    genes = pd.DataFrame(dict(gene_id=list("abc"), chrom="chr1", tss=[9000, 50_000, 90_000], strand=["+", "-", "+"]))
    fields = {2000: (Need(2000, 1000), need), 6000: (need, need)}
    found = track_activity(tmp_path, fields, genes, "linear")
    assert np.allclose(found, [[2, 2], [2, 2], [4, .8]]) and found.dtypes.unique() == [np.float32]
    assert found.equals(track_activity(tmp_path, fields, genes, "linear", rows=1)) # a gene at a time
    with pytest.raises(InputError, match="no binned signal for a window of 8,000 bp; `chromexpress prepare` makes it"):
        track_activity(tmp_path, {8000: (Need(8000, 1000), Need(8000, 1000))}, genes, "linear")

# correlations

def test_spearman_of_resamples_is_scipys():
    rng = np.random.default_rng(1)
    y, x = rng.integers(4, size=30).astype(float), np.round(rng.normal(size=(30, 2)), 1)
    drawn = [np.repeat(np.arange(30), c) for c in next(resamples(30, 5, 3))]
    assert np.allclose(bootstrap_rho(y, x, 5, 3), [[scipy.stats.spearmanr(y[d], x[d, j])[0] for j in range(2)] for d in drawn])
    assert ranks_within(np.array([2., 1, 2]), np.array([[1, 0, 2]])).tolist() == [[2, .5, 2]] # the gene that was not drawn takes no place

def predictions(y, preds, seeds=(0,)): # one fold, a model for each column
    genes = [f"g{i:02}" for i in range(len(y))]
    rows = [pd.DataFrame(dict(study="s", model=m, config="c", trained_on="A", cell="A", marks=marks, fold="1", seed=s, split="test", gene_id=genes, y_true=y,
                              y_pred=np.asarray(p, float))) for (m, marks), p in preds.items() for s in seeds]
    return pd.concat(rows, ignore_index=True), pd.Series([f"chr{i % 6 + 1}" for i in range(len(y))], genes)

def wide(**columns): # mark_window → values
    keys = [k.split("_") for k in columns]
    index = pd.MultiIndex.from_tuples([(m, int(w)) for m, w in keys], names=["mark", "window"])
    return pd.DataFrame(np.column_stack(list(columns.values())), [f"g{i:02}" for i in range(len(next(iter(columns.values()))))], index)

def test_a_repressive_mark_leads_by_the_size_of_its_r():
    y = np.arange(12.)
    table, chroms = predictions(y, {("toy", "K27"): y})
    rows = correlate(wide(K27_6000=-y**3), table, chroms, draws=100)
    r = scipy.stats.pearsonr(y, y**3)[0]
    assert list(rows.columns) == correlation_columns and list(rows.fold) == ["1", "all"] and set(rows.n) == {12}
    assert np.allclose(rows.pearson, -r) and np.allclose(rows.spearman, -1) and np.allclose(rows.r_model, 1) and np.allclose(rows["lead"], 1 - r)
    assert (rows.pearson_low <= -r).all() and (rows.pearson_high >= -r).all() and (rows.lead_low > 0).all() and rows.pearson_block_low.notna().all()

def test_genes_without_activity_are_left_out_of_both_sides():
    rng = np.random.default_rng(0)
    y, hat, act = rng.normal(size=(3, 40))
    act[:5] = np.nan
    table, chroms = predictions(y, {("toy", "K4"): hat, ("other", "K4+K9"): hat})
    rows = correlate(wide(K4_6000=act, K9_6000=hat), table, chroms, draws=50)
    of = rows[rows.fold == "all"].set_index("mark")
    assert of.n.to_dict() == dict(K4=35, K9=40)
    assert np.isclose(of.r_model["K4"], np.corrcoef(y[5:], hat[5:])[0, 1]) and np.isclose(of.pearson["K4"], np.corrcoef(y[5:], act[5:])[0, 1])
    assert of.model["K9"] == "" and np.isnan(of.r_model["K9"]) and np.isclose(of.pearson["K9"], np.corrcoef(y, hat)[0, 1]) # no model was given K9 alone

def test_seeds_are_averaged_and_rows_do_not_depend_on_their_order():
    rng = np.random.default_rng(0)
    y, a, b, act = rng.normal(size=(4, 30))
    table, chroms = predictions(y, {("toy", "K4"): a})
    table = pd.concat([table, table.assign(seed=1, y_pred=b)])
    rows = correlate(wide(K4_6000=act), table, chroms, draws=50)
    assert np.allclose(rows.r_model, (np.corrcoef(y, a)[0, 1] + np.corrcoef(y, b)[0, 1]) / 2)
    pd.testing.assert_frame_equal(rows, correlate(wide(K4_6000=act)[::-1], table.sample(frac=1, random_state=0), chroms, draws=50))

def test_groups_average_their_cells_once():
    row = dict(mark="K4", window=6000, fold="all", n=9, model="m", config="c")
    t = pd.DataFrame([row | dict(cell=c, group=g, pearson=r, model=m) for c, g, r in (("A", "x", .2), ("B", "x", .4), ("C", "y", .9)) for m in ("m", "k")])
    found = activity_groups(t)
    assert list(found.cell) == ["A", "B", "C"] and np.allclose(found.group_mean, [.3, .3, .9]) and list(found.cells) == [2, 2, 1]

# a study

@pytest.fixture(scope="module")
def study(tmp_path_factory): # in cellA expression follows H3K4me3, in cellB H3K27ac
    path = write_study(tmp_path_factory.mktemp("activity"), '["ridge", "activity"]',
                       '[models.ridge]\nmarks = ["each", "all"]\n[models.activity]\nmarks = ["each"]\nwindow = 4000\n[groups]\nfirst = ["cellA"]\n')
    from chromexpress.batch import collect_science
    units = units_of(path)
    finish(path)
    run = next(u.work.study for u in units.values() if u.kind == "run")
    collect_science(run, units)
    return path, run, units

def test_the_mark_that_makes_expression_has_the_highest_activity_correlation(study):
    t = pd.read_csv(study[1].out/"activity_correlation.csv")
    best = t[t.fold == "all"].set_index(["cell", "mark", "window", "model"]).pearson
    for cell, cause, noise in (("cellA", "H3K4me3", "H3K27ac"), ("cellB", "H3K27ac", "H3K4me3")):
        for model in ("ridge", "activity"): assert best[cell, cause, 4000, model] > best[cell, noise, 4000, model] + .2
    own = t[(t.model == "activity") & (t.window == 4000) & (t.fold != "all")]
    sure = own[own.pearson_low > 0] # a straight line through activity has activity's own r, where its slope is right
    assert len(sure) >= 4 and np.allclose(sure["lead"], 0, atol=1e-6)
    assert set(t.group) == {"first", "other"} and set(t.fold) == {"1", "2", "all"}

def test_the_mark_that_makes_expression_adds_to_the_other_and_not_the_reverse(study):
    t = pd.read_csv(study[1].out/"combinations.csv")
    assert len(t) == 4 and set(t.model) == {"ridge"}
    for cell, cause, noise in (("cellA", "H3K4me3", "H3K27ac"), ("cellB", "H3K27ac", "H3K4me3")):
        (gain,) = adds(t[t.cell == cell], cause, to=noise).itertuples()
        (none,) = adds(t[t.cell == cell], noise, to=cause).itertuples()
        assert gain.verdict == "adds" and gain.gain_low > .3 and none.verdict != "adds" and none.gain_low <= 0 and abs(none.gain) < .05

def test_the_table_holds_what_the_tracks_hold(study):
    "Signal in blocks of 2 kb at the TSS and on both sides: a window of 6 kb is the mean of three logs, one of 4 kb counts the outer ones half."
    t = pd.read_csv(study[1].out/"activity.csv.gz")
    assert list(t.columns) == ["study", "cell", "mark", "window", "gene_id", "activity"] and len(t) == 2 * 2 * 2 * 240
    levels = np.round(4 * np.random.default_rng(7).gamma(1., 1.5, (240, 3))) / 4                     # of cellA H3K4me3, as `write_study` draws them
    log = np.log1p(levels)
    of = t[(t.cell == "cellA") & (t.mark == "H3K4me3")].pivot(index="gene_id", columns="window", values="activity")
    assert np.allclose(of[6000], log.mean(1), atol=1e-5) and np.allclose(of[4000], log @ [.25, .5, .25], atol=1e-5)

def test_the_tables_are_the_same_again_and_say_what_is_missing(study):
    from chromexpress.batch import collect_science, science_unit
    path, s, units = study
    names = science_unit(s, units).files
    before = {n: (s.out/n).read_bytes() for n in names}
    (s.out/"science.unit.json").unlink()
    collect_science(s, units)
    assert {n: (s.out/n).read_bytes() for n in names} == before
    said = pd.read_csv(s.out/"skipped.csv", keep_default_na=False)
    pairs, families = said[said.cell != "all"], said[said.cell == "all"]
    assert pairs.what.tolist() == ["gains of marks, activity"]*2 and pairs.reason.str.startswith("1 pairs of marks were not run").all()
    assert {"dose and response, effect by position", "QTL enrichment"} <= set(families.what)

def test_a_track_whose_signal_is_gone_is_left_out_by_name(study, tmp_path):
    _, s, units = study
    fields = fields_of([u.work for u in units.values() if u.kind == "run"])
    skipped = []
    found = cell_activity(replace(s, out=tmp_path), "cellA", fields, skipped)
    assert found.shape == (240, 0) and [(c, m) for c, m, _ in skipped] == [("cellA", "H3K4me3"), ("cellA", "H3K27ac")]
    assert all("`chromexpress prepare` makes it" in why for *_, why in skipped) and long_activity(found, "s", "cellA").empty
    cell_activity(s, "cellA", {}, skipped)
    assert skipped[2:] == [("cellA", m, "no finished run has seen it.") for m in ("H3K4me3", "H3K27ac")]

def test_the_compressed_table_is_written_cell_by_cell_and_its_bytes_depend_on_it_alone(tmp_path):
    tables = [long_activity(wide(K4_6000=[.1, np.nan]), "s", c) for c in "AB"]
    for name in ("one.csv.gz", "two.csv.gz"): write_activity(tmp_path/name, iter(tables))
    assert (tmp_path/"one.csv.gz").read_bytes() == (tmp_path/"two.csv.gz").read_bytes()
    assert gzip.open(tmp_path/"one.csv.gz", "rt").read() == ("study,cell,mark,window,gene_id,activity\ns,A,K4,6000,g00,0.100000001\ns,A,K4,6000,g01,\n"
                                                             "s,B,K4,6000,g00,0.100000001\ns,B,K4,6000,g01,\n")

# figures

def test_the_figures_of_a_study(study):
    from chromexpress import science_plots                                          # noqa: F401, registers its panels
    from chromexpress.plots import draw
    out = study[1].out
    t, fields = (pd.read_csv(out/f"{n}.csv", dtype=dict(fold=str)) for n in ("activity_correlation", "receptive_fields"))
    own = t[(t.fold == "all") & (t.model == "ridge") & (t.window == 6000)]
    ahead = (own.lead_low > 0).sum()
    assert draw("activity-models", own).axes[0].get_title(loc="left") == f"ridge is ahead of activity in {ahead} of 4 marks and cells"
    assert [t.get_text() for t in draw("receptive-field", fields[fields.cell == "cellA"]).axes[0].get_xticklabels()] == ["4", "6"]
    groups = activity_groups(t)
    assert draw("activity-groups", groups[groups.window == 4000]).axes[0].get_title(loc="left").endswith(f"{groups[groups.window == 4000].groupby('mark').pearson.mean().abs().max():.2f}".replace("0.", "."))
    x = np.arange(30.)
    frame = pd.DataFrame(dict(cell="A", mark="K27", window=6000, gene_id=x, activity=x, expression=-x))
    assert draw("activity-expression", frame).axes[0].get_title(loc="left") == "A: expression falls with K27, r = −1.00"
    with pytest.raises(InputError, match="one window a panel"): draw("activity-groups", groups)
    with pytest.raises(InputError, match="one model a panel"): draw("activity-models", t[(t.fold == "all") & (t.window == 6000)])
