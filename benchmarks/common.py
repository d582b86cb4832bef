"""What the benchmarks share: alternating repeats, children that are watched, simulated signal, a table, a JSON file.

Import it first: it keeps numerical libraries to one thread, which they read when they are loaded.
"""
import os
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
os.environ["CHROMEXPRESS_NO_BARS"] = "1"
import argparse, json, platform, re, statistics, subprocess, sys, tempfile, time
from pathlib import Path
import numpy as np

ROOT = Path(__file__).resolve().parents[1]


def parser(about):
    p = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rounds", type=int, default=5, help="repeats of each side, alternating")
    p.add_argument("--json", help="write the figures to this file")
    p.add_argument("--quick", action="store_true",
                   help="tiny sizes: tells whether the benchmark works, and nothing else")
    return p


def parse(p, argv=None, **quick):
    "The arguments; with --quick, these values for the options that were not given."
    if p.parse_args(argv).quick: p.set_defaults(**quick)
    return p.parse_args(argv)


def alternate(sides, rounds, clock=time.perf_counter):
    "Median seconds of each side; `sides` maps a name to a function without arguments. One round is for warming up."
    seconds = {name: [] for name in sides}
    for i in range(rounds + 1):
        for name, f in sides.items():
            start = clock()
            f()
            if i: seconds[name].append(clock() - start)
    return {name: statistics.median(s) for name, s in seconds.items()}


def report(figures, file=None, **more):
    "Print the figures, and write them (and `more`) if a file is given."
    width = max(map(len, figures))
    for name, v in figures.items():
        print(f"{name:{width}}  {v:.4g}" if isinstance(v, float) else f"{name:{width}}  {v}")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    about = dict(python=platform.python_version(), machine=platform.machine(), cores=os.cpu_count(),
                 load=round(load, 2))
    print(f"\n{about['cores']} cores; load average at the end {load:.1f}" +
          (": busy, so times mean little" if load > 1.5 else ""))
    if file: Path(file).write_text(json.dumps(figures | more | about, indent=1) + "\n")


def check(same, what):
    "1 for the table; the benchmark ends here if what it compares is not the same."
    if not same: sys.exit(f"{what}: NOT EQUAL; timing them would mean nothing.")
    return 1


# simulated signal

def make_bigwig(path, sizes, intervals, seed=0, gaps=0.):
    "A bigWig of random counts: about `intervals` steps over chromosomes of these sizes, a share of them left out."
    import pyBigWig
    rng, total, tmp = np.random.default_rng(seed), sum(sizes.values()), Path(f"{path}.{os.getpid()}.tmp")
    with pyBigWig.open(str(tmp), "w") as bw:
        bw.addHeader(list(sizes.items()), maxZooms=4)
        for chrom, size in sizes.items():
            starts = np.unique(np.append(0, rng.integers(1, size, max(1, round(intervals*size/total)))))
            ends, values = np.append(starts[1:], size), rng.poisson(2., len(starts)).astype(float)
            kept = np.flatnonzero(rng.random(len(starts)) >= gaps)
            for i in np.array_split(kept, -(-len(kept) // 1_000_000)):
                bw.addEntries([chrom]*len(i), starts[i], ends=ends[i], values=values[i])
    tmp.replace(path)                                            # one that is there is whole
    return path


# children that are watched

def resident(what):
    "Resident memory of this process in MiB: VmRSS now, VmHWM at its highest."
    try: return int(re.search(rf"{what}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024
    except OSError:                                              # no Linux: the highest, which is in bytes on a Mac
        import resource
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)

def family(pid):
    "A process and all that descend from it."
    below, found, new = {}, [], [pid]
    for p in Path("/proc").glob("[0-9]*/stat"):
        try: below.setdefault(int(p.read_text().rsplit(") ", 1)[1].split()[1]), []).append(int(p.parent.name))
        except OSError: pass                                     # it has just ended
    while new: found += new; new = [c for p in new for c in below.get(p, [])]
    return found

def look(pid):
    "MiB of a process: the highest so far, and now, with what it shares divided by those who share it."
    text = lambda file: Path(f"/proc/{pid}/{file}").read_text()
    read = lambda file, key: int(re.search(rf"^{key}:\s+(\d+)", text(file), re.M)[1]) / 1024
    try: return read("status", "VmHWM"), read("smaps_rollup", "Pss")
    except (OSError, TypeError): return 0., 0.                   # it has just ended

def watch(argv, every=.05, share=.02):
    """Run a command. Its exit status; seconds; CPU seconds of it and all below it; MiB of the largest of these
    processes, and of all together, at their highest. VmHWM, not ru_maxrss: the latter begins with what the parent
    had. It looks as often as `every` seconds, but takes no more than this share of a core for it."""
    start, largest, together, known, due = time.monotonic(), 0., 0., [], 0.
    p = subprocess.Popen(list(map(str, argv)), stdout=sys.stderr)
    while True:
        try:
            pid, status, used = os.wait4(p.pid, os.WNOHANG)
            if pid: break
            if time.monotonic() >= due:
                before, seen = time.process_time(), family(p.pid)
                # a process that is just being started is still its parent
                now = [look(i) for i in seen if i in known]
                largest, together = max([largest, *(m for m, _ in now)]), max(together, sum(m for _, m in now))
                known, due = seen, time.monotonic() + (time.process_time() - before)/share
            time.sleep(every)
        except KeyboardInterrupt: continue                       # the command had it too; its end is waited for
    p.returncode = os.waitstatus_to_exitcode(status)
    if not largest: largest = used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return dict(status=p.returncode, seconds=time.monotonic() - start, cpu=used.ru_utime + used.ru_stime,
                largest=largest, together=together or largest)

def units_in_child(study, **what):
    """`do_units` in a watched process: what `watch` tells; MiB of its first process after the imports (level) and at
    most (own)."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder)/"memory.json"
        seen = watch([sys.executable, __file__, told, json.dumps(dict(study=str(study)) | what)])
        return seen | (json.loads(told.read_text()) if told.exists() else {})

def do_units(study, only={}, jobs=1, kinds=("bin", "run"), pooled=False, tables=False):
    "Some units of a study, as `chromexpress run` does them, without figures."
    from chromexpress import batch, registry, units
    s, models = registry.load_study(study)
    every = units.plan_units(s, models)
    if pooled: batch._engine = lambda *_: batch._pooled          # also where it is not worth the start of the workers
    todo = {i: u for i, u in units.choose(every, only).items() if u.kind in kinds}
    done = batch.run_units(s.path, todo, jobs, device="cpu")
    if tables: batch.collect(s, every)
    return done

def main(file, what):
    import chromexpress.batch
    from chromexpress.core import InputError, setup_log
    level = resident("VmRSS")
    setup_log()
    try: do_units(**json.loads(what))
    except InputError as e: sys.exit(f"chromexpress: {e}")
    except KeyboardInterrupt: sys.exit(130)
    Path(file).write_text(json.dumps(dict(level=level, own=resident("VmHWM"))))


if __name__ == "__main__": main(*sys.argv[1:])
