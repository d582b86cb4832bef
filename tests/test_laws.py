"The laws of the house: what any notebook, module or committed file has to keep."
import ast, configparser, dataclasses, importlib, inspect, json, os, re, shutil, subprocess, sys
from pathlib import Path
import pytest
from fastcore.docments import docments

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
LIBRARY, ANALYSIS = sorted((ROOT/"nbs").glob("[0-9]*.ipynb")), sorted((ROOT/"nbs"/"analysis").glob("*.ipynb"))
# module → its notebook
MODULES = {re.search(r"#\| default_exp (\w+)", nb.read_text())[1]: nb for nb in LIBRARY}
id_of = lambda p: p.stem if isinstance(p, Path) else str(p)
notebooks = lambda which: pytest.mark.parametrize("nb", which, ids=id_of)

def cells(nb): return json.loads(nb.read_text())["cells"]
def code(nb):
    return [("".join(c["source"]), c["metadata"].get("tags", [])) for c in cells(nb) if c["cell_type"] == "code"]

def imports(nb): # modules of ours that a notebook's code cells import
    found = []
    for source, _ in code(nb):
        tree = ast.parse(re.sub(r"^\s*[%!].*$", "pass", source, flags=re.M))
        for n in ast.walk(tree):
            if isinstance(n, ast.ImportFrom) and n.module == "chromexpress": found += [a.name for a in n.names]
            elif isinstance(n, ast.ImportFrom) and (n.module or "").startswith("chromexpress."):
                found.append(n.module.split(".", 1)[1])
            elif isinstance(n, ast.Import):
                found += [a.name.split(".", 1)[1] for a in n.names if a.name.startswith("chromexpress.")]
    return set(found)

# the number is the dependency order

@notebooks(LIBRARY)
def test_a_notebook_imports_only_lower_numbers(nb):
    # NN_name exports module `name`
    assert re.fullmatch(r"\d\d_\w+", nb.stem) and MODULES[nb.stem[3:]] == nb
    for m in imports(nb): assert m in MODULES and MODULES[m].stem[:2] < nb.stem[:2], f"{nb.name} imports {m}"

def test_numbers_are_used_once(): assert len({nb.stem[:2] for nb in [*LIBRARY, *ANALYSIS]}) == len(LIBRARY + ANALYSIS)

@notebooks(LIBRARY)
def test_the_exported_module_says_the_same(nb):
    "Relative imports and imports inside of functions follow the order too."
    tree = ast.parse((ROOT/"chromexpress"/f"{nb.stem[3:]}.py").read_text())
    for n in ast.walk(tree):
        if isinstance(n, ast.ImportFrom) and (n.level or (n.module or "").startswith("chromexpress.")):
            m = (n.module or "").removeprefix("chromexpress.").split(".")[0]
            assert m in MODULES and MODULES[m].stem[:2] < nb.stem[:2], f"line {n.lineno} imports {m}"

@notebooks(ANALYSIS)
def test_analysis_imports_the_library_alone(nb):
    assert imports(nb) and imports(nb) <= set(MODULES) and not any("#| export" in s for s, _ in code(nb))

def test_nothing_imports_analysis():
    for nb in LIBRARY: assert not any("analysis" in m for m in imports(nb))
    for py in (ROOT/"chromexpress").glob("*.py"):
        assert not re.search(r"^\s*(from|import)\s.*analysis", py.read_text(), re.M)

# analysis notebooks

@notebooks(ANALYSIS)
def test_one_cell_of_parameters_with_one_assignment_a_line(nb):
    tagged = [s for s, tags in code(nb) if "parameters" in tags]
    assert len(tagged) == 1
    lines = tagged[0].strip().splitlines()
    for line in lines:
        (statement,) = ast.parse(line).body
        assert isinstance(statement, ast.Assign) and len(statement.targets) == 1
        assert isinstance(statement.targets[0], ast.Name)
        ast.literal_eval(statement.value)
        assert re.search(r"  ?# \S.{5,}$", line), f"no help: {line}"
    assert len({l.split("=")[0] for l in lines}) == len(lines)

@notebooks([*LIBRARY, ROOT/"nbs"/"index.ipynb"])
def test_a_cell_that_imports_does_nothing_else(nb):
    "Except for the hidden one that sets the notebook up: cells with imports are executed when documents are built."
    for source, _ in code(nb):
        of = {isinstance(n, (ast.Import, ast.ImportFrom)) for n in ast.parse(re.sub(r"^\s*[%!].*$", "pass", source, flags=re.M)).body}
        assert of != {True, False} or source.startswith("#| hide\n"), source

