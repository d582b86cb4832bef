"What a mark adds to others: which sets are asked for, gains by hand, what is missing by name."
import numpy as np, pandas as pd, pytest
from chromexpress.combinations import (additions, adds, adds_sentence, combination_columns, combine, example_combinations, missing_steps, with_q,
                                       write_combinations)
from chromexpress.core import InputError, write_csv
from chromexpress.registry import load_study, mark_sets
from toy import write_study

# the grid

def test_pairs_are_every_two_marks_in_the_order_of_the_study():
    assert mark_sets(["pairs"], ["K4", "K9", "K27"]) == [("K4", "K9"), ("K4", "K27"), ("K9", "K27")]
    assert mark_sets(["pairs"], ["K4"]) == [] and mark_sets(["pairs", "all"], ["K4", "K9"]) == [("K4", "K9")]
    assert mark_sets([("K27", "K4"), "each"], ["K4", "K27"]) == [("K4", "K27"), ("K4",), ("K27",)]

def test_a_study_may_ask_for_pairs_and_a_list_holds_assays_alone(tmp_path):
    path = write_study(tmp_path, '["ridge"]', '[models.ridge]\nmarks = ["each", "pairs"]\n')
    assert load_study(path)[1]["ridge"].marks == ("each", "pairs")
    path.write_text(path.read_text().replace('["each", "pairs"]', '[["pairs", "H3K4me3"]]'))
    with pytest.raises(InputError, match="'pairs' is no assay of this study"): load_study(path)

# which gains

def runs(*marks, model="m", seed=0): return [(model, "c", "A", m, seed) for m in marks]

def test_every_mark_on_top_of_every_set_without_it():
    found = additions(runs("K4", "K9", "K4+K9", "K4+K9+K27", "K4+K27"))
    assert [(d["added"], d["to"], d["marks"]) for d in found] == [("K27", "K4", "K4+K27"), ("K4", "K9", "K4+K9"), ("K9", "K4", "K4+K9"),
                                                                   ("K9", "K4+K27", "K4+K9+K27"), ("K27", "K4+K9", "K4+K9+K27")]
    assert [d["js_added"] for d in found] == [[], [0], [1], [1], []]               # K27 was not run alone

def test_seeds_that_both_have():
    found = additions(runs("a", "a+b") + runs("a", "a+b", "b", seed=1) + runs("a+b", seed=2))
    (d,) = [d for d in found if d["added"] == "b"]
    assert (d["js_both"], d["js_to"], d["js_added"]) == ([1, 3], [0, 2], [])       # b is lacking for seed 0
    assert additions(runs("a") + runs("a+b", seed=1)) == [] and additions(runs("a") + runs("a+b", model="k")) == []

def test_what_was_not_run_is_named():
    assert missing_steps(runs("a", "b", "a+b")) == [] == missing_steps(runs("a"))
    assert missing_steps(runs("a", "b", "c", "b+c"))[0] == ("m", '2 pairs of marks were not run (a+b, a+c); "pairs" in marks of [grid] asks for them.')
    assert missing_steps(runs("a", "a+b")) == [("m", "what a mark adds is not known 1 times, for the set without it was not run (a in a+b).")]

# gains

def predictions(y, preds, cell="A"):
    genes = [f"g{i:03}" for i in range(len(y))]
    rows = [pd.DataFrame(dict(study="s", model="m", config="c", trained_on=cell, cell=cell, marks=m, fold="1", seed=0, split="test", gene_id=genes, y_true=y,
                              y_pred=p)) for m, p in preds.items()]
    return pd.concat(rows, ignore_index=True), pd.Series([f"chr{i % 6 + 1}" for i in range(len(y))], genes)

def test_a_gain_by_hand():
    rng = np.random.default_rng(0)
    a, b, noise = rng.normal(size=(3, 300))
    y = a + b + noise
    table = combine(*predictions(y, {"a": a, "b": b, "a+b": a + b}))
    r = {k: np.corrcoef(y, v)[0, 1] for k, v in dict(a=a, b=b, both=a + b).items()}
    assert list(table.columns) == combination_columns and list(table.added) == ["a", "b"] and set(table.n) == {300}
    assert np.allclose(table.r_both, r["both"]) and np.allclose(table.r_to, [r["b"], r["a"]]) and np.allclose(table.r_added, [r["a"], r["b"]])
    assert np.allclose(table.gain, [r["both"] - r["b"], r["both"] - r["a"]]) and np.allclose(table.better, r["both"] - max(r["a"], r["b"]))
    assert (table.gain_low > 0).all() and (table.gain_p < .001).all() and np.allclose(table.gain_q, table.gain_p) # two tests with equal p
    assert (table.better_high <= table.gain_high + 1e-12).all() and (table.gain_block_low < table.gain).all()

def test_copies_gain_nothing():
    "The same prediction three times: every gain is 0, in every resample."
    y = np.random.default_rng(1).normal(size=50)
    table = combine(*predictions(y, {m: y**3 for m in ("a", "b", "a+b")}))
    assert np.allclose(table[["gain", "gain_low", "gain_high", "better", "better_low", "better_high"]], 0) and (table.gain_p == 1).all()

def test_q_values_are_of_a_cell_and_model():
    "p = .01, .04 of one model: q = .02, .04; one test of another model keeps its p; an empty p is no test."
    rows = [dict(study="s", cell="A", model=m, config="c", **{f"{g}{e}_p": p for g in ("gain", "better") for e in ("", "_block")})
            for m, p in (("m", .01), ("m", .04), ("m", np.nan), ("k", .03))]
    found = with_q(pd.DataFrame(rows).reindex(columns=[c for c in combination_columns if not c.endswith("_q")]))
    assert np.allclose(found.gain_q, [.02, .04, np.nan, .03], equal_nan=True) and np.allclose(found.better_block_q, found.gain_q, equal_nan=True)

