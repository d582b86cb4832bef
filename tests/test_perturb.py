"Perturbation: effects that can be worked out by hand, on both strands and at the ends of chromosomes; averages, files, and interruptions."
import gzip, io, re
import numpy as np, pandas as pd, pyBigWig, pytest, torch
import chromexpress.perturb as perturb
from chromexpress.batch import run_units
from chromexpress.chromoformer_model import ChromoformerOptions, chromoformer
from chromexpress.crossval import load_fitted
from chromexpress.data import Task
from chromexpress.perturb import EFFECT, bed_places, browser_track, combine, field_of, gene_effects, is_seen, perturb_folder, perturb_units, read_effects, read_places
from chromexpress.registry import load_study
from chromexpress.study import read_perturb
from chromexpress.train import predict_network
from chromexpress.units import do_unit, plan_units, state, why_stale
from toy import cli, files, killed_at_rename, quiet_log, times, units_of, write_study
pytestmark = pytest.mark.usefixtures("hear")

# A model whose prediction is the sum of weight × what it sees in four bins of 2 kb, 0.01, 0.1, 1 and 10 from upstream to downstream;
# its weights are those times seed + 1.
PLUGIN = """
from dataclasses import dataclass
import numpy as np
from chromexpress.data import Model, window_inputs
from chromexpress.registry import register
from chromexpress.tracks import Need
@dataclass(frozen=True)
class ByHandOptions:
    window:int=8000 # bp
    bin:int=2000 # bp
def fit(task, data): return dict(weights=np.array([.01, .1, 1, 10])*(task.run.seed + 1))
def predict(fitted, x): return x["signal"].astype(float).sum(-1) @ fitted["weights"]
register(Model("by_hand", "weights that are known", ByHandOptions, needs=lambda o: [Need(o.window, o.bin)], inputs=window_inputs, fit=fit, predict=predict))
"""
SIZES = dict(chr1=100_000, chr2=20_000, chr3=20_000)
GENES = [("g1", "chr1", 10_000, "+"), ("g2", "chr1", 50_000, "-"), ("g3", "chr1", 98_000, "+"), ("g4", "chr1", 1_500, "-"), ("g5", "chr2", 10_000, "+"),
         ("g6", "chr3", 10_000, "+")]
L4, L25 = np.log(4), np.log(2.5)                                           # a bin with 3 everywhere; the same with half of it gone

