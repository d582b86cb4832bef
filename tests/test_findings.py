"What the metrics say: ties, gains, groups and calibration, on tables small enough to work out by hand."
import numpy as np, pandas as pd, pytest
from chromexpress.core import InputError, Problems
from chromexpress.evaluate import adjust, compare_columns, read_table
from chromexpress.study import parse_study
from chromexpress.findings import (TABLES, bins_of, by_group, calibrate, calibration, compare_models,
                                   example_findings, gains, headline, letters,
                                   line_and_means, networks_of, number, q_value, ranking, ranking_sentence,
                                   reference_of, turned, write_findings)

def scores(**r): # one row of metrics a mark, of one model in one cell
    rows = [dict(study="s", model="ridge", config="c", trained_on="A", cell="A", marks=m, fold="all", seed=0, n=100,
                 pearson=v, pearson_low=v - .1,
                 pearson_high=v + .1, pearson_block_low=v - .2, pearson_block_high=v + .2) for m, v in r.items()]
    return pd.DataFrame(rows)

def pair(a, b, q, delta=.1, kind="marks", cell="A", models=("ridge", "ridge"), low=None):
    row = dict.fromkeys(compare_columns, np.nan) | dict(kind=kind, study="s", trained_on=cell, cell=cell,
                                                        model_a=models[0], config_a="c", marks_a=a,
        model_b=models[1], config_b="c", marks_b=b, n=100, r_a=.5 + delta, r_b=.5, delta=delta, low=delta - .05,
        high=delta + .07, p=q, q=q,
        block_low=delta - .2, block_high=delta + .3)
    return row

def table(*rows): return pd.DataFrame(list(rows), columns=compare_columns)

# Benjamini and Hochberg

def test_q_values_by_hand():
    """p = .01, .02, .03, .5 of four tests: .04, .04, .04, .5; another kind is a family of its own; an empty p is no
    test."""
    p = [.01, .5, .03, .02, np.nan]
    given = table(*(pair("a", "b", v) for v in p), pair("a", "a", .04, kind="models"))
    assert np.allclose(adjust(given).q, [.04, .5, .04, .04, np.nan, .04], equal_nan=True)

# letters

def test_letters_of_a_chain():
    "Four marks, neighbours alike, all others different: a, ab, bc, c."
    assert letters(list("ABCD"), [("A", "C"), ("A", "D"), ("B", "D")]) == dict(A="a", B="ab", C="bc", D="c")

def test_letters_of_all_and_none():
    assert letters(list("ABC"), []) == dict(A="a", B="a", C="a") and letters([], []) == {}
    assert letters(["A"], []) == dict(A="a")
    assert letters(list("ABC"), [("A", "B"), ("A", "C"), ("B", "C")]) == dict(A="a", B="b", C="c")

def test_letters_do_not_depend_on_the_order_of_pairs():
    pairs = [("A", "C"), ("B", "D"), ("A", "D"), ("C", "E"), ("A", "E")]
    found = letters(list("ABCDE"), pairs)
    assert letters(list("ABCDE"), [(b, a) for a, b in pairs[::-1]]) == found
    for i, a in enumerate("ABCDE"): # the law: no common letter if, and only if, they differ
        for b in "ABCDE"[i + 1:]: assert bool(set(found[a]) & set(found[b])) == ((a, b) not in pairs)

# ranking

def test_a_turned_pair_says_the_same():
    t = turned(table(pair("a", "b", .5)), [True]).iloc[0]
    assert (t.marks_a, t.marks_b, t.r_a, t.r_b) == ("b", "a", .5, .6)
    assert np.allclose([t.delta, t.low, t.high, t.block_low, t.block_high], [-.1, -.17, -.05, -.4, .1])

def test_ranking_with_ties():
    pairs = table(pair("K27ac", "K4me3", .2, -.02), pair("K27ac", "K9me3", .001), pair("K4me3", "K9me3", .001, .12))
    r = ranking(scores(K9me3=.2, K27ac=.68, K4me3=.7), pairs)
    assert list(r.marks) == ["K4me3", "K27ac", "K9me3"] and list(r["rank"]) == [1, 2, 3] and set(r.best) == {"K4me3"}
    assert list(r.tied) == [True, True, False] and list(r.letters) == ["a", "a", "b"]
    assert np.allclose(r.lead, [np.nan, .02, .12], equal_nan=True) and np.allclose(r.lead_low[1:], [-.05, .07])
    assert (ranking_sentence(r) == "K4me3 predicts best (r .70, 95 % interval .60 to .80); K27ac (r .68, q = .2) is "
                                   "not distinguishable from it.")
    assert headline(r) == "ridge: " + ranking_sentence(r)