def test_an_uninformative_mark_adds_nothing_and_an_informative_one_does():
    table = combine(*example_combinations(2))
    for cell in ("cell0", "cell1"):
        of = table[table.cell == cell].set_index(["added", "to"])
        assert of.gain_low["H3K9me3", "H3K27ac"] < 0 < of.gain_high["H3K9me3", "H3K27ac"] and of.gain_q["H3K9me3", "H3K4me3+H3K27ac"] > .05
        assert of.gain_low["H3K27ac", "H3K4me3"] > .1 and of.better_q["H3K27ac", "H3K4me3"] < .01
    rows = adds(table, "H3K27ac", to="H3K4me3")
    assert list(rows.cell) == ["cell0", "cell1"] and list(rows.verdict) == ["adds", "adds"]
    assert list(adds(table, "H3K9me3", to="H3K27ac+H3K4me3").verdict) == ["no sign of a gain"] * 2          # in any order
    assert adds_sentence(rows.assign(gain=[.021, -.5], verdict=["adds", "takes away"])) == "adds in 1 of 2 cells (cell0 +.021); takes away in 1 of 2 cells (cell1 −.500)"
    named = rows.assign(cell=["E10.5_liver", "A-549"], gain=[.021, -.5], verdict=["adds", "takes away"])                # names stay as they are
    assert adds_sentence(named) == "adds in 1 of 2 cells (E10.5_liver +.021); takes away in 1 of 2 cells (A-549 −.500)"
    with pytest.raises(InputError, match="H3K27ac on top of DNase was not run"): adds(table, "H3K27ac", "DNase")

def test_the_answer_does_not_depend_on_the_order_of_rows():
    table, chroms = example_combinations(1, 60)
    pd.testing.assert_frame_equal(combine(table, chroms), combine(table.sample(frac=1, random_state=0), chroms))
    with pytest.raises(InputError, match="500 draws are too few"): combine(table, chroms, draws=500)

# the table of a study

def test_the_table_and_what_is_missing(tmp_path):
    table, chroms = example_combinations(2, 60)
    write_csv(tmp_path/"predictions.csv", table[(table.cell == "cell0") | ~table.marks.str.contains("+", regex=False)])
    skipped = write_combinations(tmp_path, chroms)
    found = pd.read_csv(tmp_path/"combinations.csv")
    assert set(found.cell) == {"cell0"} and len(found) == 9 and list(found.columns) == combination_columns
    assert skipped == [("cell1", "gains of marks, ridge", '3 pairs of marks were not run (H3K4me3+H3K9me3, H3K4me3+H3K27ac, H3K9me3+H3K27ac); '
                                                          '"pairs" in marks of [grid] asks for them.')]
    pd.testing.assert_frame_equal(found, combine(table[table.cell == "cell0"], chroms), check_dtype=False)

# figures

def test_the_figures_say_what_their_tables_say(tmp_path):
    from chromexpress import science_plots                                          # noqa: F401, registers its panels
    from chromexpress.plots import draw, redraw, save_figure
    table = combine(*example_combinations(2, 200))
    one = table[table.cell == "cell0"]
    fig = draw("combination-matrix", one)
    words = [t.get_text() for t in fig.axes[0].texts]
    pairs = one[one.marks.str.count(r"\+") == 1].set_index(["to", "added"])
    assert f"{pairs.gain['H3K4me3', 'H3K27ac']:+.3f}".replace("0.", ".") in words and f"{pairs.r_to['H3K4me3', 'H3K27ac']:.2f}".replace("0.", ".") in words
    up, down = ((pairs.gain_q < .05) & (pairs.gain > 0)).sum(), ((pairs.gain_q < .05) & (pairs.gain < 0)).sum()
    assert fig.axes[0].get_title(loc="left") == f"cell0: {up} of 6 additions raise r, {down} lower it"
    save_figure(draw("combination-gains", one), one, tmp_path/"x-combination-gains")
    again = redraw(tmp_path/"x-combination-gains.csv").axes[0]
    assert again.get_title(loc="left") == "cell0: H3K4me3 + H3K27ac gain most, of pairs with q < .05" and again.get_yticklabels()[0].get_text() == "H3K4me3 + H3K27ac"
    doubted = one.assign(better_q=one.better_q.where(one.marks != "H3K4me3+H3K27ac", .2), better=one.better.where(one.marks != "H3K4me3+H3K9me3", .001))
    doubted.loc[doubted.marks == "H3K4me3+H3K9me3", "better_q"] = .01                # the largest gain is not a significant one: the title says which it means
    assert draw("combination-gains", doubted).axes[0].get_title(loc="left") == "cell0: H3K4me3 + H3K9me3 gain most, of pairs with q < .05"
    nothing = draw("combination-gains", one.assign(better_q=.5)).axes[0]
    assert nothing.get_title(loc="left") == "cell0: no pair beats the better one of its marks, with q < .05"
    cells = draw("combination-cells", adds(table, "H3K9me3", "H3K4me3").assign(added="H3K9me3", to="H3K4me3")).axes[0]
    assert cells.get_title(loc="left").startswith("H3K9me3 adds to H3K4me3 in 0 of 2 cells")
    with pytest.raises(InputError, match="one cell and model a panel"): draw("combination-matrix", table)
    with pytest.raises(InputError, match="there is no pair of marks"): draw("combination-gains", one[one.marks.str.count(r"\+") > 1])