def study_of(folder, tracks="", seeds="[0]"): # H3 is 3 on every base, ratio is 4, log is −2
    folder.mkdir(exist_ok=True, parents=True)
    (folder/"plugin.py").write_text(PLUGIN)
    (folder/"chrom.sizes").write_text("".join(f"{c}\t{n}\n" for c, n in SIZES.items()))
    pd.DataFrame(GENES, columns=["gene_id", "chrom", "tss", "strand"]).to_csv(folder/"genes.tsv", sep="\t", index=False)
    pd.DataFrame(dict(gene_id=[g[0] for g in GENES], cellA=[1., 2, 3, 4, 5, 6])).to_csv(folder/"rpkm.tsv", sep="\t", index=False)
    for name, v in dict(H3=3, ratio=4, log=-2).items():
        (folder/f"{name}.bedGraph").write_text("".join(f"{c}\t0\t{n}\t{v}\n" for c, n in SIZES.items()))
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
{tracks}
[splits]
scheme = "explicit"
folds = [{{name = "1", train = ["chr1"], valid = ["chr2"], test = ["chr3"]}}, {{name = "2", train = ["chr2"], valid = ["chr3"], test = ["chr1"]}}]
[grid]
models = ["by_hand"]
marks = ["each"]
seeds = {seeds}
""")
    return folder/"study.toml"

def done(path, given=None): # the study, its perturbations after all is done, and what was wanted
    study, models = load_study(path)
    units, wanted = plan_units(study, models), read_perturb(path, dict(doses=(1., .5, 0.)) | (given or {}))
    made = perturb_units(study, units, wanted)
    with quiet_log():
        for u in [*units.values(), *made.values()]: do_unit(u, units | made)
    return study, made, wanted

@pytest.fixture(scope="module")
def hand(tmp_path_factory):
    tracks = 'ratio = {path = "ratio.bedGraph", scale = "ratio"}\nlog = {path = "log.bedGraph", scale = "log"}'
    return done(study_of(tmp_path_factory.mktemp("hand"), tracks))

def effects(made, mark, gene, fold="1"): # place → effects of the doses 1, ½, 0
    u = made[f"perturb:tiles:by_hand:cellA:{mark}:{fold}:0"]
    keep = (u.work.places.gene_id == gene).to_numpy()
    return dict(zip(u.work.places.place[keep], np.load(u.folder/"effects.npy")[keep].tolist()))

# by hand

@pytest.mark.parametrize("gene,n", [("g1", 13), ("g2", 17)]) # four tiles upstream of g1 are beyond the chromosome
def test_effects_by_hand_on_either_strand(hand, gene, n):
    "The promoter is the two inner bins and half of the outer ones; the first tile on a side is the other half; then nothing is seen."
    e = effects(hand[1], "H3", gene)
    assert len(e) == n
    half = lambda x, share: np.log1p(3*(1 - share*(1 - x)))                # what a bin shows if a share of it has dose x
    for place, share in dict(promoter=[.5, 1, 1, .5], up1=[.5, 0, 0, 0], down1=[0, 0, 0, .5]).items():
        for got, dose in zip(e[place], (1, .5, 0)):
            want = sum(w*(half(dose, s) - L4) for w, s in zip((.01, .1, 1, 10), share))
            assert got == pytest.approx(want, rel=1e-5) if dose < 1 else got == 0
    assert e["down1"][2] == pytest.approx(10*(L25 - L4), rel=1e-5)
    assert all(np.isnan(v).all() for k, v in e.items() if k not in ("promoter", "up1", "down1"))

def test_effects_at_the_ends_of_a_chromosome(hand):
    "g3 lies 2 kb before the end: its last bin is not there. g4 lies 1.5 kb after the start, turned around: of its third bin 1,500 bases are there."
    e = effects(hand[1], "H3", "g3")
    assert e["promoter"][2] == pytest.approx(.01*(L25 - L4) - 1.1*L4, rel=1e-5)
    assert e["up1"][2] == pytest.approx(.01*(L25 - L4), rel=1e-5) and "down1" not in e
    e = effects(hand[1], "H3", "g4")
    assert e["promoter"][2] == pytest.approx(.01*(L25 - L4) - .1*L4 - np.log1p(2.25), rel=1e-5)
    assert e["up1"][2] == pytest.approx(.01*(L25 - L4), rel=1e-5) and "down1" not in e

def test_ratios_go_to_1_and_logarithms_to_0(hand):
    e = effects(hand[1], "ratio", "g1")
    np.testing.assert_allclose(e["promoter"], [0, -1.5*1.1 - .75*10.01, -3*1.1 - 1.5*10.01], rtol=1e-5)
    e = effects(hand[1], "log", "g2")
    np.testing.assert_allclose(e["promoter"], [0, 1.1 + .5*10.01, 2*1.1 + 10.01], rtol=1e-5)
    np.testing.assert_allclose(e["down1"], [0, 5, 10], rtol=1e-5)

def test_the_published_scheme(tmp_path):
    "Doses act on ln(x + 1), also in a part of a bin; the effect is (baseline − perturbed)/perturbed. bin11 is 2 to 4 kb downstream: all of the last bin."
    study, made, wanted = done(study_of(tmp_path), dict(scheme="published", doses=(.5,)))
    u = made["perturb:published:by_hand:cellA:H3:1:0"]
    c = combine([u], "published")
    of = {p: k for k, (g, p) in enumerate(zip(u.work.places.gene_id, u.work.places.place)) if g == "g2"}
    base = 11.11*L4
    after = dict(promoter=base - L4*(.5*1.1 + .25*10.01), bin11=base - .5*10*L4)
    for place in ("promoter", "bin11"):
        assert c.after[of[place], 0] == pytest.approx(after[place], rel=1e-6)
        assert c.effect[of[place], 0] == pytest.approx((base - after[place])/after[place], rel=1e-5)
    assert np.isnan(c.effect[of["bin7"], 0])                               # 4 to 6 kb upstream
    t = u.work.places[u.work.places.gene_id == "g2"].set_index("place")
    assert t.loc["bin11", ["start", "end", "distance"]].tolist() == [46_000, 48_000, 3_000] and len(t) == 18
    assert EFFECT["published"](np.array([1.]), np.array([0.])).tolist() == pytest.approx([np.nan], nan_ok=True)

def test_places_of_a_bed_file(tmp_path, caplog):
    "One place that g1 and g4 see (their windows meet at 5.5 to 6 kb), one that g1 alone sees, one that no gene sees."
    path = study_of(tmp_path)
    (tmp_path/"some.places.bed").write_text("# places\nchr1\t5000\t7000\tboth\nchr1\t12000\t14000\tone\nchr1\t30500\t31000\n")
    study, made, wanted = done(path, dict(bed=str(tmp_path/"some.places.bed"), doses=(0.,)))
    u = made["perturb:some_places:by_hand:cellA:H3:1:0"]
    t = u.work.places.assign(effect=np.load(u.folder/"effects.npy")[:, 0])
    assert t[["gene_id", "place", "distance"]].values.tolist() == [
        ["g4", "both", -4500], ["g1", "both", -4000], ["g1", "one", 3000], ["g2", "chr1:30500-31000", 19_250]]
    quarter = np.log1p(3*.75) - L4
    np.testing.assert_allclose(t.effect, [.01*quarter, .01*(L25 - L4), -10*L4, np.nan], rtol=1e-5)
    assert "1 of 3 places are seen by no gene (chr1:30500-31000)" in caplog.text

# partners

# A model of a window of 8 kb and of what touches the gene: its prediction is the sum over the window's bins of 2 kb as above, and 100 times the
# sum over partners of score × bins of 1 kb, all as ln(x + 1).
TOUCH = """
from chromexpress.chromoformer_model import chromoformer
@dataclass(frozen=True)
class TouchOptions:
    window:int=8000 # bp
    bins:tuple=(2000, 1000) # bp
    slots:int=2
    contacts:bool=True
