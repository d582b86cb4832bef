"The command line: what each command says, prints, does and leaves alone."
import inspect, json, os, re, shutil, signal, subprocess, sys, time
from pathlib import Path
import pytest
from fastcore.docments import docments
from chromexpress.cli import COMMANDS, main
from chromexpress.core import InputError
from toy import ENV, PIPES, SMALL, cli, command, files, not_current, slow_to_read, times, units_of, write_study

NAMES = ("demo new-study genes liftover simulate download prepare run predict transfer perturb attribute qtl units collect "
         "report").split()
OPTIONS = (dict(run="cells models marks folds jobs threads device only dry-run", simulate="genes cells seed eqtls",
                qtl="eqtl assembly chain tissues places nulls draws seed scorers absolute",
                predict="run cells blind out members jobs device", units="json", prepare="jobs",
                transfer="models marks cells device", attribute="cells models marks methods baselines genes jobs threads device", download="out cells marks signal genes base-url jobs tries"))

@pytest.fixture(scope="module")
def study(tmp_path_factory): return write_study(tmp_path_factory.mktemp("study"))

@pytest.fixture
def fresh(study, tmp_path):
    shutil.copytree(study.parent, tmp_path/"s", ignore=shutil.ignore_patterns("results"))
    return tmp_path/"s"/"study.toml"

# help

def test_the_names_are_fixed(): assert sorted(COMMANDS) == sorted(NAMES)

@pytest.mark.parametrize("name", NAMES)
def test_help_is_complete(name, capsys):
    with pytest.raises(SystemExit) as e: main([name, "--help"])
    assert e.value.code == 0
    text, f = " ".join(capsys.readouterr().out.split()), COMMANDS[name]
    assert f.__doc__ in text and f"usage: chromexpress {name}" in text
    docs, flags = docments(f, returns=False), []
    for k, v in inspect.signature(f).parameters.items():
        flags.append(k if v.default in (inspect.Parameter.empty, None) else "--" + k.replace("_", "-"))
        assert flags[-1] in text and len(docs[k]) > 8 and " ".join(docs[k].split()) in text, f"{k} is not described"
        if v.annotation is not bool and v.default not in (inspect.Parameter.empty, None, "", ()):
            assert f"(default: {v.default})" in text
    assert {f"--{o}" for o in OPTIONS.get(name, "").split()} <= set(flags)

def test_the_front_page(capsys):
    with pytest.raises(SystemExit) as e: main(["--help"])
    text = capsys.readouterr().out
    assert e.value.code == 0
    assert all(re.search(rf"^  {n} +{re.escape(COMMANDS[n].__doc__)}$", text, re.M) for n in NAMES)

@pytest.mark.parametrize("args", [[], ["prepair"], ["run"], ["run", "x.toml", "--job", "two"],
                                  ["run", "x.toml", "--nonsense"]])
def test_wrong_words_are_status_2(args, capsys):
    with pytest.raises(SystemExit) as e: main(args)
    assert e.value.code == 2 and "usage: chromexpress" in capsys.readouterr().err

def test_as_a_module_and_as_a_command():
    r = command("--version")
    assert r.returncode == 0 and re.fullmatch(r"chromexpress \d+\.\d+\.\d+\n", r.stdout)
    script = Path(sys.executable).with_name("chromexpress")
    assert subprocess.run([script, "--version"], capture_output=True, text=True).stdout == r.stdout

# what takes up to a second or more to import
SLOW = "torch", "scipy.stats", "sklearn", "matplotlib", "papermill", "pyBigWig"
@pytest.mark.parametrize("module,loads",
                         [("cli", set()), ("study", set()), ("simulate", set()), ("batch", {"torch"})])
def test_nothing_slow_is_loaded_before_it_is_needed(module, loads):
    """Help, a template and a simulation start without torch; workers, which all load `batch`, without what only the
    tables and figures use."""
    code = f"import sys, chromexpress.{module}; print(*[m for m in {SLOW} if m in sys.modules])"
    r = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENV)
    assert r.returncode == 0 and set(r.stdout.split()) == loads, r.stderr

@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves(unbuffered, tmp_path):
    "As in `chromexpress units study.toml | head`: no traceback."
    p = subprocess.Popen([sys.executable, "-m", "chromexpress.cli", "new-study", tmp_path/"s.toml"],
                         **PIPES | dict(env=ENV | dict(PYTHONUNBUFFERED=unbuffered)))
    p.stdout.close()
    assert p.stderr.read() == "" and p.wait(60) == 141

