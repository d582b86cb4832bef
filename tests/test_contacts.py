"""Partners of genes: each format by hand, ties, limits, a simulated study, coolers that are not what they say, and
bad input."""
import gzip, json, shutil, sys
from types import SimpleNamespace
import cooler, numpy as np, pandas as pd, pytest
from chromexpress.contacts import (GAPS, Cool, _Sums, best_partners, bins_in_gaps, check_cooler, expected_contacts,
                                   fit_weights, gap_to, keep_partners, meta_edges,
                                   partners_of_cooler, partners_of_pairs, patches, read_edges, read_meta, read_pairs,
                                   resolutions, seen_base,
                                   with_edges, write_meta)
from chromexpress.core import InputError
from chromexpress.genome import ASSEMBLIES, chrom_sizes
from chromexpress.registry import load_study
from chromexpress.simulate import simulate
from chromexpress.study import new_study
from toy import cli

HG19 = chrom_sizes("hg19")

def genes_at(*rows): # (gene_id, chrom, tss)
    return pd.DataFrame(rows, columns=["gene_id", "chrom", "tss"]).assign(strand="+", start=lambda t: t.tss,
                                                                          end=lambda t: t.tss + 1)

def rows(edges): return edges[["gene_id", "chrom", "start", "end", "score"]].values.tolist()

# every format holds the same four pairs: baits at 1000-2000 (TSS of A at 1500) and 5000-6000 (TSS of B at 5000)

A_AND_B = genes_at(("A", "chr1", 1500), ("B", "chr1", 5000))
PAIRS = [("chr1", 1000, 2000, "chr1", 9000, 9500, 4.0), ("chr1", 1000, 2000, "chr1", 5000, 6000, 3.0),
         ("chr1", 5000, 6000, "chr1", 7000, 7500, 2.0), ("chr1", 1000, 2000, "chr2", 300, 400, 5.0)]
CIS = [["A", "chr1", 9000, 9500, 4.0], ["A", "chr1", 5000, 6000, 3.0], ["B", "chr1", 1000, 2000, 3.0],
       ["B", "chr1", 7000, 7500, 2.0]]

def lines(kind, start): # the pairs as text; `start` is what the file calls a first base
    p = [(a, s + start, e, b, t + start, f, v) for a, s, e, b, t, f, v in PAIRS]
    tab = lambda of: "".join("\t".join(map(str, r)) + "\n" for r in of)
    if kind == "ibed":
        head = ("bait_chr bait_start bait_end bait_name otherEnd_chr otherEnd_start otherEnd_end otherEnd_name "
                "N_reads score")
        return head.replace(" ", "\t") + "\n" + tab((a[3:], s, e, "bait", b[3:], t, f, ".", 9, v)
                                                    for a, s, e, b, t, f, v in p)
    if kind == "washu": return tab((f"{a},{s},{e}", f"{b},{t},{f}", v) for a, s, e, b, t, f, v in p)
    if kind == "track": return tab((a, s, e, f"{b}:{t}-{f},{v}", i, ".") for i, (a, s, e, b, t, f, v) in enumerate(p))
    if kind == "bedpe": return "#chrom1\n" + tab((a, s, e, b, t, f, ".", v) for a, s, e, b, t, f, v in p)
    if kind == "places":
        return "frag1\tfrag2\tfreq\tscore\n" + tab((f"{a}:{s}-{e}", f"{b}:{t}-{f}", 1, v)
                                                   for a, s, e, b, t, f, v in p)
    if kind == "dots":
        return "bait\tother\tdist_res\n" + tab((f"{a}.{s}.{e}", f"{b}.{t}.{f}", v) for a, s, e, b, t, f, v in p)
    return "c1,s1,e1,c2,s2,e2,v\n" + tab(p).replace("\t", ",")

SIX = dict(chrom1="c1", start1="s1", end1="e1", chrom2="c2", start2="s2", end2="e2", score="v")
FORMS = {"ibed": ("x.ibed", 1, {}), "washu": ("x_washU_text.txt", 1, {}), "track": ("x_washU_track.txt", 1, {}),
         "bedpe": ("x.bedpe", 0, {}),
         "places": ("x.tsv", 1, {}), "six": ("x.csv", 1, dict(columns=SIX)),
         "dots": ("y.tsv", 1, dict(columns=dict(frag1="bait", frag2="other", score="dist_res")))}