def test_a_clear_winner_and_many_ties():
    clear = ranking(scores(A=.8, B=.5), table(pair("A", "B", .0003)))
    assert ranking_sentence(clear).endswith("every other mark predicts worse, B (r .50, q = .0003) the closest.")
    # nothing was compared: nothing is told apart
    close = ranking(scores(A=.8, B=.79, C=.78, D=.77, E=.76), table())
    assert close.tied.all() and set(close.letters) == {"a"}
    assert ranking_sentence(close).endswith("4 others are not distinguishable from it, B (r .79) the closest.")

def test_a_mark_without_r_is_last_and_a_single_mark_is_no_ranking():
    r = ranking(scores(A=np.nan, B=.5), table())
    assert list(r.marks) == ["B", "A"] and list(r.tied) == [True, False] and list(r.letters) == ["a", "–"]
    assert ranking_sentence(r) == "B predicts best (r .50, 95 % interval .40 to .60)."
    none = ranking(scores(A=.5, **{"A+B": .6}), table())
    assert none.empty and {"rank", "tied", "letters", "lead"} <= set(none)
    assert ranking_sentence(ranking(scores(A=np.nan, B=np.nan), table())) == "No mark has a correlation."

def test_numbers_in_text():
    assert [number(x) for x in (.705, -.31, 1)] == [".70", "-.31", "1.00"]
    assert [q_value(q) for q in (.2, .0503, .0002, 1)] == [".2", ".05", ".0002", "1"]

# models

def models_table():
    m = pd.concat([scores(all=r).assign(model=name, cell=cell, trained_on=cell) for cell in "AB"
                   for name, r in dict(ridge=.6, boosting=.65, cnn=.7).items()])
    c = table(*(pair("all", "all", q, d, "models", cell, (a, b)) for cell in "AB" for a, b, q, d in
                [("boosting", "cnn", .01, -.05), ("boosting", "ridge", .3, .05), ("cnn", "ridge", .001, .1)]))
    return m, c

def test_the_reference_is_the_best_baseline():
    m, c = models_table()
    f = compare_models(m, c, ["cnn"]).set_index(["cell", "model"])
    assert set(f.reference) == {"boosting"} and np.isnan(f.delta["A", "boosting"])
    assert np.isclose(f.delta["A", "cnn"], .05) and np.isclose(f.delta_low["A", "cnn"], -.02)
    assert np.isclose(f.delta["B", "ridge"], -.05)
    # all are networks: the lowest
    assert reference_of(f.reset_index(), ["boosting", "cnn", "ridge"]) == ("ridge", "c")
    assert compare_models(m[m.model == "cnn"], c, []).empty

def test_gains_are_network_minus_baseline():
    _, c = models_table()
    g = gains(c, ["cnn"])
    assert list(zip(g.cell, g.baseline)) == [("A", "boosting"), ("A", "ridge"), ("B", "boosting"), ("B", "ridge")]
    assert set(g.model) == {"cnn"}
    assert np.allclose(g.delta, [.05, .1, .05, .1]) and np.allclose(g.low[:2], [-.02, .05])
    assert np.allclose(g.high[:2], [.1, .17])
    assert gains(c, []).empty and gains(c, ["boosting", "cnn", "ridge"]).empty
    assert networks_of(None) == [] and networks_of(pd.DataFrame(dict(model=["b", "a", "b"]))) == ["a", "b"]

# groups

def test_groups_of_cells():
    m = pd.concat([scores(K=r).assign(cell=c, trained_on=c) for c, r in dict(A=.2, B=.4, C=.9, D=np.nan).items()])
    g = by_group(m, dict(tissue=["C"], ESC=["A", "B"]))
    assert list(zip(g.cell, g.group, g.cells)) == [("C", "tissue", 1), ("A", "ESC", 2), ("B", "ESC", 2),
                                                   ("D", "other", 0)]
    assert np.allclose(g.group_mean, [.9, .3, .3, np.nan], equal_nan=True)
    assert np.allclose(by_group(m, {}).group_mean, .5) and set(by_group(m, {}).group) == {"all cells"}

# calibration