@pytest.mark.parametrize("options,named", [(["s.toml"], "a study"), (["--run", "r"], "--run"), (["--cells", "a"], "--cells"),
                                           (["--blind"], "--blind"), (["--members", "m.csv"], "--members")])
def test_published_weights_go_with_no_study(options, named, capsys):
    assert cli("predict", "--weights", "w.pt", "--meta", "m.csv", "--signals", "s", "--out", "o.csv", *options) == 2
    assert capsys.readouterr().err.endswith(f"published weights go with --meta and --signals, not with {named}.\n")

# new-study

def test_new_study(tmp_path, capsys):
    path = tmp_path/"new"/"study.toml"
    assert cli("new-study", path) == 0 and capsys.readouterr().out == f"{path}\n"
    text = path.read_text()
    assert cli("new-study", path) == 2 and "exists already" in capsys.readouterr().err and path.read_text() == text
    # as it stands it lacks its three files, and nothing else
    assert cli("units", path) == 2
    complaints = [l for l in capsys.readouterr().err.splitlines() if l.startswith("  - ")]
    named = [re.search(r"new/(genes\.tsv|rpkm\.tsv|H3K4me3\.bigWig)\b", l)[1] for l in complaints]
    assert set(named) == {"genes.tsv", "rpkm.tsv", "H3K4me3.bigWig"}

def test_the_template_works_when_its_files_are_there(fresh, tmp_path, capsys):
    folder = fresh.parent
    assert cli("new-study", folder/"new.toml") == 0
    text = (folder/"new.toml").read_text()
    (folder/"new.toml").write_text(text.replace('"H3K4me3.bigWig"', '"cellA-H3K4me3.bigWig"'))
    assert cli("units", folder/"new.toml") == 0
    assert "missing  bin:cellA:H3K4me3\n" in capsys.readouterr().out

# units

