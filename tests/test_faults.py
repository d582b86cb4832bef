"""What goes wrong in the night: killed processes and changed inputs; and what a wrong input says, in one line, with
exit status 2."""
import os, re, shutil, signal, subprocess, sys, time
from pathlib import Path
import pandas as pd, pytest, torch
from chromexpress import crossval
from chromexpress.batch import draw_notebooks
from chromexpress.data import Run
from chromexpress.registry import MODELS as REGISTERED
from chromexpress.units import Unit, model_code, state
from toy import (MODELS, PIPES, cli, command, files, finish, not_current, python, quiet_log, slow_to_read, times, units_of,
                 write_study)

TABLES = ("predictions.csv", "metrics.csv", "comparisons.csv")
RIDGE = '[models.ridge]\nmarks = ["each", "all"]\n'
def tables(out): return {t: (out/t).read_bytes() for t in TABLES}
def copy(study, folder): shutil.copytree(study.parent, folder, symlinks=True); return folder/study.name

def wait_for(process, happened, seconds=120): # until `happened()`; an error if the process ends before
    end = time.monotonic() + seconds
    while not happened():
        assert process.poll() is None, f"ended with {process.returncode} before it could be killed:\n{process.stderr.read()}"
        assert time.monotonic() < end
        time.sleep(.002)

def kill(process):
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL

# killed

def test_killed_while_preparing(tmp_path, capsys):
    path = write_study(tmp_path/"a", models='["ridge"]', tables="", folds='["1"]')
    slow_to_read(path.parent/"cellB-H3K27ac.bedGraph")
    other = copy(path, tmp_path/"b")
    p = subprocess.Popen([sys.executable, "-m", "chromexpress.cli", "prepare", path, "--jobs", "1"], **PIPES)
    marker = path.parent/"results"/"tracks"/"cellA"/"H3K27ac"/"bin.unit.json"
    wait_for(p, marker.exists)
    kill(p)
    left = not_current(path)
    assert {"bin:cellB:H3K27ac"} <= {i for i in left if i.startswith("bin:")} <= {"bin:cellB:H3K4me3",
        "bin:cellB:H3K27ac"}
    before = times(path.parent/"results"/"tracks"/"cellA")
    assert cli("prepare", path, "--jobs", "1") == 0 and "0 to do" not in capsys.readouterr().err
    # nothing that was finished is done again
    assert times(path.parent/"results"/"tracks"/"cellA") == before
    assert not [i for i in not_current(path) if i.startswith("bin:")]
    assert tables(finish(path)) == tables(finish(other))
    a, b = [{k: v for k, v in files(p.parent/"results"/"tracks").items() if k.endswith(".npy")}
            for p in (path, other)]
    assert a == b and len(a) == 8

EVERY_FILE = """
import shutil, sys
from pathlib import Path
from toy import files, finish, killed_at_rename, times
import torch; torch.set_num_threads(1)
study, folder = Path(sys.argv[1]), Path(sys.argv[2])
tables = lambda f: {k: v for k, v in files(f/"results").items() if k.endswith((".csv", ".npy"))}
def fresh(name): shutil.copytree(study.parent, folder/name); return folder/name/study.name
whole, n, dead = tables(finish(fresh("whole")).parent), 0, True
while dead:
    path = fresh(f"killed-{n}")
    dead = killed_at_rename(n, lambda: finish(path))
    before = times(path.parent/"results", "*.unit.json")
    finish(path)
    after = times(path.parent/"results", "*.unit.json")
    assert tables(path.parent) == whole, f"killed before file {n}: other results"
    assert all(after[k] == t for k, t in before.items()), f"killed before file {n}: finished units were done again"
    n += 1
print(n - 1)
"""
def test_killed_before_any_of_its_files(tmp_path):
    """Binning, a run, the tables: a process that is killed before any one of its files is in place is taken up to
    the same results."""
    path = write_study(tmp_path/"study", models='["ridge"]', tables="", folds='["1"]')
    text = path.read_text()
    text = text.replace('cellB = "cellB"\n', "").replace('H3K27ac = "cellA-H3K27ac.bedGraph"\n', "", 1)
    path.write_text(text.replace(text[text.index("[tracks.cellB]"):text.index("[grid]")], ""))
    out, err = (p := python(EVERY_FILE, path, tmp_path)).communicate(timeout=300)
    assert p.returncode == 0, err
    # array, sidecar, marker; model, predictions, run.json, marker; three tables and their marker
    assert int(out) >= 3 + 4 + 4

