"""Real inputs, from the file to the metrics: K562 signal and reads on hg19, tables of K562 and H1, contacts. Those of
encode_hg38 have a file of their own."""
import json, shutil
from pathlib import Path
import cooler, numpy as np, pandas as pd, pytest
from scipy.stats import spearmanr
from chromexpress.cli import main
from chromexpress.contact_plots import gene_view
from chromexpress.contacts import (Cool, _Sums, check_cooler, fit_weights, gap_to, meta_edges, partners_of_cooler,
                                   patches, read_meta,
                                   with_edges, write_meta)
from chromexpress.core import InputError
from chromexpress.genome import chrom_sizes, read_genes
from chromexpress.plots import draw, save_figure
from chromexpress.registry import load_study
from chromexpress.signal import open_source
from chromexpress.tracks import table_windows
from toy import unpack

STUDIES = Path(__file__).parent/"studies"

def link(data, folder): # the K562 study beside its inputs
    for f in ("roadmap_genes.tsv.gz", "roadmap_rpkm.tsv.gz", "k562_chr9"): (folder/f).symlink_to(data/f)
    return Path(shutil.copy(STUDIES/"k562_chr9.toml", folder))

def test_k562_is_prepared(data, tmp_path):
    main(["prepare", str(link(data.resolve(), tmp_path))])
    tracks = tmp_path/"results"/"tracks"
    genes = pd.read_csv(next(tracks.glob("genes-*.csv")))
    inside = ((genes.chrom == "chr9") & genes.tss.between(4_003_000, 5_997_000)).to_numpy()
    for mark in ("H3K27ac", "H3K27me3"):
        x = np.load(tracks/"K562"/mark/"tss-w6000-b100.npy")
        assert x.shape == (len(genes), 60) and (x[inside] > 0).any(axis=1).all()
        assert not x[genes.chrom != "chr9"].any()

def test_another_assembly_is_refused_before_work_starts(data, tmp_path):
    study = link(data.resolve(), tmp_path)
    study.write_text(study.read_text().replace("H3K27me3.hg19", "H3K4me3.hg38"))
    with pytest.raises(InputError, match=r"H3K4me3\.hg38\.bigWig: chr9 is 138394717 bp long .* looks like hg38"):
        load_study(study)
    assert not (tmp_path/"results").exists()

# tables of reads per gene and bin

@pytest.fixture(scope="module")
def deepdiff(data, tmp_path_factory): # results of three models on the tables of two cells
    folder = tmp_path_factory.mktemp("deepdiff")
    for f in ("roadmap_genes.tsv.gz", "roadmap_rpkm.tsv.gz", "deepdiff"): (folder/f).symlink_to(data/f)
    study = Path(shutil.copy(STUDIES/"deepdiff.toml", folder))
    main(["run", str(study), "--jobs", "1"])
    return study

def test_tables_predict_blind_genes_of_both_cells(deepdiff):
    m = pd.read_csv(deepdiff.parent/"results"/"metrics.csv").query("fold == 'all'").set_index(["model", "cell"])
    assert set(m.index) == {(model, cell) for model in ("ridge", "activity", "promoter_cnn")
                            for cell in ("E123", "E003")}
    assert (m.n[["ridge", "activity"]] == 397).all() and (m.n["promoter_cnn"] < 150).all()
    assert (m.pearson["ridge"] > .65).all() and (m.pearson["activity"] > .6).all()
    assert (m.pearson["promoter_cnn"] > .5).all()

def test_bin_1_of_the_tables_is_the_lowest_on_the_chromosome(deepdiff):
    """H3K36me3 lies over gene bodies: in a genome's order it is to the right of the TSS of genes on +, to the left
    on -."""
    study, _ = load_study(deepdiff)
    minus = (study.genes.strand == "-").to_numpy()
    assert len(minus) == 397 and minus.sum() == 184
    for cell in ("E123", "E003"):
        x = table_windows(study.tracks[cell]["H3K36me3"], study.genes)
        assert x.shape == (397, 200) and (x % 1 == 0).all()
        left, right = x[:, :100].mean(1), x[:, 100:].mean(1)
        assert right[~minus].mean() > 1.4*left[~minus].mean() and left[minus].mean() > 1.3*right[minus].mean()
        assert (right > left)[~minus].mean() > .6 and (left > right)[minus].mean() > .6
        stored = np.load(deepdiff.parent/"results"/"tracks"/cell/"H3K36me3"/"tss-w6000-b100.npy")
        assert (stored == x[:, 70:130]).all()

def test_the_tables_do_not_reach_40_kb(deepdiff, tmp_path):
    for f in deepdiff.parent.iterdir(): (tmp_path/f.name).symlink_to(f)
    wide = tmp_path/"wide.toml"
    wide.write_text(deepdiff.read_text() + "window = 40000\n")
    with pytest.raises(InputError,
            match=r"\[models.promoter_cnn\] with \[tables\] E123, E003: needs 40,000 bp .* 200 bins of 100 bp"):
        load_study(wide)

# contacts