@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("form", FORMS)
def test_every_format_by_hand(tmp_path, form, packed):
    name, base, options = FORMS[form]
    path, text = tmp_path/(name + ".gz"*packed), lines(form, base)
    if packed: path.write_bytes(gzip.compress(text.encode()))
    else: path.write_text(text.replace("\n", "\r\n"))                    # Windows line ends
    pairs = read_pairs(path, HG19, **options)
    assert pairs[["chrom1", "start1", "end1", "chrom2", "start2", "end2", "score"]].values.tolist() == [list(p)
        for p in PAIRS]
    assert rows(partners_of_pairs(pairs, A_AND_B)) == CIS
    assert rows(partners_of_pairs(pairs, A_AND_B, trans=True))[0] == ["A", "chr2", 300, 400, 5.0]

def pairs_of(*of): return pd.DataFrame(of, columns=["chrom1", "start1", "end1", "chrom2", "start2", "end2", "score"])

def test_ties_go_to_the_nearer_then_by_coordinate():
    g, bait = genes_at(("A", "chr2", 10_000)), ("chr2", 9_500, 10_500)
    pairs = pairs_of((*bait, "chr10", 10, 20, 2.), (*bait, "chr2", 12_001, 12_100, 2.),
                     (*bait, "chr2", 7_900, 8_000, 2.), (*bait, "chr2", 11_000, 11_500, 2.),
                     (*bait, "chr1", 10, 20, 2.), (*bait, "chr2", 13_000, 13_100, 3.))
    # 8,000 is 2,001 away from 7,999, as is 12,001
    e = partners_of_pairs(pairs, g, trans=True)
    assert rows(e[["gene_id", "chrom", "start", "end", "score"]]) == [
        ["A", "chr2", 13_000, 13_100, 3.], ["A", "chr2", 11_000, 11_500, 2.], ["A", "chr2", 7_900, 8_000, 2.],
        ["A", "chr2", 12_001, 12_100, 2.],
        ["A", "chr1", 10, 20, 2.], ["A", "chr10", 10, 20, 2.]]
    for order in ([5, 4, 3, 2, 1, 0], [2, 0, 4, 1, 5, 3]):
        assert partners_of_pairs(pairs.iloc[order], g, trans=True).equals(e)

def test_limits_hold_at_their_edges():
    g, bait = genes_at(("A", "chr1", 100_000)), ("chr1", 99_000, 101_000)
    pairs = pairs_of((*bait, "chr1", 110_000, 150_000, 1.51), (*bait, "chr1", 110_000, 150_001, 9.),
                     (*bait, "chr1", 120_000, 121_000, 1.5),
                     (*bait, "chr1", 109_999, 111_000, 8.), (*bait, "chr1", 200_000, 201_000, 7.),
                     (*bait, "chr1", 200_001, 201_000, 6.))
    of = lambda **k: partners_of_pairs(pairs, g, **k).score.tolist()
    assert of() == [8., 7., 6., 1.51] and of(k=2) == [8., 7.] and of(threshold=6.) == [8., 7.]
    assert of(nearest=10_000, farthest=100_000) == [7., 1.51] and of(longest=1_000) == [7., 6.]
    with pytest.raises(InputError, match="0 ≤ nearest ≤ farthest"): of(nearest=10, farthest=5)

def test_over_all_baits_and_all_tss_of_a_gene_counted_once_with_the_best_score(hear, caplog):
    g = genes_at(("A", "chr1", 1_500))
    tss = pd.DataFrame(dict(gene_id=["A", "A"], chrom="chr1", tss=[1_500, 50_000]))
    # the bait stands second
    pairs = pairs_of(("chr1", 1_000, 2_000, "chr1", 90_000, 91_000, 2.),
                     ("chr1", 90_000, 91_000, "chr1", 49_000, 51_000, 6.),
                     ("chr1", 1_000, 2_000, "chr1", 90_000, 91_000, 2.),
                     ("chr1", 1_000, 2_000, "chr1", 49_000, 51_000, 9.))
    assert rows(partners_of_pairs(pairs, g)) == [["A", "chr1", 49_000, 51_000, 9.], ["A", "chr1", 90_000, 91_000, 2.]]
    assert "1 seen again" in caplog.text
    # the other promoter is no partner
    assert rows(partners_of_pairs(pairs, g, tss=tss)) == [["A", "chr1", 90_000, 91_000, 6.]]
    # 40,000 from the nearer TSS
    assert partners_of_pairs(pairs, g, tss=tss, farthest=40_000).score.tolist() == [6.]

