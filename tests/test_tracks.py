"""Stores of binned tracks: literal windows on both strands, what serves what, exact pooling, and when something is
done again."""
import json
import numpy as np, pandas as pd, pytest
from chromexpress.core import InputError
from chromexpress.genome import chrom_sizes, tss_windows
from chromexpress.signal import bin_signal, open_source
from chromexpress.tracks import (INTEGRAL, SCALES, WIDE, Need, Track, apply_edits, fill, flip, is_current, plan, pool,
                                 read_windows,
                                 regions_of, serves, store_paths)
from test_signal import write_bigwig
from toy import files, finish, killed_at_rename, times, unpack, write_study
pytestmark = pytest.mark.usefixtures("hear")

SIZES = {"chr1": 10_000, "chr2": 3000}
# 4 on 4900–4950 and 10 on 5020–5060, around the TSS at 5000; 5 on the first twenty bases; 7 on the last twenty
TRACK = [("chr1", 0, 20, 5), ("chr1", 4900, 4950, 4), ("chr1", 5020, 5060, 10), ("chr1", 9980, 10_000, 7),
         ("chr2", 1000, 2000, 2)]
GENES = pd.DataFrame([("e", "chr1", "+", 50), ("p", "chr1", "+", 5000), ("m", "chr1", "-", 5000),
                      ("z", "chr1", "-", 9990),
                      ("c", "chr2", "+", 1500)], columns=["gene_id", "chrom", "strand", "tss"])
GENES["start"], GENES["end"] = GENES.tss, GENES.tss + 1
N = Need(200, 50)

@pytest.fixture
def track(tmp_path): return make_track(tmp_path)

def make_track(folder, rows=TRACK, name="x.bedGraph", **kwargs):
    (folder/name).write_text("".join(f"{c}\t{s}\t{e}\t{v}\n" for c, s, e, v in rows))
    return Track("cellA", "H3K4me3", str(folder/name), **kwargs)

# windows of one track as a model reads them, but not flipped
def binned(track, needs, folder, genes=GENES, sizes=SIZES, **made):
    stores = plan(needs)
    fill(track, list(dict.fromkeys(stores.values())), genes, sizes, folder, made or dict(source="s"))
    return [read_windows([folder], n, stores[n], genes)[..., 0] for n in needs]

def direct(track, need, genes=GENES, sizes=SIZES): # the same straight from the source
    return bin_signal(open_source(track.path, sizes, list(sizes)), tss_windows(genes, need.window), need.bin, sizes,
                      track.uncovered).values

# a megabase, and bins of 25 bp

def test_a_megabase_and_bins_of_25_and_100_bp(tmp_path):
    sizes = {"chr1": 3_000_000}
    genes = pd.DataFrame(dict(gene_id=["p", "m"], chrom="chr1", strand=["+", "-"], tss=[1_500_000, 1_500_000], start=1_500_000, end=1_500_001))
    # 3 on 100 bases 400 kb after the TSS; 8 on 25 bases 4 kb after it
    track = make_track(tmp_path, [("chr1", 1_900_000, 1_900_100, 3), ("chr1", 1_504_000, 1_504_025, 8)])
    wide, fine = binned(track, [Need(1_000_000, 100), Need(10_000, 25)], tmp_path/"s", genes, sizes)
    assert wide.shape == (2, 10_000) and fine.shape == (2, 400)
    for x, at in ((wide, {9000: 3, 5040: 2}), (fine, {360: 8})):
        assert all({int(i): float(r[i]) for i in np.flatnonzero(r)} == at for r in x)

# literal windows

WINDOWS = [[0, 20*5/50, 0, 0], [4, 0, 30*10/50, 10*10/50], [4, 0, 30*10/50, 10*10/50], [0, 10*7/50, 10*7/50, 0],
           [2, 2, 2, 2]]
def test_windows_by_hand(track, tmp_path):
    x, = binned(track, [N], tmp_path/"s")
    np.testing.assert_allclose(x, WINDOWS, rtol=1e-7)
    turned = flip(x, GENES.strand)
    np.testing.assert_allclose(turned, [[0, 2, 0, 0], [4, 0, 6, 2], [2, 6, 0, 4], [0, 1.4, 1.4, 0], [2]*4], rtol=1e-7)
    # flip leaves its argument alone
    np.testing.assert_allclose(x, WINDOWS, rtol=1e-7)

