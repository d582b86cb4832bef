"Attribution: a linear network that can be solved by hand, completeness of every network, agreement with perturbation, interruptions, and what is left out."
import re, sys
import numpy as np, pandas as pd, pytest, torch
from torch import nn
import chromexpress.attribution as attribution
from chromexpress.attribution import (LIMIT, baseline_of, captum_methods, compare_tiles, deeplift, fitted_network, gene_tensors, has_rules,
                                      integrated_gradients, read_attribution, share_genes, spread)
from chromexpress.batch import run_units
from chromexpress.core import InputError
from chromexpress.promoter_cnn import PromoterCNN
from chromexpress.registry import load_study
from chromexpress.study import wanted_attribution
from toy import SMALL, cli, files, killed_at_rename, quiet_log, units_of, write_study
pytestmark = pytest.mark.usefixtures("hear")

# A network whose output is 7 + the sum of weight × input over four bins of 2 kb: .01, .1, 1 and 10 for H3, from upstream to
# downstream, and −2 times these for K27. It hardly learns.
PLUGIN = """
from dataclasses import dataclass
import torch
from torch import nn
from chromexpress.data import Model, NetworkOptions, window_inputs
from chromexpress.registry import register
from chromexpress.tracks import Need
@dataclass(frozen=True)
class ByHandOptions(NetworkOptions):
    window:int=8000 # bp
    bin:int=2000 # bp
    lr:float=1e-30 # next to nothing
    epochs:int=1 # at most
class ByHand(nn.Module):
    def __init__(self):
        super().__init__()
        self.flat, self.out = nn.Flatten(), nn.Linear(8, 1)
        w = torch.tensor([.01, .1, 1, 10])
        self.out.weight.data[:] = torch.stack([w, -2*w], 1).flatten()
        self.out.bias.data[:] = 7
    def forward(self, signal): return self.out(self.flat(signal))[:, 0]
register(Model("by_hand", "weights that are known", ByHandOptions, needs=lambda o: [Need(o.window, o.bin)], inputs=window_inputs,
               network=lambda o, x: ByHand()))
"""
SIZES = dict(chr1=100_000, chr2=20_000, chr3=20_000)
GENES = [("g1", "chr1", 10_000, "+"), ("g2", "chr1", 50_000, "-"), ("g3", "chr1", 90_000, "+"), ("g4", "chr1", 20_000, "-"), ("g5", "chr2", 10_000, "+"),
         ("g6", "chr3", 10_000, "+")]
W, L4, L2 = np.array([.01, .1, 1, 10]), np.log(4), np.log(2)

def study_of(folder, more=""): # H3 is 3 up to 50 kb of each chromosome and 0 from there; K27 is 1 everywhere
    folder.mkdir(exist_ok=True, parents=True)
    (folder/"plugin.py").write_text(PLUGIN)
    (folder/"chrom.sizes").write_text("".join(f"{c}\t{n}\n" for c, n in SIZES.items()))
    pd.DataFrame(GENES, columns=["gene_id", "chrom", "tss", "strand"]).to_csv(folder/"genes.tsv", sep="\t", index=False)
    pd.DataFrame(dict(gene_id=[g[0] for g in GENES], cellA=[0., 2, 3, 4, 5, 6])).to_csv(folder/"rpkm.tsv", sep="\t", index=False)
    (folder/"H3.bedGraph").write_text("".join(f"{c}\t0\t{min(n, 50_000)}\t3\n" for c, n in SIZES.items()))
    (folder/"K27.bedGraph").write_text("".join(f"{c}\t0\t{n}\t1\n" for c, n in SIZES.items()))
    (folder/"study.toml").write_text(f"""name = "hand"
assembly = "hand"
chrom_sizes = "chrom.sizes"
plugins = ["plugin.py"]
[genes]
table = "genes.tsv"
tss_base = 0
[expression]
table = "rpkm.tsv"
[expression.cells]
cellA = "cellA"
[tracks.cellA]
H3 = "H3.bedGraph"
K27 = "K27.bedGraph"
[splits]
scheme = "explicit"
folds = [{{name = "1", train = ["chr1"], valid = ["chr2"], test = ["chr3"]}}, {{name = "2", train = ["chr2"], valid = ["chr3"], test = ["chr1"]}}]
[grid]
models = ["by_hand", "ridge"]
marks = ["all"]
[models.ridge]
window = 4000
{more}
""")
    return folder/"study.toml"

@pytest.fixture(scope="module")
def hand(tmp_path_factory): # all runs are done
    path = study_of(tmp_path_factory.mktemp("hand"))
    with quiet_log(): run_units(path, units_of(path), device="cpu")
    return path

def attribute(path, *args): return cli("attribute", path, "--jobs", "1", "--device", "cpu", *args)

