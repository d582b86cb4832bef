"Partners of genes as inputs: literal fragments, the published inputs, what is binned again, and what a study lacks."
import importlib.util
import numpy as np, pandas as pd, pytest, torch
from chromexpress.batch import run_units
from chromexpress.chromoformer import Chromoformer, ChromoformerSizes
from chromexpress.chromoformer_model import ChromoformerOptions, left_bins
from chromexpress.contacts import EDGES, PARTNERS, fragments_of
from chromexpress.core import InputError
from chromexpress.data import NetworkOptions, tensors
from chromexpress.partners import edit_fragments, permuted, pool_fragments, read_fragments, slots_of
from chromexpress.registry import load_study
from chromexpress.tracks import Need, Track, fill
from chromexpress.train import optimizer_of, predict_network, schedule_of
from chromexpress.units import do_unit, plan_units, state, why_stale
from toy import cli, quiet_log, unpack, write_study

ASSAYS = ["H3K4me1", "H3K4me3", "H3K9me3", "H3K27me3", "H3K36me3", "H3K27ac", "H3K9ac"]
SIZES = dict(chr1=10_000, chr2=10_000)
GENES = pd.DataFrame(dict(gene_id=["a", "b", "c"], chrom=["chr1", "chr1", "chr2"], tss=[1000, 5000, 3000], strand=["+", "-", "+"]))
PAIRS = pd.DataFrame([("b", "chr1", 2000, 2250, 4.), ("a", "chr1", 2000, 2250, 3.), ("a", "chr2", 100, 220, 2.), ("c", "chr1", 900, 1000, 9.)], columns=EDGES)

def stored(folder, lines, **kwargs): # the fragments of PAIRS in a store of 50 bp
    (folder/"x.bedGraph").write_text("".join(f"{c}\t{s}\t{e}\t{v}\n" for c, s, e, v in lines))
    track = Track("cellA", "K4", str(folder/"x.bedGraph"), **kwargs)
    fill(track, [Need(0, 50, PARTNERS)], GENES, SIZES, folder/"s", dict(a=1, regions={PARTNERS: "d"}), {PARTNERS: fragments_of(PAIRS)})
    return folder/"s"

LINES = [("chr1", 900, 950, 1), ("chr1", 2000, 2100, 2), ("chr1", 2100, 2125, 8), ("chr1", 2225, 2250, 6), ("chr2", 100, 150, 5), ("chr2", 200, 220, 10)]

def test_fragments_by_hand(tmp_path):
    s = slots_of(PAIRS, GENES, 3)
    assert s.fragments.values.tolist() == [["chr1", 900, 1000], ["chr1", 2000, 2250], ["chr2", 100, 220]]
    assert s.number.tolist() == [[1, 2, -1], [1, -1, -1], [0, -1, -1]] and s.score.tolist() == [[3, 2, 0], [4, 0, 0], [9, 0, 0]]
    x = read_fragments([stored(tmp_path, LINES)], 50, s.fragments, [1, 2])
    np.testing.assert_allclose(x.values[:, 0], [2, 2, 4, 0, 3, 5, 0, 10])
    assert x.offsets.tolist() == [0, 5, 8] and x.bases[:, 0].tolist() == [50]*5 + [50, 50, 20]
    y = pool_fragments(x, 2)
    np.testing.assert_allclose(y.values[:, 0], [2, 2, 3, 2.5, 10])
    assert y.offsets.tolist() == [0, 3, 5]
    np.testing.assert_allclose(pool_fragments(x, 3).values[:, 0], [8/3, 1.5, 450/120])
    assert slots_of(PAIRS, GENES.iloc[:1], 1).number.tolist() == [[1]]

def test_skipped_bases_do_not_count(tmp_path):
    s = slots_of(PAIRS, GENES)
    x = read_fragments([stored(tmp_path, [(c, a, b, v/10) for c, a, b, v in LINES], scale="fraction")], 50, s.fragments, [1])
    np.testing.assert_allclose(x.values[:, 0], [.2, .2, .8, np.nan, .6], rtol=1e-6)
    assert x.bases[:, 0].tolist() == [50, 50, 25, 0, 25]
    np.testing.assert_allclose(pool_fragments(x, 4).values[:, 0], [(.2*100 + .8*25)/125, .6], rtol=1e-6)