@pytest.fixture(scope="module")
# K562 Hi-C of chr22 at 5 kb, and its 462 genes: their symbols are unique, three of them share an Ensembl id
def chr22(data):
    genes = read_genes(data/"k562_chr22"/"genes.hg38.tsv.gz", chrom_sizes("hg38"), dict(gene_id="symbol"), tss_base=0)
    return Cool(data/"k562_chr22"/"K562.hg38.chr22.5kb.cool", 5_000), genes

def test_partners_of_the_genes_of_chr22(chr22):
    cool, genes = chr22
    weights = check_cooler(cool, chrom_sizes("hg38"), ["chr22"], "hg38")
    assert len(genes) == 462 and np.isfinite(weights).sum() == 6608
    masked = set(genes.gene_id[np.isnan(weights[genes.tss//5000])])
    raw = partners_of_cooler(cool, genes, kind="raw")
    oe = partners_of_cooler(cool, genes, weights)
    assert len(masked) == 17 and set(oe.gene_id) == set(genes.gene_id) - masked and raw.gene_id.nunique() == 454
    for e in (raw, oe):
        size, score = e.groupby("gene_id").size(), e.groupby("gene_id").score
        assert size.max() == 8 and (score.diff().dropna() <= 0).all() and len(e) == size.sum()
        assert not e.duplicated(["gene_id", "start"]).any()
        tss = e.gene_id.map(genes.set_index("gene_id").tss)
        assert gap_to(tss, e.start, e.end).min() >= 20_000 and gap_to(tss, e.start, e.end).max() <= 1_000_000
    assert np.isfinite(weights[oe.start//5000]).all()
    # one gene against the library's own matrix
    tss = genes.set_index("gene_id").tss
    row = cooler.Cooler(str(cool.path)).matrix(balance=False).fetch(f"chr22:{tss['EP300']}-{tss['EP300'] + 1}",
                                                                    "chr22")[0].astype(float)
    row[gap_to(tss["EP300"], 5000*np.arange(10164), 5000*np.arange(1, 10165)) < 20_000] = 0
    assert raw[raw.gene_id == "EP300"].score.tolist() == np.sort(row)[::-1][:8].tolist()
    near = lambda e: gap_to(e.gene_id.map(tss), e.start, e.end).mean()
    assert near(oe) > 3*near(raw)                                             # raw counts fade with distance

def test_the_map_of_chr22_is_of_hg38_whatever_its_header_says(chr22, tmp_path):
    cool, _ = chr22
    assert fit_weights(_Sums(cool, "weight"))["multiply"] < 1e-6 and fit_weights(_Sums(cool, "weight"))["divide"] > 1
    i, j, count = (np.concatenate(x) for x in zip(*cool.pixels()))
    bins = cooler.binnify(pd.Series({"chr22": chrom_sizes("hg19")["chr22"]}), 5_000)
    cooler.create_cooler(str(tmp_path/"as19.cool"), bins,
                         pd.DataFrame(dict(bin1_id=i, bin2_id=j, count=count.astype(int))))
    with pytest.raises(InputError, match=r"in gaps of hg19, the first at chr22:10570000-10575000; .* look like hg38"):
        check_cooler(Cool(tmp_path/"as19.cool", 5_000), chrom_sizes("hg19"), ["chr22"], "hg19", "raw")

def test_patches_of_chr22(chr22, tmp_path):
    cool, genes = chr22
    weights = check_cooler(cool, chrom_sizes("hg38"), ["chr22"], "hg38")
    some = genes.iloc[::40]
    x = patches(cool, some, 205_000, weights, "balanced", tmp_path/"x.npy")
    lib = cooler.Cooler(str(cool.path)).matrix(balance=True)
    for p, tss in zip(x, some.tss):
        start = tss//5000*5000 - 100_000
        np.testing.assert_allclose(p, lib.fetch(f"chr22:{start}-{start + 205_000}"), rtol=1e-6)

def test_a_figure_of_ep300_with_contacts_and_tracks(chr22, data, tmp_path):
    cool, genes = chr22
    edges = partners_of_cooler(cool, genes, check_cooler(cool, chrom_sizes("hg38"), ["chr22"], "hg38"),
                               farthest=600_000)
    # of another cell: there are no tracks of K562 on hg38
    peaks = "encode_hg38/gm12878/H3K27ac.narrowPeak"
    unpack(data/"encode_hg38.tar.xz", tmp_path, peaks)
    source = open_source(tmp_path/peaks, chrom_sizes("hg38"), ["chr22"])
    view = gene_view("EP300", genes, edges, chrom_sizes("hg38"), {"GM12878 H3K27ac": source})
    svg = save_figure(draw("gene-contacts", view), view, tmp_path/"EP300-gene-contacts").read_text()
    assert "EP300 →" in svg and "← RANGAP1" in svg and "GM12878 H3K27ac" in svg
    assert "8 partners with their scores" in svg
    tss = view[view.part == "tss"].start.iloc[0]
    at_tss = view[(view.part == "track") & (view.end > tss - 2_000) & (view.start < tss + 2_000)]
    assert at_tss.value.max() > 5*view[view.part == "track"].value.mean()

def test_the_published_table_is_read_and_written_to_the_byte(data, tmp_path):
    unpack(data/"e003_demo.tar.xz", tmp_path, "e003_demo/demo_meta.csv")
    file = tmp_path/"e003_demo"/"demo_meta.csv"
    meta = read_meta(file)
    edges = meta_edges(meta)
    assert len(meta) == 100 and (meta.neighbors == "").sum() == 11 and len(edges) == 580
    assert edges.score.min() > 1.5 and (edges.end - edges.start).max() <= 40_000
    assert edges.groupby("gene_id").size().max() == 8
    write_meta(tmp_path/"again.csv", with_edges(meta.assign(neighbors="", scores=""), edges))
    assert (tmp_path/"again.csv").read_bytes() == file.read_bytes()

# aligned reads, a region of a library

@pytest.fixture(scope="module")
def reads(data, tmp_path_factory): # the study of K562's reads, binned
    pytest.importorskip("pysam", reason="the extra `reads` is not installed")
    folder = tmp_path_factory.mktemp("reads")
    for f in ("roadmap_genes.tsv.gz", "roadmap_rpkm.tsv.gz", "k562_reads_chr1"):
        (folder/f).symlink_to(data.resolve()/f)
    study = Path(shutil.copy(STUDIES/"k562_reads.toml", folder))
    main(["prepare", str(study)])
    return study

def test_reads_around_the_tss_follow_expression(reads):
    "35 genes have their TSS within the region; H3K4me3 within 1 kb of it, H3K36me3 over 10 kb downstream."
    study, _ = load_study(reads)
    minus, tss = (study.genes.strand == "-").to_numpy(), study.genes.tss
    inside = ((study.genes.chrom == "chr1") & tss.between(22_520_000, 24_980_000)).to_numpy()
    for cell, bounds in dict(K562=(.7, .75), over_input=(.65, .7)).items():
        y = study.y(cell)
        good = inside & np.isfinite(y)
        assert good.sum() == 35
        for mark, place, bound in zip(("H3K4me3", "H3K36me3"), (slice(90, 110), slice(100, 200)), bounds):
            x = np.load(reads.parent/"results"/"tracks"/cell/mark/"tss-w20000-b100.npy")
            assert x.shape == (len(tss), 200) and not x[study.genes.chrom != "chr1"].any()
            x[minus] = x[minus, ::-1]
            assert spearmanr(x[good, place].mean(axis=1), y[good])[0] > bound, (cell, mark)

def test_prepare_draws_signal_against_expression_gene_by_gene(reads):
    out = reads.parent/"results"
    t = pd.read_csv(out/"qc.csv").query("measure.str.startswith('activity')", engine="python")
    assert (out/"figures"/"quality-signal-expression.png").stat().st_size > 10_000
    rho = {k: (len(d), round(spearmanr(d["at"], d.value)[0], 2)) for k, d in t.groupby(["cell", "measure"])}
    assert rho == {("K562", "activity 1 kb around the TSS"): (35, .76), ("K562", "activity 10 kb downstream of the TSS"): (35, .82),
                   ("over_input", "activity 1 kb around the TSS"): (35, .73), ("over_input", "activity 10 kb downstream of the TSS"): (35, .81)}
    study, _ = load_study(reads)
    y = pd.Series(study.y("K562"), study.genes.gene_id)
    np.testing.assert_allclose(t.value, t.group.map(y), rtol=1e-6)

def test_the_reads_that_count_are_in_the_sidecar(reads):
    side = lambda cell: json.loads(
        (reads.parent/"results"/"tracks"/cell/"H3K4me3"/"tss-w20000-b100.json").read_text())
    assert side("K562")["scale"] == "linear" and side("over_input")["scale"] == "log"
    assert side("K562")["reads"]["chromosomes"] == {"chr1": dict(counted=50_166, records=50_340, unmapped=174)}
    assert side("over_input")["reads"]["control_reads"]["chromosomes"]["chr1"]["counted"] == 38_276

def test_depth_is_that_of_every_aligned_base(data):
    pysam, path, start, end = pytest.importorskip(
        "pysam"), data/"k562_reads_chr1"/"K562_Input.bam", 22_490_000, 25_010_000
    by_hand = np.zeros(end - start)
    with pysam.AlignmentFile(str(path)) as bam:
        for r in bam:
            if not r.is_unmapped: by_hand[r.reference_start - start:r.reference_end - start] += 1
    assert (open_source(path, chrom_sizes("hg19"), ["chr1"]).read("chr1", start, end) == by_hand).all()
    assert by_hand.sum() > 4e6

def test_a_wrong_length_of_a_chromosome_without_reads_is_a_warning(data, hear, caplog):
    source = open_source(data/"k562_reads_chr1"/"K562_Input.bam", chrom_sizes("hg19"), ["chr1", "chr2"])
    assert source.names == {"chr1": "chr1"}
    assert "chr2 of another length in its header than in the study" in caplog.text
    with pytest.raises(InputError,
                       match="K562_Input.bam: chr1 is 249250621 bp long in its header, 248956422 bp in hg38"):
        open_source(data/"k562_reads_chr1"/"K562_Input.bam", chrom_sizes("hg38"), ["chr1"])
