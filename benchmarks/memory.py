"""Memory of `prepare` (by genes, tracks and jobs) and of runs of ridge and the promoter CNN on windows of 40 kb at
100 bp.

Each case is a process of its own: MiB of its resident memory above the level after imports, of the whole process, and,
with several jobs, of the largest process and of all together (Linux only). 19,000 genes lie so close that windows
overlap in stretches as long as they may be (4 million bp), the worst case of binning. Binning one track after another
holds, above the imports, no more than
  three times the windows of one track (genes × bins × 4 bytes), and 25 bytes for each base of a stretch,
whatever the number of tracks, and as much again in each job. A run's memory is set against its inputs (genes × bins ×
tracks × 4 bytes).
"""
from common import check, make_bigwig, parse, parser, report, units_in_child
import shutil, tempfile
from pathlib import Path
import numpy as np, pandas as pd

CHROMS = [f"chr{i}" for i in range(1, 23)] + ["chrX", "chrY"]
WINDOW, BIN, STRETCH = 40_000, 100, 4_000_000


def bound(genes): return (3*4*genes*(WINDOW//BIN) + 25*(STRETCH + WINDOW)) / 2**20


def make_inputs(folder, tracks, size, steps):
    "bigWigs of a genome of 24 equal chromosomes, and their lengths."
    folder.mkdir(parents=True, exist_ok=True)
    sizes = dict.fromkeys(CHROMS, size)
    pd.Series(sizes).to_csv(folder/"chrom.sizes", sep="\t", header=False)
    for i in range(tracks):
        path = folder/f"track{i}.bigWig"
        if not path.exists(): make_bigwig(path, sizes, steps, seed=i)


def make_study(folder, genes, tracks, size):
    "A study of so many genes and tracks, evenly spread; its results folder is emptied."
    at, rng = np.arange(genes), np.random.default_rng(0)
    tss = WINDOW + (at//24)*((size - 2*WINDOW)//(-(-genes//24)))
    frame = pd.DataFrame(dict(gene_id=[f"g{i:05}" for i in at], chrom=np.array(CHROMS)[at % 24], tss=tss,
                              strand=np.where(at % 2, "-", "+")))
    name = f"{genes}x{tracks}"
    frame.to_csv(folder/f"genes-{name}.tsv", sep="\t", index=False)
    frame[["gene_id"]].assign(cell=rng.gamma(1., 4., genes)).to_csv(folder/f"rpkm-{name}.tsv", sep="\t", index=False)
    shutil.rmtree(folder/f"results-{name}", ignore_errors=True)
    wide = f"window = {WINDOW}\nbin = {BIN}\n"
    (folder/f"{name}.toml").write_text(
        f'name = "memory"\nassembly = "even"\nchrom_sizes = "chrom.sizes"\nout = "results-{name}"\n'
        f'[genes]\ntable = "genes-{name}.tsv"\ntss_base = 0\n'
        f'[expression]\ntable = "rpkm-{name}.tsv"\n[expression.cells]\ncell = "cell"\n'
        "[tracks.cell]\n" + "".join(f'm{i} = "track{i}.bigWig"\n' for i in range(tracks)) +
        f'[grid]\nmodels = ["ridge", "promoter_cnn"]\nmarks = ["all"]\nfolds = ["1"]\n'
        f'[models.ridge]\n{wide}[models.promoter_cnn]\n{wide}epochs = 1\n')
    return folder/f"{name}.toml"


def measured(name, study, **what):
    "What one child took, under this name."
    m = units_in_child(study, **what)
    check(m["status"] == 0, f"{name} ended with status {m['status']}, not 0")
    return {f"{name}: above imports, MiB": m["own"] - m["level"], f"{name}: whole process, MiB": m["own"],
            f"{name}: largest process, MiB": m["largest"], f"{name}: all together, MiB": m["together"],
            f"{name}: s": m["seconds"]}


def main():
    p = parser(__doc__)
    p.add_argument("--genes", type=int, nargs="+", default=[2000, 19_000])
    p.add_argument("--tracks", type=int, nargs="+", default=[1, 7])
    p.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    p.add_argument("--models", nargs="*", default=["ridge", "promoter_cnn"], help="of the run, on the largest study")
    p.add_argument("--megabases", type=float, default=10, help="length of a chromosome")
    p.add_argument("--steps", type=int, default=4_000_000, help="steps of a bigWig")
    p.add_argument("--folder", help="keep the simulated bigWigs here")
    a = parse(p, genes=[240], tracks=[2], jobs=[1, 2], megabases=.5, steps=20_000, models=["ridge"])
    size, figures = int(a.megabases*1e6), {}
    with tempfile.TemporaryDirectory() as tmp:
        folder = Path(a.folder or tmp)/f"chromexpress-memory-{a.megabases:g}-{a.steps}"
        make_inputs(folder, max(a.tracks), size, a.steps)
        for genes in sorted(a.genes):
            figures[f"{genes} genes: bound of prepare above imports, MiB"] = bound(genes)
            for tracks in sorted(a.tracks):
                for jobs in sorted(a.jobs):
                    if jobs > tracks: continue
                    name = f"{genes} genes, {tracks} tracks, prepare, {jobs} jobs"
                    study = make_study(folder, genes, tracks, size)
                    figures |= measured(name, study, kinds=["bin"], jobs=jobs, pooled=jobs > 1)
                    if jobs == 1:
                        figures[f"{name}: share of the bound"] = figures[f"{name}: above imports, MiB"]/bound(genes)
        # on the largest study, which is binned: all of a run but its figures
        for model in a.models:
            name = f"{genes} genes, {tracks} tracks, run of {model}"
            figures |= measured(name, study, only=dict(models=[model]), tables=True)
            inputs = genes*tracks*4*(WINDOW//BIN) / 2**20
            figures[f"{name}: above imports / inputs"] = figures[f"{name}: above imports, MiB"]/inputs
    report(figures, a.json)


if __name__ == "__main__": main()
