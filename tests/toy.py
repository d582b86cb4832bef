"""A small and complete study, known to the last number: 240 genes, two cells, two marks, a profile, and expression
made from the marks."""
import contextlib, logging, os, signal, subprocess, sys, tarfile
from pathlib import Path
import numpy as np, pandas as pd, pyBigWig
from chromexpress.genome import chrom_sizes

HG19 = chrom_sizes("hg19")
CHROMS = [c for c in HG19 if c != "chrM"]
PLUGIN = Path(__file__).parent/"plugins"/"profile_ridge.py"
# NA, empty and no number at all in the expression table
UNLABELLED = dict(cellA=["g003", "g100", "g239"], cellB=["g100"])
UNSEEN = ["g017", "g200"]                                          # genes at which no CAGE was measured

def unpack(tar, folder, *names):
    "Unpack a tar, or some of its files; with the filter against harm where Python has it (from 3.11.4 on)."
    kept = dict(filter="data") if hasattr(tarfile, "data_filter") else {}
    with tarfile.open(tar) as t: t.extractall(folder, [t.getmember(n) for n in names] or None, **kept)

def toy_genes(n=240) -> pd.DataFrame: # gene_id, chrom, tss, strand, start, end, counted from 1
    "Ten genes on each of 24 chromosomes, 20 kb apart, 1 to 5 kb long."
    i = np.arange(n)
    tss, minus, length = 1_000_001 + 20_000*(i // 24) + 37*i, i // 24 % 2 == 1, 1000 + 17*i
    return pd.DataFrame(dict(gene_id=[f"g{k:03}" for k in i], chrom=[CHROMS[k % 24] for k in i], tss=tss,
                             strand=np.where(minus, "-", "+"),
                             start=np.where(minus, tss - length + 1, tss),
                             end=np.where(minus, tss, tss + length - 1)))

def toy_edges(genes) -> pd.DataFrame: # gene_id, chrom, start, end, score
    "Fragments of 5,150 bp that begin 2,500 bp before a TSS: of the genes 40 and 80 kb downstream on the chromosome, if there are."
    n = len(genes)
    rows = [(genes.gene_id[i], genes.chrom[i], genes.tss[j] - 2501, genes.tss[j] + 2649, 2. + k)
            for i in range(n) if i % 5 for k, j in enumerate((i + 96, i + 48)) if j < n]
    return pd.DataFrame(rows, columns=["gene_id", "chrom", "start", "end", "score"])

def blocks(genes, levels) -> pd.DataFrame: # chrom, start, end, value
    "Three blocks of 2 kb around each TSS; levels are (genes, 3), upstream first."
    rows = [(g.chrom, g.tss - 1 + 2000*k - 3000, g.tss - 1 + 2000*k - 1000, l)
            for g, of in zip(genes.itertuples(), levels)
            for k, l in enumerate(of if g.strand == "+" else of[::-1])]
    t = pd.DataFrame(rows, columns=["chrom", "start", "end", "value"])
    return t.iloc[np.lexsort((t.start, t.chrom.map(CHROMS.index)))]

def write_bedgraph(path, t): t.to_csv(path, sep="\t", header=False, index=False, float_format="%.9g")

def write_bigwig(path, t, sizes=HG19): # t sorted by chromosome and start, chromosomes in the order of sizes
    with contextlib.closing(pyBigWig.open(str(path), "w")) as bw:
        bw.addHeader(list(sizes.items()))
        for c, r in t.astype(dict(value=float)).groupby("chrom", sort=False):
            bw.addEntries([c]*len(r), r.start.tolist(), ends=r.end.tolist(), values=r.value.tolist())

# y = 3 + 3 ln(1 + signal at the TSS) − 1.5 ln(1 + signal downstream): exactly linear in what a model sees
def expression_of(levels):
    return 5 + 3*np.log1p(levels[:, 1]) - 1.5*np.log1p(levels[:, 2])

MODELS = """
[models.ridge]
marks = ["each", "all"]
[models.promoter_cnn]
marks = ["all"]
epochs = 2
"""

# options that make a model's training short
SMALL = dict(promoter_cnn="epochs = 2", profile_cnn="epochs = 2\nwidths = [8, 8, 8]\ndense = 8",
             nested="forests = 2\ntrees = 20", chromoformer="epochs = 2\nwidth = 16\nbins = [2000, 500]")

def write_study(folder, models='["ridge", "promoter_cnn"]', tables=MODELS, folds='["1", "2"]', top="",
                profiles=False, contacts=False) -> Path:
    """Write the study into `folder`. In cellA expression follows H3K4me3, in cellB H3K27ac; the other mark is noise.
    Contacts, if asked for, are from four of five genes to the promoters of two others of their chromosome.
    A profile, if asked for, is ln(1 + CAGE) = ½ ln(1 + H3K4me3) + ¼ ln(1 + H3K4me3 at the TSS), in blocks of 2 kb."""
    folder, rng, genes = Path(folder), np.random.default_rng(7), toy_genes()
    folder.mkdir(parents=True, exist_ok=True)
    genes.to_csv(folder/"genes.tsv", sep="\t", index=False)
    levels = {(c, m): np.round(4*rng.gamma(1., 1.5, (240, 3)))/4 for c in ("cellA", "cellB")
              for m in ("H3K4me3", "H3K27ac")}
    write_bigwig(folder/"cellA-H3K4me3.bigWig", blocks(genes, levels["cellA", "H3K4me3"]))
    for c, m in list(levels)[1:]: write_bedgraph(folder/f"{c}-{m}.bedGraph", blocks(genes, levels[c, m]))
    of = dict(cellA=levels["cellA", "H3K4me3"], cellB=levels["cellB", "H3K27ac"])
    x = pd.DataFrame(dict(gene_id=genes.gene_id) | {c: np.exp2(expression_of(l)) - 1 for c, l in of.items()})
    assert (x[["cellA", "cellB"]] >= 0).all(axis=None)
    for c, ids in UNLABELLED.items(): x.loc[x.gene_id.isin(ids), c] = np.nan
    x[x.gene_id != "g100"].to_csv(folder/"rpkm.tsv", sep="\t", index=False, na_rep="NA", float_format="%.12g")
    if profiles:
        k4 = np.log1p(levels["cellA", "H3K4me3"])
        seen = ~genes.gene_id.isin(UNSEEN)
        write_bedgraph(folder/"cellA-cage.bedGraph", blocks(genes[seen], np.expm1(.5*k4 + .25*k4[:, 1:2])[seen]))
    if contacts: toy_edges(genes).to_csv(folder/"edges.tsv", sep="\t", index=False)
    (folder/"study.toml").write_text(f"""name = "toy"
assembly = "hg19"
out = "results"
{top}
[genes]
table = "genes.tsv"
tss_base = 1
[expression]
table = "rpkm.tsv"
[expression.cells]
cellA = "cellA"
cellB = "cellB"
[tracks.cellA]
H3K4me3 = "cellA-H3K4me3.bigWig"
H3K27ac = "cellA-H3K27ac.bedGraph"
[tracks.cellB]
H3K4me3 = "cellB-H3K4me3.bedGraph"
H3K27ac = "cellB-H3K27ac.bedGraph"
{'''[profiles.cellA]
cage = {path = "cellA-cage.bedGraph", uncovered = "skip"}''' if profiles else ""}
{"".join(f'''[contacts.{c}]
path = "edges.tsv"
kind = "edges"
''' for c in ("cellA", "cellB")) if contacts else ""}
[grid]
models = {models}
marks = ["all"]
folds = {folds}
{tables}""")
    return folder/"study.toml"

@contextlib.contextmanager
# what `setup_log` changes, put back: handlers of a process live longer than the captured stderr of a test
def quiet_log():
    log = logging.getLogger("chromexpress")
    before = log.handlers[:], log.propagate, log.level
    log.handlers = []
    try: yield
    finally: log.handlers, log.propagate, _ = before; log.setLevel(before[2])

def cli(*args) -> int: # exit status of the command, run in this process
    from chromexpress.cli import main
    with quiet_log():
        try: main([str(a) for a in args])
        except SystemExit as e: return e.code or 0
    return 0

HERE = [str(p) for p in Path(__file__).resolve().parents[:2]] # where `toy` and the package are, for other processes
ENV = os.environ | dict(OMP_NUM_THREADS="1", CHROMEXPRESS_NO_BARS="1",
                        PYTHONPATH=os.pathsep.join([*HERE, *filter(None, [os.environ.get("PYTHONPATH")])]))
PIPES = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENV)