def touched(fitted, x):
    t = {k: v.double().numpy() for k, v in x["partners"].tensors().items()}
    y = x["promoter_2000"].astype(float).sum(-1) @ fitted["weights"]
    np.add.at(y, t["slot"].astype(int)//2, 100*t["score"]*t["partner_1000"].sum((1, 2)))
    return y
register(Model("touch", "weights that are known", TouchOptions, needs=chromoformer.needs, inputs=chromoformer.inputs, fit=fit, predict=touched,
               shows=chromoformer.shows))
"""

@pytest.fixture(scope="module")
def touch(tmp_path_factory): # g1 and g3 have one partner, near g2's TSS; g5 has one that reaches into its own window
    path = study_of(tmp_path_factory.mktemp("touch"))
    with open(path.parent/"plugin.py", "a") as f: f.write(TOUCH)
    edges = [("g1", "chr1", 49_000, 51_500, 2.), ("g3", "chr1", 49_000, 51_500, 3.), ("g5", "chr2", 13_000, 15_000, 2.)]
    pd.DataFrame(edges, columns=["gene_id", "chrom", "start", "end", "score"]).to_csv(path.parent/"edges.tsv", sep="\t", index=False)
    path.write_text(path.read_text().replace('models = ["by_hand"]', 'models = ["touch"]') + '[contacts.cellA]\npath = "edges.tsv"\nkind = "edges"\n')
    (path.parent/"spots.bed").write_text("chr1\t49500\t50500\tmiddle\nchr1\t51400\t51600\tedge\nchr1\t70000\t71000\tnowhere\n")
    with quiet_log(): run_units(path, units_of(path), device="cpu")
    return path

@pytest.mark.parametrize("on_log", [False, True])
def test_an_edit_shows_in_every_gene_that_it_touches(touch, on_log):
    "middle: a quarter of two bins of g2, half of two of the partner's. edge: 200 of a bin's bases of g2, 100 of the 500 of the partner's last bin."
    study, made, wanted = done(touch, dict(bed=str(touch.parent/"spots.bed"), doses=(.5, 0.)))
    u = made["perturb:spots:touch:cellA:H3:1:0"]
    assert sorted(u.work.places.gene_id + " " + u.work.places.place) == [
        "g1 edge", "g1 middle", "g2 edge", "g2 middle", "g2 nowhere", "g3 edge", "g3 middle"]
    p, run = u.work.places, u.work.task
    base, change = gene_effects(load_fitted(run, u.work.runs), run, np.arange(6), p, is_seen(p, field_of(run)), (1., .5, 0.), on_log)
    if not on_log: np.testing.assert_allclose(change[:, 1:], np.load(u.folder/"effects.npy"), rtol=1e-5)
    lost = lambda share: -share*L4 if on_log else np.log1p(3*(1 - share)) - L4
    for d, dose in enumerate((1, .5, 0)):
        e = {(g, k): v for g, k, v in zip(p.gene_id, p.place, change[:, d])}
        for gene, score in (("g1", 2), ("g3", 3)):
            assert e[gene, "middle"] == pytest.approx(100*score*2*lost((1 - dose)/2), rel=1e-5)
            assert e[gene, "edge"] == pytest.approx(100*score*lost((1 - dose)/5), rel=1e-5)
        assert e["g2", "middle"] == pytest.approx(1.1*lost((1 - dose)/4), rel=1e-5)
        assert e["g2", "edge"] == pytest.approx(.1*lost((1 - dose)/10), rel=1e-5) and np.isnan(e["g2", "nowhere"])
    y = dict(zip(study.genes.gene_id, base))
    assert y["g1"] == pytest.approx(11.11*L4 + 100*2*3*L4, rel=1e-5) and y["g6"] == pytest.approx(11.11*L4, rel=1e-5)

def test_a_place_that_window_and_partner_both_show(touch):
    "The first tile downstream of g5, 13 to 15 kb, is half of its last bin of 2 kb, and all of its partner; the second one is nowhere."
    study, made, wanted = done(touch)
    e = {}
    u = made["perturb:tiles:touch:cellA:H3:1:0"]
    for g, p, v in zip(u.work.places.gene_id, u.work.places.place, np.load(u.folder/"effects.npy")): e[g, p] = v.tolist()
    assert e["g5", "down1"][2] == pytest.approx(10*(L25 - L4) - 100*2*2*L4, rel=1e-5) and e["g5", "down1"][0] == 0
    assert np.isnan(e["g5", "down2"]).all() and e["g6", "down1"][2] == pytest.approx(10*(L25 - L4), rel=1e-5)

def test_chromoformer_sees_an_edit_of_a_partner(touch):
    "As if the signal itself had been another: what the network predicts from the inputs of the edited genome."
    study, made, wanted = done(touch)
    run = next(iter(made.values())).work.task
    o = ChromoformerOptions(window=8000, bins=(2000, 1000), slots=2, width=8)
    task = Task(study, run.run, chromoformer, o, run.stores)
    torch.manual_seed(0)
    net = chromoformer.network(o, chromoformer.inputs(task, [0]))
    predict = lambda x: predict_network(net, x)
    field = field_of(task)
    p = bed_places(read_places(touch.parent/"spots.bed", SIZES), study.genes, field)
    base, change = gene_effects(predict, task, np.arange(6), p, is_seen(p, field), (0.,))
    for place, g in p[p.place != "nowhere"].groupby("place"):
        edit = g.iloc[:1][["chrom", "start", "end"]].assign(assay="H3", factor=0.)              # of the genome, whoever sees it
        want = predict(chromoformer.inputs(task, np.arange(6), edit)) - base
        touched = study.genes.gene_id.isin(g.gene_id).to_numpy()
        assert (want[~touched] == 0).all() and (abs(want[touched]) > 1e-6).all()
        np.testing.assert_allclose(change[g.index, 0], want[touched], atol=1e-6)
    assert np.isnan(change[(p.place == "nowhere").to_numpy()]).all()

# averages

def test_mean_and_spread_over_runs(tmp_path):
    "Seeds 0 and 2 have weights of 1 and 3 times; each fold the same. So effects are e, 3 e, e, 3 e."
    study, made, wanted = done(study_of(tmp_path, seeds="[0, 2]"), dict(tiles=0))
    of = list(made.values())
    assert len(of) == 4 and (of[0].work.places.place == "promoter").all()
    c, e = combine(of), np.load(of[0].folder/"effects.npy").astype(float)
    np.testing.assert_allclose(c.effect, 2*e, rtol=1e-5)
    np.testing.assert_allclose(c.sd, np.abs(e)*(4/3)**.5, rtol=1e-4, atol=1e-9)
    assert c.n.tolist() == [4]*6 and c.base[1] == pytest.approx(2*11.11*L4)     # of g1
    b = combine(of, blind=True)
    assert b.n.tolist() == [2, 2, 2, 2, 0, 2]                              # chr1 is blind in fold 2, chr3 in fold 1, chr2 in none
    assert np.isnan(b.effect[4]).all() and b.effect[0, 2] == pytest.approx(2*e[0, 2], rel=1e-5)

def test_the_table_and_the_files_for_a_browser(tmp_path, capsys):
    path = study_of(tmp_path)
    done(path)
    assert cli("perturb", path, "--doses", "0.5,1,0", "--jobs", "1") == 0
    folder = tmp_path/"results"/"perturb"/"tiles"
    assert capsys.readouterr().out.strip().endswith("summary.csv")
    (csv,) = folder.glob("by_hand-*/cellA-H3.csv.gz")
    t = read_effects(csv)
    assert list(t) == ["cell", "marks", "model", "config", "gene_id", "place", "chrom", "start", "end", "distance", "dose", "y_base", "y_pert", "effect",
                       "effect_sd", "n", "relative"]
    r = t[(t.gene_id == "g1") & (t.place == "promoter") & (t.dose == 0)].iloc[0]
    base, after = 11.11*L4, 10.01*L25
    assert [r.y_base, r.y_pert, r.effect, r.n, r.effect_sd] == pytest.approx([base, after, after - base, 2, 0], rel=1e-6)
    assert r.relative == pytest.approx((2**after - 1)/(2**base - 1) - 1, rel=1e-5) and (t.effect[t.dose == 1].dropna() == 0).all()
    assert t.groupby("gene_id").effect.count().to_dict() == dict(g1=9, g2=9, g3=6, g4=6, g5=9, g6=9)       # of three places, or two, and three doses
    assert csv.read_bytes()[4:8] == bytes(4)                                # no time in the file
    bed = (csv.parent/"cellA-H3.bed").read_text().splitlines()
    assert bed[0].split("\t")[:4] == ["chr1", "0", "4500", "g4"] and bed[0].split("\t")[5] == "-" and bed[0].split("\t")[7] == "promoter"
    line = next(l.split("\t") for l in bed if l.split("\t")[3] == "g2" and l.endswith("down1"))
    assert line[:3] == ["chr1", "45000", "47000"] and float(line[6]) == pytest.approx(10*(L25 - L4), rel=1e-5) and 0 <= int(line[4]) <= 1000
    with pyBigWig.open(str(csv.parent/"cellA-H3.bw")) as bw:
        assert bw.chroms() == SIZES
        assert bw.values("chr1", 45_999, 46_000)[0] == pytest.approx(10*(L25 - L4), rel=1e-5)
        assert bw.values("chr1", 50_000, 50_001)[0] == pytest.approx(after - base, rel=1e-5) and bw.intervals("chr1", 60_000, 80_000) is None
        # g4 ends at 5,750, in the middle between its TSS and that of g1
        assert bw.intervals("chr1", 5_000, 6_500)[0][:2] == (4_500, 5_750) and bw.intervals("chr1", 5_000, 6_500)[1][:2] == (5_750, 7_000)
    s = pd.read_csv(folder/"summary.csv")
    p = s[(s.kind == "promoter") & (s.dose == 0) & (s.genes == "all")].iloc[0]
    assert p.n == 6 and p["mean"] == pytest.approx(t[(t.place == "promoter") & (t.dose == 0)].effect.mean(), rel=1e-5)
    assert set(s.genes) == {"all", "expressed", "silent"} and p.low < p["mean"] < p.high

def test_a_base_shows_the_nearest_gene():
    genes = pd.DataFrame(dict(gene_id=["a", "b"], chrom="chr1", tss=[100, 200]))
    places = pd.DataFrame(dict(gene_id=["a", "b", "a"], chrom="chr1", start=[0, 120, 400], end=[190, 300, 500]))
    assert browser_track(places, [1., 2., 3.], genes).values.tolist() == [["chr1", 0, 150, 1.], ["chr1", 150, 300, 2.]]
    assert len(browser_track(places, [np.nan]*3, genes)) == 0

# units

@pytest.fixture(scope="module")
def toy(tmp_path_factory): # 240 genes, ridge on either mark, two folds; everything but the perturbation is done
    path = write_study(tmp_path_factory.mktemp("toy"), models='["ridge"]', tables='[models.ridge]\nmarks = ["each"]\n[perturb]\ncells = ["cellA"]\ndoses = [1, 0.5, 0]\n')
    with quiet_log(): run_units(path, units_of(path), device="cpu")
    return path

@pytest.fixture
def fresh(toy): # nothing perturbed yet
    import shutil
    shutil.rmtree(toy.parent/"results"/"perturb", ignore_errors=True)
    return toy

@pytest.fixture(scope="module")
def whole(toy): # what an undisturbed perturbation leaves
    assert cli("perturb", toy, "--jobs", "1") == 0
    return {k: v for k, v in files(toy.parent/"results"/"perturb").items() if "unit.json" not in k}

def left(path): return {k: v for k, v in files(path.parent/"results"/"perturb").items() if "unit.json" not in k}

def test_the_same_with_more_processes(whole, fresh):
    assert cli("perturb", fresh, "--jobs", "2") == 0
    assert left(fresh) == whole and len(whole) == 2*(4 + 2*2) + 2

@pytest.mark.parametrize("n", [15])
def test_killed_and_resumed(whole, fresh, n, monkeypatch):
    "Thirty genes a part: eight parts a run."
    monkeypatch.setattr(perturb, "genes_at_once", lambda task: 30)
    died = killed_at_rename(n, lambda: cli("perturb", fresh, "--jobs", "1"))
    assert died
    parts = times(fresh.parent/"results"/"perturb", "part-*.npz")
    seen = []
    real = perturb.gene_effects
    monkeypatch.setattr(perturb, "gene_effects", lambda *a: seen.append(a[2][0]) or real(*a))
    assert cli("perturb", fresh, "--jobs", "1") == 0
    now = left(fresh)
    assert set(now) == set(whole)
    for k in whole:                                                        # in other parts the last digits of a sum may differ
        if k.endswith("effects.npy"): np.testing.assert_allclose(np.load(fresh.parent/"results"/"perturb"/k), np.load(io.BytesIO(whole[k])), atol=1e-5)
    finished = 0 if n == 3 else 1                                          # a run: eight parts, the two arrays, the marker
    assert len(seen) == 4*8 - n + 3*finished and len(parts) == n - 11*finished      # what was finished is not done again

def test_nothing_is_done_twice_and_what_changed_is_done_again(whole, toy):
    assert cli("perturb", toy, "--jobs", "1") == 0
    before = times(toy.parent/"results"/"perturb")
    assert cli("perturb", toy, "--jobs", "1") == 0
    after = times(toy.parent/"results"/"perturb")
    assert after == before
    study, models = load_study(toy)
    units, wanted = plan_units(study, models), read_perturb(toy)
    assert {state(u) for u in perturb_units(study, units, wanted).values()} == {"current"}
    other = perturb_units(study, units, wanted | dict(doses=(1., 0.)))
    assert {state(u) for u in other.values()} == {"stale"} and why_stale(next(iter(other.values()))) == "doses"
    assert {state(u) for u in perturb_units(study, units, wanted | dict(scheme="published")).values()} == {"missing"}
    run = next(u for u in units.values() if u.kind == "run")
    text = toy.read_text()
    try:
        toy.write_text(text.replace('marks = ["each"]', 'marks = ["each"]\nalphas = [1]'))
        with quiet_log(): changed = plan_units(*load_study(toy))
    finally: toy.write_text(text)
    assert run.identity not in {u.identity for u in changed.values()}

def test_a_grid_without_single_marks_is_perturbed_as_it_is(tmp_path):
    "[perturb] may be empty, whatever the grid: the toy's runs both marks together."
    path = write_study(tmp_path, '["ridge"]', "[perturb]\n")
    study, models = load_study(path)
    found = perturb_units(study, plan_units(study, models), read_perturb(path))
    assert {u.work.task.run.marks for u in found.values()} == {("H3K4me3", "H3K27ac")} and len(found) == 4

def test_each_bed_file_has_its_folder(tmp_path, toy):
    study, of = load_study(toy)[0], {}
    for name in ("a.v1.bed", "a.v2.bed.gz", "tiles.bed", "published.BED", "my places.bed"):
        of[name] = perturb_folder(study, dict(scheme="ours", bed=tmp_path/name)).name
    assert list(of.values()) == ["a_v1", "a_v2", "tiles_bed", "published_bed", "my_places"]
    assert perturb_folder(study, dict(scheme="published", bed=None)).name == "published"

def test_one_mark_more_keeps_the_summary_of_the_others(whole, toy):
    assert cli("perturb", toy, "--marks", "H3K27ac", "--cells", "cellB", "--jobs", "1") == 0
    s = pd.read_csv(toy.parent/"results"/"perturb"/"tiles"/"summary.csv")
    assert s[["cell", "marks"]].drop_duplicates().values.tolist() == [["cellA", "H3K4me3"], ["cellA", "H3K27ac"], ["cellB", "H3K27ac"]]

def test_what_is_lost_by_the_toys_marks(whole):
    "In cellA expression follows H3K4me3: 3 ln(1 + signal at the TSS) − 1.5 ln(1 + signal downstream); the other mark is noise."
    (name,) = [k for k in whole if k.endswith("cellA-H3K4me3-summary.csv")]
    s = pd.read_csv(io.BytesIO(whole[name]))
    lost = s[(s.genes == "all") & (s.dose == 0)].set_index("kind")["mean"]
    assert lost["promoter"] < -1 and np.isnan(lost["near"]) and np.isnan(lost["far"])            # ridge sees 6 kb, and no tile

def test_a_dry_run_does_nothing(fresh, capsys):
    assert cli("perturb", fresh, "--dry-run", "--jobs", "1") == 0
    assert "4 of 4 units to do" in capsys.readouterr().out and not (fresh.parent/"results"/"perturb").exists()

@pytest.mark.parametrize("args,message", [
    (["--doses", "half"], "--doses half: needs numbers from 0 on"), (["--doses", "-1"], "[perturb] doses = (-1.0,): needs numbers from 0 on"),
    (["--scheme", "theirs"], "--scheme theirs: is none of ours, published"), (["--marks", "H3K4me1"], "--marks H3K4me1: not in this study's grid"),
    (["--bed", "nowhere.bed"], "[perturb] bed: no file"), (["--genes", "some"], "[perturb] genes (all, expressed, silent or a file): no file"),
    (["--models", "boosting"], "--models boosting: not in this study's grid")])
def test_wrong_words(toy, capsys, args, message):
    assert cli("perturb", toy, *args) == 2
    assert message in capsys.readouterr().err

def test_runs_that_are_not_finished(tmp_path, capsys):
    path = write_study(tmp_path, models='["ridge"]', tables="", folds='["1"]')
    assert cli("perturb", path, "--marks", "all") == 2
    assert "none of the 2 runs to be perturbed is finished (run:ridge:cellA:H3K4me3+H3K27ac:1:0, run:ridge:cellB:H3K4me3+H3K27ac:1:0)" in capsys.readouterr().err

@pytest.mark.parametrize("line,message", [("chr1\t5\tx", "line 2: 'chr1\\t5\\tx' is no chromosome, start and end"), ("chr9\t5\t6", "line 2: there is no chromosome 'chr9'"),
    ("chr1\t6\t6", "line 2: 6 to 6 is no stretch of chr1"), ("chr1\t6\t100001", "line 2: 6 to 100001 is no stretch of chr1, whose length is 100,000")])
def test_a_bed_file_that_is_wrong(tmp_path, line, message):
    (tmp_path/"x.bed").write_text(f"chr1\t1\t2\n{line}\n")
    with pytest.raises(perturb.InputError, match=re.escape(message)): perturb.read_places(tmp_path/"x.bed", SIZES)

def test_a_bed_file_that_cannot_be_read(tmp_path):
    whole = gzip.compress(b"chr1\t1\t2\n"*5000)
    for name, content in (("cut.bed.gz", whole[:-20]), ("plain.bed.gz", b"chr1\t1\t2\n"), ("latin.bed", "chr1\t1\t2\té\n".encode("latin-1"))):
        (tmp_path/name).write_bytes(content)
        with pytest.raises(perturb.InputError, match=f"{name}: cannot be read"): perturb.read_places(tmp_path/name, SIZES)

def test_places_without_a_gene_on_their_chromosome_are_named(hear, caplog):
    genes = pd.DataFrame(dict(gene_id=["a"], chrom="chr1", tss=[50_000], strand="+"))
    field = pd.DataFrame(dict(gene_id=["a"], chrom="chr1", start=[47_000], end=[53_000]))
    e = pd.DataFrame([("seen", "chr1", 52_000, 54_000), ("far", "chr1", 90_000, 90_100), ("lost", "chr2", 5, 9)], columns=["place", "chrom", "start", "end"])
    assert bed_places(e, genes, field)[["place", "distance"]].values.tolist() == [["seen", 3_000], ["far", 40_050]]
    assert "1 of 3 places are seen by no gene (far)" in caplog.text and "1 of 3 places are on chromosomes without a gene (lost); left out" in caplog.text
    with pytest.raises(perturb.InputError, match=r"no gene that is perturbed is on the chromosome of any of them \(lost\)"):
        bed_places(e[2:].reset_index(drop=True), genes, field)

def test_near_is_up_to_10_kb_whatever_the_class_of_distance(): # 10,900 bp is of the class of 10 kb, and beyond 10 kb all the same
    places = pd.DataFrame(dict(place=["x", "y", "z"], distance=[9_900, -10_900, 10_000]))
    found = [(k, d, rows.tolist()) for k, d, rows, _ in perturb._classes(places, np.arange(3), np.zeros((3, 1)))]
    assert [(k, d, r) for k, d, r in found if k == "distal"] == [("distal", -10_000, [1]), ("distal", 10_000, [0, 2])]
    assert [(k, r) for k, _, r in found if k != "distal"] == [("near", [0, 2]), ("far", [1])]

def test_some_genes_only(toy, tmp_path):
    (tmp_path/"genes.txt").write_text("g007\ng003 an unlabelled one\n")
    study, models = load_study(toy)
    units = plan_units(study, models)
    n = lambda which: {u.work.places.gene_id.nunique() for u in perturb_units(study, units, read_perturb(toy) | dict(genes=which)).values()}
    assert n(str(tmp_path/"genes.txt")) == {2} and n("all") == {240} and n("expressed") == {119} and n("silent") == {118}
    (tmp_path/"genes.txt").write_text("g999\n")
    with pytest.raises(perturb.InputError, match="1 names are no genes of this study \\(g999\\)"): n(str(tmp_path/"genes.txt"))
    (tmp_path/"genes.txt").write_bytes(b"\xff\xfeg\x00")
    with pytest.raises(perturb.InputError, match="genes.txt: cannot be read"): n(str(tmp_path/"genes.txt"))