def test_edits_by_hand(tmp_path):
    s = slots_of(PAIRS, GENES)
    x = read_fragments([stored(tmp_path, LINES)], 50, s.fragments, [1, 1])
    places = s.fragments.iloc[[1, 1]].assign(gene_id=["a", "b"])
    edit = pd.DataFrame([dict(chrom="chr1", start=2010, end=2110, assay="K4", factor=.5)])
    one = [2*.6, 2*.5, 4*.9, 0, 3]
    np.testing.assert_allclose(edit_fragments(x, places, 50, edit, ["K4"], ["linear"]).values[:, 0], one*2, rtol=1e-6)
    of_b = edit_fragments(x, places, 50, edit.assign(gene_id="b"), ["K4"], ["linear"]).values[:, 0]
    np.testing.assert_allclose(of_b, [2, 2, 4, 0, 3, *one], rtol=1e-6)
    np.testing.assert_allclose(edit_fragments(x, places, 50, edit.assign(factor=0.), ["K4"], ["ratio"]).values[:3, 0], [1.2, 1, 3.4], rtol=1e-6)
    for other in (dict(assay="K9"), dict(chrom="chr2", end=2011), dict(start=2250, end=9000), dict(factor=1.)):
        np.testing.assert_array_equal(edit_fragments(x, places, 50, edit.assign(**other), ["K4"], ["linear"]).values, x.values)
    with pytest.raises(InputError, match="edits: no column 'factor'"): edit_fragments(x, places, 50, edit.drop(columns="factor"), ["K4"], ["linear"])

def test_permuted_contacts(hear, caplog):
    rng = np.random.default_rng(3)
    genes = pd.DataFrame(dict(gene_id=[f"g{i}" for i in range(40)], chrom=["chr1"]*30 + ["chr2"]*10, tss=np.arange(40)*100_000))
    e = pd.DataFrame(dict(gene_id=np.repeat(genes.gene_id, 3).values, chrom=np.repeat(genes.chrom, 3).values, start=rng.integers(0, 4000, 120)*1000))
    e = pd.concat([e.assign(end=e.start + 500, score=np.tile([3., 2., 1.7], 40)),
                   pd.DataFrame([("g0", "chr9", 0, 100, 1.6)], columns=EDGES)])                          # on another chromosome
    s = slots_of(e, genes)
    p = permuted(s, genes, seed=5)
    f, here = s.fragments, (s.number >= 0)
    assert ((p.number >= 0) == here).all() and (p.score == s.score).all()
    cis = here & (f.chrom.to_numpy()[s.number] == genes.chrom.to_numpy()[:, None])
    assert (f.chrom.to_numpy()[p.number] == f.chrom.to_numpy()[s.number])[here].all()
    for a, b, c in zip(s.number, p.number, cis): assert not set(a[c]) & set(b[c]) and len(set(b[c])) == c.sum()
    gap = lambda n: np.abs(f.start.to_numpy()[n] + 250 - genes.tss.to_numpy()[:, None])[cis]
    assert np.median(np.abs(gap(p.number) - gap(s.number))) < 200_000 and p.number[0, 3] == s.number[0, 3]
    assert (permuted(s, genes, seed=5).number == p.number).all() and (permuted(s, genes, seed=6).number != p.number).any()
    alone = slots_of(e.iloc[:1], genes)
    assert (permuted(alone, genes, seed=5).number == alone.number).all() and "1 stay, their chromosome has no other fragment" in caplog.text

@pytest.mark.parametrize("n,left", [(20, [0, 0]), (3, [9, 8]), (4, [8, 8]), (1, [10, 9])])
def test_the_odd_bin_is_on_the_left_of_plus(n, left): assert left_bins(["+", "-"], n, 20).tolist() == left

def test_recipes():
    a, b = ChromoformerOptions(), ChromoformerOptions(recipe="published")
    assert (a.lr, a.decay, a.epochs, a.patience, a.plateau) == (1e-3, .2, 100, 12, 3) and (b.lr, b.decay, b.epochs) == (3e-5, .87, 10)
    assert ChromoformerOptions(recipe="published", lr=1e-4, epochs=3).lr == 1e-4
    net = torch.nn.Linear(2, 1)
    adam = optimizer_of(net, b)
    assert type(adam) is torch.optim.AdamW and adam.defaults["weight_decay"] == .01 and type(optimizer_of(net, NetworkOptions())) is torch.optim.Adam
    falls, rates = schedule_of(adam, b), []
    for loss in (3., 1., 2.):
        rates.append(adam.param_groups[0]["lr"]); adam.step(); falls.step(loss)
    np.testing.assert_allclose(rates, [3e-5, 2.61e-5, 2.2707e-5])
    for wrong in (dict(recipe="best"), dict(contacts="yes"), dict(contacts=1.5), dict(weight_decay=-1.), dict(bins=(2000, 300)), dict(bins=(300,)),
                  dict(window=60_000), dict(window=150), dict(slots=0), dict(width=21)):
        with pytest.raises(InputError): ChromoformerOptions(**wrong)

# in a study

MODELS = '["promoter_cnn", "chromoformer"]'
TABLES = "[models.promoter_cnn]\nepochs = 1\n[models.chromoformer]\nepochs = 1\nwidth = 16\nbins = [2000, 500]\n"