TRAIN = """
import sys, torch
from pathlib import Path
from toy import units_of
from chromexpress.units import do_unit
torch.set_num_threads(1)
units = units_of(Path(sys.argv[1]))
do_unit(units[sys.argv[2]], units, "cpu", every=0)
"""
@pytest.mark.parametrize("model", ["promoter_cnn", "profile_cnn"])
def test_killed_while_training(model, tmp_path, capsys):
    path = write_study(tmp_path/"a", models=f'["{model}"]', tables=f"[models.{model}]\nepochs = 5\n", folds='["1"]')
    run = f"run:{model}:cellA:H3K4me3+H3K27ac:1:0"
    assert cli("prepare", path, "--jobs", "1") == 0
    other = copy(path, tmp_path/"b")
    p = python(TRAIN, path, run)
    folder = units_of(path)[run].folder
    wait_for(p, (folder/"checkpoint.pt").exists)
    kill(p)
    assert run in not_current(path) and not (folder/"predictions.csv").exists()
    before = times(path.parent/"results"/"tracks")
    assert cli("run", path, "--only", run, "--device", "cpu") == 0
    assert re.search(r"resumed after epoch [1-4]\.", capsys.readouterr().err)
    assert state(units_of(path)[run]) == "current" and not (folder/"checkpoint.pt").exists()
    assert times(path.parent/"results"/"tracks") == before
    assert cli("run", other, "--only", run, "--device", "cpu") == 0                    # never broken off
    whole = units_of(other)[run].folder
    assert (folder/"predictions.csv").read_bytes() == (whole/"predictions.csv").read_bytes()
    a, b = [pd.read_csv(f/"history.csv").drop(columns="seconds") for f in (folder, whole)]
    pd.testing.assert_frame_equal(a, b, check_exact=True)
    assert a.epoch.tolist() == [1, 2, 3, 4, 5]
    a, b = [torch.load(f/"model.pt", weights_only=True)["net"] for f in (folder, whole)]
    assert a and list(a) == list(b)
    for k in a: assert torch.equal(a[k], b[k]), k
    made = times(folder)
    assert cli("run", path, "--only", run, "--device", "cpu") == 0 and times(folder) == made

# deleted

def test_a_figure_that_was_deleted_is_drawn_again(tmp_path):
    "And with it all others of its notebook; those of another notebook are left alone."
    import nbformat
    cell, draw = nbformat.v4.new_code_cell, "for k in ('svg', 'csv'): print(cell, file=open(f'{figures}/{cell}-a.{k}', 'w'))"
    spec = dict(kernelspec=dict(name="python3", display_name="python3", language="python"))
    nb = nbformat.v4.new_notebook(metadata=spec, cells=[
        cell('cell = "" # of the study\nfigures = "" # folder', metadata=dict(tags=["parameters"])), cell(draw)])
    nbformat.write(nb, tmp_path/"draw.ipynb")
    (tmp_path/"out"/"figures").mkdir(parents=True)
    of = lambda out, c: Unit(f"notebook:{c}", "notebook", out/"notebooks"/c, {}, (f"../{c}.ipynb",),
                             work=(tmp_path/"draw.ipynb", dict(cell=c, figures=str(out/"figures")), c))
    units = [of(tmp_path/"out", c) for c in ("A", "A [1]")]
    with quiet_log():
        assert [draw_notebooks(units), draw_notebooks(units)] == [2, 0]
        before = times(tmp_path/"out"/"figures")
        (tmp_path/"out"/"figures"/"A-a.csv").unlink()
        assert [state(u) for u in units] == ["missing", "current"] and draw_notebooks(units) == 1
    other = tmp_path/"out"/"figures"/"A [1]-a.svg"
    other.rename(other.with_suffix(".kept"))
    assert [state(u) for u in units] == ["current", "missing"]
    other.with_suffix(".kept").rename(other)
    after = times(tmp_path/"out"/"figures")
    assert set(after) == set(before) and {k for k in after if after[k] != before[k]} == {"A-a.svg", "A-a.csv"}
    # results may be moved as a whole
    (tmp_path/"out").rename(tmp_path/"elsewhere")
    assert state(of(tmp_path/"elsewhere", "A")) == "current"

# the same everywhere

