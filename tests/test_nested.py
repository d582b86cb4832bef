"Nested windows: what they show, what a gene's annotation adds, and what is refused."
import numpy as np, pandas as pd, pytest, torch
from chromexpress.batch import run_units
from chromexpress.core import InputError
from chromexpress.crossval import execute, load_fitted
from chromexpress.nested import NestedOptions, nested, nested_predict
from toy import cli, quiet_log, units_of, write_study

TABLE = "[models.nested]\nwindows = [[2000, 50], [6000, 1000]]\nforests = 2\ntrees = 10\ngene = true\n"

@pytest.fixture(scope="module")
def task(tmp_path_factory): # its run in cellA, binned
    torch.set_num_threads(1)
    path = write_study(tmp_path_factory.mktemp("nested"), models='["nested"]', tables=TABLE, folds='["1"]')
    with quiet_log(): run_units(path, {i: u for i, u in units_of(path).items() if u.kind == "bin"}, device="cpu")
    return next(u.work for u in units_of(path).values() if u.kind == "run" and u.work.run.cell == "cellA")

def levels(task): # of H3K4me3 in blocks of 2 kb, (genes, 3), upstream first
    x = task.model.inputs(task, np.arange(240))["w6000-b1000"][..., 0]
    return np.expm1(x[:, [0, 2, 4]])

def test_windows_show_the_same_genome(task):
    x = task.model.inputs(task, np.arange(240))
    assert {k: v.shape for k, v in x.items()} == {"w2000-b50": (240, 40, 2), "w6000-b1000": (240, 6, 2),
                                                  "body": (240, 1, 2), "gene": (240, 1, 2)}
    wide = x["w6000-b1000"][..., 0]
    assert (wide[:, ::2] == wide[:, 1::2]).all()                               # blocks of 2 kb
    np.testing.assert_allclose(x["w2000-b50"][..., 0], np.repeat(wide[:, 2:3], 40, 1), rtol=1e-5)
    known = ~np.isnan(y := task.study.y("cellA"))
    at = levels(task)
    np.testing.assert_allclose(y[known], (5 + 3*np.log1p(at[:, 1]) - 1.5*np.log1p(at[:, 2]))[known], rtol=1e-3)

def test_bodies_and_lengths_by_hand(task):
    """Gene k is 1000 + 17 k bp long; its first kilobase has the level at the TSS, the next two that downstream, then
    there is nothing."""
    x, at = task.model.inputs(task, np.arange(240)), levels(task)
    length = 1000 + 17*task.study.genes.gene_id.str[1:].astype(int).to_numpy()
    minus = (task.study.genes.strand == "-").to_numpy()
    bins = np.ceil((length - minus)/1000)                                      # the TSS is a base of the gene
    sums = np.log1p(at[:, 1]) + np.log1p(at[:, 2])*np.clip(bins - 1, 0, 2)
    np.testing.assert_allclose(x["body"][:, 0, 0], sums/bins, rtol=1e-4)
    np.testing.assert_allclose(x["gene"][:, 0], np.stack([np.log10(length), np.zeros(240)], 1), atol=1e-6)

def test_edits_reach_the_body(task):
    row = int(np.flatnonzero(task.study.genes.gene_id == "g150")[0])           # 3,550 bp long
    g = task.study.genes.iloc[row]
    sign = 1 if g.strand == "+" else -1
    place = sorted([g.tss + sign*1100, g.tss + sign*2900])
    edits = pd.DataFrame([dict(chrom=g.chrom, start=place[0], end=place[1], assay="H3K4me3", factor=0.)])
    x, y = task.model.inputs(task, [row]), task.model.inputs(task, [row], edits)
    assert y["body"][0, 0, 0] < x["body"][0, 0, 0] and y["body"][0, 0, 1] == x["body"][0, 0, 1]
    assert (y["gene"] == x["gene"]).all() and (y["w2000-b50"] == x["w2000-b50"]).all()

def test_taken_up_again(task, tmp_path):
    t = execute(task, tmp_path)
    np.testing.assert_allclose(load_fitted(task, tmp_path)(task.model.inputs(task, np.arange(240))), t.y_pred,
                               rtol=1e-9)

def test_the_mean_of_forests(task, tmp_path):
    "A forest more changes the mean, and each keeps its seed: two forests are the mean of the first and of another."
    from dataclasses import replace
    from chromexpress.data import make_data
    data = make_data(task)
    predict = lambda n: nested_predict(nested.fit(replace(task, options=replace(task.options, forests=n)), data),
                                       data.x)
    one, two, three = predict(1), predict(2), predict(3)
    assert not np.allclose(one, two) and not np.allclose(2*two - one, 3*three - 2*two)

def test_genes_without_ends(tmp_path, capsys):
    path = write_study(tmp_path, models='["nested"]', tables=TABLE, folds='["1"]')
    genes = pd.read_csv(tmp_path/"genes.tsv", sep="\t").drop(columns=["start", "end"])
    genes.to_csv(tmp_path/"genes.tsv", sep="\t", index=False)
    assert cli("units", path) == 2
    assert ("[models.nested]: gene = true needs the ends of genes: give the columns start and end in "
            "[genes]." in capsys.readouterr().err)

@pytest.mark.parametrize("options,message", [
    (dict(windows=()), "needs one pair"), (dict(windows=(4000, 100)), "no pair of window and bin"),
    (dict(windows=((4000, 100.),)), "no pair"),
    (dict(windows=((4000, 300),)), "whole number of bins"), (dict(forests=0), "need 1 or more"),
    (dict(leaves=1), "leaves 2 or more"),
    (dict(lr=0.), "need lr > 0"), (dict(share=1.5), "0 < share ≤ 1")])
def test_options_that_do_not_go_together(options, message):
    with pytest.raises(InputError, match=message): NestedOptions(**options)

def test_what_it_shows_are_its_widest_window_and_the_body(task):
    "g150 is 3,550 bp long: its body ends beyond the 3 kb that the window shows."
    from chromexpress.perturb import field_of
    g, f = task.study.genes.set_index("gene_id").loc["g150"], field_of(task)
    of = f[f.gene_id == "g150"][["start", "end"]].values.tolist()
    assert of == [[g.tss - 3000, g.tss + 3000], [g.tss, g.end] if g.strand == "+" else [g.start, g.tss]] and len(f) == 480