def test_other_contacts_are_binned_again_and_nothing_else(tmp_path):
    path = write_study(tmp_path, models=MODELS, tables=TABLES, folds='["1"]', contacts=True)
    units = plan_units(*load_study(path))
    assert units["bin:cellA:H3K4me3"].after == ("contacts:cellA",)
    with quiet_log(): run_units(path, units, device="cpu")
    assert all(state(u) == "current" for u in units.values())
    e = pd.read_csv(tmp_path/"edges.tsv", sep="\t")
    e.iloc[1:].to_csv(tmp_path/"edges.tsv", sep="\t", index=False)
    store = units["bin:cellA:H3K4me3"].folder/"tss-w40000-b500.npy"
    before, units = store.stat().st_mtime_ns, plan_units(*load_study(path))
    stale = {i for i, u in units.items() if state(u) != "current"}
    assert stale == {i for i in units if not i.startswith("run:promoter_cnn")}
    assert why_stale(units["bin:cellB:H3K27ac"]) == "regions.partners"
    with pytest.raises(InputError, match="bin:cellA:H3K4me3: contacts:cellA must be done first"): do_unit(units["bin:cellA:H3K4me3"], units)
    with quiet_log(): run_units(path, {i: units[i] for i in ("contacts:cellA", "bin:cellA:H3K4me3")}, device="cpu")
    assert store.stat().st_mtime_ns == before and len(np.load(store.with_name("partners-b500.offsets.npy"))) == len(fragments_of(e.iloc[1:])) + 1

def test_a_study_without_contacts_is_told_so(tmp_path):
    path = write_study(tmp_path, models='["chromoformer"]', tables="", folds='["1"]')
    with pytest.raises(InputError, match=r"\[models.chromoformer\]: partners need \[contacts.<cell>\], which cellA, cellB lack: give them, or contacts = false"):
        load_study(path)
    path.write_text(path.read_text() + "[models.chromoformer]\ncontacts = false\n")
    assert not any(u.kind == "contacts" for u in plan_units(*load_study(path)).values())
    path.write_text(path.read_text().replace("contacts = false", "contacts = 1"))
    with pytest.raises(InputError, match=r'contacts = 1: is none of true, false, "permuted"'): load_study(path)

# the published inputs

@pytest.fixture(scope="module")
def golden(data):
    folder = data.parent/"golden"
    if not folder.is_dir(): pytest.skip(f"no golden outputs: {folder} is absent; it belongs beside the real data")
    return folder

@pytest.fixture(scope="module")
def e003(data, golden, tmp_path_factory): # the study, its units, binned; and the golden file
    top = tmp_path_factory.mktemp("e003")
    unpack(data/"e003_demo.tar.xz", top)
    demo = top/"e003_demo"
    z, meta = np.load(golden/"chromoformer_regressor_small.npz"), pd.read_csv(demo/"demo_meta.csv").rename(columns=dict(start="tss", expression="E003"))
    meta = meta[meta.gene_id.isin(z["gene_id"]) | (meta.groupby("chrom").cumcount() < 1)]                # ten genes, and one of each chromosome
    meta[["gene_id", "chrom", "tss", "strand"]].to_csv(top/"genes.tsv", sep="\t", index=False)
    meta[["gene_id", "E003"]].to_csv(top/"rpkm.tsv", sep="\t", index=False)
    (top/"study.toml").write_text("""name = "e003"
assembly = "hg19"
[genes]
table = "genes.tsv"
tss_base = 0
[expression]
table = "rpkm.tsv"
[expression.cells]
E003 = "E003"
[tracks.E003]
""" + "".join(f'{a} = {{path = "e003_demo/signals", row = {i}}}\n' for i, a in enumerate(ASSAYS)) + """
[contacts.E003]
path = "e003_demo/demo_meta.csv"
kind = "meta"
[splits]
scheme = "explicit"
folds = [{name = "1", train = ["chr1", "chr6"], valid = ["chr5", "chr8"], test = ["chr14"]}]
[grid]
models = ["chromoformer", "narrow"]
marks = ["all"]
[models.narrow]
base = "chromoformer"
window = 6000
""")
    study, models = load_study(top/"study.toml")
    units = plan_units(study, models)
    with quiet_log(): run_units(top/"study.toml", {i: u for i, u in units.items() if u.kind != "run"}, device="cpu")
    return study, {u.work.run.model: u.work for u in units.values() if u.kind == "run"}, z, demo

def laid_out(x, left, m): # a region at its place among m bins
    out = np.zeros((m, 7), np.float32)
    out[left:left + len(x)] = x
    return out