def test_the_tss_is_the_first_base_of_its_bin_on_plus_and_in_the_last_bin_before_the_middle_on_minus(tmp_path):
    x, = binned(make_track(tmp_path, [("chr1", 5000, 5001, 50)]), [N], tmp_path/"s")
    assert flip(x, GENES.strand)[1:3].tolist() == [[0, 0, 1, 0], [0, 1, 0, 0]]

def test_sidecar_counts_what_left_the_chromosome(track, tmp_path, caplog):
    binned(track, [N, Need(400, 100)], tmp_path/"s")
    side = json.loads((tmp_path/"s"/"tss-w200-b50.json").read_text())
    assert (side["windows_outside"], side["bases_outside"], side["regions"]) == (2, 50 + 90, 5)
    assert (side["scale"], side["uncovered"]) == ("linear", 0.)
    assert "2 windows of tss-w200-b50 leave their chromosome, by 140 bases in all; these count as 0." in caplog.text
    assert "2 windows of tss-w400-b100 leave their chromosome, by 340 bases in all" in caplog.text        # 150 + 190

def test_the_sidecar_names_the_library_and_nothing_depends_on_it(tmp_path, monkeypatch):
    write_bigwig(tmp_path/"x.bigWig", TRACK, SIZES)
    t, read, kept = Track("cellA", "H3K4me3", str(tmp_path/"x.bigWig")), {}, {}
    for reader in ("pybigtools", "pyBigWig"):
        monkeypatch.setenv("CHROMEXPRESS_BIGWIG", reader)
        binned(t, [N], tmp_path/reader)
        read[reader] = json.loads((tmp_path/reader/"tss-w200-b50.json").read_text()).pop("reader")
        kept[reader] = (tmp_path/reader/"tss-w200-b50.npy").read_bytes()
    assert read == {r: r for r in read} and kept["pybigtools"] == kept["pyBigWig"]
    assert is_current(tmp_path/"pybigtools", N, dict(source="s"))                 # whichever library is there now
    assert fill(t, [N], GENES, SIZES, tmp_path/"pybigtools", dict(source="s")) == []

def test_a_mask_takes_bases_out_of_a_store(track, tmp_path):
    "4950–5030 of chr1: the ten bases of 5020–5030, of 10, go from 5000–5050."
    mask = dict(chr1=(np.array([4950]), np.array([5030])))
    fill(track, [N], GENES, SIZES, tmp_path/"s", dict(source="s"), mask=mask)
    x = np.load(tmp_path/"s"/"tss-w200-b50.npy")
    np.testing.assert_allclose(x[1], [4, 0, 20*10/50, 10*10/50], rtol=1e-7)
    np.testing.assert_allclose(x[[0, 3, 4]], np.array(WINDOWS)[[0, 3, 4]], rtol=1e-7)

def test_windows_without_signal_are_counted(track, tmp_path):
    binned(track, [Need(20, 10)], tmp_path/"s")             # p, m: 4990–5010 is empty; e: 40–60 is empty
    assert json.loads((tmp_path/"s"/"tss-w20-b10.json").read_text())["empty_windows"] == 3

def test_regions_of_their_own_lengths(track, tmp_path):
    parts = pd.DataFrame(dict(gene_id=["p", "p", "c"], chrom=["chr1", "chr1", "chr2"], start=[4900, 5000, 1990],
                              end=[5025, 5040, 2020]))
    others = dict(parts=parts)
    assert fill(track, [Need(0, 50, "parts")], GENES, SIZES, tmp_path/"s", dict(a=1), others) == ["parts-b50"]
    # 3, 1 and 1 bins
    np.testing.assert_allclose(np.load(tmp_path/"s"/"parts-b50.npy"), [4, 0, 5*10/25, 20*10/40, 10*2/30], rtol=1e-7)
    assert np.load(tmp_path/"s"/"parts-b50.offsets.npy").tolist() == [0, 3, 4, 5]
    with pytest.raises(InputError, match="no regions named 'prts'"): regions_of(Need(0, 50, "prts"), GENES, others)
    with pytest.raises(InputError, match="parts: no column 'start'"):
        regions_of(Need(0, 50, "parts"), GENES, dict(parts=parts.drop(columns="start")))

# tracks and needs

@pytest.mark.parametrize("scale,uncovered,background",
                         [("linear", 0., 0.), ("ratio", 1., 1.), ("log", 0., 0.), ("fraction", "skip", 0.)])
