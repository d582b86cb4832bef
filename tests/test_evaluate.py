"Metrics and comparisons against numbers worked out by hand, and against what must hold for any study."
import numpy as np, pandas as pd, pytest, scipy.stats
from chromexpress.core import InputError
from chromexpress.evaluate import (auroc, average_precision, blind_rows, bootstrap_r, by_cell, compare, evaluate,
                                   example_predictions, example_results,
                                   expressed, interval, metrics, pearson, read_table, resamples, scores, two_sided)

genes = [f"g{i}" for i in range(8)]
chroms = pd.Series([f"chr{1 + i // 2}" for i in range(8)], genes)

def run(y, pred, split="test", **over):
    ids = genes[:len(y)]
    return pd.DataFrame(dict(study="s", model="ridge", config="c", trained_on="A", cell="A", marks="K4", fold="1",
                             seed=0, split=split) | over
                        | dict(gene_id=ids, y_true=np.asarray(y, float), y_pred=np.asarray(pred, float)))

def simulated(models=("ridge",), marks=("K4",), seeds=(0,), cells=("A",), n=60, r=1.0):
    names, rows = [f"g{i:03}" for i in range(n)], []
    for c, cell in enumerate(cells):
        rng = np.random.default_rng(c)
        y = rng.normal(size=n)
        for model in models:
            for m in marks:
                for s in seeds:
                    rows.append(pd.DataFrame(dict(study="s", model=model, config="12e4", trained_on=cell, cell=cell,
                                                  marks=m, seed=s, split="test",
                        fold=np.where(np.arange(n) < n // 2, "1", "2"), gene_id=names, y_true=y,
                        y_pred=y + r * rng.normal(size=n))))
    return pd.concat(rows, ignore_index=True), pd.Series([f"chr{1 + i % 6}" for i in range(n)], names)

def test_hand_worked_metrics():
    label, score = np.array([True, True, False, False, False]), np.array([.9, .5, .5, .3, .1])
    assert auroc(label, score) == pytest.approx(5.5 / 6)                 # 3 wins; 2 wins and a tie; of 6 pairs
    assert average_precision(label, score) == pytest.approx(5 / 6)       # half at precision 1, half at 2/3
    assert average_precision(np.array([False, True, True, False]),
                             np.array([4., 3, 2, 1])) == pytest.approx((1/2 + 2/3) / 2)
    s = scores(np.array([1., 2, 3, 4]), np.array([1., 3, 2, 4]), np.array([False, False, True, True]))
    assert s == pytest.approx(dict(n=4, pearson=.8, spearman=.8, r2=.6, mse=.5, auroc=.75, auprc=(1 + 2/3) / 2))

def test_r2_is_not_the_square_of_r():
    s = scores(np.array([0., 1, 2]), np.array([10., 11, 12]), np.array([False, True, True]))
    assert s["pearson"] == pytest.approx(1) and s["r2"] == pytest.approx(1 - 300 / 2)

def test_what_is_not_defined_is_empty():
    one, flat = np.ones(3, bool), np.ones(3)
    assert np.isnan(auroc(one, flat)) and np.isnan(average_precision(one, flat)) and np.isnan(auroc(~one, flat))
    m = metrics(run([1, 2, 3, 4], [5, 5, 5, 5]), chroms, draws=50)
    assert m[["pearson", "pearson_low", "pearson_high", "spearman", "pearson_fold_mean"]].isna().all(axis=None)
    assert m.mse.iloc[0] == pytest.approx((16 + 9 + 4 + 1) / 4) and m.auroc.iloc[0] == .5
    assert np.isnan(pearson(np.array([1.]), np.array([2.])))
    one_class = metrics(pd.concat([run([5, 6], [1, 2]), run([9, 9, 0, 0], [0] * 4, "train").iloc[2:]]), chroms,
                        draws=50)
    assert one_class[["auroc", "auprc"]].isna().all(axis=None) and one_class.pearson.iloc[0] == pytest.approx(1)

def test_label_is_the_median_of_all_labelled_genes_of_the_cell():
    train = run([0, 0, 0, 0, 3, 4], [0] * 6, "train").iloc[4:]
    table = pd.concat([run([0, 1, 2, 3], [0, 1, 2, 3]), train.assign(y_true=[8., 9.])])
    # median of 0, 1, 2, 3, 8, 9 is 2.5: one positive of four
    m = metrics(table, chroms, draws=20)
    assert m.auprc.iloc[0] == 1 and expressed(np.array([0., 1, 2, 3]), np.array([0., 1, 2, 3, 8, 9])).sum() == 1
    assert expressed(np.array([0., 0, 0, 2]), np.array([0., 0, 0, 2])).tolist() == [False, False, False, True]

def test_only_labelled_test_genes_count():
    table = pd.concat([run([1, 2, 3, 4], [1, 3, 2, 4]), run([0] * 4 + [9, 9], [0] * 6, "train").iloc[4:],
                       run([0] * 6 + [np.nan, np.nan], [7.] * 8, "test").iloc[6:]])
    m = metrics(table, chroms, draws=20)
    assert m.n.tolist() == [4, 4] and m.pearson.tolist() == pytest.approx([.8, .8])

def test_pooled_folds_and_seeds():
    a, b = run([1, 2, 3, 4], [1, 3, 2, 4]), run([0] * 4 + [1, 2, 3, 4], [0] * 4 + [1, 2, 3, 4.], fold="2").iloc[4:]
    table = pd.concat([a, b])
    m = metrics(pd.concat([table, table.assign(seed=1, y_pred=table.y_true)]), chroms, draws=20)
    columns, m = m.columns, m.set_index(["seed", "fold"])
    assert m.n.tolist() == [4, 4, 8] * 2
    assert m.loc[(0, "all"), "pearson_fold_mean"] == pytest.approx(.9)
    assert np.isnan(m.loc[(0, "1"), "pearson_fold_mean"])
    # both folds have the same y, so pooling averages their sums
    assert m.loc[(0, "all"), "pearson"] == pytest.approx(.9)
    assert m.loc[(0, "1"), "pearson_seed_sd"] == pytest.approx(np.std([.8, 1], ddof=1))
    assert m.loc[(0, "2"), "pearson_seed_sd"] == pytest.approx(0)
    assert columns.tolist() == ["study", "model", "config", "trained_on", "cell", "marks", "fold", "seed", "n",
                                "pearson", "pearson_low",
        "pearson_high", "pearson_block_low", "pearson_block_high", "spearman", "r2", "mse", "auroc", "auprc",
        "pearson_fold_mean", "pearson_seed_sd"]

def test_faulty_predictions_are_refused():
    table = run([1, 2, 3, 4], [1, 3, 2, 4])
    with pytest.raises(InputError, match="more than one fold.*gene_id g0"):
        metrics(pd.concat([table, table.assign(fold="2")]), chroms)
    with pytest.raises(InputError, match="without a finite y_pred"): metrics(table.assign(y_pred=np.nan), chroms)
    with pytest.raises(InputError, match="differ in y_true"):
        metrics(pd.concat([table, table.assign(marks="K9", y_true=table.y_true * 2)]), chroms)
    with pytest.raises(InputError, match="no labelled test gene"): metrics(table.assign(split="train"), chroms)
    with pytest.raises(InputError, match="not in the gene table, such as g2"): metrics(table, chroms.drop("g2"))
    with pytest.raises(InputError, match="no column 'y_true'"): metrics(table.drop(columns="y_true"), chroms)
    with pytest.raises(InputError, match="10,000"): compare(table, chroms, draws=9999)

def test_bootstrap_is_resampling_of_genes_and_of_chromosomes():
    rng = np.random.default_rng(0)
    y, x, block = rng.normal(size=40), rng.normal(size=(40, 2)), np.repeat(list("abcde"), 8)
    for blocks, n in ((None, 40), (block, 5)):
        counts = np.vstack(list(resamples(n, 30, seed=3)))
        assert counts.shape == (30, n) and (counts.sum(1) == n).all()
        weights = counts if blocks is None else counts.repeat(8, axis=1)
        want = [[scipy.stats.pearsonr(y.repeat(w), p.repeat(w)).statistic for p in x.T] for w in weights]
        np.testing.assert_allclose(bootstrap_r(y, x, 30, 3, blocks), want, atol=1e-10)

def test_resamples_do_not_depend_on_how_many_are_asked_for():
    few, many = (np.vstack(list(resamples(7, d, seed=1, size=70))) for d in (20, 50))
    np.testing.assert_array_equal(few, many[:20])

def test_interval_needs_five_chromosomes():
    table, where = simulated()
    m = metrics(table, where, draws=200)
    assert m[["pearson_block_low", "pearson_block_high"]].notna().all(axis=None)
    m = metrics(table, where.replace({"chr5": "chr1", "chr6": "chr2"}), draws=200)
    assert m[["pearson_block_low", "pearson_block_high"]].isna().all(axis=None) and m.pearson_low.notna().all()
    assert np.isnan(interval(np.full((5, 2), np.nan))).all()
    np.testing.assert_allclose(interval(np.arange(1001.)), [25, 975])

def test_intervals_hold_the_truth():
    rng, hits = np.random.default_rng(5), 0
    for i in range(300):
        y = rng.normal(size=200)
        low, high = interval(bootstrap_r(y, (.6 * y + .8 * rng.normal(size=200))[:, None], 400, i))[:, 0]
        hits += low <= .6 <= high
    assert .91 <= hits / 300 <= .98

def test_nothing_depends_on_row_order_or_on_other_runs():
    table, where = simulated(models=("ridge", "cnn"), marks=("K4", "K9"), cells=("A", "B"))
    m, c = metrics(table, where, 100), compare(table, where)
    mixed = table.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(metrics(mixed, where.sample(frac=1, random_state=2), 100), m)
    pd.testing.assert_frame_equal(compare(mixed, where), c)
    alone = metrics(table[(table.cell == "B") & (table.model == "cnn")], where, 100)
    pd.testing.assert_frame_equal(alone, m[(m.cell == "B") & (m.model == "cnn")].reset_index(drop=True), rtol=1e-12)
    assert not np.allclose(metrics(table, where, 100, seed=1).pearson_low, m.pearson_low)

def test_two_sided_p():
    assert two_sided(np.full(9999, 1.)) == pytest.approx(2 / 10_000)
    assert two_sided(np.r_[np.full(95, 1.), np.full(4, -1.)]) == pytest.approx(2 * 5 / 100)
    assert two_sided(np.zeros(99)) == 1
    assert two_sided(np.r_[np.full(96, 1.), np.full(3, np.nan)]) == pytest.approx(2 * 4 / 100)

def test_which_pairs_are_compared():
    table, where = simulated(models=("ridge", "cnn"), marks=("K4", "K9"))
    c = compare(table, where)
    assert [(k, a, x, b, y) for k, a, x, b, y in zip(c.kind, c.model_a, c.marks_a, c.model_b, c.marks_b)] == [
        ("marks", "cnn", "K4", "cnn", "K9"), ("marks", "ridge", "K4", "ridge", "K9"),
        ("models", "cnn", "K4", "ridge", "K4"), ("models", "cnn", "K9", "ridge", "K9")]
    assert (c.n == 60).all() and np.allclose(c.delta, c.r_a - c.r_b)
    assert ((c.low <= c.delta) & (c.delta <= c.high)).all()
    for kind in ("marks", "models"):
        rows = c[c.kind == kind]
        np.testing.assert_allclose(rows.q, scipy.stats.false_discovery_control(rows.p))
        np.testing.assert_allclose(rows.q_block, scipy.stats.false_discovery_control(rows.p_block))

def test_pairs_use_common_genes_and_common_seeds():
    table, where = simulated(marks=("K4", "K9"), seeds=(0, 1, 2))
    table = table[~((table.marks == "K9") & ((table.seed == 2) | (table.gene_id < "g010")))]
    c = compare(table, where).iloc[0]
    assert c.n == 50
    common = table[(table.gene_id >= "g010") & (table.seed < 2)]
    r = common.groupby(["marks", "seed"])[["y_true",
                                           "y_pred"]].apply(lambda d: d.corr().iloc[0, 1]).groupby("marks").mean()
    assert (c.r_a, c.r_b) == pytest.approx((r["K4"], r["K9"]))
    assert len(compare(table[table.seed == table.marks.map(dict(K4=2, K9=1))], where)) == 0

def test_identical_models_do_not_differ():
    table, where = simulated()
    c = compare(pd.concat([table, table.assign(model="twin")]), where).iloc[0]
    assert (c.delta, c.p, c.q, c.p_block) == (0, 1, 1, 1)

def test_a_constant_side_gives_no_p():
    table, where = simulated(marks=("K4", "K9", "K27"))
    table.loc[table.marks == "K9", "y_pred"] = 0.
    c = compare(table, where).set_index(["marks_a", "marks_b"])
    assert c.loc[("K27", "K4"), ["p", "q"]].notna().all()
    assert c.loc[[("K27", "K9"), ("K4", "K9")], ["delta", "p", "q", "p_block"]].isna().all(axis=None)

def test_p_is_uniform_where_nothing_differs():
    table, where = simulated(marks=("K4", "K9"), cells=[f"c{i:03}" for i in range(150)], n=100)
    p = compare(table, where).p
    assert scipy.stats.kstest(p, "uniform").pvalue > .01 and (p <= .05).mean() <= .1

def test_other_cells_are_scored_but_kept_apart():
    table, where = simulated(marks=("K4", "K9"))
    m = metrics(pd.concat([table, table.assign(trained_on="B", y_pred=-table.y_pred)]), where, 50)
    assert m[m.fold == "all"].groupby("trained_on").pearson.apply(lambda r: np.sign(r).tolist()).to_dict() == dict(
        A=[1, 1], B=[-1, -1])
    c = compare(pd.concat([table, table.assign(trained_on="B")]), where)
    assert c.trained_on.tolist() == ["A", "B"] and np.allclose(c.delta.diff().iloc[1], 0)

def test_the_known_answer_of_the_example(tmp_path):
    out = example_results(tmp_path, cells=2, genes=6000)
    m = read_table(out/"metrics.csv", fold="all", model="ridge")
    known = dict(H3K4me1=.5, H3K4me3=.75, H3K9me3=.2, H3K27me3=.4, H3K36me3=.65, H3K27ac=.72, H3K9ac=.7)
    assert (m.pearson - m.marks.map(known).fillna(.82)).abs().max() < .05
    assert sorted(p.name for p in out.iterdir()) == ["comparisons.csv", "history.csv", "metrics.csv",
                                                     "predictions.csv"]

def test_a_folder_in_pieces_is_the_table_in_memory(tmp_path):
    predictions, where = example_predictions(3, 100)
    predictions.sample(frac=1, random_state=0).to_csv(tmp_path/"predictions.csv", index=False)
    m, c = evaluate(tmp_path, where, draws=50)
    pd.testing.assert_frame_equal(metrics(predictions, where, 50), m)
    pd.testing.assert_frame_equal(compare(predictions, where), c)
    pd.testing.assert_frame_equal(read_table(tmp_path/"comparisons.csv"), c, rtol=1e-7)
    for cell, part in by_cell(tmp_path/"predictions.csv", rows=501):     # no chunk ends where a cell does
        pd.testing.assert_frame_equal(metrics(part, where, 50), m[m.cell == cell].reset_index(drop=True))

def test_names_survive_a_csv(tmp_path):
    table, where = simulated()
    table.assign(marks="NA").to_csv(tmp_path/"predictions.csv", index=False)
    evaluate(tmp_path, where, draws=20)
    m = read_table(tmp_path/"metrics.csv")
    assert m.config.unique().tolist() == ["12e4"] and m.marks.unique().tolist() == ["NA"]
    assert m.fold.tolist() == ["1", "2", "all"]
    assert len(read_table(tmp_path/"metrics.csv", fold="2", seed=0)) == 1

def test_a_cell_without_test_genes_is_named(tmp_path, caplog):
    table, where = simulated(cells=("A", "B"))
    table.loc[table.cell == "B", "split"] = "train"
    table.to_csv(tmp_path/"predictions.csv", index=False)
    m, _ = evaluate(tmp_path, where, draws=20)
    assert m.cell.unique().tolist() == ["A"] and "B: no labelled test gene" in caplog.text
    table.assign(split="valid").to_csv(tmp_path/"predictions.csv", index=False)
    with pytest.raises(InputError, match="no labelled test gene"): evaluate(tmp_path, where)
    with pytest.raises(InputError, match="no such file"): evaluate(tmp_path/"nowhere", where)

def test_rows_to_score_are_sorted():
    assert blind_rows(run([1, 2, 3], [1, 2, 3])[::-1]).gene_id.tolist() == ["g0", "g1", "g2"]