def test_fragments_near_a_tss_are_promoter_fragments_where_asked():
    # its last base is 100 before the TSS
    pairs = pairs_of(("chr1", 1_000, 1_401, "chr1", 9_000, 9_100, 3.))
    of = lambda around: len(partners_of_pairs(pairs, genes_at(("A", "chr1", 1_500)), around=around))
    assert (of(0), of(99), of(100)) == (0, 0, 1)

# the simulated study

def test_partners_of_the_simulated_study_are_the_truth(tmp_path):
    study, _ = load_study(simulate(tmp_path/"study", genes=80, cells=1, grid="[grid]\nmodels = [\"ridge\"]\n"))
    genes, folder = study.genes, study.path.parent
    edges = read_edges(folder/"pchic"/"cellA.tsv", study.sizes, genes)
    tss = edges.gene_id.map(genes.set_index("gene_id").tss).to_numpy()
    best = best_partners(edges.assign(distance=gap_to(tss, edges.start, edges.end).astype(float)), genes)
    for gene, e in edges[edges.score > 1.5].groupby("gene_id"):             # the slow way, gene by gene
        of = sorted(e.values.tolist(),
                    key=lambda r: (-r[4], gap_to(genes.tss[genes.gene_id == gene].iloc[0], r[2], r[3])))[:8]
        assert rows(best[best.gene_id == gene]) == of
    assert best.gene_id.nunique() == edges.gene_id[edges.score > 1.5].nunique() > 50 and len(best) > 150
    t = pd.read_csv(folder/"truth"/"elements.csv")
    t = t[t.kind == "contact"]
    both = best.merge(t, on=["gene_id", "chrom"], suffixes=("", "_of"))
    found = both[(both.start <= both.start_of) & (both.end_of <= both.end)]
    # each enhancer in contact is in one partner of its gene
    assert len(t) > 100 and sorted(found.element_id) == sorted(t.element_id)

# coolers

def write_cool(path, sizes, pixels, resolution, mode="w", group="", **columns): # pixels: (bin1, bin2, count)
    bins = cooler.binnify(pd.Series(sizes), resolution).assign(**columns)
    cooler.create_cooler(f"{path}{group}", bins, pd.DataFrame(pixels, columns=["bin1_id", "bin2_id", "count"]),
                         mode=mode, ordered=False)
    return path

# 10 and 5 bins of 100 bp; the last is 50 bp
TWO = dict(chr1=1000, chr2=450)

def test_raw_partners_by_hand(tmp_path):
    path = write_cool(tmp_path/"a.cool", TWO, [(0, 5, 7), (3, 5, 9), (4, 5, 99), (5, 5, 50), (5, 7, 9), (5, 9, 1),
                                               (5, 12, 80), (10, 14, 3), (11, 12, 6)], 100)
    cool, g = Cool(path, 100), genes_at(("A", "chr1", 550), ("B", "chr2", 449), ("C", "chr2", 110),
                                        ("D", "chr1", 120))
    check_cooler(cool, TWO, ["chr1", "chr2"], kind="raw")
    of = lambda **k: rows(partners_of_cooler(cool, g, kind="raw", **dict(nearest=100, farthest=500) | k))
    assert of() == [["A", "chr1", 700, 800, 9.], ["A", "chr1", 300, 400, 9.], ["A", "chr1", 0, 100, 7.],
                    ["A", "chr1", 900, 1000, 1.],
                    # 150 away before 151; no contact with another chromosome
                    ["B", "chr2", 0, 100, 3.]]
    assert of(k=1) == [["A", "chr1", 700, 800, 9.], ["B", "chr2", 0, 100, 3.]] and of(threshold=7) == of()[:2]
    assert of(nearest=0)[0] == ["A", "chr1", 400, 500, 99.] and ["C", "chr2", 200, 300, 6.] in of(nearest=0)

def test_a_partner_may_be_the_last_short_bin(tmp_path):
    cool = Cool(write_cool(tmp_path/"a.cool", TWO, [(10, 14, 3)], 100), 100)
    assert rows(partners_of_cooler(cool, genes_at(("A", "chr2", 5)), kind="raw", nearest=0)) == [["A", "chr2", 400,
        450, 3.]]

