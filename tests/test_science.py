"What comes after training: as units, in `run`, killed and gone on with; the eQTLs of [qtl]; what is left out, and why."
import json, re, shutil
from dataclasses import replace
import pandas as pd, pytest
import chromexpress.batch as batch
from chromexpress.core import InputError
from chromexpress.qtl import run_qtl, study_effects
from chromexpress.registry import load_study
from chromexpress.science import FAMILIES, check_qtl, list_skipped, qtl_notebooks, science_units, skipped_families
from chromexpress.study import read_qtl
from chromexpress.units import state
from toy import cli, finish, killed_at_rename, times, toy_genes, units_of, write_study

WIDE = """
[models.wide]
base = "ridge"
window = 14000
marks = ["H3K4me3"]
"""
ASKS = """
[perturb]
doses = [1, 0]
tiles = 2
[qtl]
eqtls = "eqtls.tsv"
draws = 99
nulls = ["genes"]
"""

def with_eqtls(folder, asks=ASKS): # 240 genes, one eQTL 4 kb downstream of the TSS of each
    path, g = write_study(folder, models='["wide"]', tables=WIDE + asks, folds='["1"]'), toy_genes()
    at = g.tss + (g.strand == "+")*8000 - 4000
    pd.DataFrame(dict(tissue="cellA", gene_id=g.gene_id, variant_id=[f"{c}_{p}_A_G_b37" for c, p in zip(g.chrom, at)])).to_csv(
        path.parent/"eqtls.tsv", sep="\t", index=False)
    return path

def states(path, capsys): # id → state, as `chromexpress units` says
    capsys.readouterr()
    assert cli("units", path) == 0
    return dict(reversed(l.split()) if len(l.split()) == 2 else (l.strip(), "") for l in capsys.readouterr().out.splitlines())

@pytest.fixture
def no_figures(monkeypatch):
    monkeypatch.setattr(batch, "draw_notebooks", lambda units: 0)
    monkeypatch.setattr(batch, "write_report", lambda study, units: study.out/"report.html")

@pytest.fixture(scope="module")
def done(tmp_path_factory):
    "A study whose `run` was killed in the midst of perturbing, and was run again: path, states in between, times of what was kept."
    path, patch = with_eqtls(tmp_path_factory.mktemp("science")), pytest.MonkeyPatch()
    with patch.context() as m:
        m.setattr(batch, "draw_notebooks", lambda units: 0)
        m.setattr(batch, "write_report", lambda study, units: study.out/"report.html")
        run = lambda: cli("run", path, "--jobs", "1", "--device", "cpu")
        # two arrays a run, and one part before them: killed in the second run of two
        assert killed_at_rename(4, run, "/perturb/tiles/runs/")
        study = load_study(path)[0]
        between = {i: state(u) for i, u in science_units(study, units_of(path)).items()}
        kept = times(path.parent/"results"/"perturb") | times(path.parent/"results"/"runs")
        assert run() == 0
    return path, between, kept

PERTURBED = [f"perturb:tiles:wide:{c}:H3K4me3:1:0" for c in ("cellA", "cellB")]

def test_a_run_that_was_killed_goes_on(done):
    path, between, kept = done
    assert list(between) == ["transfer:wide:H3K4me3", *PERTURBED, "effects:tiles", "qtl"]
    assert list(between.values()) == ["current", "current"] + ["missing"]*3
    now = times(path.parent/"results"/"perturb") | times(path.parent/"results"/"runs")
    finished = [k for k in kept if k.endswith(("unit.json", "predictions.csv"))]
    assert len(finished) == 2*2 + 1 and all(now[k] == kept[k] for k in finished)
    assert {state(u) for u in science_units(load_study(path)[0], units_of(path)).values()} == {"current"}

def test_units_lists_them(done, capsys):
    path = done[0]
    cli("units", path, "--json")
    rows = json.loads(capsys.readouterr().out)
    ids = [r["id"] for r in rows]
    for k, r in enumerate(rows): assert set(r["after"]) <= set(ids[:k])
    assert [r["kind"] for r in rows] == ["bin"]*4 + ["run"]*2 + ["quality", "tables", "science", "transfer"] + ["perturb"]*2 + ["effects", "qtl", "report"]
    by = {r["id"]: r for r in rows}
    assert by["qtl"]["after"] == ["effects:tiles"] and by["effects:tiles"]["after"] == PERTURBED
    assert {r["state"] for r in rows[:-1]} == {"current"}

