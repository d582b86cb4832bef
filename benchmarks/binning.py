"""Binning: `signal.bin_signal` against `pyBigWig.values(numpy=True)` alone, which bins nothing.

A bigWig of 11 million intervals over 60 Mb is simulated once, in the folder given by --folder.
"""
import tempfile
from pathlib import Path
import numpy as np, pandas as pd, pyBigWig
from chromexpress.signal import bin_signal, open_source
from common import alternate, parser, report

SIZE = 60_000_000


def make_bigwig(path, intervals=11_000_000):
    rng = np.random.default_rng(0)
    starts = np.concatenate([[0], np.sort(rng.choice(SIZE - 1, intervals - 1, replace=False)) + 1])
    ends, values = np.append(starts[1:], SIZE), rng.poisson(2., intervals).astype(float)
    with pyBigWig.open(str(path), "w") as bw:
        bw.addHeader([("chr1", SIZE)])
        for i in range(0, intervals, 1_000_000):
            s = slice(i, i + 1_000_000)
            bw.addEntries(["chr1"]*len(starts[s]), starts[s], ends=ends[s], values=values[s])


def main():
    p = parser(__doc__)
    p.add_argument("--windows", type=int, default=2000)
    p.add_argument("--folder", default=tempfile.gettempdir())
    args = p.parse_args()
    path = Path(args.folder)/"chromexpress-benchmark.bigWig"
    if not path.exists(): make_bigwig(path)
    figures = {}
    for layout, starts in dict(random=np.random.default_rng(1).integers(0, SIZE - 40_000, args.windows), apart=np.arange(0, SIZE - 40_000, 42_000)).items():
        windows = pd.DataFrame(dict(chrom="chr1", start=starts, end=starts + 40_000))
        def ours(): bin_signal(open_source(path, {"chr1": SIZE}, ["chr1"]), windows, 100, {"chr1": SIZE})
        def values():
            with pyBigWig.open(str(path)) as bw:
                for s in starts: bw.values("chr1", int(s), int(s) + 40_000, numpy=True)
        t = alternate(dict(ours=ours, values=values), args.rounds)
        figures |= {f"{layout}: windows": len(starts), f"{layout}: bin_signal, s": t["ours"], f"{layout}: pyBigWig.values alone, s": t["values"], f"{layout}: ratio": t["ours"]/t["values"]}
    report(figures, args.json)


if __name__ == "__main__": main()