def random_map(n=80, seed=3): # counts that fade with distance; bins 20 to 23 are not seen
    rng, i = np.random.default_rng(seed), np.arange(n)
    seen = rng.uniform(.5, 2, n)
    seen[20:24] = 0
    x = np.triu(rng.poisson(200*np.outer(seen, seen)/(1 + abs(i[:, None] - i))))
    return [(a, b, x[a, b]) for a, b in zip(*np.nonzero(x))]

@pytest.fixture
def balanced(tmp_path): # two chromosomes, balanced by the library itself
    path, pixels = tmp_path/"b.cool", random_map()
    write_cool(path, dict(chr1=8_000, chr2=8_000),
               pixels + [(a + 80, b + 80, c) for a, b, c in random_map(seed=4)] + [(3, 90, 4), (70, 110, 9)], 100)
    w, _ = cooler.balance_cooler(cooler.Cooler(str(path)), cis_only=True, store=True, mad_max=0, min_nnz=5, tol=1e-9)
    return path, w

def test_reading_agrees_with_the_library(balanced):
    path, w = balanced
    cool, lib, sizes = Cool(path, 100), cooler.Cooler(str(path)), dict(chr1=8_000, chr2=8_000)
    ours = check_cooler(cool, sizes, list(sizes))
    assert np.array_equal(ours, w, equal_nan=True) and np.isnan(ours[20:24]).all() and not np.isnan(ours[:20]).any()
    g = genes_at(("A", "chr2", 4_010), ("B", "chr1", 150), ("C", "chr1", 2_150))
    for kind, weights in (("raw", None), ("balanced", ours)):
        x = patches(cool, g, 1_100, weights, kind)
        for k, (chrom, at) in enumerate([("chr2", 40), ("chr1", 1), ("chr1", 21)]):
            full = np.pad(lib.matrix(balance=kind != "raw").fetch(chrom).astype(float), 5, constant_values=np.nan)
            np.testing.assert_allclose(x[k], full[at:at + 11, at:at + 11], rtol=1e-6)
    full = lib.matrix(balance=True).fetch("chr1")
    e = expected_contacts(cool, "chr1", ours, 90)
    np.testing.assert_allclose(e[:80], [np.nanmean(np.diag(full, d)) for d in range(80)], rtol=1e-9)
    assert np.isnan(e[80:]).all()
    oe = patches(cool, g.iloc[2:], 1_100, ours, "oe")[0]
    far = abs(np.subtract.outer(np.arange(11), np.arange(11)))
    np.testing.assert_allclose(oe, full[16:27, 16:27]/e[far], rtol=1e-5)

def test_small_chunks_change_nothing(balanced):
    cool = Cool(balanced[0], 100)
    whole = [np.concatenate(c) for c in zip(*cool.pixels())]
    for chunk in (1, 50):
        assert all(np.array_equal(a, np.concatenate(b))
                   for a, b in zip(whole, zip(*cool.pixels(chunk=chunk)), strict=True))

def test_patches_go_to_a_file_of_their_own(balanced, tmp_path):
    cool, g = Cool(balanced[0], 100), genes_at(("A", "chr2", 4_010), ("X", "chr9", 10))
    x = patches(cool, g, 500, kind="raw", path=tmp_path/"p.npy")
    assert isinstance(x, np.memmap) and x.dtype == np.float32 and np.isnan(x[1]).all()
    assert np.array_equal(x[:1], patches(cool, g.iloc[:1], 500, kind="raw"))
    with pytest.raises(InputError, match="odd number of bins of 100 bp"): patches(cool, g, 400, kind="raw")