def test_bins_hold_ties_together():
    assert list(bins_of(np.array([5., 1, 4, 2, 3, 6]), 3, 2)) == [2, 0, 1, 0, 1, 2]
    assert list(bins_of(np.array([0., 0, 0, 0, 0, 1, 2, 3]), 4, 2)) == [0, 0, 0, 0, 0, 1, 2, 2]
    # ten genes a bin or more
    assert np.bincount(bins_of(np.arange(25.))).tolist() == [13, 12]

def test_calibration_by_hand():
    """Predictions 0 … 19, observed 1 + 2 · prediction: slope 2, intercept 1, bins of ten with means 4.5 → 10 and
    14.5 → 30."""
    x = np.arange(20.)
    f, = calibrate(1 + 2 * x, x[:, None], np.repeat(np.arange(5), 4), 200, "t")
    assert list(f.n) == [10, 10] and list(f.predicted) == [4.5, 14.5] and np.allclose(f.observed, [10, 30])
    assert list(f.genes) == [20, 20]
    assert np.allclose(f[["slope", "slope_low", "slope_high", "slope_block_low", "slope_block_high"]], 2)
    assert np.allclose(f.intercept_high, 1)
    assert (f.low < f.observed).all() and (f.high > f.observed).all()
    # two chromosomes have no interval
    few, = calibrate(1 + 2 * x, x[:, None], np.repeat(np.arange(2), 10), 50, "t")
    assert few.block_low.isna().all() and few.slope_block_low.isna().all() and few.slope_low.notna().all()
    sums = np.array([[4, 10, 20, 30, 61, 2, 2, 5, 15.]])            # Σ1, Σx, Σy, Σx², Σxy; genes and Σy of two bins
    assert np.allclose(line_and_means(sums), [[2.2, -.5, 2.5, 7.5]])

def test_runs_of_a_cell_do_not_depend_on_each_other():
    rng = np.random.default_rng(0)
    y, preds, chrom = rng.normal(size=60), rng.normal(size=(60, 2)), np.arange(60) % 6
    both, alone = calibrate(y, preds, chrom, 100, "k"), calibrate(y, preds[:, 1:], chrom, 100, "k")
    assert np.allclose(both[1], alone[0])

def test_calibration_uses_blind_genes_only():
    base = dict(study="s", model="m", config="c", trained_on="A", cell="A", marks="K", fold="1", seed=0)
    p = pd.DataFrame([dict(base, split=s, gene_id=f"g{i:02}", y_true=float(i), y_pred=float(i))
                      for i, s in enumerate(["train"] * 5 + ["test"] * 7)])
    f = calibration(p, pd.Series("chr1", [f"g{i:02}" for i in range(12)]))
    assert len(f) == 1 and f.n[0] == 7 and f.observed[0] == 8
    with pytest.raises(InputError, match="no labelled test gene"):
        calibration(p[p.split == "train"], pd.Series(dtype=str))

# files

def test_five_tables_are_written_and_read_again(tmp_path):
    out = example_findings(tmp_path, cells=2, genes=120, groups={"01": ["E003"]})
    t = {name: read_table(out/f"{name}.csv") for name in TABLES}
    assert [len(t[n]) for n in TABLES] == [28, 32, 16, 32, 2 * 2 * 8 * 5]
    assert list(dict.fromkeys(t["groups"].group)) == ["01", "other"] and t["ranking"].tied.dtype == bool
    before = {name: (out/f"{name}.csv").read_bytes() for name in TABLES}
    example_findings(tmp_path, cells=2, genes=120, groups={"01": ["E003"]})
    assert {name: (out/f"{name}.csv").read_bytes() for name in TABLES} == before
    (out/"predictions.csv").unlink()
    with pytest.raises(InputError, match="predictions.csv: no such file"): write_findings(out, pd.Series(dtype=str))

# groups in the study file

def test_groups_of_a_study_are_checked(tmp_path):
    (tmp_path/"study.toml").write_text('name = "s"\nassembly = "hg19"\n[tracks.H1]\nK4 = '
                                       '"no.bigWig"\n[tracks.H9]\nK4 = "no.bigWig"\n'
                                       '[groups]\nESC = ["H1", "H9"]\nother = ["H1", "h9x"]\nliver = "H9"\n')
    problems = Problems("study.toml")
    study = parse_study(tmp_path/"study.toml", problems)
    found = [p for p in problems.found if p.startswith("[groups]")]
    assert found[0].startswith("[groups] other: H1 is listed in 'ESC' already")
    assert found[1].startswith("[groups] other: there is no [tracks.h9x]")
    assert found[2].startswith("[groups] liver = 'H9': needs a list of cells") and len(found) == 3
    assert study.groups == dict(ESC=["H1", "H9"])
