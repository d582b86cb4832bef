"""Chromoformer against the authors' package (`pip install -e ".[peers]"`): the same weights, genes and numbers; time, operations, memory.

Genes are simulated, with eight partners each, unless --data names a folder in the layout of the published demo (`demo_meta.csv` and
`signals/`), whose genes are taken then. The package moves its table of positions to a GPU whatever the device: that is switched off
here, and nothing else is changed. Both sides take AdamW's steps, ours with its fused kernel.

Data are what a training of ten epochs needs: the package makes the inputs of each gene out of its files of read depth, again in every
epoch; ours come out of the stores that `prepare` wrote, once, and are packed into batches in every epoch. `prepare` itself, which is
done once for all runs, is told beside it.
`--batch 16` takes a minute or two, `--batch 64` ten times as long and 7 GB.
"""
import sys
from common import alternate, check, parse, parser, report, resident
import json, os, statistics, subprocess, tempfile, time
from pathlib import Path
import numpy as np, pandas as pd, torch
from torch.nn.functional import mse_loss
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from chromexpress.chromoformer import Chromoformer, predict_variants

BINS, SPAN, SLOTS, FINE = (2000, 500, 100), 40_000, 8, 100


def peer():
    "The authors' package, which bears the name of this script."
    path, here = sys.path[:], Path(__file__).resolve().parent
    sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != here]
    try: import chromoformer
    except ImportError: sys.exit('needs the authors\' package: pip install -e ".[peers]"')
    finally: sys.path[:] = path
    torch.Tensor.cuda = lambda self, *args, **kwargs: self
    return chromoformer


# genes: a promoter, its strand, and partners; each region as sums over 100 bp, and the bases of each sum