def test_weights_that_divide_are_told_from_those_that_multiply(balanced):
    path, w = balanced
    sizes = dict(chr1=8_000, chr2=8_000)
    with cooler.Cooler(str(path)).open("r+") as f:
        f["bins"]["KR"], f["bins"]["flat"] = 1/w, np.ones(160)
        f["bins"]["told"] = 1/w
        f["bins/told"].attrs["divisive_weights"] = True
    check = lambda **k: check_cooler(Cool(path, 100), sizes, list(sizes), **k)
    fit = fit_weights(_Sums(Cool(path, 100), "KR"))
    assert fit["divide"] < 1e-3 and fit["multiply"] > .5
    for k in (dict(weights="KR", divide=True), dict(weights="told")): np.testing.assert_allclose(check(**k), w)
    with pytest.raises(InputError, match=r"'KR' divide, they are of Juicer's kind, .* give divide = true"):
        check(weights="KR")
    with pytest.raises(InputError, match=r"'weight' multiply, they are of cooler's kind .* give divide = false"):
        check(divide=True)
    with pytest.raises(InputError, match=r"'flat' do not balance these counts\. Run `cooler balance`"):
        check(weights="flat")

@pytest.mark.filterwarnings("ignore:Iteration limit")
def test_balance_over_all_contacts_is_seen_with_those_between_chromosomes(balanced):
    path, sizes = balanced[0], dict(chr1=8_000, chr2=8_000)
    w, _ = cooler.balance_cooler(cooler.Cooler(str(path)), store=True, store_name="all", mad_max=0, min_nnz=5,
                                 tol=1e-7, max_iters=2000, ignore_diags=1)
    assert fit_weights(_Sums(Cool(path, 100), "all"))["multiply"] < 1e-3
    assert np.array_equal(check_cooler(Cool(path, 100), sizes, list(sizes), weights="all"), w, equal_nan=True)

def test_an_unbalanced_cooler_and_a_resolution_that_is_not_there(tmp_path):
    path = write_cool(tmp_path/"a.mcool", TWO, [(0, 5, 7)], 100, group="::resolutions/100")
    write_cool(path, TWO, [(0, 2, 7)], 200, group="::resolutions/200", mode="a")
    assert resolutions(path) == [100, 200] and Cool(path, 200).bins == 8
    with pytest.raises(InputError, match=r"a\.mcool: no resolution of 5000 bp in it; it has 100, 200\.$"):
        Cool(path, 5000)
    with pytest.raises(InputError, match=r"balanced contacts need weights, and it has no column 'weight' \(it has "
                                         r"none\); run `cooler balance`"):
        check_cooler(Cool(path, 100), TWO, ["chr1"])
    with pytest.raises(InputError, match=r"kind = 'oe' needs weights"):
        partners_of_cooler(Cool(path, 100), A_AND_B, kind="oe")
    with pytest.raises(InputError, match=r"kind = 'observed' is none of raw, balanced, oe"):
        check_cooler(Cool(path, 100), TWO, ["chr1"], kind="observed")

def test_what_is_no_cooler(tmp_path):
    whole = write_cool(tmp_path/"a.cool", TWO, [(0, 5, 7)], 100)
    (tmp_path/"cut.cool").write_bytes(whole.read_bytes()[:3000])
    (tmp_path/"text.cool").write_text("chr1\t0\t100\n")
    for name in ("cut", "text"):
        with pytest.raises(InputError, match=rf"{name}\.cool: not a cooler, or damaged"):
            Cool(tmp_path/f"{name}.cool", 100)
    with pytest.raises(InputError, match="no such file"): Cool(tmp_path/"none.cool", 100)

# assemblies

def test_gaps_lie_inside_their_chromosomes_and_the_two_assemblies_can_be_told_apart():
    for name, chroms in GAPS.items():
        for c, g in chroms.items():
            assert (g[:, 0] < g[:, 1]).all() and (g[1:, 0] > g[:-1, 1]).all() and 0 <= g[0, 0]
            assert g[-1, 1] < ASSEMBLIES[name][c]

def test_bins_in_gaps_are_those_wholly_inside(tmp_path):
    cool = Cool(write_cool(tmp_path/"a.cool", dict(chr22=ASSEMBLIES["hg38"]["chr22"]), [(1800, 1900, 1)], 10_000),
                10_000)
    at = bins_in_gaps(cool, "hg38")
    assert at[:3].tolist() == [0, 1, 2] and 1050 in at + 1 and 1051 not in at
    assert at[at > 1051].tolist() == [*range(1824, 1833), *range(1844, 1848), *range(1866, 1870)]