@pytest.fixture(scope="module")
def attributed(hand): # its results
    with pytest.MonkeyPatch.context() as m:
        m.setattr("chromexpress.batch.draw_notebooks", lambda units: 0)
        assert attribute(hand, "--baselines", "zero,mean") == 0
    return hand.parent/"results"/"attribution"

# by hand

ALL_H3 = np.stack([W*L4, -2*W*L2], 1)                                      # a gene with both marks in all bins
BLIND = ["g1", "g4", "g2", "g3", "g6"]                                     # in the order of the genome
BY_HAND = np.stack([ALL_H3, ALL_H3, ALL_H3*[[0, 1], [0, 1], [1, 1], [1, 1]], ALL_H3*[0, 1], ALL_H3])

@pytest.mark.parametrize("method", ["ig", "deeplift"])
def test_a_linear_network_is_attributed_exactly(attributed, method):
    "g2 is on '-' at 50 kb, where H3 ends: only what is downstream of it has H3. g5 was trained on or validated by all runs."
    folder = attributed/f"{method}-zero"
    (unit,) = folder.glob("by_hand-*/cellA/H3+K27")
    np.testing.assert_allclose(np.load(unit/"attributions.npy"), BY_HAND, rtol=1e-5, atol=1e-7)
    g = read_attribution(folder/"attribution_genes.csv.gz")
    assert g.gene_id.tolist() == [n for n in BLIND for _ in range(2)] and g.mark.tolist() == ["H3", "K27"]*5
    np.testing.assert_allclose(g.total, BY_HAND.sum(1).ravel(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(g.output[::2], 7 + BY_HAND.sum((1, 2)), rtol=1e-5)
    assert g.error.max() < 1e-5 and g.partners.isna().all() and set(g.n) == {1} and set(g.method) == {method}

def test_against_the_mean_training_gene(attributed):
    "The runs of g1 to g4 were trained on g5, which has both marks everywhere; that of g6 on g1 to g4, of which H3 is in 2, 2, 3 and 3."
    (unit,) = (attributed/"ig-mean").glob("by_hand-*/cellA/H3+K27")
    missing = np.array([[0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1], [-.5, -.5, -.25, -.25]])
    want = np.stack([-missing*W*L4, np.zeros((5, 4))], 2)
    np.testing.assert_allclose(np.load(unit/"attributions.npy"), want, rtol=1e-4, atol=1e-5)
    assert read_attribution(attributed/"ig-mean"/"attribution_pairs.csv.gz").empty

def test_of_a_linear_network_perturbation_says_the_same(attributed):
    pairs = read_attribution(attributed/"ig-zero"/"attribution_pairs.csv.gz")
    assert len(pairs) == 5*4*2 and sorted(pairs.distance.unique()) == [-3000, -1000, 1000, 3000]
    np.testing.assert_allclose(pairs.effect, -pairs.attribution, rtol=1e-4, atol=1e-5)
    g2 = pairs[(pairs.gene_id == "g2") & (pairs.mark == "H3")]
    np.testing.assert_allclose(g2.attribution, [0, 0, L4, 10*L4], rtol=1e-5)
    a = read_attribution(attributed/"ig-zero"/"attribution_agreement.csv").set_index("mark")
    assert a.index.tolist() == ["H3", "K27", "all marks"] and (a.genes == 5).all() and a.n.tolist() == [20, 20, 40]
    assert a.spearman.min() > .95                                             # equal numbers differ in the last digit

def test_means_by_position_and_class(attributed):
    t = read_attribution(attributed/"ig-zero"/"attribution.csv")
    every = t[(t["class"] == "all genes") & (t.mark == "H3")]
    assert every.distance.tolist() == [-3000, -1000, 1000, 3000] and (every.n == 5).all()
    np.testing.assert_allclose(every["mean"], W*L4*[.6, .6, .8, .8], rtol=1e-4)
    # expression is 0, 2, 3, 4, (5,) 6: quarters of six genes, by rank
    classes = t[(t.mark == "H3") & (t.distance == 3000)].set_index("class").drop("all genes")
    assert classes.n.to_dict() == {"lowest quarter": 1, "second quarter": 2, "third quarter": 1, "highest quarter": 1}
    np.testing.assert_allclose(classes["mean"][["lowest quarter", "second quarter", "third quarter", "highest quarter"]], [10*L4, 5*L4, 10*L4, 10*L4], rtol=1e-5)

def test_what_is_no_network_is_named(attributed):
    s = pd.read_csv(attributed/"skipped.csv")
    assert s.what.tolist() == ["attribution by ig: ridge on H3+K27", "attribution by deeplift: ridge on H3+K27"]
    assert set(s.reason) == {"it is no network"} and set(s.cell) == {"cellA"}

def test_shares_move_between_grids():
    a = np.array([[[6.], [3.]], [[6.], [3.]]])
    assert spread(a, 3, [False, True], 6, 1)[..., 0].tolist() == [[2, 2, 2, 1, 1, 1]]*2
    assert spread(a, 3, [False, True], 4, 1)[..., 0].tolist() == [[2, 2, 2, 3], [6, 1, 1, 1]]

# completeness

NETWORKS = ("promoter_cnn", "profile_cnn", "chromoformer")

@pytest.fixture(scope="module")
def tasks(tmp_path_factory): # model → the run of cellA in fold 1; its tracks are binned, nothing is trained
    names = ", ".join(f'"{n}"' for n in NETWORKS)
    path = write_study(tmp_path_factory.mktemp("toy"), f"[{names}]", "\n".join(f"[models.{n}]\n{SMALL[n]}" for n in NETWORKS), '["1"]', contacts=True)
    units = units_of(path)
    with quiet_log(): run_units(path, {i: u for i, u in units.items() if u.kind in ("contacts", "bin")}, device="cpu")
    return {u.work.run.model: u.work for u in units.values() if u.kind == "run" and u.work.run.cell == "cellA"}

def unfitted(task): # a network with weights that let everything through, and the function of its inputs
    torch.manual_seed(1)
    net = task.model.network(task.options, task.model.inputs(task, [0])).eval()
    noise = .02 if task.run.model == "promoter_cnn" else .1
    for p in net.parameters(): p.data += noise*torch.randn_like(p); p.requires_grad_(False)
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d): m.running_mean.normal_(0, .3); m.running_var.uniform_(.5, 2)
    return net, lambda rows, edits=None: task.model.inputs(task, np.asarray(rows), edits)

@pytest.mark.parametrize("baseline", ["zero", "mean"])
@pytest.mark.parametrize("model", NETWORKS)
def test_shares_add_up_within_one_percent(tasks, model, baseline):
    task, rows = tasks[model], np.arange(0, 240, 60)
    net, inputs = unfitted(task)
    minus = (task.study.genes.strand.iloc[rows] == "-").to_numpy()
    base = baseline_of(task, inputs, baseline)
    s = share_genes(task, net, inputs(rows), base, minus)
    total = s.bins.sum((1, 2)) + np.nan_to_num(s.partners).sum(1)
    x = gene_tensors(inputs(rows))
    f = attribution.ByGene(net, x)
    b = [attribution._like(base[k], v) if k in attribution.attributed(x) else v for k, v in x.items()]
    with torch.no_grad(): gap = (f(*x.values()) - f(*b)).numpy()
    assert abs(gap).min() > 1e-4 and s.error.max() <= LIMIT
    np.testing.assert_allclose(total, gap, rtol=.011, atol=1e-5)
    assert np.isnan(s.partners).all() == (model != "chromoformer")
    if model == "chromoformer": assert (s.partners != 0).any()

@pytest.mark.parametrize("model", NETWORKS[:2])
def test_deeplift_adds_up_although_blocks_pool_before_the_relu(tasks, model):
    task, rows = tasks[model], np.arange(0, 240, 12)
    net, inputs = unfitted(task)
    assert has_rules(net)
    x = torch.as_tensor(inputs(rows)["signal"])
    shares, error, steps = deeplift(net, (x,), (torch.zeros_like(x),))
    assert error.max() < 1e-3 and (steps == 0).all() and shares[0].shape == x.shape
    alone = torch.cat([deeplift(net, (v[None],), (torch.zeros_like(v[None]),))[0][0] for v in x[:4]])
    np.testing.assert_allclose(alone, shares[0][:4], rtol=1e-4, atol=1e-6)

def test_deeplift_refuses_layers_without_a_rule(tasks):
    net, _ = unfitted(tasks["chromoformer"])
    for n in (net, nn.Sequential(nn.Linear(2, 1), nn.Sigmoid())):
        assert not has_rules(n)
        with pytest.raises(InputError, match="no rule for; use the method ig"): deeplift(n, (torch.ones(1, 2),), (torch.zeros(1, 2),))

def test_gene_by_gene_is_what_batches_say(tasks):
    "Few rows at a time, which bounds the memory, change nothing."
    net, inputs = unfitted(tasks["profile_cnn"])
    x = torch.as_tensor(inputs(np.arange(6))["signal"])
    (a,), e, k = integrated_gradients(net, (x,), (torch.zeros_like(x),), rows=4)
    (b,), _, m = integrated_gradients(net, (x,), (torch.zeros_like(x),))
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    assert k.tolist() == m.tolist() and e.max() <= LIMIT

def test_what_does_not_add_up_is_not_hidden():
    "Two steps do not find a jump of the gradient at a tenth of the way."
    f = lambda v: torch.relu(v.sum(1) - .9*2) - 5*torch.relu(v.sum(1) - .1*2)
    _, error, steps = integrated_gradients(f, (torch.ones(1, 2),), (torch.zeros(1, 2),), steps=(2, 4))
    assert error[0] > LIMIT and steps[0] == 4

# the units

@pytest.fixture
def fresh(hand, monkeypatch): # nothing is attributed; parts have two genes, and no notebook is drawn
    import shutil
    shutil.rmtree(hand.parent/"results"/"attribution", ignore_errors=True)
    monkeypatch.setattr(attribution, "AT_ONCE", 2)
    monkeypatch.setattr("chromexpress.batch.draw_notebooks", lambda units: 0)
    return hand

def left(path): return {k: v for k, v in files(path.parent/"results"/"attribution").items() if "unit.json" not in k}

def test_an_interrupted_call_goes_on(fresh, attributed, monkeypatch):
    assert attribute(fresh, "--methods", "ig") == 0
    whole = left(fresh)
    import shutil
    shutil.rmtree(attributed)
    assert killed_at_rename(2, lambda: attribute(fresh, "--methods", "ig"))
    parts, seen, real = list(attributed.rglob("part-*.npz")), [], attribution.share_genes
    assert len(parts) == 2
    monkeypatch.setattr(attribution, "share_genes", lambda *a: seen.append(1) or real(*a))
    assert attribute(fresh, "--methods", "ig") == 0
    assert len(seen) == 1 and left(fresh) == whole and not list(attributed.rglob("part-*"))
    assert attribute(fresh, "--methods", "ig") == 0 and len(seen) == 1 and left(fresh) == whole

def test_some_genes_have_a_folder_of_their_own(fresh, attributed):
    assert attribute(fresh, "--methods", "deeplift", "--genes", "3") == 0
    g = read_attribution(attributed/"deeplift-zero-3"/"attribution_genes.csv.gz")
    assert g.gene_id.nunique() <= 3 and set(g.gene_id) <= {"g1", "g2", "g3", "g4", "g6"}

# what goes wrong

def test_no_blind_gene_among_those_that_were_drawn(hand, hear, caplog, monkeypatch): # of a small sample, none may be
    study, _ = load_study(hand)
    monkeypatch.setattr(attribution, "blind_rows_of", lambda *a: np.array([], int))
    found, skipped = attribution.attribution_units(study, units_of(hand), wanted_attribution(hand, dict(genes=1)))
    why = "none of the 1 genes that were drawn is blind; give genes a larger number, or 0 for all"
    assert not found and skipped and all(w == why for _, _, w in skipped)
    assert attribute(hand, "--genes", "1") == 2

@pytest.mark.parametrize("args,said", [
    (["--methods", "lime"], "[attribution] methods lime: is unknown; known: ig, deeplift."),
    (["--baselines", "zeros"], "[attribution] baselines zeros: is unknown; did you mean 'zero'?"),
    (["--genes", "some"], "--genes some: needs all, or a number."), (["--models", "by_hands"], "--models by_hands: not in this study's grid; did you mean 'by_hand'?"),
    (["--models", "ridge"], "nothing to attribute; it takes finished runs of a network"), (["--threads", "0"], "--threads 0: needs 1 or more.")])
def test_wrong_words(hand, capsys, args, said):
    assert attribute(hand, *args) == 2
    assert said in capsys.readouterr().err

def test_without_captum(hand, monkeypatch, capsys):
    for name in [m for m in sys.modules if m == "captum" or m.startswith("captum.")]: monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "captum", None)
    with pytest.raises(InputError, match=re.escape("pip install 'chromexpress[attribution]'")): captum_methods()
    assert attribute(hand) == 2
    assert "attribution needs captum" in capsys.readouterr().err

def test_the_table_of_the_study_file(tmp_path):
    text = '\n[attribution]\ncells = ["cellA"]\nbaselines = ["mean", "zero"]\ngenes = 100\n'
    assert wanted_attribution(study_of(tmp_path)) is None
    wanted = wanted_attribution(study_of(tmp_path, text))
    assert wanted == dict(models=(), marks=(), cells=("cellA",), methods=("ig", "deeplift"), baselines=("mean", "zero"), genes=100)
    with pytest.raises(InputError, match="2 problems"): wanted_attribution(study_of(tmp_path, '[attribution]\nmethod = "ig"\ngenes = -1\n'))

def test_no_fitted_network(tasks, tmp_path):
    with pytest.raises(InputError, match="no fitted model"): fitted_network(tasks["promoter_cnn"], tmp_path)
    with pytest.raises(InputError, match="`chromexpress attribute` makes it"): read_attribution(tmp_path/"attribution.csv")