def test_units_as_json(fresh, capsys):
    assert cli("units", fresh, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert all(set(r) >= {"id", "kind", "state", "after", "folder", "made_from"} for r in rows)
    ids = [r["id"] for r in rows]
    assert len(set(ids)) == len(ids) and [r["kind"] for r in rows] == ["bin"]*4 + ["run"]*16 + [
        "quality", "tables", "science"] + ["transfer"]*4 + ["report"]
    assert {r["state"] for r in rows if r["kind"] != "report"} == {"missing"}
    # a unit comes after what it waits for
    for k, r in enumerate(rows): assert set(r["after"]) <= set(ids[:k])
    run = next(r for r in rows if r["id"] == "run:promoter_cnn:cellB:H3K4me3+H3K27ac:2:0")
    assert run["after"] == ["bin:cellB:H3K4me3", "bin:cellB:H3K27ac"] and run["made_from"]["options"]["epochs"] == 2
    assert cli("units", fresh) == 0
    assert [l.split()[-1] for l in capsys.readouterr().out.splitlines()] == ids

# one unit, and none

RUN = "run:ridge:cellA:H3K4me3:1:0"
def test_only_one_unit(fresh, capsys):
    every = not_current(fresh)
    assert cli("run", fresh, "--only", RUN, "--device", "cpu") == 2
    assert f"{RUN}: bin:cellA:H3K4me3 must be done first" in capsys.readouterr().err and not_current(fresh) == every
    assert cli("run", fresh, "--only", "bin:cellA:H3K4me3", "--device", "cpu") == 0
    assert not_current(fresh) == every - {"bin:cellA:H3K4me3"}
    assert capsys.readouterr().out.startswith("bin:cellA:H3K4me3: ")
    assert cli("run", fresh, "--only", RUN, "--device", "cpu") == 0
    assert not_current(fresh) == every - {"bin:cellA:H3K4me3", RUN}
    assert not (fresh.parent/"results"/"predictions.csv").exists()                                # and nothing else
    before = times(fresh.parent/"results")
    assert cli("run", fresh, "--only", RUN, "--device", "cpu") == 0 and times(fresh.parent/"results") == before
    assert cli("run", fresh, "--only", "run:ridge:cellA:H3K4me:1:0") == 2
    assert f"no such unit; did you mean {RUN!r}?" in capsys.readouterr().err
    assert cli("run", fresh, "--only", "run:promoter_cnn:cellA:H3K4me3+H3K27ac:1:0") == 2
    assert "bin:cellA:H3K27ac must be done first" in capsys.readouterr().err

def test_only_the_tables(fresh, capsys):
    assert cli("run", fresh, "--only", "tables") == 2 and "no finished run to collect" in capsys.readouterr().err
    for i in ("bin:cellA:H3K4me3", RUN): assert cli("run", fresh, "--only", i, "--device", "cpu") == 0
    assert cli("run", fresh, "--only", "tables") == 0
    assert capsys.readouterr().out.endswith("results/metrics.csv\n")
    assert (fresh.parent/"results"/"predictions.csv").read_bytes() == (units_of(
        fresh)[RUN].folder/"predictions.csv").read_bytes()

# of 12 runs of ridge (2 cells × 3 sets × 2 folds) and 4 of the network (2 × 1 × 2); a transfer for each model and set of
# marks, if the runs of one cell and the tracks of both are there
@pytest.mark.parametrize("options,runs,tracks,transfers", [
    ([], 16, 4, 4), (["--cells", "cellA"], 8, 2, 0), (["--cells", "cellA,cellB"], 16, 4, 4), (["--models", "ridge"], 12, 4, 3),
    (["--folds", "2"], 8, 4, 4), (["--marks", "each"], 8, 4, 2), (["--marks", "all"], 8, 4, 2), (["--marks", "H3K27ac"], 4, 2, 1),
    (["--marks", "H3K4me3+H3K27ac"], 8, 4, 2), (["--marks", "H3K4me3,H3K27ac"], 8, 4, 2),
    (["--cells", "cellB", "--models", "ridge", "--marks", "H3K4me3", "--folds", "1"], 1, 1, 0)])
def test_dry_run_counts_and_writes_nothing(options, runs, tracks, transfers, fresh, capsys):
    assert cli("run", fresh, "--dry-run", "--device", "cpu", *options) == 0
    out = capsys.readouterr().out
    n = runs + tracks + transfers
    assert re.search(rf"^{n} of {n} units to do: about \d+\.\d minutes with \d+ jobs, \d+\.\d\d GB on disk", out,
                     re.M)
    assert re.search(rf"^ *bin +{tracks} +{tracks} ", out, re.M) and re.search(rf"^ *run +{runs} +{runs} ", out, re.M)
    assert re.findall(r"^ *transfer +(\d+) +(\d+) ", out, re.M) == [(str(transfers),)*2]*(transfers > 0)
    assert set(files(fresh.parent/"results")) <= {".digests.json"}

def test_dry_run_knows_what_is_done(fresh, capsys):
    assert cli("prepare", fresh, "--jobs", "1") == 0 and cli("run", fresh, "--only", RUN, "--device", "cpu") == 0
    before = times(fresh.parent/"results")
    capsys.readouterr()
    assert cli("run", fresh, "--dry-run", "--device", "cpu", "--models", "ridge") == 0
    # 3 transfers, too
    assert "14 of 19 units to do" in capsys.readouterr().out and times(fresh.parent/"results") == before

def test_dry_run_counts_what_the_study_asks_for(tmp_path, capsys):
    "Also before anything is binned, when a network that takes partners cannot be timed."
    path = write_study(tmp_path, '["ridge", "promoter_cnn", "chromoformer"]', "".join(
        f"[models.{m}]\n{SMALL[m]}\n" for m in ("promoter_cnn", "chromoformer")), '["1"]', contacts=True)
    path.write_text(path.read_text() + '[attribution]\n[perturb]\nmarks = ["all"]\n')
    # two cells; of the attributions two are of chromoformer, for which DeepLIFT has no rule; nor is it transferred
    counts = dict(attribution=6, bin=4, contacts=2, perturb=6, run=6, transfer=2)
    for binned in (False, True):
        if binned: assert cli("prepare", path, "--jobs", "1") == 0
        capsys.readouterr()
        assert cli("run", path, "--dry-run", "--device", "cpu") == 0
        out, err = capsys.readouterr()
        found = {k: int(n) for k, n in re.findall(r"^ *([a-z]+) +(\d+) +\d+ ", out, re.M)}
        assert found == counts and f"{26 - 6*binned} of 26 units to do" in out
        assert ("time of chromoformer: not in these minutes" in err) != binned

@pytest.mark.parametrize("table,message", [
    ('[perturb]\nmarks = ["each"]', "[perturb] marks each: not in this study's grid; known: H3K4me3+H3K27ac"),
    ('[attribution]\nmodels = ["rigde"]', "[attribution] models rigde: not in this study's grid; did you mean 'ridge'?")])
def test_what_a_table_asks_for_and_the_grid_has_not(table, message, tmp_path, capsys):
    "It is said before work starts, and of the table: nobody gave an option."
    path = write_study(tmp_path, models='["ridge"]', tables="", folds='["1"]')
    path.write_text(path.read_text() + table + "\n")
    assert cli("run", path, "--device", "cpu") == 2
    assert f"study.toml: {message}" in capsys.readouterr().err and not list(tmp_path.glob("results/tracks/*"))

@pytest.mark.parametrize("options", [["--dry-run"], ["--models", "ridge"], ["--cells", "cellB"]])
def test_one_unit_heeds_no_other_choice(options, fresh, capsys):
    assert cli("run", fresh, "--only", "bin:cellA:H3K4me3", *options) == 2
    assert f"--only bin:cellA:H3K4me3: does this one unit; leave out {options[0]}." in capsys.readouterr().err
    assert not list(fresh.parent.glob("results/tracks/*"))

@pytest.mark.parametrize("options,seed", [([], 5), (["--seed", "0"], 0), (["--seed", "7"], 7)])
def test_a_seed_of_zero_is_a_seed(options, seed, fresh, capsys, monkeypatch):
    (fresh.parent/"e.tsv").write_text("gene_id\tvariant_id\ttissue\n")
    fresh.write_text(fresh.read_text() + '[perturb]\n[qtl]\neqtls = ["e.tsv"]\nseed = 5\n')
    def unit(study, units, wanted, places): raise InputError(f"seed {wanted['seed']}")
    monkeypatch.setattr("chromexpress.science.qtl_unit", unit)
    assert cli("qtl", fresh, *options) == 2 and capsys.readouterr().err.endswith(f"chromexpress: seed {seed}\n")

@pytest.mark.parametrize("options,message", [
    (["--cells", "cellX"], r"--cells cellX: not in this study's grid; did you mean 'cell[AB]'\?"),
    (["--models", "rigde"], "--models rigde: .*did you mean 'ridge'"),
    (["--marks", "H3K4me3,H3K9ac"], "--marks H3K9ac: "),
    (["--folds", "3"], "--folds 3: not in this study's grid; known: 1, 2"),
    (["--models", "promoter_cnn", "--marks", "each"],
     "nothing to run: no part of the grid is left with --models, --marks"),
    (["--jobs", "-1"], "--jobs -1: needs 0"), (["--threads", "0"], "--threads 0: needs 1 or more"),
    (["--device", "gpu"], "--device: 'gpu' is none of auto, cpu, cuda")])
def test_what_cannot_be_chosen(options, message, fresh, capsys):
    assert cli("run", fresh, *options) == 2
    assert re.search(message, capsys.readouterr().err) and set(files(fresh.parent/"results")) <= {".digests.json"}

@pytest.mark.parametrize("name", ["collect", "report"])
def test_nothing_to_collect(name, fresh, capsys):
    assert cli(name, fresh) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(r"chromexpress: .*results: no finished run to collect; `chromexpress run` makes them\.$",
                     err.strip())
    assert set(files(fresh.parent/"results")) <= {".digests.json"}

def test_prepare_says_where_the_tracks_are(fresh, capsys):
    assert cli("prepare", fresh, "--jobs", "1") == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [f"{fresh.parent/'results'/'tracks'}: 4 tracks binned, all are current.",
                                f"quality: no warnings, see {fresh.parent/'results'/'qc.csv'}"]
    assert "[4/4] bin:cellB:H3K27ac" in err
    assert cli("prepare", fresh) == 0
    assert ": 0 tracks binned, all are current." in capsys.readouterr().out

def test_interrupted(fresh):
    "Ctrl-C is one line and status 130; what is finished is kept."
    slow_to_read(fresh.parent/"cellB-H3K27ac.bedGraph")
    if not (pid := os.fork()):
        os.dup2(os.open(fresh.parent/"err.txt", os.O_WRONLY | os.O_CREAT), 2)
        sys.stderr = os.fdopen(2, "w")
        signal.signal(signal.SIGINT, signal.default_int_handler)
        status = cli("prepare", fresh, "--jobs", "1")
        sys.stderr.flush()
        os._exit(status)
    end, marker = time.monotonic() + 60, fresh.parent/"results"/"tracks"/"cellA"/"H3K27ac"/"bin.unit.json"
    while not marker.exists() and time.monotonic() < end: time.sleep(.002)
    os.kill(pid, signal.SIGINT)
    assert os.WEXITSTATUS(os.waitpid(pid, 0)[1]) == 130
    err = (fresh.parent/"err.txt").read_text()
    assert err.endswith("chromexpress: interrupted; the same command goes on from here.\n") and "Traceback" not in err
    assert {"bin:cellA:H3K4me3", "bin:cellA:H3K27ac"}.isdisjoint(not_current(fresh))
    assert "bin:cellB:H3K27ac" in not_current(fresh)
    assert not [p for p in fresh.parent.rglob("*") if ".tmp" in p.name]