@pytest.mark.parametrize("names", ["chr22", "22"])
def test_contacts_in_gaps_name_the_assembly(tmp_path, names):
    of = {a: {names: ASSEMBLIES[a]["chr22"]} for a in ("hg19", "hg38")}
    def check(a, counts):
        path = write_cool(tmp_path/f"{a}.cool", of[a], counts, 5_000)
        return check_cooler(Cool(path, 5_000), chrom_sizes(a), ["chr22"], a, "raw")
    # 12.5 Mb: a gap of hg19; 18.3 Mb: one of hg38
    in_19, in_38, neither = (2_500, 4_600, 3), (3_660, 4_400, 8), (4_500, 4_600, 5)
    for a in ("hg19", "hg38"): assert check(a, [neither]) is None
    assert check("hg19", [in_38]) is None and check("hg38", [in_19]) is None
    with pytest.raises(InputError, match=r"3 ends of contacts in 1 bins in gaps of hg19, the first at "
                                         r".*22:12500000-12505000; .* look like hg38"):
        check("hg19", [in_19, neither])
    with pytest.raises(InputError, match=r"8 ends of contacts in 1 bins in gaps of hg38, the first at "
                                         r".*22:18300000-18305000; .* look like hg19"):
        check("hg38", [in_38])
    with pytest.raises(InputError, match=r"are of another assembly"): check("hg19", [in_19, in_38])
    with pytest.raises(InputError,
                       match=r"22 is 51304566 bp long in its header, 50818468 bp in hg38; the file looks like hg19"):
        check_cooler(Cool(tmp_path/"hg19.cool", 5_000), chrom_sizes("hg38"), ["chr22"], "hg38", "raw")

# the published table

META = """gene_id,expression,eid,label,chrom,start,end,strand,split,neighbors,scores
G1,4.554,E003,1,chr1,3566667,3566668,-,1,chr1:3008934-3016866;chr1:9-12,1.5494;1.5
G2,0.0,E003,0,chrY,100,101,+,4,,
"""

def test_the_published_table_comes_back_to_the_byte(tmp_path):
    (tmp_path/"meta.csv").write_text(META)
    meta = read_meta(tmp_path/"meta.csv")
    edges = meta_edges(meta)
    assert rows(edges) == [["G1", "chr1", 3008934, 3016866, 1.5494], ["G1", "chr1", 9, 12, 1.5]]
    write_meta(tmp_path/"again.csv", with_edges(meta.assign(neighbors="?", scores="?"), edges))
    assert (tmp_path/"again.csv").read_text() == META
    assert (with_edges(meta, edges.iloc[:0]).neighbors == "").all()
    with pytest.raises(InputError, match="genes that the table does not have: G3"):
        with_edges(meta, edges.assign(gene_id="G3"))

@pytest.mark.parametrize("old,new,says", [
    ("1.5494;1.5", "1.5;1.5494", "scores are not best first: 'G1'"),
    ("1.5494;1.5", "1.5494", "differ in number: 'G1' (line 2)"),
    ("chr1:9-12", "chr1:9", "no place like chr1:100-200, or no score: 'chr1:9 1.5'"),
    (",-,1,", ",.,1,", "strand is neither '+' nor '-': '.' (line 2)"),
    ("G2", "G1", "more than once: 'G1' (line 3)"), ("4.554", "high", "expression is no number: 'high' (line 2)"),
    ("scores\n", "score\n", "no column 'scores'")])
def test_a_published_table_that_is_wrong(tmp_path, old, new, says):
    (tmp_path/"meta.csv").write_text(META.replace(old, new))
    with pytest.raises(InputError) as e: read_meta(tmp_path/"meta.csv")
    assert says in str(e.value) and "\n" not in str(e.value)

# bad input: one line each

HEAD = "frag1\tfrag2\tscore\n"
GOOD = "chr1:1001-2000\tchr1:9001-9500\t4\n"
BAD = {
    "an unknown chromosome": (HEAD + GOOD + "chr1:1001-2000\tchr99:9-12\t4\n",
                              "chromosomes that the assembly does not have: 'chr99' (line 3)"),
    "two styles": (HEAD + GOOD + "1:1001-2000\t1:90001-95000\t4\n", "one chromosome goes by two names: 1 and chr1"),
    "no number": (HEAD + GOOD.replace("\t4", "\tNA"), "score is no number: 'NA' (line 2)"),
    "no place": (HEAD + GOOD.replace("chr1:9001-9500", "enhancer7"),
                 "'frag2' is no place like chr1:100-200: 'enhancer7' (line 2)"),
    "an end before its start": (HEAD + GOOD.replace("9500", "8000"), "needs 0 ≤ start < end: 9000 (line 2)"),
    "beyond the end": (HEAD + GOOD.replace("9500", "999999999"),
                       "chr1 ends at 249250621, and something in the file at 999999999"),
    "another first base": (HEAD + GOOD + "chr1:0-1000\tchr1:1000-1001\t2\n",
                           "abut as if the first base were 0, but base is 1; give base = 0"),
    "no such column": ("a\tb\tscore\n" + GOOD, "no column 'frag1', 'frag2'; it has 'a', 'b', 'score'"),
    "nothing": (HEAD, "no pairs in it"),
}

