"""What the benchmarks share: alternating repeats, a table, a JSON file."""
import argparse, json, platform, statistics, time


def parser(about):
    p = argparse.ArgumentParser(description=about)
    p.add_argument("--rounds", type=int, default=5, help="repeats of each side, alternating")
    p.add_argument("--json", help="write the figures to this file")
    return p


def alternate(sides, rounds):
    "Median seconds of each side; `sides` maps a name to a function without arguments. One round is for warming up."
    seconds = {name: [] for name in sides}
    for i in range(rounds + 1):
        for name, f in sides.items():
            start = time.perf_counter()
            f()
            if i: seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(s) for name, s in seconds.items()}


def report(figures, file=None):
    "Print the figures, and write them if a file is given."
    for name, v in figures.items(): print(f"{name:45} {v:.4g}" if isinstance(v, float) else f"{name:45} {v}")
    if file:
        with open(file, "w") as f: json.dump(figures | dict(python=platform.python_version(), machine=platform.machine()), f, indent=1)