def test_the_tables_of_qtl(done):
    out = done[0].parent/"results"
    t = pd.read_csv(out/"qtl"/"enrichment.csv")
    assert set(t.cell) == {"cellA"} and set(t.scorer) == {"model", "activity", "nearness"} and set(t.draws) == {0, 99}
    near = t[(t.scorer == "nearness") & (t.direction == "downstream")].sort_values("decile")
    assert near.hits.tolist() == [0]*5 + [48]*5                            # all 240 are in the nearer one of two tiles
    assert [u.id for u in qtl_notebooks(load_study(done[0])[0], batch.notebook_path("65_qtl"))] == ["notebook:cellA-65_qtl"]

def test_one_of_them_alone(done, tmp_path, capsys):
    shutil.copytree(done[0].parent, tmp_path/"s")
    path, out = tmp_path/"s"/"study.toml", tmp_path/"s"/"results"
    before = (out/"qtl"/"enrichment.csv").read_bytes()
    shutil.rmtree(out/"qtl"); shutil.rmtree(out/"transfer")
    (out/"perturb"/"tiles"/"summary.csv").unlink()
    assert cli("run", path, "--only", "qtl") == 2 and "qtl: effects:tiles must be done first" in capsys.readouterr().err
    for i in ("effects:tiles", "transfer:wide:H3K4me3", "qtl"): assert cli("run", path, "--only", i, "--device", "cpu") == 0
    assert (out/"qtl"/"enrichment.csv").read_bytes() == before
    first = times(out)
    assert cli("run", path, "--only", "qtl") == 0 and times(out) == first
    assert cli("run", path, "--only", "qtls") == 2 and "did you mean 'qtl'" in capsys.readouterr().err
    (out/"transfer.csv").unlink()
    assert cli("run", path, "--only", "tables") == 0 and len(pd.read_csv(out/"transfer.csv")) == 4     # two pairs, raw and matched

def test_other_effects_are_other_enrichment(done, tmp_path, capsys):
    shutil.copytree(done[0].parent, tmp_path/"s", ignore=shutil.ignore_patterns("figures", "notebooks"))
    path = tmp_path/"s"/"study.toml"
    path.write_text(path.read_text().replace("doses = [1, 0]", "doses = [1, 0.5]"))
    assert [i for i, s in states(path, capsys).items() if s != "current"] == [*PERTURBED, "effects:tiles", "qtl", "report"]
    path.write_text(path.read_text().replace("doses = [1, 0.5]", "doses = [1, 0]").replace("draws = 99", "draws = 98"))
    assert [i for i, s in states(path, capsys).items() if s != "current"] == ["qtl", "report"]

# what is wrong with [qtl]

@pytest.mark.parametrize("old,new,message", [
    ("[perturb]\ndoses = [1, 0]\ntiles = 2\n", "", "add a table [perturb], which may be empty"),
    ('"eqtls.tsv"', '"none.tsv"', "[qtl] eqtls: no file"), ("draws = 99", "draws = 0", "[qtl] draws = 0: needs 1 or more"),
    ("draws = 99", "draw = 99", "[qtl] draw: no such key; did you mean 'draws'"), ('["genes"]', '["gene"]', "no such null; did you mean 'genes'"),
    ("draws = 99", 'scorers = ["models"]', "no such scorer; did you mean 'model'"), ("draws = 99", 'scorers = ["contact"]', "cellA: no [contacts.cellA]"),
    ("draws = 99", 'tissues = {cellX = "cellA"}', "none of their tissues (cellA) stands for a cell"),
    ("draws = 99", "tissues = {cellA = 1}", "[qtl.tissues] cellA = 1: needs the name of a cell"), ('eqtls = "eqtls.tsv"', "eqtls = []", "needs one at least")])
def test_a_wrong_table_is_met_before_training(tmp_path, capsys, old, new, message):
    path = with_eqtls(tmp_path)
    path.write_text(path.read_text().replace(old, new))
    assert cli("run", path, "--jobs", "1") == 2
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err and not (tmp_path/"results"/"runs").exists()

