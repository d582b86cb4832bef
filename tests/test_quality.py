"Quality control: each measure by hand, each planted fault found, and nothing found where nothing is wrong."
import re, shutil
import matplotlib.pyplot as plt, numpy as np, pandas as pd, pyBigWig, pytest
import chromexpress.quality_plots                                    # which registers its panels
from chromexpress.plots import draw, save_figure
from chromexpress.quality import (ALL, COLUMNS, SHARES, QUARTILES, THIRDS, capped, check_quality, comparable, within_reach,
                                  content_warnings, empty, expression_classes,
                                  fit_of_cells, is_one_of, ACTIVE, masked_genes, peak_warnings, quality_unit, ranked,
                                  same_twice, silent_chromosomes,
                                  spearman, strand_warnings, tss_peak, window_of)
from chromexpress.quality_plots import quality_tables
from chromexpress.registry import load_study
from chromexpress.simulate import simulate
from chromexpress.tracks import INTEGRAL, Need
from chromexpress.units import CHECKED, checked, do_unit, plan_units, state
from test_real import link
from toy import cli, write_study

RIDGE = '[grid]\nmodels = ["ridge"]\nmarks = ["all"]\n'

def look(path): # study, qc, warnings; the tracks are binned in this process
    study, models = load_study(path)
    units = plan_units(study, models)
    for u in units.values():
        if u.kind == "bin": do_unit(u, units)
    found = check_quality(study, units)
    return study, pd.read_csv(study.out/"qc.csv"), found

# measures, by hand

def test_quartiles_and_ties():
    assert expression_classes([8, 7, 6, 5, 4, 3, 2, 1]).tolist() == [q for q in QUARTILES[::-1] for _ in "ab"]
    # 2 of 8 are no more than a quarter
    assert expression_classes([0, 0, 1, 2, 3, 4, 5, 6]).tolist() == [q for q in QUARTILES for _ in "ab"]
    assert expression_classes([0, 0, 0, 1, 2, 3, 4, 5, 6]).tolist() == [THIRDS[0]]*3 + [t for t in THIRDS[1:]
        for _ in "ab"]
    assert expression_classes([0, 0, np.nan, 9]).tolist() == [THIRDS[0], THIRDS[0], "", THIRDS[2]]
    assert expression_classes([5, 5, 5]).tolist() == [THIRDS[0]]*3

def test_equal_values_are_never_parted():
    v = np.random.default_rng(0).poisson(2, 500)
    c = expression_classes(v)
    assert all(len(set(c[v == k])) == 1 for k in np.unique(v)) and len(set(c)) == 4

AT = 100*(np.arange(100) + .5) - 5000
def block(first, last, height, n=4): # n genes with 1 everywhere and `height` in bins first to last - 1
    x = np.ones((n, 100))
    x[:, first:last] = height
    return x

def test_peak_by_hand():
    p = tss_peak(block(40, 60, 4), AT)                                    # ± 1 kb
    # 4 of 4 genes rise: 4/√4
    assert p == pytest.approx(dict(tss_fold=4, tss_z=2, tss_position=0, downstream_fold=1))
    p = tss_peak(block(55, 65, 3), AT)                                    # 500 to 1500 bp: half of it within 1 kb
    assert p["tss_fold"] == pytest.approx((15 + 5*3)/20) and p["tss_position"] == pytest.approx(1000)
    assert p["downstream_fold"] == pytest.approx((40 + 10*3)/50)
    assert tss_peak(np.log(block(40, 60, 4)), AT, "log")["tss_fold"] == pytest.approx(4)
    mixed = np.r_[block(40, 60, 4, 3), block(0, 10, 9, 1)]                # three genes rise, one falls
    assert tss_peak(mixed, AT)["tss_z"] == pytest.approx((3 - 1)/2)

