"GM12878 and H1 on hg38, from peaks and CAGE to the metrics: each track is binned once for all of these tests."
import json, shutil
from pathlib import Path
import numpy as np, pandas as pd, pytest
from chromexpress.quality import THIRDS
from test_quality import look
from toy import finish, unpack

STUDY = Path(__file__).parent/"studies"/"encode_hg38.toml"
MODELS = '[models.nested]\nfolds = ["1"]\nforests = 1\n'

@pytest.fixture(scope="module")
def encode(data, tmp_path_factory): # results of ridge on all seven tracks, and of one forest in fold 1
    folder = tmp_path_factory.mktemp("encode")
    unpack(data/"encode_hg38.tar.xz", folder)
    study = Path(shutil.copy(STUDY, folder/"encode_hg38"))
    study.write_text(study.read_text() + MODELS)
    return finish(study, only=lambda u: u.kind == "bin" or u.work.run.model in ("ridge", "nested"))

def metrics(out, model, fold):
    return pd.read_csv(out/"metrics.csv", dtype=dict(fold=str)).query("model == @model and fold == @fold").set_index("cell")

def test_ridge_predicts_blind_genes_of_both_cells(encode):
    m = metrics(encode, "ridge", "all")
    assert set(m.index) == {"gm12878", "h1"} and (m.n == 7599).all()
    assert (m.pearson > .78).all() and (m.auroc > .86).all()
    assert (m.pearson_low < m.pearson).all() and (m.pearson_block_high > m.pearson).all()

def test_genes_without_labels_are_predicted_all_the_same(encode):
    columns = ["model", "cell", "fold", "split", "gene_id", "y_true", "y_pred"]
    p = pd.read_csv(encode/"predictions.csv", usecols=columns)
    genes = pd.read_csv(encode.parent/"genes.tsv", sep="\t").set_index("gene_name")
    p["chrom"] = p.gene_id.map(genes.chrom)
    per_run = p.groupby(["model", "cell", "fold"]).size()
    assert len(per_run) == 2*(4 + 1) and (per_run == len(genes)).all()
    withheld = p[p.chrom.isin(["chr14", "chr19"])]
    assert (withheld.split == "unlabelled").all() and withheld.y_true.isna().all()
    assert np.isfinite(withheld.y_pred).all()
    assert p.y_true.notna().equals(p.split != "unlabelled")

def test_halves_are_rebalanced_where_labels_are_missing(encode):
    run = json.loads(next((encode/"runs").rglob("1-s0/run.json")).read_text())
    assert run["chromosomes"]["valid"] == ["chr6"] and run["chromosomes"]["test"] == ["chr5", "chr8", "chr14"]

def test_nested_windows_predict_better(encode):
    "One forest, one fold: r of three forests is .847 and .859."
    nested, ridge = [metrics(encode, model, "1").pearson for model in ("nested", "ridge")]
    assert len(nested) == 2 and (nested > .835).all() and (nested > ridge + .02).all()

def test_as_it_is_and_with_its_cells_exchanged(encode):
    study, qc, found = look(encode.parent/STUDY.name)
    assert found.empty
    n = qc[(qc.cell == "gm12878") & (qc.assay == "DNase") & (qc.measure == "profile")].groupby("group").n.first()
    assert list(n[list(THIRDS)]) == [8392, 1991, 1952, 1975]             # 59 % are at 0
    other = encode.parent/"exchanged.toml"
    other.write_text((encode.parent/STUDY.name).read_text().replace('gm12878 = "gm12878"', 'gm12878 = "h1"')
                     .replace('\nh1 = "h1"', '\nh1 = "gm12878"'))
    found = look(other)[2]
    assert list(found.check) == ["expression"]*2
    assert "(r = 0.47) better than its own (r = -0.47, 14,310 genes)" in found.message[0]
