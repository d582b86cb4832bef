"""The benchmarks, at sizes that tell nothing but whether they work: what they write, and that they compared what
they time."""
import importlib.util, json, math, os, subprocess, sys, tarfile
from pathlib import Path
import numpy as np, pandas as pd, pytest
from chromexpress.genome import chrom_sizes
from toy import ENV

FOLDER = Path(__file__).resolve().parents[1]/"benchmarks"

def quick(name, folder, *args) -> dict: # what the benchmark wrote
    file = folder/f"{name}.json"
    r = subprocess.run([sys.executable, FOLDER/f"{name}.py", "--quick", "--json", file, *map(str, args)],
                       capture_output=True, text=True,
                       timeout=300, env=ENV | dict(TMPDIR=str(folder)))
    assert r.returncode == 0, r.stderr
    found = json.loads(file.read_text())
    assert {"python", "machine", "cores", "load"} <= set(found)
    for k, v in found.items():
        if k in ("python", "machine", "tables", "allocator"): continue
        assert math.isfinite(v), k
        assert k in r.stdout or k in ("machine", "cores", "load"), f"{k} is not in the printed table"
        if any(w in k for w in (" / ", "share", "GFLOP/s", "MiB")): assert v > 0, k
        if "equal" in k or "as counted" in k: assert v == 1
    return found

def test_every_benchmark_is_tested_and_described():
    names, about = {p.stem for p in FOLDER.glob("*.py")} - {"common"}, (FOLDER/"README.md").read_text()
    source = Path(__file__).read_text()
    for n in names:
        assert f'quick("{n}"' in source and f"`{n}.py`" in about and "__doc__" in (FOLDER/f"{n}.py").read_text()

def test_binning(tmp_path):
    f = quick("binning", tmp_path, "--folder", tmp_path)
    for layout in ("random", "apart", "whole study"):
        assert f[f"{layout}: equal to values and mean"] == 1 and f[f"{layout}: bin_signal, s"] > 0
        assert {f"{layout}: {k} / bin_signal" for k in ("values_and_mean", "values_alone", "bin_signal_pyBigWig")} <= set(f)
        assert f[f"{layout}: equal with pyBigWig"] == 1 and f[f"{layout}: pybigtools_alone / values_alone"] > 0
    assert f["whole study: whole_file_once / bin_signal"] > 0 and f["whole study: file, MB"] > 0
    assert {f"whole study: memory with {r}, above imports, MiB" for r in ("pybigtools", "pyBigWig")} <= set(f)
    for layout in ("random", "apart"):
        assert f[f"{layout}: equal to stats"] == 1 and f[f"{layout}: stats / bin_signal"] > 0
        assert f"{layout}: stats, s (scaled from 3 windows)" in f
    # 23 = ⌈960 kb / 42 kb⌉
    assert f["random: windows"] == 30 and f["apart: windows"] == 23 and f["whole study: windows"] == 50

def test_training(tmp_path):
    f = quick("training", tmp_path)
    assert f["steps of an epoch"] == 8 and f["operations as counted by torch"] == 1
    forward = 2*16*(60*8*175 + 14*4*175*350 + 6*4*350*700 + 3*700*625 + 625*125 + 125)
    # no gradient of the signal; of 15 and 7 positions the pooling drops one each
    assert f["operations of a step, GFLOP"] == pytest.approx((3*forward - 2*16*60*8*175)/1e9)
    assert min(f[k] for k in ("epoch, s", "epoch of the same batch, s", "data only, s", "step, ms")) > 0
    assert {"epoch / epoch of the same batch", "share of data", "step / products of the same shapes",
            "product of 1024³, GFLOP/s"} <= set(f)

def test_memory(tmp_path):
    f = quick("memory", tmp_path, "--folder", tmp_path)
    assert f["240 genes: bound of prepare above imports, MiB"] == pytest.approx((3*4*240*400 + 25*4_040_000)/2**20)
    for case in ("prepare, 1 jobs", "prepare, 2 jobs", "run of ridge"):
        of = {k: f[f"240 genes, 2 tracks, {case}: {k}, MiB"]
              for k in ("above imports", "whole process", "largest process", "all together")}
        assert of["above imports"] < of["whole process"]
    for k in ("largest", "whole"): assert f[f"240 genes, 2 tracks, prepare, 2 jobs: {k} process, MiB"] > 10

def test_chromoformer(tmp_path):
    "Sizes are the published ones; two genes with 16 partners take 23 GFLOP there, whatever the partners' lengths."
    if importlib.util.find_spec("chromoformer") is None:
        pytest.skip('the authors\' package is absent: pip install -e ".[peers]"')
    f = quick("chromoformer", tmp_path)
    assert f["outputs are equal"] == f["predictions of edits are equal"] == 1 and f["partners"] == 16 and f["edits"] == 17
    assert f["operations of a step: published, GFLOP"] == pytest.approx(23.16, abs=.01) and f["flops_ratio"] > 40
    assert min(f[k] for k in ("train_ratio", "inference_ratio", "variants_ratio", "memory_ratio", "data_ratio")) > 0
    assert f["data: inputs are equal"] == 1 and f["data: genes"] == 3