def test_another_assembly_is_met_before_training(tmp_path, capsys):
    path = with_eqtls(tmp_path)
    (tmp_path/"eqtls.tsv").write_text((tmp_path/"eqtls.tsv").read_text().replace("_b37", "_b38"))
    assert cli("run", path, "--jobs", "1") == 2
    assert ("its variants are on hg38, the study is on hg19; give the chain file from hg38 to hg19 (--chain, or chain in [qtl]), "
            "or lift the table with `chromexpress liftover`.") in capsys.readouterr().err and not (tmp_path/"results"/"runs").exists()

def test_tissues_in_the_study_file(tmp_path):
    path = with_eqtls(tmp_path, ASKS + 'tissues = {cellA = ["cellB", "cellA"]}\n')
    study, wanted = load_study(path)[0], read_qtl(path)
    check_qtl(study, wanted, study.cells)
    with pytest.raises(InputError, match="stands for a cell with effects"): check_qtl(study, wanted, ["cellC"])
    with pytest.raises(InputError, match="cellA, cellB: no .contacts.cellA. .*kind: "): check_qtl(study, wanted | dict(scorers=("contact",)), study.cells)
    assert read_qtl(path, dict(draws=5))["draws"] == 5 and read_qtl(write_study(tmp_path/"none")) is None

def test_a_model_that_sees_the_promoter_alone_is_not_tested(done):
    study = load_study(done[0])[0]
    t = study_effects(study.out)
    assert len(t) == 2*240*5 and t.effect.notna().all()
    with pytest.raises(InputError, match="sees anything beside the promoter"): run_qtl(
        replace_effects(study, t.assign(effect=t.effect.where(t.distance == 0))), [done[0].parent/"eqtls.tsv"], draws=9)

def replace_effects(study, t): # a study whose perturbations gave these
    s = replace(study, out=study.out/"other")
    (s.out/"perturb"/"tiles"/"m").mkdir(parents=True, exist_ok=True)
    t.assign(dose=0.).to_csv(s.out/"perturb"/"tiles"/"m"/"t.csv.gz", index=False)
    return s

# what is left out

def test_what_is_left_out_and_how_to_get_it(done):
    study = load_study(done[0])[0]
    said = {(c, w): r for c, w, r in skipped_families(study)}
    assert set(said) == {("all", "accuracy by receptive field"), ("all", "combinations of marks"), ("all", "dose and response, effect by position"),
                         ("all", "attribution profiles"), ("cellA", "QTL enrichment"), ("cellB", "QTL enrichment")}
    assert "one dose" in said["all", "dose and response, effect by position"] and "[contacts.cellA]" in said["cellA", "QTL enrichment"]
    assert "tissues in [qtl]" in said["cellB", "QTL enrichment"] and "[models.wide]" in said["all", "accuracy by receptive field"]
    rows = pd.read_csv(study.out/"skipped.csv", keep_default_na=False)
    assert {(r.cell, r.what): r.reason for r in rows.itertuples() if r.what in FAMILIES} == said

def test_a_study_that_asks_for_nothing(tmp_path, no_figures):
    path = write_study(tmp_path, models='["ridge"]', tables='[models.ridge]\nmarks = ["H3K4me3"]\n')
    text = path.read_text().replace('cellB = "cellB"\n', "")
    path.write_text(re.sub(r"\[tracks.cellB\]\n.*\n.*\n", "", text))
    assert cli("run", path, "--jobs", "1", "--device", "cpu") == 0
    rows = pd.read_csv(tmp_path/"results"/"skipped.csv", keep_default_na=False)
    said = dict(zip(rows.what[rows.cell == "all"], rows.reason[rows.cell == "all"]))
    assert set(said) == {"accuracy by receptive field", "combinations of marks", "models across cells", "dose and response, effect by position", "attribution profiles",
                         "QTL enrichment"}
    for what, word in (("models across cells", "one cell; add [tracks.<cell>]"), ("dose and response, effect by position", "no [perturb] table"),
                       ("attribution profiles", "no [attribution] table"),
                       ("QTL enrichment", 'no [qtl] table: give eqtls = ["eqtls.tsv"]'), ("combinations of marks", '"pairs" in marks of [grid]')):
        assert word in said[what]
    study = load_study(path)[0]
    before = times(study.out, "skipped.csv")
    list_skipped(study)
    assert times(study.out, "skipped.csv") == before