@pytest.mark.parametrize("what", BAD)
def test_bad_pairs(tmp_path, what):
    (tmp_path/"x.tsv").write_text(BAD[what][0])
    with pytest.raises(InputError) as e: read_pairs(tmp_path/"x.tsv", HG19)
    assert BAD[what][1] in str(e.value) and str(e.value).startswith(str(tmp_path/"x.tsv"))
    assert "\n" not in str(e.value)

@pytest.mark.parametrize("name", ["x.tsv.gz", "x.bedpe.gz"])
def test_a_gz_that_ends_early(tmp_path, name):
    text = lines("bedpe" if "bedpe" in name else "places", 0)
    (tmp_path/name).write_bytes(gzip.compress(text.encode())[:-12])
    with pytest.raises(InputError, match=rf"{name}: .*(ends early|end-of-stream|ended before)"):
        read_pairs(tmp_path/name, HG19)

def test_other_refusals(tmp_path):
    (tmp_path/"x.bedpe").write_text("chr1\t1\t2\tchr1\t5\t6\n")
    with pytest.raises(InputError, match=r"x\.bedpe, line 1: 6 columns between tabs; needed are 8"):
        read_pairs(tmp_path/"x.bedpe", HG19)
    with pytest.raises(InputError, match="kind = 'hic' is none of table, ibed, washu, bedpe"):
        read_pairs(tmp_path/"x.bedpe", HG19, kind="hic")
    (tmp_path/"e.tsv").write_text("gene_id\tchrom\tstart\tend\tscore\nENSG1.4\tchr1\t1\t5\t2\n")
    with pytest.raises(InputError,
            match="none of its genes is in the gene table; it has ids like 'ENSG1.4', the gene table like 'A'"):
        read_edges(tmp_path/"e.tsv", HG19, A_AND_B)

def test_the_first_base_is_seen_only_where_fragments_abut():
    assert seen_base(pairs_of(("chr1", 1, 10, "chr1", 11, 20, 1.))) == 1
    assert seen_base(pairs_of(("chr1", 0, 10, "chr1", 10, 20, 1.))) == 0
    assert seen_base(pairs_of(("chr1", 0, 10, "chr2", 10, 20, 1.))) is None

# the study file

@pytest.fixture(scope="module")
def simulated(tmp_path_factory): # a study that has no contacts yet
    path = simulate(tmp_path_factory.mktemp("sim")/"study", genes=60, cells=1, grid="[grid]\nmodels = [\"ridge\"]\n")
    text = path.read_text()
    path.write_text(text[:text.index("[contacts.cellA]")] + text[text.index("[splits]"):])
    return path

@pytest.fixture
def study(simulated, tmp_path): return shutil.copytree(simulated.parent, tmp_path/"study")/simulated.name

def add(study, text): study.write_text(study.read_text() + text)

def test_prepare_writes_the_partners_of_a_study(study, capsys):
    add(study, '[contacts.cellA]\npath = "pchic/cellA.tsv"\nkind = "edges"\nk = 2\nthreshold = 2.5\n')
    assert cli("prepare", study) == 0 and "partners of cellA" in capsys.readouterr().out
    s, _ = load_study(study)
    csv = s.out/"contacts"/"cellA.csv"
    e, all = pd.read_csv(csv), read_edges(study.parent/"pchic"/"cellA.tsv", s.sizes, s.genes)
    assert list(e) == ["gene_id", "chrom", "start", "end", "score"] and e.score.min() > 2.5
    assert e.groupby("gene_id").size().max() == 2
    assert (e.groupby("gene_id").score.max() == all[all.score > 2.5].groupby("gene_id").score.max()).all()
    side = json.loads((s.out/"contacts"/"cellA.json").read_text())
    assert side["options"]["k"] == 2 and side["partners"] == len(e) and len(side["checksum"]) == 32
    before = csv.stat().st_mtime_ns
    assert cli("prepare", study) == 0 and csv.stat().st_mtime_ns == before
    study.write_text(study.read_text().replace("k = 2", "k = 1"))
    assert cli("prepare", study) == 0 and pd.read_csv(csv).groupby("gene_id").size().max() == 1