def test_scales(scale, uncovered, background):
    assert Track("c", "a", "x", scale=scale).uncovered == uncovered and SCALES.background[scale] == background
    assert Track("c", "a", "x", scale=scale, uncovered=.5).uncovered == .5

@pytest.mark.parametrize("kwargs",
                         [dict(scale="lin"), dict(uncovered="0"), dict(uncovered=True), dict(uncovered=float("nan")),
                                    dict(uncovered=float("inf"))])
def test_wrong_tracks(kwargs):
    with pytest.raises(InputError, match=r"\[tracks.cellA\] DNAm"): Track("cellA", "DNAm", "x.bw", **kwargs)

@pytest.mark.parametrize("window,bin", [(6000, 175), (101, 1), (6000, 0), (-200, 50), (6000, -100), (100, 200)])
def test_wrong_needs(window, bin):
    with pytest.raises(InputError, match=f"window = {window}, bin = {bin}"): Need(window, bin)

def test_keys():
    assert (Need(6000, 100).key, Need(6000, 100).bins, Need(0, 500, "fragments").key) == ("tss-w6000-b100", 60,
        "fragments-b500")

@pytest.mark.parametrize("store,need,answer", [
    ((6000, 100), (6000, 100), True), ((40_000, 100), (6000, 100), True), ((40_000, 100), (40_000, 2000), True),
    ((6000, 100), (40_000, 100), False), ((40_000, 500), (40_000, 100), False), ((6000, 100), (5000, 250), False),
    ((6000, 300), (3000, 300), True),       # 1500 bases are cut off on each side: five bins
    ((6000, 300), (4800, 300), True), ((6000, 300), (5400, 300), True), ((6000, 200), (4000, 200), True),
    ((6000, 400), (5200, 400), True), ((6000, 1000), (4000, 1000), True),
    ((6000, 1000), (5000, 1000), False),    # 500 bases would have to go on each side, half a bin
    ((6000, 200), (5800, 200), False)])
def test_serves(store, need, answer): assert serves(Need(*store), Need(*need)) is answer

def test_regions_serve_only_themselves():
    assert serves(Need(0, 100, "f"), Need(0, 100, "f")) and serves(Need(0, 100, "f"), Need(0, 500, "f"))
    assert not serves(Need(0, 100, "f"), Need(0, 100, "g"))
    assert not serves(Need(6000, 100), Need(0, 100)) and not serves(Need(0, 100), Need(6000, 100))

def test_plan():
    a, b, c, d, e, f = Need(6000, 100), Need(40_000, 100), Need(40_000, 2000), Need(10_000, 25), Need(WIDE,
        1000), Need(WIDE + 2000, 1000)
    assert plan([a, b, c, d, f, a]) == {a: b, b: b, c: b, d: d, f: INTEGRAL}
    # 6 kb out of 10 kb: 2000 bases a side, 80 bins
    assert plan([a, c]) == {a: a, c: c} and plan([d, a]) == {a: d, d: d}
    assert plan([a, e]) == {a: a, e: e} and plan([]) == {}
    # the order of asking does not matter
    assert plan([b, a]) == plan([a, b]) and list(plan([a, b])) == list(plan([b, a]))

# exactness

def test_pool_by_hand():
    assert pool([1, 3, 5, 7, 9], 2).tolist() == [2, 6, 9] and pool([[1, 3], [5, 9]], 2).tolist() == [[2], [7]]
    assert pool([1, 2, 3], 1).tolist() == [1, 2, 3] and pool([1, 2, 3], 5).tolist() == [2]
    # a partial bin counts for the bases it has
    assert pool([2, 8], 2, bases=[30, 10]).tolist() == [(30*2 + 10*8)/40]
    assert pool([2, np.nan, 4], 3, bases=[10, 0, 30]).tolist() == [(10*2 + 30*4)/40]
    assert np.isnan(pool([np.nan, np.nan, 1, 1], 2, bases=[0, 0, 5, 5])).tolist() == [True, False]

