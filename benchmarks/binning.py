"""Binning: `signal.bin_signal`, reading with pybigtools or with pyBigWig, against `pyBigWig.values(numpy=True)` with the
mean of each bin, against reading the values alone with either library, and against `pyBigWig.stats(exact=True)`.

A bigWig of 11 million steps over 60 Mb, and one of 200 MB over hg19 with gaps, are simulated once, in --folder. Windows
of the whole study are also set against reading the whole file once, and their memory is that of a process of its own.
`stats` is timed on a few windows, and its time scaled to all. What is timed gives the same numbers: that is checked
first.
"""
from common import alternate, check, make_bigwig, parse, parser, report, resident
import json, subprocess, sys, tempfile, time
from pathlib import Path
import numpy as np, pandas as pd, pyBigWig
from chromexpress.genome import chrom_sizes
from chromexpress.signal import BigWig, bin_signal, fit_source, stretches

WINDOW, BIN = 40_000, 100


def ours(path, windows, sizes, reader):
    return bin_signal(fit_source(BigWig(path, reader), sizes, list(windows.chrom.unique()), path), windows, BIN, sizes).values

def read_fast(path, windows):
    "The stretches that `bin_signal` reads, in its order."
    source = BigWig(path, "pybigtools")
    for chrom, start, end, _ in stretches(windows): source.filled(chrom, start, end, 0.)

def values(path, windows):
    with pyBigWig.open(str(path)) as bw:
        read = lambda w: np.nan_to_num(bw.values(w.chrom, w.start, w.end, numpy=True)).reshape(-1, BIN)
        return np.stack([read(w).mean(1, dtype=float) for w in windows.itertuples()]).astype(np.float32)

def read_only(path, windows):
    with pyBigWig.open(str(path)) as bw:
        for w in windows.itertuples(): bw.values(w.chrom, w.start, w.end, numpy=True)

def read_once(path, windows, sizes, step=4_000_000):
    "The whole file, from end to end."
    with pyBigWig.open(str(path)) as bw:
        for c, n in sizes.items():
            for s in range(0, n, step): bw.values(c, s, min(s + step, n), numpy=True)

def memory(path, n, sizes, reader):
    "MiB above the imports that binning n windows takes, in a process of its own."
    code = "import binning, sys; binning.measure_memory(*sys.argv[1:])"
    r = subprocess.run([sys.executable, "-c", code, path, str(n), json.dumps(sizes), reader], cwd=Path(__file__).parent,
                       capture_output=True, text=True, check=True)
    return float(r.stdout)

def measure_memory(path, n, sizes, reader):
    level, sizes = resident("VmRSS"), json.loads(sizes)
    ours(path, genome_wide(int(n), sizes, np.random.default_rng(1)), sizes, reader)
    print(resident("VmHWM") - level)

def stats(path, windows):
    "The mean of the covered bases, so only without gaps the same."
    with pyBigWig.open(str(path)) as bw:
        return np.array([bw.stats(w.chrom, w.start, w.end, nBins=WINDOW//BIN, exact=True)
                         for w in windows.itertuples()], np.float32)

def windows_at(chrom, starts): return pd.DataFrame(dict(chrom=chrom, start=starts, end=starts + WINDOW))

def genome_wide(n, sizes, rng):
    "Windows in proportion to the chromosomes, in random order."
    chroms = rng.choice(list(sizes), n, p=np.array(list(sizes.values()))/sum(sizes.values()))
    return windows_at(chroms, np.array([rng.integers(0, sizes[c] - WINDOW) for c in chroms]))


def compare(name, path, windows, sizes, few, rounds, clock):
    "One layout: all sides, checked and timed."
    sides = dict(bin_signal=lambda: ours(path, windows, sizes, "pybigtools"),
                 bin_signal_pyBigWig=lambda: ours(path, windows, sizes, "pyBigWig"),
                 values_and_mean=lambda: values(path, windows), values_alone=lambda: read_only(path, windows),
                 pybigtools_alone=lambda: read_fast(path, windows))
    a, b, c = [sides[k]() for k in ("bin_signal", "values_and_mean", "bin_signal_pyBigWig")]
    found = {f"{name}: windows": len(windows), f"{name}: equal to values and mean": check(np.array_equal(a, b), name),
             f"{name}: equal with pyBigWig": check(a.tobytes() == c.tobytes(), f"{name}, pyBigWig")}
    if not few: sides["whole_file_once"] = lambda: read_once(path, windows, sizes)
    else:
        some = windows.iloc[:few]
        same = np.allclose(a[:few], stats(path, some), rtol=1e-6, atol=0)
        found[f"{name}: equal to stats"] = check(same, f"{name}, stats")
        sides["stats"] = lambda: stats(path, some)
    t = alternate(sides, rounds, clock)
    if few: t["stats"] *= len(windows)/few
    scaled = f" (scaled from {few} windows)"
    found |= {f"{name}: {k}, s{scaled*(k == 'stats')}": v for k, v in t.items()}
    found |= {f"{name}: {k} / bin_signal": v/t["bin_signal"] for k, v in t.items() if k != "bin_signal"}
    return found | {f"{name}: {k} / values_alone": t[k]/t["values_alone"] for k in ("bin_signal", "pybigtools_alone")}


def main():
    p = parser(__doc__)
    p.add_argument("--windows", type=int, default=2000, help="random windows on 60 Mb")
    p.add_argument("--study", type=int, default=19_000, help="windows of the whole study")
    p.add_argument("--few", type=int, default=20, help="windows on which stats is timed")
    p.add_argument("--megabases", type=int, default=60, help="length of the small bigWig")
    p.add_argument("--folder", default=tempfile.gettempdir(), help="where the simulated bigWigs are kept")
    p.add_argument("--cpu", action="store_true", help="CPU seconds of the process, which a busy machine disturbs less")
    a = parse(p, rounds=1, windows=30, study=50, few=3, megabases=1)
    small, size, rng = {"chr1": a.megabases*1_000_000}, a.megabases*1_000_000, np.random.default_rng(1)
    wide = {c: n for c, n in chrom_sizes("hg19").items() if c not in ("chrY", "chrM")}
    if a.quick: wide = {c: n//1000 for c, n in wide.items()}
    clock = time.process_time if a.cpu else time.perf_counter
    def kept(name, *args, **kw):
        path = Path(a.folder)/f"chromexpress-{name}{'-quick'*a.quick}-{a.megabases}.bigWig"
        return path if path.exists() else make_bigwig(path, *args, **kw)
    one = kept("60Mb", small, 180_000*a.megabases)
    every = kept("hg19-200MB", wide, sum(wide.values())//69, gaps=.3)
    random = windows_at("chr1", rng.integers(0, size - WINDOW, a.windows))
    apart = windows_at("chr1", np.arange(0, size - WINDOW, WINDOW + 2000))
    figures = compare("random", one, random, small, a.few, a.rounds, clock)
    figures |= compare("apart", one, apart, small, min(a.few, len(apart)), a.rounds, clock)
    figures |= compare("whole study", every, genome_wide(a.study, wide, rng), wide, 0, a.rounds, clock)
    figures["whole study: file, MB"] = every.stat().st_size/1e6
    for r in ("pybigtools", "pyBigWig"):
        figures[f"whole study: memory with {r}, above imports, MiB"] = memory(every, a.study, wide, r)
    report(figures, a.json)


if __name__ == "__main__": main()