def simulated(n, tracks=7, seed=0):
    rng = np.random.default_rng(seed)
    region = lambda bins: (rng.gamma(.5, 2., (bins, tracks))*FINE, np.full(bins, FINE))
    return [(region(SPAN//FINE), "+-"[i%2], [(1.5 + rng.random(), region(rng.integers(20, 401))) for _ in range(SLOTS)]) for i in range(n)]

def from_demo(folder, n):
    def region(name):
        x = np.load(folder/"signals"/f"{name}.npy").astype(float)
        edges = np.arange(0, x.shape[1], FINE)
        return np.add.reduceat(x, edges, 1).T, np.minimum(FINE, x.shape[1] - edges)
    meta = pd.read_csv(folder/"demo_meta.csv", keep_default_na=False).head(n)
    own = lambda r: list(zip(map(float, r.scores.split(";")), map(region, r.neighbors.split(";")))) if r.neighbors else []
    return [(region(f"{r.chrom}:{r.start - SPAN//2}-{r.start + SPAN//2}"), r.strand, own(r)) for r in meta.itertuples()]

def pooled(region, b):
    "(bins, tracks) of ln(mean + 1)."
    sums, bases = region
    edges = np.arange(0, len(sums), b//FINE)
    return np.log1p(np.add.reduceat(sums, edges)/np.add.reduceat(bases, edges)[:, None]).astype(np.float32)

def ours(genes):
    x, partners = {}, [(g*SLOTS + j, *p) for g, (_, _, own) in enumerate(genes) for j, p in enumerate(own)]
    for b in BINS:
        x[f"promoter_{b}"] = torch.tensor(np.stack([pooled(p, b)[::1 if s == "+" else -1] for p, s, _ in genes]))
        x[f"promoter_left_{b}"], f = torch.zeros(len(genes), dtype=torch.long), [pooled(r, b) for *_, r in partners]
        x[f"partner_n_{b}"] = torch.tensor([len(v) for v in f], dtype=torch.long)
        x[f"partner_{b}"] = torch.zeros(len(f), max(map(len, f), default=0), genes[0][0][0].shape[1])
        for i, v in enumerate(f): x[f"partner_{b}"][i, :len(v)] = torch.tensor(v)
    return x | dict(slot=torch.tensor([s for s, *_ in partners], dtype=torch.long), score=torch.tensor([s for _, s, _ in partners], dtype=torch.float32))

def theirs(genes):
    n, tracks = len(genes), genes[0][0][0].shape[1]
    p, p_mask, f, f_mask, i_mask, freq = {}, {}, {}, {}, {}, torch.zeros(n, SLOTS + 1, SLOTS + 1)
    for b in BINS:
        m = SPAN//b
        p[b], f[b] = ours([(q, s, []) for q, s, _ in genes])[f"promoter_{b}"][:, None], torch.zeros(n, SLOTS, m, tracks)
        p_mask[b], f_mask[b] = torch.zeros(n, 1, 1, m, m, dtype=torch.bool), torch.ones(n, SLOTS, 1, m, m, dtype=torch.bool)
        i_mask[b] = torch.ones(n, 1, SLOTS + 1, SLOTS + 1, dtype=torch.bool)
        for g, (_, _, own) in enumerate(genes):
            i_mask[b][g, 0, :len(own) + 1, :len(own) + 1] = False
            for j, (score, r) in enumerate(own):
                v, freq[g, 0, 1 + j] = torch.tensor(pooled(r, b)), score
                left = (m - len(v) + 1)//2
                f[b][g, j, left:left + len(v)], f_mask[b][g, j, 0, :, left:left + len(v)] = v, False
    return p, p_mask, f, f_mask, i_mask, freq

def variants(gene, doses):
    "The published grid: 17 loci of the window (the middle 6 kb and 2-kb bins around it) at each dose; two partners show one of them, too."
    (sums, bases), strand, own = gene
    loci = [(170, 230)] + [(i, i + 20) for i in range(0, 160, 20)] + [(i, i + 20) for i in range(240, 400, 20)]
    def edited(k, dose):
        new = sums.copy(); new[slice(*loci[k])] *= dose
        partners = [(s, (r*np.where(np.arange(len(r)) < 10, dose, 1)[:, None] if j == k else r, b)) for j, (s, (r, b)) in enumerate(own)]
        return (new, bases), strand, partners if k < 2 else own
    return [edited(k, d) for d in doses for k in range(len(loci))]


# the two sides

class Side:
    "A network, and a batch for it."
    def __init__(self, name, genes):
        self.name, theirs_net = name, peer().ChromoformerRegressor(genes[0][0][0].shape[1])
        self.net = theirs_net if name == "published" else Chromoformer.from_published(theirs_net.state_dict())
        self.adam = torch.optim.AdamW(self.net.parameters(), lr=3e-5, **({} if name == "published" else dict(fused=True)))
        self.take(genes)

    def take(self, genes):
        self.x = theirs(genes) if self.name == "published" else ours(genes)
        self.y = torch.rand(len(genes), generator=torch.Generator().manual_seed(0))
    def forward(self): return self.net(*self.x)[:, 0] if self.name == "published" else self.net(**self.x)
    def loss(self): return mse_loss(self.forward(), self.y)
    def step(self): self.adam.zero_grad(); self.loss().backward(); self.adam.step()
    def predict(self):
        with torch.inference_mode(): return self.forward()

def counted(f):
    with FlopCounterMode(display=False) as counter: f().backward()
    return counter.get_total_flops()

class Shapes(TorchDispatchMode):
    "The shapes of all matrix products."
    def __init__(self): super().__init__(); self.found = []
    def __torch_dispatch__(self, f, types, args=(), kwargs=None):
        at = {"mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1}.get(str(f.overloadpacket).removeprefix("aten."))
        if at is not None: self.found.append((tuple(args[at].shape), tuple(args[at + 1].shape)))
        return f(*args, **(kwargs or {}))

def products(f):
    "A function that does the matrix products of `f`, and nothing else; their operations."
    with Shapes() as s: f().backward()
    pairs = [(torch.rand(a), torch.rand(b), torch.empty(*a[:-1], b[-1])) for a, b in s.found]
    def multiply():
        for a, b, out in pairs: torch.matmul(a, b, out=out)
    return multiply, sum(2*int(np.prod(a))*b[-1] for a, b in s.found)

def timed(what, sides, rounds, scale={}):
    "Times of both sides, and their ratios: by the clock, and by CPU time, which a busy machine spoils less."
    cpu = {k: [] for k in sides}
    def clocked(k, f):
        def g(): start = time.process_time(); f(); cpu[k].append(time.process_time() - start)
        return g
    t = alternate({k: clocked(k, f) for k, f in sides.items()}, rounds)
    c = {k: statistics.median(v[1:]) for k, v in cpu.items()}
    found, ratio = {}, lambda t: t["published"]*scale.get("published", 1)/t["ours"]
    for k in sides: found |= {f"{what}: {k}, ms": t[k]*1e3*scale.get(k, 1), f"{what}: {k}, CPU ms": c[k]*1e3*scale.get(k, 1)}
    return found | {f"{what}_ratio": ratio(t), f"{what}_ratio by CPU time": ratio(c)}

def memory_of(side, a):
    "MiB of a step: the highest of a process of its own, above its level after a step of one gene."
    argv = [sys.executable, __file__, "--side", side, "--batch", str(a.batch)] + (["--data", a.data] if a.data else [])
    return json.loads(subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()[-1])

def in_child(a, genes):
    side = Side(a.side, genes[:1])
    side.step()
    level = resident("VmRSS")
    side.take(genes)
    side.step()
    print(json.dumps(max(resident("VmHWM") - level, .01)))

def allocator():
    given = {k: v for k, v in os.environ.items() if k.startswith(("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD"))}
    return "the C library's own, as it is set up" + "".join(f"; {k}={v}" for k, v in given.items())


# data

STUDY = """name = "demo"
assembly = "hg19"
out = "results"
genes = {table = "genes.tsv", tss_base = 0}
expression = {table = "rpkm.tsv", cells = {cell = "expression"}}
splits = {scheme = "explicit", folds = [{name = "1", train = %s, valid = %s, test = %s}]}
grid = {models = ["chromoformer"], marks = ["all"]}
contacts = {cell = {path = "%s/demo_meta.csv", kind = "meta"}}
[tracks.cell]
"""

def write_demo(folder, n, tracks=7):
    "Simulated genes in the layout of the published demo: reads of a depth of 2 in all tracks."
    rng, rows, left = np.random.default_rng(0), [], SPAN//2
    (folder/"signals").mkdir(parents=True)
    def region(chrom, start, end):
        name = f"{chrom}:{start}-{end}"
        np.save(folder/"signals"/f"{name}.npy", rng.poisson(2, (tracks, end - start)).astype(np.float16))
        return name
    for i in range(n):
        chrom, tss = f"chr{1 + i%3}", 1_000_000*(1 + i//3)
        region(chrom, tss - left, tss + left)
        near = [tss + 60_000*(j + 1) for j in range(SLOTS)]
        rows.append(dict(gene_id=f"g{i}", expression=1. + i, eid="cell", label=i%2, chrom=chrom, start=tss, end=tss + 1, strand="+-"[i%2], split=1,
                         neighbors=";".join(region(chrom, s, s + int(rng.integers(2000, SPAN))) for s in near),
                         scores=";".join(f"{2.5 - j/10:.1f}" for j in range(SLOTS))))
    pd.DataFrame(rows).to_csv(folder/"demo_meta.csv", index=False)

def prepared(demo, folder):
    "The run of a study of the demo's genes, after `prepare`; and how long that took."
    from chromexpress.batch import run_units
    from chromexpress.registry import load_study
    from chromexpress.units import plan_units
    meta, demo = pd.read_csv(demo/"demo_meta.csv"), Path(demo).resolve()
    meta[["gene_id", "chrom", "strand"]].assign(tss=meta.start).to_csv(folder/"genes.tsv", sep="\t", index=False)
    meta[["gene_id", "expression"]].to_csv(folder/"rpkm.tsv", sep="\t", index=False)
    chroms = meta.chrom.unique().tolist()
    tracks = np.load(next((demo/"signals").glob("*.npy")), mmap_mode="r").shape[0]
    parts = [json.dumps(c) for c in (chroms[:1], chroms[1:2], chroms[2:])]
    (folder/"study.toml").write_text(STUDY % (*parts, demo) + "".join(f'track{i} = {{path = "{demo}/signals", row = {i}}}\n' for i in range(tracks)))
    units, start = plan_units(*load_study(folder/"study.toml")), time.process_time()
    run_units(folder/"study.toml", {i: u for i, u in units.items() if u.kind != "run"}, device="cpu")
    return next(u.work for u in units.values() if u.kind == "run"), time.process_time() - start

def same_inputs(item, x):
    "Whether the package's inputs of a gene are ours."
    found = []
    for b in BINS:
        found += [(item["promoter_feats"][b][0], x[f"promoter_{b}"][0])]
        for j, (n, f) in enumerate(zip(x[f"partner_n_{b}"].tolist(), x[f"partner_{b}"])):
            left = (SPAN//b - n + 1)//2
            found += [(item["pcre_feats"][b][j, left:left + n], f[:n])]
    return all(torch.allclose(p, q, rtol=0, atol=1e-5) for p, q in found)

def loading(a, demo, folder):
    "Ten epochs of inputs, out of files and out of the stores."
    from torch.utils.data import default_collate
    from chromexpress.data import Batches, Data, impute, tensors
    task, seconds = prepared(demo, folder)
    ids = task.study.genes.gene_id.tolist()[:a.genes]
    rows, epochs, size = np.arange(len(ids)), 10, 64
    data = peer().ChromoformerDataset(demo/"demo_meta.csv", demo/"signals", ids, regression=True)
    read = lambda: impute(task.model.inputs(task, rows), train=rows)[0]
    ready = lambda: Batches(Data(read(), np.zeros(len(ids)), np.full(len(ids), "train")), rows, size, torch.Generator().manual_seed(0))
    def epoch(batches): [x for x in batches]
    def train():
        batches = ready()
        for _ in range(epochs): epoch(batches)
    published = lambda: [default_collate([data[i] for i in rows[k:k + size]]) for k in range(0, len(rows), size)]
    same = all(same_inputs(data[i], tensors(task.model.inputs(task, [i]))) for i in rows[:3])
    found = {"data: genes": len(ids), "data: inputs are equal": check(same, "inputs"), "data: prepare, CPU s": seconds}
    found |= timed("data", dict(published=published, ours=train), a.rounds, dict(published=epochs))
    batches = ready()
    t = alternate(dict(store=ready, batch=lambda: epoch(batches)), 5*a.rounds, time.process_time)
    return found | {"data: once out of the store, CPU µs a gene": t["store"]/len(ids)*1e6, "data: a batch, CPU µs a gene": t["batch"]/len(ids)*1e6}


def main():
    p = parser(__doc__)
    p.add_argument("--batch", type=int, default=16)
    p.add_argument("--data", help="folder with demo_meta.csv and signals/")
    p.add_argument("--genes", type=int, default=64, help="genes to load")
    p.add_argument("--doses", type=int, default=11, help="doses of each of the 17 loci of a gene")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--side", choices=("published", "ours"), help="take a step and print its memory: what the benchmark runs for each side")
    a = parse(p, rounds=1, batch=2, doses=1, genes=3)
    torch.set_num_threads(a.threads)
    genes = from_demo(Path(a.data), a.batch) if a.data else simulated(a.batch)
    if a.side: return in_child(a, genes)
    s = {k: Side(k, genes) for k in ("published", "ours")}
    equal = lambda x, y, eps: bool(torch.allclose(x, y, rtol=0, atol=eps))
    figures = {"genes of a batch": len(genes), "partners": sum(len(g[2]) for g in genes), "threads": a.threads,
               "outputs are equal": check(equal(s["published"].predict(), s["ours"].predict(), 1e-5), "outputs")}
    multiply, by_shape = products(s["ours"].loss)
    flops = {k: counted(v.loss) for k, v in s.items()}
    figures["operations as counted by torch"] = check(flops["ours"] == by_shape, "operations by shape and as counted")
    for name, what in (("train", "step"), ("inference", "predict")):
        figures |= timed(name, {k: getattr(v, what) for k, v in s.items()}, a.rounds)
    figures |= {f"operations of a step: {k}, GFLOP": v/1e9 for k, v in flops.items()} | {"flops_ratio": flops["published"]/flops["ours"]}
    big = torch.rand(1024, 1024)
    t = alternate(dict(step=s["ours"].step, products=multiply, large=lambda: big @ big), 3*a.rounds)
    figures |= {"step, GFLOP/s": by_shape/t["step"]/1e9, "products of the same shapes, GFLOP/s": by_shape/t["products"]/1e9,
                "product of 1024³, GFLOP/s": 2*1024**3/t["large"]/1e9, "step / products of the same shapes": t["products"]/t["step"]}
    figures |= many_edits(s, genes, a)
    memory = {k: memory_of(k, a) for k in s}
    figures |= {f"memory of a step: {k}, MiB": v for k, v in memory.items()} | {"memory_ratio": memory["published"]/memory["ours"]}
    with tempfile.TemporaryDirectory() as folder:
        demo = Path(a.data or folder)
        if not a.data: write_demo(demo, a.genes)
        figures |= loading(a, demo, Path(folder))
    print("allocator:", allocator())
    report(figures, a.json, allocator=allocator())

def many_edits(s, genes, a):
    "All edits of the gene with most partners; the published side on a batch of them, scaled."
    edits = variants(max(genes, key=lambda g: len(g[2])), np.linspace(1, 0, a.doses))
    x, some = ours(edits), theirs(edits[-len(genes):])
    run = dict(published=lambda: s["published"].net(*some)[:, 0], ours=lambda: predict_variants(s["ours"].net, x))
    s["ours"].net.load_state_dict(s["published"].net.state_dict())
    with torch.inference_mode():
        same = torch.allclose(run["published"](), run["ours"]()[-len(genes):], rtol=0, atol=1e-5)
        found = timed("variants", run, a.rounds, dict(published=len(edits)/len(genes)))
    return {"edits": len(edits), "edits that the published side predicts (scaled to all)": len(genes),
            "predictions of edits are equal": check(same, "predictions of edits")} | found


if __name__ == "__main__": main()