def test_peak_of_narrow_windows_and_of_nothing():
    assert list(tss_peak(np.ones((2, 40)), 100*(np.arange(40) + .5) - 2000)) == ["downstream_fold"]
    at = 100*(np.arange(60) + .5) - 3000                                  # ± 3 kb: flanks are 2 to 3 kb away
    x = np.ones((1, 60)); x[:, 20:40] = 5
    assert tss_peak(x, at)["tss_fold"] == 5
    assert np.isnan(tss_peak(np.ones((3, 100)), AT)["tss_position"])

def test_empty_and_capped():
    x = np.array([[0, np.nan, 2], [1, 0, 0]])
    assert empty(x, 0.).tolist() == [[True, True, False], [False, True, True]]
    assert empty(x, 1.).sum() == 2 and empty(x, "skip").sum() == 1
    # 101 bins with signal: 1 to 101; their 99th percentile is 100
    x = np.r_[np.zeros(500), np.arange(1, 102)]
    assert capped(x, x == 0).max() == 100 and capped(np.zeros(3), np.ones(3, bool)).max() == 0

def test_spearman_by_hand():
    assert spearman(np.array([1., 2, 3, 4]), np.array([1., 2, 4, 3])) == (pytest.approx(.8), 4)     # 1 - 6·2/(4·15)
    assert spearman(np.array([1., 2, 2, 9]), np.array([5., 7, 7, 8])) == (pytest.approx(1), 4)
    assert np.isnan(spearman(np.array([1., 1, 1]), np.array([1., 2, 3]))[0])
    assert spearman(np.array([1., np.nan]), np.array([1., 2]))[1] == 1

def test_what_differs_between_two_cells():
    assert ranked([[1, 40], [2, 30], [3, 20], [4, 10]]).tolist() == [[-.375, .375], [-.125, .125], [.125, -.125],
                                                                     [.375, -.375]]
    y = ranked([[1, 40], [2, 30], [3, 20], [4, 10]])
    r, best, z = fit_of_cells(y, y, [1, 1, 2, 2])
    assert r == pytest.approx(np.array([[1, -1], [-1, 1]])) and best.tolist() == [1, 0]
    assert fit_of_cells(y, y[:, ::-1], [1, 1, 2, 2])[0] == pytest.approx(np.array([[-1, 1], [1, -1]]))

def test_identical_expression_is_no_number():
    y = ranked([[1, 1], [2, 2], [3, 3]])
    assert np.isnan(fit_of_cells(y, ranked([[1, 3], [2, 1], [3, 2]]), [1, 2, 3])[0]).all()