def command(*args, **env) -> subprocess.CompletedProcess: # the command as users run it, in a process of its own
    return subprocess.run([sys.executable, "-m", "chromexpress.cli", *map(str, args)], timeout=300,
                          **PIPES | dict(env=ENV | env))

def killed_at_rename(n, work, below="") -> bool: # whether the process died; False: `work` was over before
    """Do `work` in a forked process that is killed, with SIGKILL, when it is about to put its n-th file in place
    (from 0), of those whose path holds `below`."""
    if not (pid := os.fork()):
        real, left = os.replace, [n]
        def replace(a, b):
            if below in str(b):
                if not left[0]: os.kill(os.getpid(), signal.SIGKILL)
                left[0] -= 1
            real(a, b)
        os.replace, status = replace, 1
        try: work(); status = 0
        finally: os._exit(status)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the work failed before it was killed"
    return os.WIFSIGNALED(status)

def files(folder) -> dict: # path below the folder → content, of all files that are not temporary
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()
            and ".tmp" not in p.name}

def times(folder, pattern="*") -> dict: # path below the folder → time of change, ns
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in sorted(Path(folder).rglob(pattern))
            if p.is_file()}

def units_of(path) -> dict: # id → unit
    from chromexpress.registry import load_study
    from chromexpress.units import plan_units
    return plan_units(*load_study(path))

def not_current(path) -> set: # ids of the units that have to be done
    from chromexpress.units import state
    return {i for i, u in units_of(path).items() if state(u) != "current"}

def finish(path, jobs=1, only=lambda unit: True): # the units of a study that are asked for, and the tables; no figures
    from chromexpress.batch import collect, run_units
    from chromexpress.registry import load_study
    units = units_of(path)
    with quiet_log():
        run_units(path, {i: u for i, u in units.items() if only(u)}, jobs, device="cpu")
        collect(load_study(path)[0], units)
    return path.parent/"results"

# some Python in a session of its own; arguments are in sys.argv[1:]
def python(code, *args, **env) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", code, *map(str, args)], start_new_session=True,
                            **PIPES | dict(env=ENV | env))

def slow_to_read(bedgraph): # much signal is added to a file, far away from all genes
    with open(bedgraph, "a") as f:
        f.writelines(f"chr2\t{100_000_000 + 10*i}\t{100_000_007 + 10*i}\t1\n" for i in range(80_000))