@notebooks(ANALYSIS)
def test_papermill_helps_with_every_parameter(nb):
    from click.testing import CliRunner
    from papermill.cli import papermill
    r = CliRunner().invoke(papermill, ["--help-notebook", str(nb)])
    assert r.exit_code == 0 and "Can't infer" not in r.output
    said = " ".join(r.output.split())
    for line in next(s for s, tags in code(nb) if "parameters" in tags).strip().splitlines():
        name, value, about = re.match(r"(\w+) = (.*?)  ?# (.*)$", line).groups()
        assert f"{name}: Unknown type (default {value}) {' '.join(about.split())}" in said

@notebooks(LIBRARY)
def test_library_notebooks_have_no_tags(nb): assert not any(tags for _, tags in code(nb))

# generated files

LITTER = ("__pycache__", ".ipynb_checkpoints")

@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory): # the checkout again, exported and cleaned
    folder = tmp_path_factory.mktemp("rebuilt")
    for name in ("nbs", "chromexpress", "figures"):
        shutil.copytree(ROOT/name, folder/name, ignore=shutil.ignore_patterns(*LITTER))
    for name in ("settings.ini", "setup.py", "pyproject.toml", "README.md", "Makefile", "LICENSE"):
        shutil.copy2(ROOT/name, folder/name)
    for tool in ("nbdev_export", "nbdev_clean"):
        subprocess.run([BIN/tool], cwd=folder, check=True, capture_output=True, text=True)
    return folder

def same(a, b, pattern):
    names = [{str(p.relative_to(f)) for p in f.rglob(pattern) if not set(LITTER) & set(p.parts)} for f in (a, b)]
    assert names[0] == names[1]
    return [n for n in sorted(names[0]) if (a/n).read_bytes() != (b/n).read_bytes()]

def test_the_export_is_current(rebuilt):
    assert same(ROOT/"chromexpress", rebuilt/"chromexpress", "*.py") == []
    assert {p.stem for p in (ROOT/"chromexpress").glob("*.py")} == {*MODULES, "__init__", "_modidx"}
    for name in ("pyproject.toml", "settings.ini"): assert (ROOT/name).read_bytes() == (rebuilt/name).read_bytes()

def test_notebooks_are_clean(rebuilt): assert same(ROOT/"nbs", rebuilt/"nbs", "*.ipynb") == []

def test_the_readme_is_current(rebuilt, tmp_path):
    "The recipe is the Makefile's, followed in a copy with the one notebook that it needs."
    if (ROOT/"README.md").read_text().strip() == "# chromexpress": pytest.skip("README.md has not been written yet")
    env = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    skip = shutil.ignore_patterns("[0-9]*.ipynb", "analysis")
    copy = shutil.copytree(rebuilt, tmp_path/"copy", ignore=skip)
    (copy/"README.md").unlink()
    r = subprocess.run(["make", "--old-file=install", "readme", f"BIN={BIN}"], cwd=copy, capture_output=True,
                       text=True, env=env)
    assert r.returncode == 0, r.stderr[-2000:]
    assert (copy/"README.md").read_text() == (ROOT/"README.md").read_text()

def test_the_readme_begins_with_the_name_and_what_it_is_for():
    first, tagline = [l for l in (ROOT/"README.md").read_text().splitlines() if l and not l.startswith("<!--")][:2]
    assert first == "# chromexpress" and tagline.startswith("> ")

@notebooks(LIBRARY)
def test_the_readme_says_what_each_notebook_says(nb):
    "Its table is an output of nbs/index.ipynb, which is stored, and may be older than the notebooks."
    tagline = re.search(r"^> (.*)$", "".join(cells(nb)[0]["source"]), re.M)[1]
    tagline = tagline.replace(" | ", ", ")                                   # a bar would end the table's cell
    assert f"| [{nb.stem}](nbs/{nb.name}) | {tagline} |" in (ROOT/"README.md").read_text()

def test_the_readme_lists_every_command_and_analysis():
    from chromexpress.cli import COMMANDS
    text = (ROOT/"README.md").read_text()
    for c in COMMANDS: assert re.search(rf"^\|.*`chromexpress {c}\b.*\|.*\|$", text, re.M), f"no row for the command {c}"
    for nb in ANALYSIS:
        title = re.search(r"^# (.*)$", "".join(cells(nb)[0]["source"]), re.M)[1]
        assert f"| [{nb.stem}](nbs/analysis/{nb.name}) | {title} |" in text