FINISH = "import sys; from pathlib import Path; from toy import finish; finish(Path(sys.argv[1]), jobs=2)"

@pytest.fixture(scope="module")
def pooled(tmp_path_factory):
    """A study; the same, killed when its first worker began to start, and run again; whether the workers ended with
    their parent."""
    one = write_study(tmp_path_factory.mktemp("pooled")/"one", folds='["1"]',
                      tables="[models.promoter_cnn]\nepochs = 2\n")
    two = copy(one, one.parents[1]/"two")
    p = python(FINISH, two, PYTHONHASHSEED="1")
    wait_for(p, lambda: len(processes(p.pid)) > 2)         # itself, the tracker of multiprocessing, a worker
    p.kill(); p.wait()
    gone = wait_until(lambda: not processes(p.pid), 15)
    if not gone: os.killpg(p.pid, signal.SIGKILL)
    p.communicate()
    out, err = (p := python(FINISH, two, PYTHONHASHSEED="4242")).communicate(timeout=300)
    assert p.returncode == 0, err
    torch.set_num_threads(1)
    finish(one)
    return one.parent/"results", two.parent/"results", gone

def processes(session): # ids of its processes, zombies apart
    found = []
    for p in Path("/proc").glob("[0-9]*/stat"):
        try: state, _, _, of = p.read_text().rsplit(") ", 1)[1].split()[:4]
        except OSError: continue                           # it has just ended
        if of == str(session) and state != "Z": found.append(p.parent.name)
    return found

def wait_until(happened, seconds):
    end = time.monotonic() + seconds
    while not happened() and time.monotonic() < end: time.sleep(.1)
    return happened()

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")

@needs_proc
def test_any_hash_seed_and_any_number_of_jobs(pooled):
    """Two workers that hash strings their own way, killed and started again, and this one process come to the same
    bytes."""
    one, two, _ = pooled
    assert tables(two) == tables(one)
    assert (one/"predictions.csv").read_bytes().count(b"\n") == 1 + 4*240                # two cells, two models
    of = lambda out: {k: v for k, v in files(out/"runs").items() if k.endswith(("predictions.csv", "model.npz"))}
    assert of(one) == of(two)

@needs_proc
def test_workers_end_with_a_killed_parent(pooled): assert pooled[2]

# interrupted