def test_a_better_sample_of_the_same_cell_type_is_no_exchange():
    "Three cells; of the first, the tracks are noisier than those of the second, which is a replicate."
    rng = np.random.default_rng(3)
    own = rng.normal(size=(2000, 3)); own[:, 1] = own[:, 0]
    signal, value = own + rng.normal(size=own.shape)*[1.2, .8, 1], own + .8*rng.normal(size=own.shape)
    r, best, _ = fit_of_cells(ranked(value), ranked(signal), np.arange(2000) // 100)
    # it fits better, but the rule of the half holds
    assert best[0] == 1 and r[0, 1] > r[0, 0] > r[0, 1]/2

def test_comparable_cells():
    assert comparable(dict(a=["H3K9me3"], b=["H3K4me3"])) == (["b"], ["H3K4me3"])
    assert comparable(dict(a=["H3K9me3"])) == ([], [])
    assert [is_one_of(a, ACTIVE)
            for a in ("ATAC-seq", "H2AFZ", "h3k9ac_rep2", "H3K9me3", "CTCF")] == [True]*3 + [False]*2

def test_silent_chromosomes_take_twenty_expected_genes():
    chrom = np.repeat(["chr1", "chr2", "chr3"], [100, 20, 19])
    assert silent_chromosomes(chrom == "chr1", chrom) == {}              # 20·100/119 = 16.8 genes
    assert silent_chromosomes(np.repeat([True, False], [100, 24]),
                              np.repeat(["chr1", "chr2"], [100, 24])) == dict(chr2=24)
    assert silent_chromosomes(np.repeat([True, False], [100, 24]), np.repeat(["chr1", "chrY"], [100, 24])) == {}

def test_the_same_twice(): assert same_twice(dict(a="x", b="y", c="x", d="y", e="z")) == [["a", "c"], ["b", "d"]]

def rows(cell, assay, n=500, **values): # of the tidy table; _p and _n: of one strand
    strand = dict(p="+", n="-")
    at = lambda m: (m[:-2], strand[m[-1]]) if m[-2] == "_" and m[-1] in strand else (m, ALL)
    return [(cell, assay, *at(m), np.nan, v, n) for m, v in values.items()]
def table(*lists):
    return pd.DataFrame([r for l in lists for r in l], columns="cell assay measure group at value n".split())
def peak(fold, z, place):
    return {f"tss_{k}{s}": v for k, v in dict(fold=fold, z=z, position=place).items() for s in ("", "_p", "_n")}

def test_peaks_that_are_there_are_not_warned_of():
    t = table(rows("a", "H3K4me3", **peak(1.5, 3, 750)), rows("a", "H3K4me1", **peak(1, 0, 0)),
              rows("a", "DNase", 99, **peak(1, 0, 0)))
    assert peak_warnings(t) == []

@pytest.mark.parametrize("fold,z", [(1.49, 9), (9, 2.9)])
def test_no_peak(fold, z):
    (check, cell, assays, text), = peak_warnings(table(rows("a", "H3K4me3", **peak(fold, z, 0)),
                                                       rows("a", "DNase", **peak(5, 9, 0))))
    assert (check, cell, list(assays)) == ("peak", "a", ["H3K4me3"])
    assert f"H3K4me3 {fold:.2f} times the flanks" in text

def test_one_strand_without_a_peak():
    t = table(rows("a", "DNase", **peak(3, 9, 0) | dict(tss_fold_n=1.1)), rows("b", "DNase", **peak(3, 9, 0)))
    (check, cell, _, text), = peak_warnings(t)
    assert (check, cell) == ("strand", "a") and "on the - strand (DNase 1.10 times" in text

def test_too_few_genes_on_one_strand_say_nothing():
    t = table(rows("a", "DNase", **{k: v for k, v in peak(3, 9, 0).items() if not k.endswith("_n")}),
              rows("a", "DNase", 99, tss_fold_n=1., tss_z_n=0.))
    assert peak_warnings(t) == []
    flat = table(rows("a", "DNase", **{k: v for k, v in peak(1, 0, 0).items() if not k.endswith("_n")}))
    assert [w[0] for w in peak_warnings(flat)] == ["peak"]

def test_a_peak_elsewhere():
    (check, _, _, text), = peak_warnings(table(rows("a", "DNase",
                                                    **peak(3, 9, 0) | dict(tss_position_p=-900, tss_position_n=880))))
    assert check == "shift" and "+ strand: DNase -900 bp, - strand: DNase 880 bp" in text

def test_bodies_are_downstream():
    assert strand_warnings(table(rows("a", "H3K36me3", downstream_fold=1.1),
                                 rows("a", "H3K27ac", downstream_fold=.5))) == []
    (check, _, assays, _), = strand_warnings(table(rows("a", "H3K36me3", downstream_fold=.6),
                                                   rows("a", "H3K79me2", 99, downstream_fold=.6)))
    assert check == "strand" and list(assays) == ["H3K36me3"]

# windows

def test_windows_come_from_what_is_there():
    assert window_of([INTEGRAL]) == (CHECKED, INTEGRAL) and window_of([Need(40_000, 500)]) is None
    assert window_of([Need(1000, 100)]) is None
    assert window_of([Need(4000, 100), Need(20_000, 50)]) == (CHECKED, Need(20_000, 50))
    assert window_of([Need(2000, 100)]) == (Need(2000, 100), Need(2000, 100))

def test_one_store_more_only_where_it_is_needed(tmp_path):
    path = write_study(tmp_path, models='["ridge"]', tables="[models.ridge]\nwindow = 40000\n")
    study, models = load_study(path)
    assert plan_units(study, models)["bin:cellA:H3K4me3"].work.stores == (Need(40_000, 100),)
    k4 = study.tracks["cellA"]["H3K4me3"]
    assert checked(k4, (Need(6000, 100),)) == (Need(6000, 100), CHECKED) and checked(k4, (INTEGRAL,)) == (INTEGRAL,)

# studies

@pytest.fixture(scope="module")
def clean(tmp_path_factory): # 400 genes, two cells, binned and looked at
    path = simulate(tmp_path_factory.mktemp("clean")/"s", genes=400, cells=2, grid=RIDGE)
    return path, *look(path)

def test_the_table_of_a_clean_study(clean):
    path, study, qc, found = clean
    assert len(found) == 0 and list(qc) == "cell assay measure group at value n".split()
    assert qc.groupby("measure").size().to_dict() == dict(
        profile=14*5*100, empty_genes=14, empty_bins=14, tss_fold=42, tss_z=42, tss_position=42, downstream_fold=42,
        chromosome_signal=14*24, correlation=2*21, correlation_of_cells=7, expression_fit=4, expression_fit_z=2)
    profile = qc[(qc.cell == "cellB") & (qc.assay == "H3K4me3") & (qc.measure == "profile")]
    assert profile.groupby("group").n.first().to_dict() == {ALL: 400} | dict.fromkeys(QUARTILES, 100)
    mean = profile.groupby("group").value.mean()
    assert mean[QUARTILES[3]] > mean[QUARTILES[2]] > mean[QUARTILES[1]] > mean[QUARTILES[0]]
    chrom = qc[(qc.measure == "chromosome_signal") & (qc.cell == "cellA") & (qc.assay == "H3K4me3")]
    assert chrom.n.sum() == 400 and (chrom.value*chrom.n).sum()/400 == pytest.approx(1)
    fit = qc[qc.measure == "expression_fit"].pivot(index="cell", columns="group", values="value")
    assert fit.loc["cellA", "cellA"] > .3 and fit.loc["cellA", "cellB"] == pytest.approx(-fit.loc["cellA", "cellA"])

@pytest.fixture(scope="module")
def three(tmp_path_factory): # 250 genes, three cells, binned and looked at
    path = simulate(tmp_path_factory.mktemp("three")/"s", genes=250, cells=3, seed=1, grid=RIDGE)
    return path, look(path)[2]

def test_no_false_alarm_in_three_cells(three): assert three[1].empty

@pytest.mark.parametrize("genes,cells,seed", [(200, 2, 2), (100, 2, 3), (48, 1, 4)])
def test_no_false_alarm(genes, cells, seed, tmp_path):
    assert look(simulate(tmp_path/"s", genes=genes, cells=cells, seed=seed, grid=RIDGE))[2].empty

def genes(change):
    def edit(at):
        t = pd.read_csv(at/"genes.tsv", sep="\t")
        change(t).to_csv(at/"genes.tsv", sep="\t", index=False)
    return edit

def anywhere(t): # as if of another assembly; the smallest chromosome of the simulation has 6 Mb
    return t.assign(tss=np.random.default_rng(1).integers(5_000, 5_990_000, len(t)))

def exchange(at):
    text = (at/"study.toml").read_text()
    (at/"study.toml").write_text(text.replace('cellA = "cellA"', 'cellA = "cellB"').replace('cellB = "cellB"',
        'cellB = "cellA"'))

def lose_chr1(at):
    old, new = at/"tracks"/"cellA-H3K27me3.bigWig", at/"tracks"/"new.bigWig"
    with pyBigWig.open(str(old)) as a, pyBigWig.open(str(new), "w") as b:
        b.addHeader(list(a.chroms().items()))
        for c in a.chroms():
            if c == "chr1" or not (i := a.intervals(c)): continue
            start, end, value = zip(*i)
            b.addEntries([c]*len(i), list(start), ends=list(end), values=list(value))
    new.replace(old)

def twice(at): shutil.copy(at/"tracks"/"cellA-H3K4me3.bigWig", at/"tracks"/"cellB-H3K9ac.bigWig")

def same_column(at):
    (at/"study.toml").write_text((at/"study.toml").read_text().replace('cellB = "cellB"', 'cellB = "cellA"'))

FAULTS = dict(exchanged=(exchange, ["expression"]*2, "its expression fits the tracks of cellB"),
              off=(genes(lambda t: t.assign(tss=t.tss + 10_000)), ["peak"]*2, "no peak at the TSS (H3K4me3"),
              start=(genes(lambda t: t.assign(tss=t.start)), ["strand"]*2, "no peak at the TSS on the - strand"),
              assembly=(genes(anywhere), ["peak"]*2, "is it another assembly"),
              shifted=(genes(lambda t: t.assign(tss=t.tss + 1500)), ["shift"]*2,
                       "the peak is off the TSS (+ strand: H3K4me3 -1,"),
              turned=(genes(lambda t: t.assign(strand=t.strand.map({"+": "-", "-": "+"}))), ["strand"]*2,
                      "H3K36me3 0."),
              lost=(lose_chr1, ["chromosome"], "no signal on chr1, where about"),
              twice=(twice, ["identical"], "H3K4me3 of cellA and H3K9ac of cellB have the same content"),
              column=(same_column, ["identical"], "the expression of cellA and cellB is the same"))

@pytest.mark.parametrize("name", FAULTS)
def test_planted_faults_are_found(name, clean, tmp_path, hear, caplog):
    (change, checks, text), path = FAULTS[name], clean[0]
    # what is binned and did not change is not binned again
    shutil.copytree(path.parent, tmp_path/"s")
    change(tmp_path/"s")
    found = look(tmp_path/"s"/"study.toml")[2]
    assert list(found.check) == checks and text in found.message[0]
    said = [r.message for r in caplog.records if r.levelname == "WARNING" and r.message.startswith("quality: ")]
    assert len(said) == len(checks) and all(m in s for m, s in zip(found.message, said))

def test_three_cells_in_a_ring(three, tmp_path):
    "The expression of each cell is given as that of the next; each finds its own tracks."
    path = shutil.copytree(three[0].parent, tmp_path/"s")/"study.toml"
    path.write_text(re.sub(r'cell([ABC]) = "cell\1"',
                           lambda m: f'cell{m[1]} = "cell{dict(A="B", B="C", C="A")[m[1]]}"', path.read_text()))
    found = look(path)[2]
    assert list(found.check) == ["expression"]*3
    assert [re.search("tracks of (cell.)", m)[1] for m in found.message] == ["cellB", "cellC", "cellA"]

# as a unit, on the command line

def test_prepare_checks_and_says_so(clean, tmp_path, capsys):
    path = shutil.copytree(clean[0].parent, tmp_path/"s", ignore=shutil.ignore_patterns("results"))/"study.toml"
    exchange(path.parent)
    assert cli("prepare", path, "--jobs", "1") == 0
    out, err = capsys.readouterr()
    results = path.parent/"results"
    assert out.splitlines()[-1] == f"quality: 2 warnings, see {results/'qc_warnings.csv'}"
    assert err.count("WARNING quality: cell") == 2 and "quality: 14 tracks looked at" in err
    panels = {"tss-profiles", "track-correlation", "expression-fit", "empty-windows", "chromosome-signal"}
    assert {p.stem for p in (results/"figures").glob("quality-*.svg")} == {f"quality-{p}" for p in panels}
    before = {p: p.stat().st_mtime_ns for p in results.rglob("*") if p.is_file()}
    assert cli("prepare", path, "--jobs", "1") == 0
    out, err = capsys.readouterr()
    assert "quality: 2 warnings" in out and "tracks looked at" not in err
    assert before == {p: p.stat().st_mtime_ns for p in results.rglob("*") if p.is_file()}

def test_it_is_done_again_when_expression_changes(clean, tmp_path):
    shutil.copytree(clean[0].parent, tmp_path/"s")
    path = tmp_path/"s"/"study.toml"
    def unit():
        study, models = load_study(path)
        return quality_unit(study, plan_units(study, models))
    assert state(unit()) == "current" and len(unit().after) == 14 and unit().files == ("qc.csv", "qc_warnings.csv")
    exchange(path.parent)
    assert state(unit()) == "stale"
    look(path)
    assert state(unit()) == "current"

def test_without_expression_there_is_one_class(tmp_path):
    path = write_study(tmp_path, models='["ridge"]', tables="")
    study, models = load_study(path)
    study.__dict__["expression"] = study.expression.assign(value=np.nan, y=np.nan, label=np.nan)
    units = plan_units(study, models)
    for u in units.values():
        if u.kind == "bin": do_unit(u, units)
    assert check_quality(study, units).empty
    qc = pd.read_csv(study.out/"qc.csv")
    assert set(qc[qc.measure == "profile"].group) == {ALL} and not qc.measure.str.startswith("expression").any()

def test_tracks_that_are_not_binned_are_left_out(tmp_path):
    study, models = load_study(write_study(tmp_path, models='["ridge"]', tables=""))
    units = plan_units(study, models)
    assert check_quality(study, units).empty and not (study.out/"qc.csv").exists()
    do_unit(units["bin:cellA:H3K4me3"], units)
    check_quality(study, units)
    assert set(pd.read_csv(study.out/"qc.csv").assay) == {"H3K4me3"}
    do_unit(units["bin:cellA:H3K27ac"], units)
    check_quality(study, units)
    assert set(pd.read_csv(study.out/"qc.csv").assay) == {"H3K4me3", "H3K27ac"}

# a blacklist

def with_list(path, text): # a study that names a blacklist
    (path.parent/"list.bed").write_text(text)
    path.write_text(path.read_text().replace('assembly = "hg19"\n', 'assembly = "hg19"\nblacklist = "list.bed"\n'))
    return path

def test_a_blacklist_from_file_to_table(tmp_path):
    "g000 has its TSS at 1,000,000 (0-based) of chr1, and blocks of signal to 3 kb around it; all of its upstream half is masked."
    plain, path = [write_study(tmp_path/n, models='["ridge"]', tables="") for n in "ab"]
    with_list(path, "chr1\t990000\t1000000\nchrX\t1\t2\n")
    x, (study, qc, found) = look(plain)[0], look(path)
    share = pd.read_csv(study.out/"masked.csv")
    assert share.columns.tolist() == ["gene_id", "window", "share"] and len(share) == 240*share.window.nunique()
    assert share[share.share > 0].values.tolist() == [["g000", w, .5] for w in sorted(share.window.unique())]
    m = qc[qc.measure == "masked_genes"]
    assert m[m["at"] == 10_000].set_index("group").value.to_dict() == pytest.approx({"none": 239/240, "up to 10 %": 0, "up to 50 %": 1/240, "more than half": 0})
    (store,) = (study.out/"tracks"/"cellA"/"H3K4me3").glob("tss-w10000*.npy")
    a, b = [np.load(o/store.relative_to(study.out)) for o in (x.out, study.out)]
    assert (a[0, 20:50] > 0).any() and not b[0, :50].any() and np.array_equal(a[0, 50:], b[0, 50:]) and np.array_equal(a[1:], b[1:])
    assert found.empty and not (x.out/"masked.csv").exists()
    before = plan_units(*load_study(path))
    (path.parent/"list.bed").write_text("chr1\t990000\t1000001\n")
    after = plan_units(*load_study(path))
    assert {state(u) for u in after.values() if u.kind == "bin"} == {"stale"}                  # all are binned anew
    assert {i for i, u in before.items() if u.kind == "bin"} == {i for i, u in after.items() if state(u) == "stale"}

def test_a_list_that_takes_too_much():
    t = pd.DataFrame(dict(gene_id=[f"g{i}" for i in range(100)], window=2000, share=[.6]*2 + [.5] + [.1]*3 + [0.]*94))
    rows, found = masked_genes(t)
    assert [r[5] for r in rows] == [.94, .03, .01, .02] and [r[6] for r in rows] == [100]*4
    assert found == [("masked", "", [], "more than half of 2,000 bp around the TSS is blacklisted at 2 of 100 genes (g0, g1); is it the right list?")]
    assert masked_genes(t.iloc[1:])[1] != [] and masked_genes(t.iloc[2:])[1] == []             # one of 99 is more than 1 %

@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, 1.])
def test_panels_of_next_to_nothing(value):
    "One chromosome, one track, no number: nothing collapses, and nothing divides by zero."
    of = dict([("chromosome-signal", [("c", "K4", "chromosome_signal", "chr1")]), ("track-correlation", [("c", "K4", "correlation", "K27")]),
               ("expression-fit", [(a, "K4", "expression_fit", b) for a in "ab" for b in "ab"]), ("tss-profiles", [("c", "K4", "profile", ALL)]),
               ("masked-windows", [("all", "all", "masked_genes", k) for k in SHARES])])
    for name, rows in of.items():
        fig = draw(name, pd.DataFrame([(*r, 5000., value, 10) for r in rows], columns=COLUMNS))
        fig.canvas.draw()
        texts = [t.get_text() for ax in fig.axes for t in ax.texts]
        if name == "expression-fit": assert texts.count("–" if np.isnan(value) else f"{value:.2f}") == 4
        plt.close(fig)