def test_settings_keep_tags():
    c = configparser.ConfigParser(interpolation=None)
    c.read(ROOT/"settings.ini")
    # without it, cleaning would drop `parameters`
    assert c["DEFAULT"]["allowed_cell_metadata_keys"] == "tags"

# documentation

PUBLIC = [(m, n) for m in MODULES for n in importlib.import_module(f"chromexpress.{m}").__all__]
def get(module, name): return getattr(importlib.import_module(f"chromexpress.{module}"), name)
CALLABLE = [(m, n) for m, n in PUBLIC if inspect.isroutine(get(m, n)) or inspect.isclass(get(m, n))]

def undocumented(f): # parameters without a comment
    f = inspect.unwrap(f)
    docs, source = docments(f, returns=False), inspect.getsource(f)
    starred = lambda k: re.search(rf"\*{k}\b[^#\n]*# \S", source)      # docments does not see the comments of *args
    return [k for k in inspect.signature(f).parameters if k not in ("self", "cls") and not (docs.get(k) or "").strip()
            and not starred(k)]

@pytest.mark.parametrize("module,name", CALLABLE, ids=lambda v: v)
def test_public_names_are_documented(module, name):
    o = get(module, name)
    # a dataclass gets its signature
    assert (o.__doc__ or "").strip() and not o.__doc__.startswith(f"{name}("), "no docstring"
    if dataclasses.is_dataclass(o):
        own = [f.name for f in dataclasses.fields(o) if f.name in o.__annotations__]
        assert [k for k in own if not (docments(o).get(k) or "").strip()] == []
    elif not inspect.isclass(o): assert undocumented(o) == []
    elif "__init__" in vars(o): assert undocumented(o.__init__) == []

@pytest.mark.parametrize("module", MODULES)
def test_modules_say_what_they_are_for(module):
    assert len((importlib.import_module(f"chromexpress.{module}").__doc__ or "").strip()) > 20

# sizes

@notebooks([*LIBRARY, *ANALYSIS, ROOT/"nbs"/"index.ipynb"])
def test_notebooks_are_small(nb):
    assert len(code(nb)) <= 60
    assert nb.stat().st_size <= 300_000

@notebooks([*LIBRARY, *ANALYSIS])
def test_notebooks_ran_to_the_end_without_a_traceback(nb):
    for c in cells(nb):
        for o in c.get("outputs", []): assert o["output_type"] != "error", "".join(c["source"])

# what is committed

def committed(): # what git has, and what it would take
    if not (ROOT/".git").exists(): pytest.skip("not a git checkout")
    listed = subprocess.check_output(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                                     text=True)
    return [ROOT/p for p in listed.splitlines() if (ROOT/p).is_file()]

REGISTRY = re.compile(
    r"https?://[^\s\"')]*(?:pypi|pythonhosted|anaconda|conda-forge|npmjs|registry|mirror|artifactory|nexus)"
                      r"|https?://download\.pytorch|https?://(?:localhost|\d+\.\d+\.\d+\.\d+)|index-url|trusted-host")
LOCAL = re.compile(r"(?<![\w.~$}\])*-])/(?:work|tmp|home|root|mnt|scratch|Users|opt|srv)/[\w.~-]")

def test_no_registry_and_no_local_path():
    found = []
    for p in committed():
        if p.suffix in (".png", ".pdf") or p == Path(__file__).resolve(): continue
        for i, line in enumerate(p.read_text(encoding="utf-8").splitlines(), 1):
            line = re.sub(r'"image/(png|svg\+xml)": .*', "", line)
            for what in (REGISTRY, LOCAL):
                if m := what.search(line): found.append(f"{p.relative_to(ROOT)}:{i}: {m[0]}")
    assert found == []

def test_no_data_is_committed():
    data = """.csv .tsv .txt .gz .xz .zip .tar .bw .bigwig .bedgraph .bed .narrowpeak .bam .bai .cool .mcool .npy .npz .h5 .hdf5 .parquet
              .pt .pkl .gtf .fa""".split()
    assert [str(p.relative_to(ROOT)) for p in committed() if p.suffix.lower() in data
            and p.parent != ROOT/"figures"] == []
    assert {p.suffix for p in committed() if p.parent == ROOT/"figures"} <= {".svg", ".csv", ".md"}

def test_committed_files_are_small():
    assert [(str(p.relative_to(ROOT)), p.stat().st_size) for p in committed() if p.stat().st_size > 500_000] == []