CTRL_C = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)               # shells may start what runs beside them without it
from chromexpress.cli import main
main(["run", sys.argv[1], "--jobs", "2", "--device", "cpu"])
"""
def importing(session): # whether one of its workers has begun to load libraries
    for i in set(processes(session)) - {str(session)}:
        try:
            if "numpy" in Path(f"/proc/{i}/maps").read_text(): return True
        except OSError: pass                               # it has just ended
    return False

@needs_proc
@pytest.mark.parametrize("when,send", [("starting", os.killpg), ("working", os.killpg), ("working", os.kill)],
                         ids=["while-workers-start", "while-they-work", "this-process-alone"])
def test_ctrl_c_with_several_jobs_is_one_line(when, send, tmp_path):
    """Sent to the terminal's processes or to the first alone: status 130, no traceback of any, no worker left, and
    no wait for a unit."""
    path = write_study(tmp_path, models='["promoter_cnn"]',
                       tables="[models.promoter_cnn]\nepochs = 1000000\npatience = 1000000\n")
    binned = [f/"bin.unit.json" for c in ("cellA", "cellB")
              for f in ((tmp_path/"results"/"tracks"/c/m) for m in ("H3K4me3", "H3K27ac"))]
    p = python(CTRL_C, path)
    try:
        wait_for(p, lambda: importing(p.pid) if when == "starting" else all(b.exists() for b in binned))
        send(p.pid, signal.SIGINT)
        out, err = p.communicate(timeout=60)
        assert p.returncode == 130, err
        assert err.endswith("chromexpress: interrupted; the same command goes on from here.\n")
        assert [l for l in err.splitlines()[:-1] if not l.startswith("INFO ")] == []
        assert wait_until(lambda: not processes(p.pid), 15)
    finally:
        if processes(p.pid): os.killpg(p.pid, signal.SIGKILL)

# what depends on what

BOTH = "H3K4me3+H3K27ac"
BIN = {f"bin:{c}:{m}" for c in ("cellA", "cellB") for m in ("H3K4me3", "H3K27ac")}
RUN = {f"run:ridge:{c}:{m}:{f}:0" for c in ("cellA", "cellB") for m in ("H3K4me3", "H3K27ac", BOTH) for f in "12"} | \
      {f"run:promoter_cnn:{c}:{BOTH}:{f}:0" for c in ("cellA", "cellB") for f in "12"}
def among(ids, *parts): return {i for i in ids if all(p in i for p in parts)}

@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = write_study(tmp_path_factory.mktemp("finished"), tables=MODELS.replace("epochs = 2", "epochs = 1"))
    torch.set_num_threads(1)
    finish(path)
    assert set(units_of(path)) == BIN | RUN and not_current(path) == set()
    return path

def edit(name, old, new, times=1): # of a text file beside the study
    def change(folder):
        text = (folder/name).read_text()
        assert old in text
        (folder/name).write_text(text.replace(old, new, times))
    return change

def touch(folder):
    for p in folder.glob("cellA*"): os.utime(p, (1, 1))

def move(folder):
    (folder/"cellA-H3K27ac.bedGraph").rename(folder/"elsewhere.bedGraph")
    edit("study.toml", "cellA-H3K27ac.bedGraph", "elsewhere.bedGraph")(folder)

def first_value(name): # another signal at the first place of a bedGraph
    def change(folder):
        first, rest = (folder/name).read_text().split("\n", 1)
        (folder/name).write_text("\t".join([*first.split("\t")[:3], "11.5"]) + "\n" + rest)
    return change

def one_label(folder): # another value of one gene in cellA
    x = pd.read_csv(folder/"rpkm.tsv", sep="\t")
    x.loc[10, "cellA"] += 1
    x.to_csv(folder/"rpkm.tsv", sep="\t", index=False, na_rep="NA", float_format="%.12g")

def shuffle(folder): # the same genes in another order
    for name in ("genes.tsv", "rpkm.tsv"):
        head, *rows = (folder/name).read_text().splitlines()
        (folder/name).write_text("\n".join([head, *rows[::-1]]) + "\n")

def lose(folder): next(folder.glob("results/runs/ridge-*/cellB/H3K4me3/2-s0/predictions.csv")).unlink()

def one_gene_more(folder):
    with open(folder/"genes.tsv", "a") as f: f.write("extra\tchr3\t5000000\t-\t4999001\t5000000\n")

def option(model, line): return edit("study.toml", f"[models.{model}]", f"[models.{model}]\n{line}")

CHANGES = dict(
    touched=(touch, set()), moved=(move, set()), shuffled=(shuffle, set()),
    remark=(edit("study.toml", "[grid]", "# a remark\n[grid]"), set()),
    default_spelt_out=(option("ridge", "window = 6000"), set()),
    one_value=(first_value("cellA-H3K27ac.bedGraph"), {"bin:cellA:H3K27ac"} | among(RUN, "cellA", "H3K27ac")),
    scale=(edit("study.toml", '"cellB-H3K4me3.bedGraph"', '{path = "cellB-H3K4me3.bedGraph", scale = "ratio"}'),
           {"bin:cellB:H3K4me3"} | among(RUN, "cellB", "H3K4me3")),
    label=(one_label, among(RUN, "cellA")),
    ridge_option=(option("ridge", "alphas = [0.5]"), among(RUN, "ridge")),
    # cut out of the store that is there
    narrower=(option("ridge", "window = 4000"), among(RUN, "ridge")),
    # another store; the network sees what it saw
    wider=(option("ridge", "window = 8000"), BIN | among(RUN, "ridge")),
    network_option=(option("promoter_cnn", "lr = 0.01"), among(RUN, "promoter_cnn")),
    fold=(edit("study.toml", 'folds = ["1", "2"]', 'folds = ["1", "2", "3"]'),
          {i.replace(":2:0", ":3:0") for i in among(RUN, ":2:0")}),
    seed=(option("ridge", "seeds = [0, 5]"), {i[:-1] + "5" for i in among(RUN, "ridge")}),
    name=(edit("study.toml", 'name = "toy"', 'name = "other"'), RUN),                  # it stands in their tables
    gene=(one_gene_more, BIN | RUN),
    lost_file=(lose, {"run:ridge:cellB:H3K4me3:2:0"}))

@pytest.mark.parametrize("name", CHANGES)
def test_a_change_leaves_what_does_not_depend_on_it(name, finished, tmp_path):
    (change, again), path = CHANGES[name], copy(finished, tmp_path/"study")
    change(path.parent)
    assert not_current(path) == again

@pytest.mark.parametrize("name",
                         ["touched", "one_value", "ridge_option", "network_option", "narrower", "seed", "lost_file"])
def test_a_change_redoes_what_depends_on_it(name, finished, tmp_path):
    (change, again), path = CHANGES[name], copy(finished, tmp_path/"study")
    marked = lambda: {i: u.marker.stat().st_mtime_ns for i, u in units_of(path).items() if u.marker.exists()}
    change(path.parent)
    before = marked()
    finish(path)
    after = marked()
    assert {i for i in after if after[i] != before.get(i)} == again and not_current(path) == set()

def move_ends(folder): # genes become longer
    g = pd.read_csv(folder/"genes.tsv", sep="\t")
    minus = g.strand == "-"
    g.assign(start=g.start - 900*minus, end=g.end + 900*~minus).to_csv(folder/"genes.tsv", sep="\t", index=False)

def test_where_genes_end_matters_to_models_that_look_there(tmp_path):
    path = write_study(tmp_path, models='["ridge", "gene_score", "nested", "bodies"]', folds='["1"]',
                       tables='[models.bodies]\nbase = "nested"\ngene = true\n')
    before = {i: u.identity for i, u in units_of(path).items()}
    move_ends(tmp_path)
    assert {i.split(":")[1] for i, u in units_of(path).items() if u.identity != before[i]} == {"gene_score", "bodies"}

@pytest.mark.parametrize("model,own", dict(ridge=["baselines"], promoter_cnn=["promoter_cnn"],
    profile_cnn=["profile_cnn", "promoter_cnn"], nested=["baselines", "nested"],
    chromoformer=["chromoformer", "chromoformer_model", "contacts", "partners"]).items())
def test_the_code_of_a_run_is_all_that_makes_its_model(model, own):
    "The network of Chromoformer, and the signal of its partners, come from other modules than its options."
    assert model_code(REGISTERED[model]) == tuple(f"chromexpress.{m}" for m in own)

def test_a_grid_says_where_assays_are_missing(tmp_path, capsys):
    path = write_study(tmp_path, models='["ridge"]', folds='["1"]',
                       tables='[models.ridge]\nmarks = ["all", "H3K27ac", ["H3K4me3", "H3K27ac"]]\n')
    edit("study.toml", 'H3K27ac = "cellB-H3K27ac.bedGraph"\n', "")(tmp_path)
    assert cli("units", path) == 0
    err = capsys.readouterr().err
    for on in ("H3K27ac", "H3K4me3+H3K27ac"): assert f"[grid] ridge on {on}: no run in cellB (no H3K27ac)." in err
    assert err.count("no run in") == 2

def test_folds_that_test_the_same_genes_are_refused_before_any_work(tmp_path, capsys):
    path = write_study(tmp_path, models='["ridge"]', folds='"all"', tables="""[splits]