# 264 genes in the layout of encode_hg38; expression follows H3K4me3 in one cell, DNase in the other
def write_encode(folder):
    rng, sizes = np.random.default_rng(3), chrom_sizes("hg38")
    chrom = np.array([f"chr{2 + i % 21}" for i in range(264)])
    tss = 1_000_000 + 30_000*(np.arange(264)//21)
    genes = pd.DataFrame(dict(gene_name=[f"G{i:03}" for i in range(264)], chrom=chrom, gene_start=tss - 50,
                              gene_end=tss + 9000, tss=tss, strand="+"))
    assert all(sizes[c] > tss.max() + 10_000 for c in set(chrom))
    folder.mkdir()
    genes.to_csv(folder/"genes.tsv", sep="\t", index=False)
    cage = genes[["gene_name"]].copy()
    for cell, follows in (("gm12878", "H3K4me3"), ("h1", "DNase")):
        (folder/cell).mkdir()
        for assay in ("H3K4me1", "H3K4me3", "H3K9me3", "H3K27me3", "H3K36me3", "H3K27ac", "DNase"):
            height = rng.gamma(1., 4., 264).round(3) + .1
            if assay == follows: cage[cell] = (height*rng.lognormal(0, .3, 264)).round(3)
            peaks = pd.DataFrame(dict(chrom=chrom, start=tss - 500, end=tss + 500, name=".", score=0, strand=".",
                                      value=height, p=-1, q=-1, peak=-1))
            peaks.to_csv(folder/cell/f"{assay}.narrowPeak", sep="\t", header=False, index=False)
    cage.to_csv(folder/"cage.tsv", sep="\t", index=False)
    return folder

def test_encode_grid(tmp_path):
    "From a tar, and once more, when nothing is left to do."
    with tarfile.open(tmp_path/"encode_hg38.tar", "w") as t:
        t.add(write_encode(tmp_path/"encode_hg38"), "encode_hg38")
    args = "--data", tmp_path/"encode_hg38.tar", "--out", tmp_path/"out"
    f = quick("encode_grid", tmp_path, *args)
    steps = "prepare", "ridge", "activity", "tables"
    for s in steps:
        for k in ("wall, s", "CPU, s", "largest process, MiB", "all together, MiB", "disk, MB"):
            assert f[f"{s}: {k}"] > 0
    # two models, two cells, two marks, one fold
    assert f["models"] == 2 and f["runs"] == 8
    assert f["total wall, s"] == pytest.approx(sum(f[f"{s}: wall, s"] for s in steps))
    r, pairs = pd.DataFrame(f["tables"]["r"]), pd.DataFrame(f["tables"]["comparisons"])
    assert len(r) == 8 and (r.pearson_low <= r.pearson).all() and (r.pearson <= r.pearson_high).all()
    best = r[r.model == "ridge"].set_index(["cell", "marks"]).pearson
    assert best["gm12878", "H3K4me3"] > .7 > .5 > best["gm12878", "DNase"]
    assert best["h1", "DNase"] > .7 > .5 > best["h1", "H3K4me3"]
    assert len(pairs) == 4 and set(zip(pairs.model_a, pairs.model_b)) == {("activity", "ridge")}
    assert np.allclose(pairs.delta, pairs.r_a - pairs.r_b, atol=2e-6)
    before = (tmp_path/"out"/"benchmark.json").read_bytes()
    again = quick("encode_grid", tmp_path, *args)
    assert (tmp_path/"out"/"benchmark.json").read_bytes() == before and again["tables"] == f["tables"]
    # the ridge of another call has other options, so each is called with its configuration
    more = "--models", "ridge", "--option", "alphas=[1.0]", "--out", tmp_path/"more"
    other = quick("encode_grid", tmp_path, "--data", tmp_path/"encode_hg38.tar", *more)
    both = quick("encode_grid", tmp_path, "--join", tmp_path/"out", tmp_path/"more")
    assert both["runs"] == 12 and [c["step"] for c in both["tables"]["cost"]] == ["activity", "ridge", "ridge"]
    r, one = pd.DataFrame(both["tables"]["r"]), pd.DataFrame(other["tables"]["r"])
    assert r.model.str.startswith("ridge-").sum() == 8 and r.model.nunique() == 3
    assert set(one.pearson) <= set(r.pearson) and len(both["tables"]["comparisons"]) == 12

def test_annotation(tmp_path):
    f = quick("annotation", tmp_path)
    assert f["genes"] == 500 and f["equal to pandas"] == 1
    for n in ("gene", "canonical", "5prime", "lengths"): assert f[f"{n}, s"] > 0 and f[f"{n}, above imports, MiB"] > 0

def test_known_answer(tmp_path):
    f = quick("known_answer", tmp_path)
    assert 0 < f["ridge: R² of all marks over the oracle's"] < 1.2
    assert f["ridge: pairs of marks ranked against the truth"] >= 0

def test_contacts(tmp_path):
    "Twice: the second time nothing is left to train, and the tables are the same."
    f = quick("contacts", tmp_path, "--folder", tmp_path/"study")
    t = pd.DataFrame(f["tables"]["differences"])
    assert f["genes"] == 240 and t.seed.astype(str).tolist() == ["0", "1", "all"]*2
    assert t.contacts.tolist() == ["with"]*3 + ["permuted"]*3 and (t.n == t.n[0]).all() and t.n[0] > 20
    assert np.allclose(t.delta, t.r - t.r_without, atol=2e-6) and (t.low <= t.delta).all() and (t.delta <= t.high).all()
    for k in ("with", "permuted"):
        one = t[t.contacts == k].set_index(t.seed[t.contacts == k].astype(str))
        assert one.delta["all"] == pytest.approx(one.delta[["0", "1"]].mean(), abs=2e-6) == f[f"{k}: Δr"]
    models = [p for p in (tmp_path/"study"/"results"/"runs").rglob("model.pt")]
    before = {p: p.stat().st_mtime_ns for p in models}
    again = quick("contacts", tmp_path, "--folder", tmp_path/"study")
    assert len(models) == 6 and again["tables"] == f["tables"] and {p: p.stat().st_mtime_ns for p in models} == before

def test_what_is_not_equal_is_not_timed():
    r = subprocess.run([sys.executable, "-c", "from common import check; check(True, 'sums'); check(False, 'means')"],
                       capture_output=True,
                       text=True, cwd=FOLDER, env=ENV)
    assert r.returncode == 1 and r.stderr.startswith("means: NOT EQUAL")

def test_qtl(tmp_path):
    f = quick("qtl", tmp_path)
    for null in ("genes", "stratified", "within_gene", "published"):
        assert f[f"{null}: equal to a join a draw"] == 1 and f[f"{null}, s"] > 0 and 0 <= f[f"{null}: scenarios and levels kept, of 12"] <= 12
        assert all(0 <= f[f"{null}, {s}: P(p ≤ {a})"] <= 1 for s in ("independent", "clustered", "decaying", "all") for a in ("0.01", "0.05", "0.1"))
    assert {"noise × 1: P(p ≤ .05)", "shuffled: P(p ≤ .05)"} <= set(f) and len(f["tables"]["false_alarms"]) == 4*4*3

def test_perturb(tmp_path):
    f = quick("perturb", tmp_path)
    for of in ("promoter_cnn, 48 genes", "wide, 48 genes"):
        assert f[f"{of}: equal to the loop"] == 1 and f[f"{of}: edits"] == 48*17*2 and f[f"{of}: CPU s"] > 0 and f[f"{of}: loop / ours"] > 0
        assert f[f"{of}: loop, CPU s (scaled from 1 genes)"] > 0 and f[f"{of}: memory, MiB"] > 0

def test_effects(tmp_path):
    f = quick("effects", tmp_path)
    names = ["ridge", "activity", "nearness", "activity / distance"]
    assert f["enhancers"] < f["enhancers and promoters"] and f["enhancers"] == f["enhancers with 2 kb on either side"]
    assert [(r["elements"], r["scorer"]) for r in f["tables"]["effects"][:8]] == [(e, n) for e in ("enhancers", "enhancers and promoters") for n in names]
    assert all(r["low"] <= r["rho"] <= r["high"] for r in f["tables"]["effects"])
    assert f["enhancers, activity: ρ"] > .5 and f["enhancers and promoters, ridge: ahead of activity"] == pytest.approx(
        f["enhancers and promoters, ridge: ρ"] - f["enhancers and promoters, activity: ρ"])

def test_ranks_of_effects_by_hand():
    spec = importlib.util.spec_from_file_location("effects", FOLDER/"effects.py")
    sys.path.insert(0, str(FOLDER))
    try: spec.loader.exec_module(m := importlib.util.module_from_spec(spec))
    finally: sys.path.pop(0)
    t = pd.DataFrame(dict(gene_id=list("abcd"), ridge=[1., 2, 3, 4], activity=[0., 0, 1, 1], effect=[10., 20, 40, 30]))
    assert m.ranks(t.drop(columns="gene_id"), np.arange(4)) == pytest.approx([.8, 4/20**.5])
    r = m.compared(t, 50).set_index("scorer")
    assert r.rho.tolist() == pytest.approx([.8, .8944272]) and r.lead["ridge"] == pytest.approx(.8 - .8944272) and r.zero.tolist() == [0, .5]
