"Studies of real inputs whose stores and tables can be worked out from the files alone."
import shutil
from pathlib import Path
import numpy as np, pandas as pd, pytest
from toy import finish, quiet_log, units_of, unpack
from chromexpress.batch import run_units
from chromexpress.contacts import keep_partners
from chromexpress.crossval import load_fitted
from chromexpress.gene_views import draw_contacts
from chromexpress.partners import no_partners
from chromexpress.registry import load_study

STUDIES = Path(__file__).parent/"studies"
MARKS = ["H3K4me1", "H3K4me3", "H3K9me3", "H3K27me3", "H3K36me3", "H3K27ac", "H3K9ac"]

# E003, as Chromoformer's authors published it

@pytest.fixture(scope="module")
def e003(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("e003")
    unpack(data/"e003_demo.tar.xz", folder)
    study = Path(shutil.copy(STUDIES/"e003_demo.toml", folder/"e003_demo"))
    finish(study)
    return study

def test_the_stores_are_the_arrays_averaged(e003):
    "Depths are float16 whole numbers; their sums are not, so they are cast first."
    study, _ = load_study(e003)
    meta = pd.read_csv(e003.parent/"demo_meta.csv").set_index("gene_id").loc[study.genes.gene_id]
    assert len(meta) == 100 and (study.genes.tss.to_numpy() == meta.start).all() and (study.genes.strand.to_numpy() == meta.strand).all()
    arrays = [np.load(e003.parent/"signals"/f"{c}:{s - 20_000}-{s + 20_000}.npy") for c, s in zip(meta.chrom, meta.start)]
    assert {(a.shape, a.dtype.name) for a in arrays} == {((7, 40_000), "float16")}
    for row, mark in enumerate(MARKS):
        store = np.load(e003.parent/"results"/"tracks"/"E003"/mark/"tss-w40000-b100.npy")
        by_hand = np.stack([a[row].astype(float).reshape(400, 100).mean(1) for a in arrays])
        assert by_hand.max() > 5
        np.testing.assert_allclose(store, by_hand, rtol=1e-6, atol=1e-6)

def test_ridge_goes_through_on_its_own_fold(e003):
    study, _ = load_study(e003)
    fold = study.folds["demo"]
    assert (fold.train, fold.valid, fold.test) == (("chr1", "chr8", "chr14", "chrY"), ("chr5",), ("chr6",))
    p = pd.read_csv(e003.parent/"results"/"predictions.csv").query("model == 'ridge'")
    assert p.marks.nunique() == 8 and (p.groupby("marks").size() == 100).all()
    assert p[p.marks == "H3K4me3"].split.value_counts().to_dict() == dict(train=53, test=25, valid=22)
    m = pd.read_csv(e003.parent/"results"/"metrics.csv").query("fold == 'demo' and model == 'ridge'").set_index("marks")
    assert (m.n == 25).all() and m.pearson["+".join(MARKS)] > .3

def test_chromoformer_goes_through_with_its_partners(e003):
    "Full size, two epochs; what is predicted without the fragments differs where a gene has some, and nowhere else."
    p = pd.read_csv(e003.parent/"results"/"predictions.csv").query("model == 'chromoformer'")
    assert p.split.value_counts().to_dict() == dict(train=53, test=25, valid=22) and p.marks.unique().tolist() == ["+".join(MARKS)]
    assert np.isfinite(p.y_pred).all() and p.y_pred.std() > 0
    (unit,) = [u for u in units_of(e003).values() if u.kind == "run" and u.work.run.model == "chromoformer"]
    task = unit.work
    predict, x = load_fitted(task, unit.folder), task.model.inputs(task, np.arange(100))
    y = predict(x)
    np.testing.assert_allclose(y, p.set_index("gene_id").y_pred[task.study.genes.gene_id], rtol=1e-4, atol=1e-5)
    alone = predict(x | dict(partners=no_partners(100, 7, task.options.bins)))
    has = (x["partners"].number >= 0).any(1)
    assert has.sum() == 89 and (np.abs(alone - y) > 1e-6)[has].all()
    np.testing.assert_allclose(alone[~has], y[~has], atol=1e-5)

def test_its_partners_are_those_of_the_table(e003):
    study, _ = load_study(e003)
    kept = pd.read_csv(keep_partners(study.contacts["E003"], study.genes, study.sizes, study.assembly, e003.parent/"results"/"contacts"))
    meta = pd.read_csv(e003.parent/"demo_meta.csv", keep_default_na=False)
    listed = {g: [n for n in ns.split(";") if n] for g, ns in zip(meta.gene_id, meta.neighbors)}
    assert kept.gene_id.nunique() == 89
    for gene, t in kept.groupby("gene_id"):
        assert sorted(f"{c}:{s}-{e}" for c, s, e in zip(t.chrom, t.start, t.end)) == sorted(listed[gene])

# K562 on chr22: contacts

def test_chr22_is_prepared_without_models(data, tmp_path):
    unpack(data/"encode_hg38.tar.xz", tmp_path, "encode_hg38/gm12878/H3K4me3.narrowPeak")
    (tmp_path/"k562_chr22").symlink_to((data/"k562_chr22").resolve())
    path = Path(shutil.copy(STUDIES/"k562_chr22.toml", tmp_path))
    study, models = load_study(path)
    assert models == {} and len(study.genes) == 462 and np.isnan(study.y("K562")).sum() == 41
    table = pd.read_csv(data/"k562_chr22"/"genes.hg38.tsv.gz", sep="\t").set_index("symbol").loc[study.genes.gene_id]
    ends = np.where(table.strand == "+", table.start, table.end - 1)
    assert (study.genes.tss.to_numpy() == ends).mean() > .9
    np.testing.assert_allclose(study.y("K562"), np.log2(table.tpm + 1))
    units = units_of(path)
    assert set(units) == {"bin:K562:H3K4me3"}
    with quiet_log(): run_units(path, units, 1, device="cpu")
    kept = pd.read_csv(keep_partners(study.contacts["K562"], study.genes, study.sizes, study.assembly, tmp_path/"results"/"contacts"))
    assert kept.gene_id.nunique() > 400 and kept.groupby("gene_id").size().max() == 8 and set(kept.chrom) == {"chr22"}
    far = abs(kept.start + 2_500 - kept.gene_id.map(study.genes.set_index("gene_id").tss))
    assert 20_000 <= far.min() + 2_500 and far.max() <= 1_002_500 and (kept.score > 0).all()
    # the gene that has most of them is drawn, or those that the study names
    view = pd.read_csv(draw_contacts(study, units)[0])
    most = kept.groupby("gene_id").score.agg(["size", "sum"]).query("size == 8")["sum"].idxmax()
    assert view.gene.unique().tolist() == [most] and (view.part == "partner").sum() == 8 and "H3K4me3" in set(view.name)
    assert view[view.part == "partner"].value.tolist() == pytest.approx(kept[kept.gene_id == most].score.tolist())
    path.write_text(path.read_text() + '\n[figures]\ngenes = ["EP300", "MYH9"]\n')
    draw_contacts(load_study(path)[0], units)
    figures = sorted(f.name for f in (tmp_path/"results"/"figures").glob("*.svg"))
    assert {"K562-EP300-gene-contacts.svg", "K562-MYH9-gene-contacts.svg"} < set(figures)
    assert "EP300 →" in (tmp_path/"results"/"figures"/"K562-EP300-gene-contacts.svg").read_text()