scheme = "explicit"
folds = [{name = "a", train = ["chr1", "chr2"], valid = ["chr3"], test = ["chr4", "chr5"]},
         {name = "b", train = ["chr1", "chr3"], valid = ["chr2"], test = ["chr5", "chr6"]}]
""")
    assert cli("units", path) == 2
    assert "[splits] folds a and b both test chr5, and ridge runs on both" in capsys.readouterr().err
    edit("study.toml", 'folds = "all"', 'folds = ["b"]')(tmp_path)
    assert cli("units", path) == 0

def test_the_revision_is_of_this_code_or_none(tmp_path, monkeypatch):
    "An environment within somebody's repository is not that repository; and a run goes on where there is no git."
    git = ["git", "-C", tmp_path, "-c", "user.name=x", "-c", "user.email=x@x"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "a study"]): subprocess.run([*git, *words], check=True)
    for f in ("core.py", "crossval.py"): (tmp_path/f).write_text("")
    monkeypatch.setattr(crossval, "__file__", str(tmp_path/"crossval.py"))
    assert crossval.code_state()["revision"] is None
    subprocess.run([*git, "add", "core.py"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    assert crossval.code_state()["revision"] == head != ""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert crossval.code_state()["revision"] is None

def test_forty_assays_make_a_folder():
    names = tuple(f"assay-{i:03}" for i in range(40))
    folders = [Run("s", "ridge", "0", "cellA", m, "1", 0).folder for m in (names, names[:39], names[:2])]
    assert len(set(folders)) == 3 and max(len(p) for f in folders for p in f.split("/")) == 255
    assert folders[2] == "ridge-0/cellA/assay-000+assay-001/1-s0"

def test_what_is_done_again_is_as_if_done_first(finished, tmp_path):
    old, new = copy(finished, tmp_path/"old"), copy(finished, tmp_path/"new")
    shutil.rmtree(new.parent/"results")
    for path in (old, new):
        for name in ("one_value", "wider", "label"): CHANGES[name][0](path.parent)
    before = tables(old.parent/"results")
    assert tables(finish(old)) == tables(finish(new)) != before

def test_the_log_names_what_is_done_again_and_why(finished, tmp_path, capsys):
    path = copy(finished, tmp_path/"study")
    first_value("cellA-H3K27ac.bedGraph")(path.parent)
    assert cli("prepare", path, "--jobs", "1") == 0
    err = capsys.readouterr().err
    assert "bin:cellA:H3K27ac: done again, because of source." in err and "4 units: 3 current, 1 to do." in err

# wrong inputs: one line, status 2, nothing left

@pytest.fixture(scope="module")
def good(tmp_path_factory): return write_study(tmp_path_factory.mktemp("good"), models='["ridge"]', tables=RIDGE)

def cut(name, keep):
    def change(folder):
        whole = (folder/name).read_bytes()
        (folder/name).write_bytes(whole[:int(keep*len(whole))])
    return change

def gz(folder): # a track whose download broke off
    import gzip
    (folder/"a.bedGraph.gz").write_bytes(gzip.compress((folder/"cellA-H3K27ac.bedGraph").read_bytes())[:-300])
    edit("study.toml", "cellA-H3K27ac.bedGraph", "a.bedGraph.gz")(folder)

def silence(folder): (folder/"cellB-H3K4me3.bedGraph").write_text("chr1\t5\t10\t3\n")

def unlabel(*cells): # no gene on chrY has expression
    def change(folder):
        x, y = [pd.read_csv(folder/n, sep="\t") for n in ("rpkm.tsv", "genes.tsv")]
        x.loc[x.gene_id.isin(y.gene_id[y.chrom == "chrY"]), list(cells)] = None
        x.to_csv(folder/"rpkm.tsv", sep="\t", index=False, na_rep="NA")
        fold = '{name = "1", train = ["chr1", "chr2"], valid = ["chr3"], test = ["chrY"]}'
        edit("study.toml", "[grid]", f'[splits]\nscheme = "explicit"\nfolds = [{fold}]\n[grid]')(folder)
        edit("study.toml", 'folds = ["1", "2"]', 'folds = ["1"]')(folder)
    return change

def is_a_folder(folder):
    (folder/"cellA-H3K27ac.bedGraph").unlink()
    (folder/"cellA-H3K27ac.bedGraph").mkdir()

def lost(name): return lambda folder: (folder/name).unlink()

def nothing(folder): pass

FAULTS = dict( # what is changed, the command and its further arguments, what the last line says
    truncated_bigwig=(cut("cellA-H3K4me3.bigWig", .8), ["prepare"], r"cellA-H3K4me3\.bigWig: the file is truncated"),
    missing_track=(lost("cellB-H3K4me3.bedGraph"), ["units"],
                   r"\[tracks.cellB\] H3K4me3: no file .*cellB-H3K4me3\.bedGraph"),
    duplicate_genes=(edit("genes.tsv", "\ng007\t", "\ng008\t"), ["units"],
                     r"genes\.tsv: gene ids that stand there more than once: 'g008' \(line 9\), 'g008' \(line 10\)"),
    unknown_chromosome=(edit("genes.tsv", "\tchr7\t", "\tchr77\t", 1), ["units"],
                        r"genes\.tsv: chromosomes that the assembly does not have \(chr77\): 'chr77' \(line 8\)"),
    empty_split=(unlabel("cellA", "cellB"), ["units"], r"empty split: no labelled gene in fold 1 \(test\)"),
    unwritable_out=(edit("study.toml", 'out = "results"', 'out = "rpkm.tsv/results"'), ["prepare"],
                    r"rpkm\.tsv/results: cannot make this folder"),
    misspelt_key=(edit("study.toml", "assembly =", 'plugin = ["x.py"]\nassembly ='), ["units"],
                  r"top level plugin: no such key; did you mean 'plugins'\?"),
    unknown_cell=(nothing, ["run", "--cells", "cellX"], r"--cells cellX: not in this study's grid"))

MORE = dict(
    damaged_gz=(gz, ["prepare"], r"a\.bedGraph\.gz: the gzip stream ends early or is damaged"),
    wrong_row=(edit("cellB-H3K27ac.bedGraph", "\t", "\tx", 1), ["prepare"],
               r"cellB-H3K27ac\.bedGraph, line 1: needs 0 ≤ start < end"),
    silent_track=(silence, ["prepare"], r"cellB-H3K4me3\.bedGraph: no signal in any of 480 windows"),
    text_in_expression=(edit("rpkm.tsv", "\ng005\t", "\ng005\tmuch"), ["units"],
                        r"rpkm\.tsv: column 'cellA' is not a number: 'much.*' \(line 7\)"),
    misspelt_option=(option("ridge", "windw = 4000"), ["units"],
                     r"\[models.ridge\] windw: ridge has no such option; did you mean 'window'\?"),
    misspelt_model=(edit("study.toml", "ridge", "rigde", 2), ["units"],
                    r"'rigde' is not a model; did you mean 'ridge'\?"),
    misspelt_mark=(edit("study.toml", '"each"', '"H3K4me"'), ["units"],
                   r"'H3K4me' is no assay of this study; did you mean 'H3K4me3'\?"),
    unknown_fold=(edit("study.toml", '["1", "2"]', '["1", "7"]'), ["units"], r"no fold '7'; known: 1, 2, 3, 4"),
    not_toml=(edit("study.toml", "[grid]", "[grid"), ["units"], r"study\.toml: not valid TOML: .*line"),
    wrong_column=(edit("study.toml", 'cellA = "cellA"', 'cellA = "cellX"'), ["units"],
                  r"rpkm\.tsv: no column 'cellX'; it has 'gene_id', 'cellA', 'cellB'"),
    no_study=(lost("study.toml"), ["units"], r"study\.toml: no such study file"),
    study_below_a_file=(nothing, ["units", "genes.tsv/study.toml"], r"genes\.tsv/study\.toml"),
    template_below_a_file=(nothing, ["new-study", "genes.tsv/study.toml"], r"genes\.tsv"),
    models_in_a_list=(edit("study.toml", 'models = ["ridge"]', 'models = ["ridge", ["ridge"]]'), ["units"],
                      r"\[grid\] models"),
    fold_that_is_text=(edit("study.toml", "[grid]", '[splits]\nscheme = "explicit"\nfolds = ["1"]\n[grid]'),
                       ["units"], r"fold"),
    penalty_that_is_a_list=(option("ridge", "alphas = [[1], 2]"), ["units"], r"\[models.ridge\] alphas"),
    window_of_nothing=(option("ridge", "window = 0"), ["units"], r"\[models.ridge\] window = 0"),
    folder_as_a_track=(is_a_folder, ["prepare"], r"cellA-H3K27ac\.bedGraph"),
    missing_gene_table=(lost("genes.tsv"), ["units"], r"genes\.tsv"),
    missing_expression_table=(lost("rpkm.tsv"), ["units"], r"rpkm\.tsv"),
    unknown_kind=(edit("study.toml", '"cellA-H3K4me3.bigWig"', '{path = "cellA-H3K4me3.bigWig", kind = "cram"}'),
                  ["units"], r"kind"),
    no_bam=(edit("study.toml", '"cellA-H3K4me3.bigWig"', '{path = "cellA-H3K4me3.bigWig", kind = "bam"}'), ["units"],
            r"not a BAM file"),
    unknown_scale=(edit("study.toml", '"cellA-H3K4me3.bigWig"', '{path = "cellA-H3K4me3.bigWig", scale = "lin"}'),
                   ["units"], r"scale"))

@pytest.mark.parametrize("name", ["truncated_bigwig", "misspelt_key", "unknown_cell"])
def test_a_wrong_input_is_one_line_and_status_2(name, good, tmp_path):
    (change, args, message), path = FAULTS[name], copy(good, tmp_path/"study")
    change(path.parent)
    r = command(args[0], path, *args[1:])
    assert r.returncode == 2 and "Traceback" not in r.stderr and r.stdout == ""
    assert re.search(message, only_complaint(r.stderr)), r.stderr
    assert not [p for p in path.parent.rglob("*") if ".tmp" in p.name]

def only_complaint(err): # the last line of stderr, if nothing else in it is one
    *before, last = err.strip().splitlines()
    assert not [l for l in before if not re.match(r"(INFO|WARNING) |chromexpress: 1 of [0-9]+ units "
                                                  r"failed:$", l)], err
    return last

@pytest.mark.parametrize("name", FAULTS | MORE)
def test_more_wrong_inputs(name, good, tmp_path, capsys):
    "The same, in this process."
    (change, args, message), path = (FAULTS | MORE)[name], copy(good, tmp_path/"study")
    change(path.parent)
    at = [path] if len(args) == 1 or args[1].startswith("--") else []
    assert cli(args[0], *at, *(path.parent/a if "/" in a else a for a in args[1:])) == 2
    out, err = capsys.readouterr()
    last = only_complaint(err)
    assert re.search(message, last) and last.startswith(("chromexpress: ", "  - bin:")) and out == ""
    assert not [p for p in path.parent.rglob("*") if ".tmp" in p.name]

def test_an_empty_split_of_one_cell_leaves_the_others_be(good, tmp_path, capsys):
    path = copy(good, tmp_path/"study")
    unlabel("cellB")(path.parent)
    assert cli("run", path, "--jobs", "1") == 2
    err = capsys.readouterr().err
    assert "fold 1: empty split, no labelled gene of cellB in test" in err and "Traceback" not in err
    assert not_current(path) == {f"run:ridge:cellB:{m}:1:0" for m in ("H3K4me3", "H3K27ac", BOTH)}

def test_a_broken_track_fails_what_needs_it_and_nothing_else(good, tmp_path, capsys):
    path = copy(good, tmp_path/"study")
    silence(path.parent)
    assert cli("run", path, "--jobs", "1") == 2
    err = capsys.readouterr().err
    left = {"bin:cellB:H3K4me3"} | {f"run:ridge:cellB:{m}:{f}:0" for m in ("H3K4me3", BOTH) for f in "12"}
    assert not_current(path) == left and "chromexpress: 5 of 16 units failed:" in err
    for i in left: assert f"  - {i}: " in err
    assert err.count("left out, because bin:cellB:H3K4me3 failed") >= 4

def test_the_hg38_file_among_hg19_files(good, data, tmp_path, capsys):
    path = copy(good, tmp_path/"study")
    edit("study.toml", '"cellA-H3K4me3.bigWig"', f'"{data/"k562_chr9"/"H3K4me3.hg38.bigWig"}"')(path.parent)
    genes = pd.read_csv(path.parent/"genes.tsv", sep="\t")
    genes[genes.chrom == "chr9"].to_csv(path.parent/"genes.tsv", sep="\t", index=False)
    assert cli("prepare", path) == 2
    complaint = only_complaint(capsys.readouterr().err)
    assert ("H3K4me3.hg38.bigWig: chr9 is 138394717 bp long in its header, 141213431 bp in hg19; the file looks like "
            "hg38" in complaint)

def test_all_problems_come_at_once(good, tmp_path, capsys):
    path = copy(good, tmp_path/"study")
    for name in ("missing_track", "duplicate_genes", "unknown_chromosome", "misspelt_key"):
        FAULTS[name][0](path.parent)
    MORE["misspelt_option"][0](path.parent)
    edit("study.toml", 'folds = ["1", "2"]', "folds = 7")(path.parent)
    assert cli("prepare", path) == 2
    out, err = capsys.readouterr()
    message = err[err.index("chromexpress: "):]
    assert out == "" and len(message.splitlines()) == 1 + 5 + 2        # two of them are of one gene table
    for part in ("no file", "'g008' (line 9)", "(chr77)", "top level plugin", "windw", "[grid] folds = 7"):
        assert message.count(part) == 1, (part, message)
    assert not (path.parent/"results").exists()

@pytest.mark.parametrize("first,second,part", [
    ("misspelt_option", "misspelt_mark", "'H3K4me' is no assay"),
    ("duplicate_genes", "truncated_bigwig", "the file is truncated")])
def test_one_problem_does_not_hide_another(first, second, part, good, tmp_path, capsys):
    path = copy(good, tmp_path/"study")
    for name in (first, second): (FAULTS | MORE)[name][0](path.parent)
    assert cli("units", path) == 2
    assert part in capsys.readouterr().err