def random_rows(seed, sizes, gaps=.4):
    rng, rows = np.random.default_rng(seed), []
    for c, n in sizes.items():
        cuts = np.unique(rng.integers(0, n + 1, n//40))
        rows += [(c, s, e, v) for s, e, v in zip(cuts[:-1], cuts[1:], rng.integers(1, 60, len(cuts))/4)
                 if rng.random() > gaps]
    return rows

@pytest.mark.parametrize("uncovered", [0., 1., "skip"])
@pytest.mark.parametrize("seed", range(2))
def test_pooling_is_binning_coarsely(seed, uncovered, tmp_path):
    "Bins of 7 pooled by 6, over regions whose last bins are partial, are bins of 42."
    track, rng = make_track(tmp_path, random_rows(seed, SIZES), uncovered=uncovered), np.random.default_rng(seed)
    start = rng.integers(0, 8000, 20)
    r = pd.DataFrame(dict(chrom="chr1", start=start, end=start + rng.integers(200, 900, 20)))
    source = open_source(track.path, SIZES, ["chr1"])
    fine, coarse = [bin_signal(source, r, b, SIZES, uncovered) for b in (7, 42)]
    for i, n in enumerate(r.end - r.start):
        at = slice(*fine.offsets[i:i+2])
        bases = fine.covered[at] if uncovered == "skip" else np.minimum(7, n - 7*np.arange(-(-n//7)))
        np.testing.assert_allclose(pool(fine.values[at], 6, bases), coarse.values[slice(*coarse.offsets[i:i+2])],
                                   rtol=2e-6)

@pytest.mark.parametrize("uncovered", [0., 1., "skip"])
def test_every_store_gives_the_windows_of_the_source(uncovered, tmp_path):
    track, rng = make_track(tmp_path, random_rows(5, SIZES), uncovered=uncovered), np.random.default_rng(0)
    chrom = rng.choice(list(SIZES), 40)
    tss = [int(rng.integers(0, SIZES[c])) for c in chrom]
    genes = pd.DataFrame(dict(gene_id=[f"g{i}" for i in range(40)], chrom=chrom, tss=tss, strand="+"))
    needs = [Need(2000, 20), Need(2000, 100), Need(800, 20), Need(400, 200), Need(600, 40), Need(1500, 50)]
    assert set(plan(needs).values()) == {Need(2000, 20), Need(1500, 50)}
    for need, x in zip(needs, binned(track, needs, tmp_path/"s", genes), strict=True):
        np.testing.assert_allclose(x, direct(track, need, genes), rtol=2e-6, atol=1e-6, err_msg=need.key)
    fill(track, [INTEGRAL], genes, SIZES, tmp_path/"s", dict(source="s"))
    for need in [*needs, Need(5000, 250)]:
        wide, ref = read_windows([tmp_path/"s"], need, INTEGRAL, genes)[..., 0], direct(track, need, genes)
        np.testing.assert_allclose(wide, ref, rtol=1e-5, atol=1e-5, err_msg=f"{need.key} from the integral")
    rows = [7, 3, 3, 30]
    for store in (Need(2000, 20), INTEGRAL):
        every, some = [read_windows([tmp_path/"s"]*2, Need(800, 20), store, genes, r) for r in (None, rows)]
        np.testing.assert_array_equal(some, every[rows])

def test_assays_stand_side_by_side(tmp_path):
    a, b = make_track(tmp_path, name="a.bedGraph"), make_track(tmp_path, [("chr1", 4900, 5100, 3)], name="b.bedGraph")
    for t, f in ((a, "a"), (b, "b")): fill(t, [N], GENES, SIZES, tmp_path/f, dict(x=1))
    x = read_windows([tmp_path/"b", tmp_path/"a"], N, N, GENES)
    assert x.shape == (5, 4, 2) and x.dtype == np.float32 and x[1].tolist() == [[3, 4], [3, 0], [3, 6], [3, 2]]

# identity: what is current is left alone, what is not is made anew

STORES = [Need(400, 50), Need(200, 25), INTEGRAL]
KEYS = ["tss-w400-b50", "tss-w200-b25", "integral"]
def test_nothing_is_done_twice(track, tmp_path):
    f, made = tmp_path/"s", dict(source="abc", uncovered=0.)
    assert fill(track, STORES, GENES, SIZES, f, made) == KEYS
    before = times(f)
    (tmp_path/"x.bedGraph").unlink()                                                    # not even looked at
    assert fill(track, STORES, GENES, SIZES, f, made) == [] and times(f) == before

def test_only_what_is_missing_is_made(track, tmp_path):
    f, made = tmp_path/"s", dict(source="abc")
    assert fill(track, STORES[:1], GENES, SIZES, f, made) == KEYS[:1]
    before = times(f)
    assert fill(track, STORES, GENES, SIZES, f, made) == KEYS[1:]
    assert {k: v for k, v in times(f).items() if k in before} == before

def test_what_is_stale_is_made_anew(track, tmp_path):
    f = tmp_path/"s"
    fill(track, STORES, GENES, SIZES, f, dict(source="abc"))
    assert not any(is_current(f, s, dict(source="other")) for s in STORES)
    changed = make_track(tmp_path, [(c, s, e, 2*v) for c, s, e, v in TRACK])
    assert fill(changed, STORES[:1], GENES, SIZES, f, dict(source="other")) == KEYS[:1]
    np.testing.assert_allclose(read_windows([f], N, STORES[0], GENES)[..., 0], 2*np.array(WINDOWS), rtol=1e-7)
    assert [is_current(f, s, dict(source="other")) for s in STORES] == [True, False, False]
    assert [is_current(f, s, dict(source="abc")) for s in STORES] == [False, True, True]

@pytest.mark.parametrize("store", STORES, ids=KEYS)
def test_arrays_without_a_sidecar_are_as_good_as_none(store, track, tmp_path):
    f = tmp_path/"s"
    fill(track, STORES, GENES, SIZES, f, dict(source="abc"))
    whole, (path, side) = files(f), store_paths(f, store)
    side.unlink()
    # whatever an interrupted process left
    for p in [path] if path.is_file() else path.iterdir(): np.save(p, np.full(2, 77.))
    assert not is_current(f, store, dict(source="abc"))
    assert fill(track, STORES, GENES, SIZES, f, dict(source="abc")) == [getattr(store, "key", store)]
    assert files(f) == whole

@pytest.mark.parametrize("store", STORES[:2], ids=KEYS[:2])
def test_a_sidecar_without_its_array(store, track, tmp_path):
    fill(track, STORES, GENES, SIZES, tmp_path/"s", dict(source="abc"))
    store_paths(tmp_path/"s", store)[0].unlink()
    assert fill(track, STORES, GENES, SIZES, tmp_path/"s", dict(source="abc")) == [store.key]

@pytest.mark.parametrize("stale", [False, True], ids=["new", "stale"])
def test_killed_between_any_two_files(stale, tmp_path):
    "A process that dies before any of its files is in place leaves nothing that is taken for whole, old or new."
    old, new = make_track(tmp_path, uncovered="skip"), make_track(tmp_path, random_rows(1, SIZES), "y.bedGraph",
                                                                  uncovered="skip")
    fill(new, STORES, GENES, SIZES, tmp_path/"whole", dict(source="new"))
    fill(old, STORES, GENES, SIZES, tmp_path/"was", dict(source="old"))
    whole, was = files(tmp_path/"whole"), files(tmp_path/"was")
    # array, cover, sidecar; signal, cover of two chromosomes
    assert set(whole) == set(was) and len(whole) == 2*3 + 2*2*2 + 1
    current = dict(old=0, new=0)
    for n in range(len(whole) + 1):
        f = tmp_path/f"killed-{n}"
        if stale: fill(old, STORES, GENES, SIZES, f, dict(source="old"))
        assert killed_at_rename(n, lambda: fill(new, STORES, GENES, SIZES, f, dict(source="new"))) is (n < len(whole))
        left = files(f)
        for s in STORES:
            path, side = store_paths("", s)
            of = [k for k in whole if k.split("/")[0].split(".")[0] == path.stem]
            for source, content in dict(old=was, new=whole).items():
                if not is_current(f, s, dict(source=source)): continue
                current[source] += 1
                assert of and all(left[k] == content[k] for k in of), f"{path} after {n} files"
        fill(new, STORES, GENES, SIZES, f, dict(source="new"))
        assert files(f) == whole
    assert current["new"] > len(STORES) and bool(current["old"]) is stale

def test_what_a_killed_process_left_is_cleared_away(track, tmp_path):
    assert killed_at_rename(0, lambda: fill(track, STORES, GENES, SIZES, tmp_path/"s", dict(a=1)))
    fill(track, STORES, GENES, SIZES, tmp_path/"s", dict(a=1))
    assert not [p.name for p in (tmp_path/"s").rglob("*") if ".tmp" in p.name]

@pytest.mark.parametrize("rows", [[("chr1", 5000, 5100, 0)], [("chr1", 7000, 7500, 3)]])
def test_a_track_without_signal_is_refused(rows, tmp_path):
    with pytest.raises(InputError, match=r"x.bedGraph: no signal in any of 5 windows of cellA H3K4me3"):
        binned(make_track(tmp_path, rows), [N], tmp_path/"s")
    assert files(tmp_path/"s") == {}

def test_a_track_without_signal_is_refused_as_an_integral_too(tmp_path):
    track = make_track(tmp_path, [("chr1", 5000, 5100, 0)])
    with pytest.raises(InputError, match="no signal"): fill(track, [INTEGRAL], GENES, SIZES, tmp_path/"s", dict(a=1))

def test_an_infinite_signal_is_refused_as_an_integral_too(tmp_path):
    for c, n in SIZES.items(): np.save(tmp_path/f"{c}:0-{n}.npy", np.full((1, n), np.inf))
    track = Track("cellA", "x", str(tmp_path))
    with pytest.raises(InputError, match="infinite"): fill(track, [INTEGRAL], GENES, SIZES, tmp_path/"s", dict(a=1))

# edits

X = np.array(WINDOWS, np.float32)[..., None]
def edits(*rows, **columns):
    return pd.DataFrame(rows, columns=["chrom", "start", "end", "assay", "factor"]).assign(**columns)
def edited(e, x=X, scale="linear", assays=("a",)):
    return apply_edits(x, GENES, N, e, list(assays), [scale]*len(assays), SIZES)[..., 0]

@pytest.mark.parametrize("edit,p", [ # p and m both see 4900–5100 in bins of 50, with 4, 0, 6 and 2
    (("chr1", 4900, 4950, "a", 0.), [0, 0, 6, 2]), (("chr1", 4925, 5025, "a", 0.), [2, 0, 3, 2]),
    (("chr1", -1000, 20_000, "a", 0.), [0, 0, 0, 0]), (("chr1", 5050, 5060, "a", 0.), [4, 0, 6, 2*.8]),
    (("chr1", 4900, 5100, "a", .5), [2, 0, 3, 1]), (("chr1", 5000, 5050, "a", 3.), [4, 0, 18, 2]),
    # beside the window
    (("chr1", 4800, 4900, "a", 0.), [4, 0, 6, 2]), (("chr1", 5100, 5200, "a", 0.), [4, 0, 6, 2]),
    # elsewhere, another assay
    (("chr2", 4900, 5100, "a", 0.), [4, 0, 6, 2]), (("chr1", 4900, 5100, "b", 0.), [4, 0, 6, 2]),
    (("chr1", 4900, 5100, "a", 1.), [4, 0, 6, 2])])
def test_edits_by_hand(edit, p):
    x = edited(edits(edit))
    np.testing.assert_allclose(x[1:3], [p, p], rtol=1e-6)
    if edit[1:3] == (-1000, 20_000): assert x[[0, 3, 4]].tolist() == [[0]*4, [0]*4, [2]*4]
    else: np.testing.assert_array_equal(x[[0, 3, 4]], X[[0, 3, 4], :, 0])

def test_an_edit_of_the_whole_chromosome_leaves_nothing():
    x = edited(edits(("chr1", 0, 10_000, "a", 0.)))
    assert x[:4].tolist() == [[0]*4]*4 and x[4].tolist() == [2]*4
    # of the bin 9990–10040 only ten bases are there; taking five of them takes half of its signal
    np.testing.assert_allclose(edited(edits(("chr1", 9995, 10_000, "a", 0.)))[3], [0, 1.4, .7, 0], rtol=1e-6)

def test_an_edit_of_factor_1_changes_nothing_at_all():
    rng = np.random.default_rng(0)
    x = rng.random(X.shape, dtype=np.float32)
    for scale in SCALES.index:
        np.testing.assert_array_equal(edited(edits(("chr1", 4903, 5055, "a", 1.)), x, scale), x[..., 0])

def test_edits_add_up():
    two = edited(edits(("chr1", 5000, 5050, "a", .5), ("chr1", 5000, 5100, "a", .5)))
    np.testing.assert_allclose(two[1], [4, 0, 6/4, 2/2], rtol=1e-6)

def test_a_ratio_goes_to_1_and_a_log_to_0():
    e = edits(("chr1", 4900, 5025, "a", 0.))
    np.testing.assert_allclose(edited(e, scale="ratio")[1], [1, 1, 1 + 5*.5, 2], rtol=1e-6)
    np.testing.assert_allclose(edited(e, -X, "log")[1], [0, 0, -3, -2], rtol=1e-6)

def test_an_edit_for_one_gene():
    x = edited(edits(("chr1", 4900, 5100, "a", 0.), gene_id="m"))
    assert x[2].tolist() == [0]*4 and x[1].tolist() == X[1, :, 0].tolist()
    np.testing.assert_array_equal(edited(edits(("chr1", 4900, 5100, "a", 0.), gene_id="not here")), X[..., 0])
    # it sees another place
    np.testing.assert_array_equal(edited(edits(("chr1", 4900, 5100, "a", 0.), gene_id="c")), X[..., 0])

def test_edits_that_share_a_bin_but_no_base_take_what_each_covers():
    parts = edits(("chr1", 5000, 5010, "a", 0.), ("chr1", 5010, 5040, "a", .5), ("chr1", 5040, 5050, "a", 0.))
    np.testing.assert_allclose(edited(parts)[1], [4, 0, 6*.6*.5, 2], rtol=1e-6)                         # 20 bases of 50 gone, 30 halved
    np.testing.assert_allclose(edited(parts, scale="ratio")[1], [4, 0, 1 + 5*.3, 2], rtol=1e-6)

def test_many_edits_at_once_are_each_of_them_alone():
    "Edits of one gene each, or of the genome, against one window and one bin after the other."
    rng = np.random.default_rng(1)
    genes = pd.DataFrame(dict(gene_id=[f"g{i}" for i in range(40)], chrom=rng.choice(["chr1", "chr2"], 40), tss=rng.integers(0, 3000, 40)))
    x, start = rng.random((40, 4, 2)).astype(np.float32), genes.tss + rng.integers(-300, 100, 40)
    e = pd.DataFrame(dict(gene_id=genes.gene_id, chrom=np.where(rng.random(40) < .1, "chr1", genes.chrom), start=start, end=start + rng.integers(1, 250, 40),
                          assay=rng.choice(["a", "b"], 40), factor=rng.choice([0., .3, 2.], 40)))
    apart = e.drop(columns="gene_id").sort_values(["chrom", "start"])
    apart = apart[~(apart.start < apart.groupby("chrom").end.cummax().groupby(apart.chrom).shift())]    # edits of the genome that do not overlap
    for these in (e, apart):
        want, seen = x.astype(float), 0
        for i, g in enumerate(genes.itertuples()):
            for d in these.itertuples():
                if getattr(d, "gene_id", g.gene_id) != g.gene_id or d.chrom != g.chrom: continue
                t, bg = "ab".index(d.assay), [0., 1.]["ab".index(d.assay)]
                for b in range(4):
                    bases = [p for p in range(g.tss - 100 + 50*b, g.tss - 50 + 50*b) if 0 <= p < SIZES[g.chrom]]
                    share = sum(d.start <= p < d.end for p in bases)/max(len(bases), 1)
                    want[i, b, t] -= (x[i, b, t] - bg)*share*(1 - d.factor)
                    seen += share > 0
        assert seen > 10
        np.testing.assert_allclose(apply_edits(x, genes, N, these, ["a", "b"], ["linear", "ratio"], SIZES), want, rtol=1e-5, atol=1e-6)

def test_an_edit_after_the_log():
    e = edits(("chr1", 4900, 5025, "a", 0.), log=True)
    np.testing.assert_allclose(np.log1p(edited(e)[1]), [0, 0, np.log(7)/2, np.log(3)], rtol=1e-6)       # half of the bin 5000–5050
    np.testing.assert_allclose(edited(e, scale="ratio")[1], [1, 1, 1 + 5*.5, 2], rtol=1e-6)             # of a depth alone

def test_an_edit_of_one_assay_of_two():
    x = apply_edits(np.concatenate([X, X], 2), GENES, N, edits(("chr1", 4900, 5100, "b", 0.)), ["a", "b"],
                    ["linear"]*2, SIZES)
    np.testing.assert_array_equal(x[..., 0], X[..., 0])
    assert x[1, :, 1].tolist() == [0]*4

def test_edits_need_their_columns():
    with pytest.raises(InputError, match="edits: no column 'factor'"):
        edited(edits(("chr1", 0, 1, "a", 0.)).drop(columns="factor"))

def test_an_edit_is_what_binning_the_edited_genome_gives(tmp_path):
    "Where the signal is even, taking half of it away from 4210–4790 is the same before and after binning."
    level = lambda v: [("chr1", 4000, 4210, 8), ("chr1", 4210, 4790, v), ("chr1", 4790, 6000, 8)]
    before, after = [make_track(tmp_path, level(v), f"{v}.bedGraph") for v in (8, 4)]
    x = direct(before, Need(2000, 100))[..., None]
    y = apply_edits(x, GENES, Need(2000, 100), edits(("chr1", 4210, 4790, "a", .5)), ["a"], ["linear"], SIZES)[..., 0]
    np.testing.assert_allclose(y, direct(after, Need(2000, 100)), rtol=1e-6)
    assert (y[1] != x[1, :, 0]).sum() == 6                                             # bins 4200 to 4700

# real read depth

@pytest.fixture(scope="module")
def e003(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("e003")
    unpack(data/"e003_demo.tar.xz", folder)
    return folder/"e003_demo"

@pytest.fixture(scope="module")
def e003_genes(e003):
    meta = pd.read_csv(e003/"demo_meta.csv").rename(columns=dict(start="tss"))
    return meta.assign(start=meta.tss, end=meta.tss + 1)

@pytest.mark.parametrize("row", [1, 3])
def test_real_promoters(row, e003, e003_genes, tmp_path):
    needs = [Need(40_000, 100), Need(6000, 100), Need(40_000, 2000), Need(10_000, 500)]
    track = Track("E003", "mark", str(e003/"signals"), row=row)
    found = binned(track, needs, tmp_path, e003_genes, chrom_sizes("hg19"))
    names = [f"{g.chrom}:{g.tss-20_000}-{g.tss+20_000}" for g in e003_genes.itertuples()]
    x = np.stack([np.load(e003/"signals"/f"{n}.npy")[row].astype(np.float64) for n in names])
    assert len(x) == 100 and x.sum() > 0
    for need, y in zip(needs, found, strict=True):
        middle = slice(20_000 - need.window//2, 20_000 + need.window//2)
        np.testing.assert_allclose(y, x[:, middle].reshape(100, need.bins, need.bin).mean(2), rtol=1e-6, atol=1e-6,
                                   err_msg=need.key)

def test_real_fragments(e003, e003_genes, tmp_path):
    names = list(dict.fromkeys(n for g in e003_genes.neighbors.dropna() for n in g.split(";")))[:60]
    parts = [n.replace(":", "-").split("-") for n in names]
    r = pd.DataFrame([("any", c, int(s), int(e)) for c, s, e in parts], columns=["gene_id", "chrom", "start", "end"])
    track = Track("E003", "H3K27ac", str(e003/"signals"), row=5)
    fill(track, [Need(0, 100, "pcre")], e003_genes, chrom_sizes("hg19"), tmp_path, dict(a=1), dict(pcre=r))
    y, at = np.load(tmp_path/"pcre-b100.npy"), np.load(tmp_path/"pcre-b100.offsets.npy")
    for i, n in enumerate(names):
        x = np.load(e003/"signals"/f"{n}.npy")[5].astype(np.float64)
        means = [x[s:s+100].mean() for s in range(0, len(x), 100)]
        np.testing.assert_allclose(y[at[i]:at[i+1]], means, rtol=1e-6, atol=1e-6, err_msg=n)
    # partial last bins are among them
    assert any((r.end - r.start) % 100)

# any assay

TWELVE = ["H3K36me3", "H3K4me1", "H3K4me3", "H3K9me3", "H3K27me3", "H3K27ac", "DNase", "H3K9ac", "H3K4me2", "H2A.Z", "H3K79me2", "H4K20me1"]

def test_the_twelve_assays_of_epi_to_express_go_through(tmp_path):
    path = write_study(tmp_path, models='["ridge"]', tables="", folds='["1"]')
    lines = "".join(f'"{a}" = "cellA-H3K4me3.bigWig"\n' for a in TWELVE)
    text = path.read_text()
    first, last = text.index('H3K4me3 = "cellA'), text.index("[tracks.cellB]")
    path.write_text(text[:first] + lines + text[last:].replace('[tracks.cellB]\nH3K4me3 = "cellB-H3K4me3.bedGraph"\nH3K27ac = "cellB-H3K27ac.bedGraph"\n', "")
                    .replace("[grid]", "[grid]\nmarks = [\"all\", \"H2A.Z\"]", 1).replace('\nmarks = ["all"]', "", 1))
    path.write_text(path.read_text().replace('cellB = "cellB"\n', ""))
    p = pd.read_csv(finish(path)/"predictions.csv")
    assert set(p.marks) == {"+".join(TWELVE), "H2A.Z"} and p.y_pred.notna().all()
    assert all((tmp_path/"results"/"tracks"/"cellA"/a).is_dir() for a in TWELVE)