def test_other_code_chooses_partners_anew(study, monkeypatch):
    add(study, '[contacts.cellA]\npath = "pchic/cellA.tsv"\nkind = "edges"\n')
    s = load_study(study)[0]
    kept = lambda: keep_partners(s.contacts["cellA"], s.genes, s.sizes, s.assembly, s.out/"contacts")
    right = kept().read_bytes()
    kept().write_text("gene_id,chrom,start,end,score\n")                # as code that has been mended might have left it
    assert kept().read_bytes() != right
    other = study.parent/"other.py"
    other.write_text("# of another version\n")
    monkeypatch.setattr("chromexpress.contacts.find_spec", lambda name: SimpleNamespace(origin=str(other)))
    assert kept().read_bytes() == right

@pytest.mark.parametrize("text,says", [
    ('[contacts.cellB]\npath = "pchic/cellA.tsv"\n',
     "[contacts.cellB]: there is no [tracks.cellB]; did you mean 'cellA'?"),
    ('[contacts.cellA]\npath = "none.ibed"\n', "[contacts.cellA] path: no file"),
    ('[contacts.cellA]\nk = 3\n', "[contacts.cellA] path: missing"),
    ('[contacts.cellA]\npath = "pchic/cellA.tsv"\nbest = 3\n', "[contacts.cellA] best: no such key"),
    ('[contacts.cellA]\npath = "pchic/cellA.tsv"\nkind = "cooler"\nresolution = 5000\n',
     "cellA.tsv: not a cooler, or damaged"),
    ('[contacts.cellA]\npath = "a.mcool"\n', "[contacts.cellA] resolution: missing;"),
    ('[contacts.cellA]\npath = "a.mcool"\nresolution = 777\n', "no resolution of 777 bp in it; it has 100."),
    ('[contacts.cellA]\npath = "pchic/cellA.tsv"\nvalues = "vc"\n',
     "[contacts.cellA] values = 'vc': is none of raw, balanced, oe"),
    ('[contacts.cellA]\npath = "pchic/cellA.tsv"\nkind = "edges"\nbase = 1\n',
     "[contacts.cellA] base: only of table, ibed, washu, bedpe, and "),
    ('[contacts.cellA]\npath = "pchic/cellA.tsv"\nkind = "bedpe"\ncolumns = {score = "q"}\n',
     "cellA.tsv is bedpe; leave it out."),
    ('[contacts.cellA]\npath = "pchic/cellA.tsv"\nresolution = 5000\n', "[contacts.cellA] resolution: only of cooler"),
    ('[contacts.cellA]\npath = "pchic/cellA.tsv"\ncolumns = {Score = "freq"}\n',
     "[contacts.cellA] columns Score: no such key; did you mean 'score'?"),
    ('[contacts.cellA]\npath = "a.mcool"\nresolution = 100\naround = 5000\n', "around: only of table, ibed"),
    ('contacts = 5\n', "contacts")])
def test_contacts_that_a_study_cannot_have(study, text, says):
    write_cool(study.parent/"a.mcool", TWO, [(0, 5, 7)], 100, group="::resolutions/100")
    if text.startswith("contacts"): study.write_text(text + study.read_text())
    else: add(study, text)
    with pytest.raises(InputError) as e: load_study(study)
    assert says in str(e.value)

def test_the_template_shows_every_key_of_contacts(tmp_path):
    text = new_study(tmp_path/"s.toml").read_text()
    assert "# [contacts.cellA]" in text and "# resolution = 5000" in text and "# farthest = 1000000" in text

def test_without_the_extra_the_message_names_it(tmp_path, monkeypatch):
    path = write_cool(tmp_path/"a.cool", TWO, [(0, 5, 7)], 100)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r"a\.cool: reading coolers needs the extra `contacts`: pip install"):
        Cool(path, 100)