@pytest.mark.filterwarnings("error")
def test_profiles_of_two_tracks_have_room_beside_their_legend(tmp_path):
    marks, ends = ("H3K4me3", "H3K36me3"), (-4950., 4950.)
    rows = [("over_input", m, "profile", q, at, 1., 9) for m in marks for q in (ALL, *QUARTILES) for at in ends]
    t = pd.DataFrame(rows, columns=COLUMNS)
    save_figure(fig := draw("tss-profiles", t), t, tmp_path/"profiles")
    first, second = [o.get_window_extent() for o in fig.axes[0].texts if o.get_text() in marks]
    assert first.x1 < second.x0 and fig.axes[0].get_window_extent().width > .4*fig.bbox.width
    plt.close(fig)

# real data

def test_k562_of_two_megabases_is_said_to_be_nearly_empty_and_nothing_else(data, tmp_path):
    study, qc, found = look(link(data.resolve(), tmp_path))
    assert list(found.check) == ["empty"]*2 and list(found.assay) == ["H3K27ac", "H3K27me3"]
    assert "no signal around 19,077 of 19,095 TSSs" in found.message[0]

# signal against expression, gene by gene

def test_genes_between_the_first_and_the_last_with_signal():
    genes = pd.DataFrame(dict(chrom=["chr1"]*4 + ["chr2"]*2, tss=[40, 10, 20, 30, 5, 6]))
    assert within_reach(np.array([False, True, False, True, False, False]), genes).tolist() == [False, True, True, True, False, False]
    assert not within_reach(np.zeros(6, bool), genes).any()

def test_each_dot_is_a_gene_with_its_rank_correlation():
    t = pd.DataFrame(dict(cell="A", assay="H3K4me3", measure="activity 1 kb around the TSS", group=list("abcd"), at=[0., 1, 2, 3],
                          value=[1., 0, 2, 3], n=4))
    assert set(quality_tables(t)) == {"signal-expression"}
    ax = draw("signal-expression", t).axes[0]
    assert "Spearman 0.80, n = 4 genes" in [o.get_text() for o in ax.texts]          # 1 − 6·2/(4·15)
    (x, y), = [line.get_data() for line in ax.lines]
    np.testing.assert_allclose(x, .1 + .8*np.array([0, 1, 2, 3])/3)
    np.testing.assert_allclose(y, .14 + .66*np.array([1, 0, 2, 3])/3)