def test_published_promoters(e003):
    study, tasks, z, _ = e003
    rows = pd.Index(study.genes.gene_id).get_indexer(z["gene_id"])
    for model, key, n in (("chromoformer", "x_promoter", 3), ("narrow", "narrow_x_promoter", 2)):
        x = tensors(tasks[model].model.inputs(tasks[model], rows[:n]))
        for b in (2000, 500, 100):
            for i in range(n):
                ours = laid_out(x[f"promoter_{b}"][i].numpy(), int(x[f"promoter_left_{b}"][i]), 40_000//b)
                np.testing.assert_allclose(ours, z[f"{key}_{b}"][i, 0], atol=2e-6)

def test_published_partners(e003):
    study, tasks, z, _ = e003
    row = study.genes.gene_id.tolist().index(z["gene_id"][2])
    x = tensors(tasks["chromoformer"].model.inputs(tasks["chromoformer"], [row]))
    assert x["slot"].tolist() == list(range(8))
    np.testing.assert_allclose(x["score"], [2.8456, 1.9691, 1.8344, 1.7094, 1.6963, 1.6963, 1.6355, 1.6353], rtol=1e-6)
    for b in (2000, 500, 100):
        for j in range(8):
            n, m = int(x[f"partner_n_{b}"][j]), 40_000//b
            assert not x[f"partner_{b}"][j, n:].any()
            np.testing.assert_allclose(laid_out(x[f"partner_{b}"][j, :n].numpy(), (m - n + 1)//2, m), z[f"x_pcre_{b}"][0, j], atol=2e-6)

@pytest.fixture(scope="module")
def pattern(golden):
    spec = importlib.util.spec_from_file_location("golden_pattern", golden/"pattern.py")
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    return module.pattern

SMALL = ChromoformerSizes(d_emb=32, embed_ff=32, pair_ff=64, reg_width=64, reg_ff=64, d_head=32)

def published(pattern, z, sizes=SMALL): # a network with the golden weights
    net = Chromoformer(sizes)
    for k, name in enumerate(z["param_name"]):
        p = net.get_parameter(str(name))
        p.data = torch.tensor(pattern(p.shape, k, float(".ln." in name and name.endswith("weight") or "gamma_f" in name)))
    return net

def test_published_predictions_from_a_study(e003, pattern):
    study, tasks, z, _ = e003
    rows = pd.Index(study.genes.gene_id).get_indexer(z["gene_id"])
    for model, key in (("chromoformer", "y_pred"), ("narrow", "narrow_y_pred")):
        x = tasks[model].model.inputs(tasks[model], rows)
        np.testing.assert_allclose(predict_network(published(pattern, z), x), z[key], rtol=2e-5, atol=2e-5)
        np.testing.assert_allclose(predict_network(published(pattern, z), x, size=3), z[key], rtol=2e-5, atol=2e-5)

# published weights on published inputs

def test_published_weights_from_the_command_line(e003, pattern, tmp_path, capsys):
    _, _, z, demo = e003
    meta = pd.read_csv(demo/"demo_meta.csv")
    meta = meta.set_index("gene_id").loc[z["gene_id"][:4]].reset_index()
    meta.to_csv(tmp_path/"meta.csv", index=False)
    two = ChromoformerSizes(**vars(SMALL) | dict(outputs=2))
    for sizes, name in ((SMALL, "w.pt"), (two, "c.pt")): torch.save(dict(net=published(pattern, z, sizes).state_dict()), tmp_path/name)
    args = ["predict", "--meta", tmp_path/"meta.csv", "--signals", demo/"signals", "--out", tmp_path/"out.csv", "--device", "cpu"]
    assert cli(*args, "--weights", tmp_path/"w.pt") == 0
    t = pd.read_csv(tmp_path/"out.csv")
    assert t.gene_id.tolist() == z["gene_id"][:4].tolist() and list(t) == [*meta, "prediction"]
    np.testing.assert_allclose(t.prediction, z["y_pred"][:4], rtol=2e-5, atol=2e-5)
    assert cli(*args, "--weights", tmp_path/"c.pt") == 0
    odds = np.exp(z["classifier_logits"][:4].astype(float))
    np.testing.assert_allclose(pd.read_csv(tmp_path/"out.csv").prediction, odds[:, 1]/odds.sum(1), rtol=1e-4)
    fails = lambda says, *more: cli(*args, *more) == 2 and says in capsys.readouterr().err
    assert fails("no array for", "--weights", tmp_path/"w.pt", "--signals", tmp_path)
    assert fails("no such file", "--weights", tmp_path/"none.pt") and fails("--weights: missing")
    torch.save(dict(net=dict(a=torch.ones(1))), tmp_path/"odd.pt")
    assert fails("no weights of Chromoformer", "--weights", tmp_path/"odd.pt")
    assert fails("not with --run", "--weights", tmp_path/"w.pt", "--run", tmp_path)
    meta.assign(start=meta.start + 5).to_csv(tmp_path/"meta.csv", index=False)
    assert fails("no array for 4 of 4 regions", "--weights", tmp_path/"w.pt")
