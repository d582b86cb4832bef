"""Every source binned by hand: bigWig, bedGraph, lists of peaks and arrays; partial bins, both ends of a chromosome,
silence, damage."""
import gzip, os
import numpy as np, pandas as pd, pyBigWig, pysam, pytest
from chromexpress.core import InputError
from chromexpress.genome import ASSEMBLIES, chrom_sizes
from chromexpress.signal import (BIGWIG_READERS, BGZF_END, BigWig, IndexedIntervals, Intervals, RegionArrays,
                                 bigwig_reader, bin_signal, has_index,
                                 integral_means, masked_in, masked_share, max_of_overlaps, open_source, read_intervals,
                                 read_mask,
                                 running_integral, source_kind, stretches)
pytestmark = pytest.mark.usefixtures("hear")

SIZES = {"chr1": 1000, "chr2": 300}
NAN = float("nan")
# chr1: 2 on 100–200, 6 on 200–220, 1 on 220–250, 4 on the last hundred bases; chr2: 3 on the first sixty
TRACK = [("chr1", 100, 200, 2.), ("chr1", 200, 220, 6.), ("chr1", 220, 250, 1.), ("chr1", 900, 1000, 4.),
         ("chr2", 0, 60, 3.)]

def write_bigwig(path, rows, sizes=SIZES):
    with pyBigWig.open(str(path), "w") as bw:
        bw.addHeader(list(sizes.items()))
        for c in sizes:
            of = [r[1:] for r in rows if r[0] == c]
            if of:
                bw.addEntries([c]*len(of), [s for s, _, _ in of], ends=[e for _, e, _ in of],
                              values=[float(v) for *_, v in of])
    return path

def write_text(path, rows, text="{}\t{}\t{}\t{}\n"):
    lines = "".join(text.format(*r) for r in rows)
    path.write_bytes(gzip.compress(lines.encode()) if path.suffix == ".gz" else lines.encode())
    return path

def bases(rows, chrom, sizes=SIZES): # the signal of each base; NaN where no row says anything
    x = np.full(sizes[chrom], np.nan)
    for c, s, e, v in rows:
        if c == chrom: x[s:e] = v
    return x

def write_arrays(path, rows, sizes=SIZES): # whole chromosomes; the track is row 1 of 2
    path.mkdir()
    for c, n in sizes.items():
        x = np.stack([np.full(n, 9.), np.nan_to_num(bases(rows, c, sizes))])
        np.save(path/f"{c}:0-{n}.npy", x.astype(np.float16))
    return path

PEAK = "{}\t{}\t{}\tname\t999\t.\t{}\t-1\t-1\t5\n" # column 7 is the signal, column 5 (999) is not
BROAD = "{}\t{}\t{}\tname\t999\t.\t{}\t-1\t-1\n" # one column less: a broadPeak has no summit

def with_index(path, rows): # packed by bgzip, its index beside it
    write_text(path, rows)
    pysam.tabix_index(str(path), preset="bed", force=True)
    return path.with_name(path.name + ".gz")

WRITE = {
    "bigWig": lambda f, rows, sizes=SIZES: (write_bigwig(f/"x.bigWig", rows, sizes), {}),
    "bedGraph": lambda f, rows, sizes=SIZES: (write_text(f/"x.bedGraph", rows), {}),
    "bedGraph.gz": lambda f, rows, sizes=SIZES: (write_text(f/"x.bedGraph.gz", rows), {}),
    "narrowPeak": lambda f, rows, sizes=SIZES: (write_text(f/"x.narrowPeak", rows, PEAK), {}),
    "narrowPeak.gz": lambda f, rows, sizes=SIZES: (write_text(f/"x.narrowPeak.gz", rows, PEAK), {}),
    "broadPeak.gz": lambda f, rows, sizes=SIZES: (write_text(f/"x.broadPeak.gz", rows, BROAD), {}),
    "bedGraph.gz with an index": lambda f, rows, sizes=SIZES: (with_index(f/"x.bedGraph", rows), {}),
    "npy": lambda f, rows, sizes=SIZES: (write_arrays(f/"arrays", rows, sizes), dict(row=1)),
}

@pytest.fixture(params=list(WRITE))
def source(request, tmp_path):
    path, options = WRITE[request.param](tmp_path, TRACK)
    return open_source(path, SIZES, list(SIZES), **options)

def regions(*rows): return pd.DataFrame(rows, columns=["chrom", "start", "end"])
def bins_of(source, chrom, start, end, bin, **kwargs):
    return bin_signal(source, regions((chrom, start, end)), bin, SIZES, **kwargs)

# bins worked out by hand, from every source

@pytest.mark.parametrize("chrom,start,end,bin,means,outside", [
    ("chr1", 150, 250, 50, [2, (20*6 + 30*1)/50], 0),
    ("chr1", 180, 280, 50, [(20*2 + 20*6 + 10*1)/50, 20*1/50], 0),
    # the last bin has 25 bases, and its mean is over those
    ("chr1", 180, 255, 50, [(20*2 + 20*6 + 10*1)/50, 20*1/25], 0),
    ("chr1", 95, 106, 10, [(5*2)/10, 2], 0),                           # a last bin of one base
    ("chr1", 210, 212, 50, [6], 0),                                    # less than one bin
    ("chr1", 300, 400, 25, [0, 0, 0, 0], 0),                           # silence is 0
    # over the end of the chromosome: zeros, counted
    ("chr1", 940, 1040, 50, [4, 10*4/50], 40),
    ("chr2", -60, 40, 50, [0, 40*3/50], 60),                           # over its start
    ("chr2", -50, 350, 100, [50*3/100, 10*3/100, 0, 0], 100),          # over both
    # wholly outside
    ("chr1", 1000, 1100, 50, [0, 0], 100), ("chr1", 5000, 5050, 50, [0], 50), ("chr2", -80, 0, 40, [0, 0], 80),
    ("chr2", -100, -20, 40, [0, 0], 80), ("chr2", -100, 20, 40, [0, 0, 20*3/40], 100)])
def test_bins_by_hand(source, chrom, start, end, bin, means, outside):
    b = bins_of(source, chrom, start, end, bin)
    np.testing.assert_allclose(b.values, [means], rtol=1e-7)
    assert b.values.dtype == np.float32 and b.outside.tolist() == [outside] and b.offsets.tolist() == [0, len(means)]
    assert b.covered is None

def test_results_keep_the_order_of_the_regions(source):
    r = regions(("chr2", 0, 100), ("chr1", 900, 1000), ("chr1", 150, 250), ("chr2", 20, 120), ("chr1", 100, 200),
                ("chr1", 150, 250))
    assert bin_signal(source, r, 50, SIZES).values.tolist() == [[3, np.float32(.6)], [4, 4], [2, 3],
                                                                [np.float32(2.4), 0], [2, 2], [2, 3]]

def test_ragged_regions_and_a_bin_size_for_each(source):
    b = bin_signal(source, regions(("chr1", 180, 255), ("chr1", 100, 130), ("chr2", 0, 90)), [50, 50, 45], SIZES)
    np.testing.assert_allclose(b.values, [3.4, .8, 2, 3, 15*3/45], rtol=1e-7)
    assert b.offsets.tolist() == [0, 2, 3, 5]

SPARSE = [k for k in WRITE if k != "npy"] # arrays have a number for every base
@pytest.mark.parametrize("kind", SPARSE)
@pytest.mark.parametrize("chrom,start,end,uncovered,means", [
    ("chr1", 230, 290, 0., [20*1/30, 0]), ("chr1", 230, 290, 1., [1, 1]),
    ("chr1", 230, 290, 2.5, [(20*1 + 10*2.5)/30, 2.5]), ("chr1", 230, 290, "skip", [1, NAN]),
    ("chr1", 190, 250, "skip", [(10*2 + 20*6)/30, 1]),                 # 190–200 is 2, 200–220 is 6; then 220–250 is 1
    # beyond the chromosome there is nothing, not an uncovered base
    ("chr2", 270, 330, 1., [1, 0]),
    ("chr2", 270, 330, "skip", [NAN, NAN]), ("chr2", -30, 60, "skip", [NAN, 3, 3])])
def test_uncovered_bases(kind, chrom, start, end, uncovered, means, tmp_path):
    path, options = WRITE[kind](tmp_path, TRACK)
    b = bins_of(open_source(path, SIZES, list(SIZES), **options), chrom, start, end, 30, uncovered=uncovered)
    np.testing.assert_allclose(b.values, [means], rtol=1e-7)

def test_skipped_bases_are_counted(tmp_path):
    s = open_source(write_bigwig(tmp_path/"x.bw", TRACK), SIZES, list(SIZES))
    b = bin_signal(s, regions(("chr1", 230, 290), ("chr1", 210, 270), ("chr2", -30, 30)), 30, SIZES, uncovered="skip")
    assert b.covered.tolist() == [[20, 0], [30, 10], [0, 30]]
    ragged = bin_signal(s, regions(("chr1", 230, 290), ("chr1", 190, 215)), 30, SIZES, uncovered="skip")
    assert ragged.covered.tolist() == [20, 0, 25] and ragged.values[-1] == np.float32((10*2 + 15*6)/25)

# bigWigs by either library

@pytest.mark.parametrize("seed", range(3))
def test_both_libraries_read_the_same_to_the_last_bit(seed, tmp_path):
    rng = np.random.default_rng(seed)
    rows = [(c, s, e, rng.normal()*10.**rng.integers(-30, 30)) for c, s, e, _ in random_track(seed, BIGGER)]
    rows[3] = *rows[3][:3], NAN                                                     # a value that is none counts as no value
    fast, plain = [BigWig(write_bigwig(tmp_path/"x.bw", rows, BIGGER), r) for r in BIGWIG_READERS]
    assert (fast.reader, plain.reader) == ("pybigtools", "pyBigWig") and fast.header == plain.header == BIGGER
    for c, n in BIGGER.items():
        for fill in (NAN, 0, 1, 2.5): assert fast.filled(c, 0, n, fill).tobytes() == plain.filled(c, 0, n, fill).tobytes()
        a, b = fast.read(c, 10, n - 7), plain.read(c, 10, n - 7)
        assert a.dtype == b.dtype == np.float32 and a.tobytes() == b.tobytes()
    for u in (0., 1., "skip"):
        a, b = [bin_signal(s, random_regions(seed, BIGGER), 25, BIGGER, u) for s in (fast, plain)]
        assert a.values.tobytes() == b.values.tobytes() and (u != "skip" or a.covered.tobytes() == b.covered.tobytes())

def test_which_library_reads(tmp_path, monkeypatch):
    path = write_bigwig(tmp_path/"x.bw", TRACK)
    monkeypatch.delenv("CHROMEXPRESS_BIGWIG", raising=False)
    assert bigwig_reader() == BigWig(path).reader == "pybigtools"                   # because it is installed
    monkeypatch.setenv("CHROMEXPRESS_BIGWIG", "pyBigWig")
    assert bigwig_reader() == BigWig(path).reader == "pyBigWig"
    monkeypatch.setenv("CHROMEXPRESS_BIGWIG", "pybigwig")
    with pytest.raises(InputError, match="CHROMEXPRESS_BIGWIG=pybigwig: no such library; did you mean 'pyBigWig'"): bigwig_reader()
    monkeypatch.setattr("chromexpress.signal.find_spec", lambda name: None if name == "pybigtools" else name)
    monkeypatch.setenv("CHROMEXPRESS_BIGWIG", "pybigtools")
    with pytest.raises(InputError, match=r"not installed; pip install 'chromexpress\[fast\]'"): bigwig_reader()
    monkeypatch.delenv("CHROMEXPRESS_BIGWIG")
    assert bigwig_reader() == "pyBigWig"                                            # the only one that is there

# bedGraphs with an index

def test_a_chromosome_at_a_time(tmp_path):
    rows = [*TRACK, ("chr2", 250, 251, 9.)]
    path = with_index(tmp_path/"x.bedGraph", rows)
    s = open_source(path, SIZES, list(SIZES))
    assert isinstance(s, IndexedIntervals) and s.reader == "tabix" and s.ends == {"chr1": 1000, "chr2": 251}
    whole = Intervals(path)
    for c, n in SIZES.items(): np.testing.assert_array_equal(s.read(c, 0, n), whole.read(c, 0, n))
    assert s._held[0] == "chr2"

def test_an_index_that_is_no_use(tmp_path, monkeypatch):
    path = with_index(tmp_path/"x.bedGraph", TRACK)
    index = tmp_path/"x.bedGraph.gz.tbi"
    assert has_index(path)
    os.utime(index, (0, 0))                                                         # older than its file
    assert not has_index(path) and not isinstance(open_source(path, SIZES, ["chr1"]), IndexedIntervals)
    os.utime(path, (0, 0))
    assert has_index(path)
    monkeypatch.setattr("chromexpress.signal.find_spec", lambda name: None)         # no pysam
    assert not has_index(path)
    monkeypatch.undo()
    index.write_bytes(b"no index")
    with pytest.raises(InputError, match="x.bedGraph.gz: damaged, or not what its index is of"): open_source(path, SIZES, ["chr1"])
    index.unlink()
    assert not has_index(path) and open_source(path, SIZES, ["chr1"]).read("chr1", 199, 201).tolist() == [2, 6]

@pytest.mark.parametrize("rows,message", [
    ([("chr1", 0, 10, 1), ("chr1", 5, 20, 1)], "x.bedGraph.gz, chr1, interval 2: overlaps another interval of chr1"),
    ([("chr1", 0, 10, 1), ("chr1", 15, 20, "x")], r"x.bedGraph.gz, chr1, interval 2: needs 0 ≤ start < end .* column 4 \(1 such"),
    ([("chr1", 0, 1001, 1)], "chr1 ends at 1000, and something in the file at 1001")])
def test_wrong_lines_behind_an_index(rows, message, tmp_path):
    with pytest.raises(InputError, match=message):
        open_source(with_index(tmp_path/"x.bedGraph", rows), SIZES, ["chr1"]).read("chr1", 0, 10)

def test_blocks_that_end_early(tmp_path):
    "A file of bgzip's blocks that was cut between two of them is whole for gzip."
    path = with_index(tmp_path/"x.bedGraph", TRACK)
    whole = path.read_bytes()
    assert whole.endswith(BGZF_END) and gzip.decompress(whole[:-28]) == gzip.decompress(whole)
    path.write_bytes(whole[:-28])
    with pytest.raises(InputError, match="x.bedGraph.gz: the gzip stream ends early"): open_source(path, SIZES, ["chr1"])
    with pytest.raises(InputError, match="x.bedGraph.gz: the gzip stream ends early"): read_intervals(path, 3, 4)

# lists of peaks

def test_a_broad_peak_has_nine_columns(tmp_path):
    path = write_text(tmp_path/"x.broadPeak", [("chr1", 100, 340, 2.5), ("chr1", 200, 260, 7)], BROAD)
    found = bins_of(open_source(path, SIZES, ["chr1"]), "chr1", 190, 290, 50).values
    np.testing.assert_allclose(found, [[(10*2.5 + 40*7)/50, (20*7 + 30*2.5)/50]], rtol=1e-7)
    write_text(path, [("chr1", 100, 340, 2.5)], BROAD.replace("\t-1\t-1", "\t-1"))
    with pytest.raises(InputError, match="x.broadPeak, line 1: fewer than the 9 columns"): open_source(path, SIZES, ["chr1"])

def test_overlapping_peaks_take_the_maximum(tmp_path):
    # 100–200 is 2.5; 200–260 is 7; 260–320 is 4 (of 240–320); 320–340 is 2.5 again; 500–600 is 3, not the 1 of the
    # same place
    peaks = [("chr1", 100, 340, 2.5), ("chr1", 200, 260, 7), ("chr1", 240, 320, 4), ("chr1", 500, 600, 3),
             ("chr1", 500, 600, 1)]
    s = open_source(write_text(tmp_path/"x.narrowPeak", peaks[::-1], PEAK), SIZES, ["chr1"])
    np.testing.assert_allclose(bins_of(s, "chr1", 100, 350, 50).values,
                               [[2.5, 2.5, 7, (10*7 + 40*4)/50, (20*4 + 20*2.5)/50]], rtol=1e-7)
    assert bins_of(s, "chr1", 500, 600, 100).values.tolist() == [[3]]

def test_peaks_that_touch_do_not_overlap():
    start, end, value = max_of_overlaps(np.array([0, 10, 30]), np.array([10, 20, 40]),
                                        np.array([1., 5., 2.], np.float32))
    assert (start.tolist(), end.tolist(), value.tolist()) == ([0, 10, 30], [10, 20, 40], [1, 5, 2])

def test_maximum_of_many_random_peaks():
    rng, x = np.random.default_rng(3), np.full(500, -np.inf)
    start = rng.integers(0, 450, 60)
    end = start + rng.integers(1, 50, 60)
    value = rng.integers(1, 9, 60).astype(np.float32)
    for s, e, v in zip(start, end, value): x[s:e] = np.maximum(x[s:e], v)
    found = np.full(500, -np.inf)
    for s, e, v in zip(*max_of_overlaps(start, end, value)):
        assert np.all(np.isneginf(found[s:e]))                          # disjoint
        found[s:e] = v
    np.testing.assert_array_equal(found, x)

# sources of the same signal agree, and with plain arithmetic

def random_track(seed, sizes):
    rng, rows = np.random.default_rng(seed), []
    for c, n in sizes.items():
        cuts = np.unique(rng.integers(0, n + 1, 80))
        level = rng.integers(0, 40, len(cuts))/4
        rows += [(c, int(s), int(e), float(v)) for s, e, v in zip(cuts[:-1], cuts[1:], level) if rng.random() < .7]
    return rows

def random_regions(seed, sizes, n=60, within=False):
    rng = np.random.default_rng(seed)
    chrom = rng.choice(list(sizes), n)
    width = rng.integers(1, 900, n)
    width = np.minimum(width, [sizes[c] for c in chrom])
    start = np.array([rng.integers(0, sizes[c] - w + 1) if within else rng.integers(-500, sizes[c] + 200)
                      for c, w in zip(chrom, width)])
    return pd.DataFrame(dict(chrom=chrom, start=start, end=start + width))

def slow_means(rows, r, bin, sizes): # one bin at a time, in float64
    out = []
    for c, start, end in r[["chrom", "start", "end"]].itertuples(index=False):
        x = np.nan_to_num(bases(rows, c, sizes))
        for s in range(start, end, bin):
            e = min(s + bin, end)
            out.append(x[max(s, 0):max(e, 0)].sum() / (e - s))
    return np.array(out)

BIGGER = {"chr1": 5000, "chr2": 1200, "chrX": 333}
@pytest.mark.parametrize("seed", range(3))
def test_all_sources_agree_with_plain_arithmetic(seed, tmp_path):
    rows, r = random_track(seed, BIGGER), [random_regions(seed, BIGGER),
                                           random_regions(seed + 10, BIGGER, within=True)]
    r = pd.concat(r, ignore_index=True)
    means = {bin: slow_means(rows, r, bin, BIGGER) for bin in (3, 50, 1000)}
    size = r.chrom.map(BIGGER)
    outside = r.end - r.start - (np.minimum(r.end, size) - np.maximum(r.start, 0)).clip(lower=0)
    for kind, write in WRITE.items():
        (folder := tmp_path/kind).mkdir()
        path, options = write(folder, rows, BIGGER)
        s = open_source(path, BIGGER, list(BIGGER), **options)
        for bin, expected in means.items():
            b = bin_signal(s, r, bin, BIGGER)
            np.testing.assert_allclose(b.values.ravel(), expected, rtol=1e-6, atol=1e-7,
                                       err_msg=f"{kind}, bins of {bin}")
            np.testing.assert_array_equal(b.outside, outside)

@pytest.mark.parametrize("seed,chunk", [(0, 1 << 22), (0, 333), (1, 64), (2, 1)])
@pytest.mark.parametrize("uncovered", [0., 1.])
def test_running_integral_is_direct_binning(seed, chunk, uncovered, tmp_path):
    rows, rng = random_track(seed, BIGGER), np.random.default_rng(seed)
    s = open_source(write_bigwig(tmp_path/"x.bw", rows, BIGGER), BIGGER, list(BIGGER))
    for c, n in BIGGER.items():
        corners, integral = running_integral(s, c, n, uncovered, chunk=chunk)
        assert corners[0] == 0 and corners[-1] == n and np.all(np.diff(corners) > 0)
        assert len(corners) <= 2*len(rows) + 2                             # corners, not bases
        for _ in range(15):
            bin, k = int(rng.integers(1, 200)), int(rng.integers(1, 9))
            start = int(rng.integers(-bin*k, n + 100))
            direct = bin_signal(s, regions((c, start, start + k*bin)), bin, BIGGER, uncovered).values
            np.testing.assert_allclose(integral_means(corners, integral, [start], bin, k), direct, rtol=1e-6,
                                       atol=1e-6)

def test_running_integral_by_hand(tmp_path):
    s = open_source(write_bigwig(tmp_path/"x.bw", TRACK), SIZES, list(SIZES))
    corners, integral = running_integral(s, "chr1", 1000)
    assert corners.tolist() == [0, 100, 200, 220, 250, 900, 1000]
    assert integral.tolist() == [0, 0, 200, 320, 350, 350, 750]
    corners, bases = running_integral(s, "chr1", 1000, "skip", coverage=True)
    assert np.interp([0, 100, 250, 900, 1000], corners, bases).tolist() == [0, 0, 150, 150, 250]
    # an uncovered base counts as 1
    corners, integral = running_integral(s, "chr2", 300, 1.)
    assert np.interp([60, 300], corners, integral).tolist() == [180, 420]

# a blacklist

def write_mask(path): # 150–210, 240–260 (of two that overlap) and 995–1000 of chr1; all of chr2 to 30
    path.write_text("track name=list\n1\t150\t210\thigh\n1\t240\t250\n1\t245\t260\n1\t995\t1000\n2\t0\t30\nUn\t0\t99\n")
    return read_mask(path, SIZES)

def test_a_mask_by_hand(tmp_path):
    mask = write_mask(tmp_path/"list.bed")
    assert {c: [x.tolist() for x in of] for c, of in mask.items()} == {"chr1": [[150, 240, 995], [210, 260, 1000]], "chr2": [[0], [30]]}
    assert masked_in(mask, "chr1", 200, 245) == [(200, 210), (240, 245)] and masked_in(mask, "chr1", 210, 240) == []
    assert masked_in(mask, "chr3", 0, 9) == masked_in(None, "chr1", 0, 900) == []
    r = regions(("chr1", 100, 300), ("chr1", 150, 200), ("chr1", 300, 900), ("chr1", 990, 1090), ("chr2", -20, 40))
    assert masked_share(mask, r).tolist() == [80/200, 1, 0, 5/100, 30/60]

@pytest.mark.parametrize("kind", WRITE)
def test_masked_bases_count_as_uncovered(kind, tmp_path):
    path, options = WRITE[kind](tmp_path, TRACK)
    s, mask = open_source(path, SIZES, list(SIZES), **options), write_mask(tmp_path/"list.bed")
    find = lambda u: bins_of(s, "chr1", 100, 260, 40, uncovered=u, mask=mask)
    np.testing.assert_allclose(find(0.).values, [[2, 10*2/40, 10*6/40, 20*1/40]], rtol=1e-7)
    np.testing.assert_allclose(find(1.).values, [[2, (10*2 + 30*1)/40, (30*1 + 10*6)/40, (20*1 + 20*1)/40]], rtol=1e-7)
    skip = find("skip")
    assert skip.values.tolist() == [[2, 2, 6, 1]] and skip.covered.tolist() == [[40, 10, 10, 20]]
    assert bins_of(s, "chr1", 100, 140, 40, mask=mask).values.tolist() == bins_of(s, "chr1", 100, 140, 40).values.tolist() == [[2]]

@pytest.mark.parametrize("uncovered", [0., 1., "skip"])
def test_a_masked_integral_is_direct_binning(uncovered, tmp_path):
    s, mask = open_source(write_bigwig(tmp_path/"x.bw", TRACK), SIZES, list(SIZES)), write_mask(tmp_path/"list.bed")
    direct = bin_signal(s, regions(("chr1", 100, 1000)), 30, SIZES, uncovered, mask=mask).values
    signal = integral_means(*running_integral(s, "chr1", 1000, uncovered, chunk=64, mask=mask), [100], 30, 30)
    if uncovered == "skip":
        bases = integral_means(*running_integral(s, "chr1", 1000, "skip", coverage=True, chunk=64, mask=mask), [100], 30, 30)
        with np.errstate(invalid="ignore"): signal = signal/bases
    np.testing.assert_allclose(signal, direct, rtol=1e-6)

# bins of any size, windows of a megabase

def spread(n=60, size=3_000_000, seed=5): # steps all over three megabases
    rng = np.random.default_rng(seed)
    cuts = np.unique(rng.integers(0, size, 2*n))
    return [("chr1", int(s), int(e), float(v)) for s, e, v in zip(cuts[::2], cuts[1::2], rng.integers(1, 99, n)/8)], {"chr1": size}

@pytest.mark.parametrize("bin", [25, 100])
@pytest.mark.parametrize("window", [10_000, 200_000, 1_000_000])
def test_wide_windows_against_plain_means(window, bin, tmp_path):
    "Binned as they are, and out of a running integral."
    rows, sizes = spread()
    x, s = np.nan_to_num(bases(rows, "chr1", sizes)), open_source(write_bigwig(tmp_path/"x.bw", rows, sizes), sizes, ["chr1"])
    starts = np.array([0, 777_777, 1_234_567, 3_000_000 - window])
    plain = np.stack([x[i:i + window].reshape(-1, bin).mean(1) for i in starts])
    r = pd.DataFrame(dict(chrom="chr1", start=starts, end=starts + window))
    assert plain.max() > 5
    np.testing.assert_array_equal(bin_signal(s, r, bin, sizes).values, plain.astype(np.float32))
    corners, integral = running_integral(s, "chr1", 3_000_000)
    assert len(corners) <= 2*len(rows) + 2
    np.testing.assert_allclose(integral_means(corners, integral, starts, bin, window//bin), plain, rtol=1e-6, atol=1e-5)

def test_stretches():
    r = regions(("chr1", 150, 250), ("chr2", 0, 10), ("chr1", 100, 200), ("chr1", 250, 300), ("chr1", 400, 500))
    plain = lambda **kwargs: [(c, int(lo), int(hi), list(map(int, rows)))
                              for c, lo, hi, rows in stretches(r, **kwargs)]
    # those that touch are joined
    assert plain() == [("chr1", 100, 300, [2, 0, 3]), ("chr1", 400, 500, [4]), ("chr2", 0, 10, [1])]
    assert plain(merge=False) == [("chr1", 100, 200, [2]), ("chr1", 150, 250, [0]), ("chr1", 250, 300, [3]),
                                  ("chr1", 400, 500, [4]),
                                  ("chr2", 0, 10, [1])]
    assert plain(most=120) == [("chr1", 100, 250, [2, 0]), ("chr1", 250, 300, [3]), ("chr1", 400, 500, [4]),
                               ("chr2", 0, 10, [1])]

# what cannot be read is refused

def write_whole_bigwig(path):
    rng = np.random.default_rng(0)
    return write_bigwig(path, [("chr1", 10*i, 10*i + 10, float(v)) for i, v in enumerate(rng.random(90))])

def test_truncated_bigwig_of_any_length(tmp_path):
    whole, cut = write_whole_bigwig(tmp_path/"x.bw").read_bytes(), tmp_path/"cut.bw"
    lengths = [*range(0, 70), *range(70, len(whole) - 4, 101), *range(len(whole) - 4, len(whole))]
    for n in lengths:
        cut.write_bytes(whole[:n])
        with pytest.raises(InputError, match="cut.bw: (not a bigWig|the file is truncated|damaged)"):
            open_source(cut, SIZES, ["chr1"])
    cut.write_bytes(whole)
    assert open_source(cut, SIZES, ["chr1"]).read("chr1", 0, 900).sum() > 0

@pytest.mark.parametrize("reader", BIGWIG_READERS)
def test_a_bigwig_that_is_damaged_inside(reader, tmp_path, monkeypatch):
    monkeypatch.setenv("CHROMEXPRESS_BIGWIG", reader)
    whole = bytearray(write_whole_bigwig(tmp_path/"x.bw").read_bytes())
    # the data begin after a count, at an offset that the header gives
    at = int.from_bytes(whole[16:24], "little") + 8 + 4
    whole[at:at + 40] = bytes(40)
    (tmp_path/"x.bw").write_bytes(whole)
    s = open_source(tmp_path/"x.bw", SIZES, ["chr1"])
    with pytest.raises(InputError, match="x.bw: damaged at chr1:0-900"): bins_of(s, "chr1", 0, 900, 100)

@pytest.mark.parametrize("name", ["x.bigWig", "x.bedGraph"])
def test_what_is_not_that_format(name, tmp_path):
    (tmp_path/name).write_bytes(b"\xff\xfe\x00\x80 something else altogether")
    with pytest.raises(InputError, match=f"{name}: not a (bigWig|text) file"):
        open_source(tmp_path/name, SIZES, ["chr1"])

@pytest.mark.parametrize("keep", [.2, .5, .9, .999])
def test_damaged_gz(keep, tmp_path):
    path = write_text(tmp_path/"x.bedGraph.gz", random_track(0, BIGGER))
    whole = path.read_bytes()
    path.write_bytes(whole[:int(keep*len(whole))])
    with pytest.raises(InputError, match="x.bedGraph.gz: the gzip stream ends early or is damaged"):
        open_source(path, BIGGER, ["chr1"])
    path.write_bytes(whole[:len(whole)//2] + bytes(20) + whole[len(whole)//2 + 20:])
    with pytest.raises(InputError, match="x.bedGraph.gz: the gzip stream ends early or is damaged"):
        open_source(path, BIGGER, ["chr1"])
    path.write_bytes(b"chr1\t0\t10\t1\n")
    with pytest.raises(InputError, match="x.bedGraph.gz: the gzip stream ends early or is damaged"):
        open_source(path, BIGGER, ["chr1"])

# six lines with the one that follows
GOOD = "# made by hand\ntrack type=bedGraph\nchr1\t0\t10\t1\n\nchr1\t10\t20\t2\n"
@pytest.mark.parametrize("row", ["20 30", "x 30 1", "20 y 1", "30 30 1", "40 30 1", "-1 30 1",
                                 "20 30 NA", "20 30 nan", "20 30 inf", "20 30 one", "20.5 30 1", "20 30.5 1"])
def test_a_wrong_row_names_its_line(row, tmp_path):
    (tmp_path/"x.bedGraph").write_text(GOOD + "chr1\t" + row.replace(" ", "\t") + "\nchr1\t50\t60\t1\n")
    with pytest.raises(InputError, match="x.bedGraph, line 6"): open_source(tmp_path/"x.bedGraph", SIZES, ["chr1"])

def test_comments_and_empty_lines_are_passed_over(tmp_path):
    (tmp_path/"x.bedGraph").write_text("browser position chr1:1-100\n" + GOOD + "  \nchr2 0 5 7 extra\n")
    found = read_intervals(tmp_path/"x.bedGraph", 3, 4)[["line", "chrom", "start", "end", "value"]]
    assert found.values.tolist() == [[4, "chr1", 0, 10, 1], [6, "chr1", 10, 20, 2], [8, "chr2", 0, 5, 7]]

def test_a_short_peak_names_its_line(tmp_path):
    (tmp_path/"x.narrowPeak").write_text(PEAK.format("chr1", 0, 10, 3) + "chr1\t0\t10\tname\t5\t.\n")
    with pytest.raises(InputError, match="x.narrowPeak, line 2: fewer than the 7 columns"):
        open_source(tmp_path/"x.narrowPeak", SIZES, ["chr1"])

@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\ntrack x\n"])
def test_no_intervals(text, tmp_path):
    (tmp_path/"x.bedGraph").write_text(text)
    with pytest.raises(InputError, match="x.bedGraph: no intervals"):
        open_source(tmp_path/"x.bedGraph", SIZES, ["chr1"])

@pytest.mark.parametrize("rows,line",
                         [([(0, 20), (10, 30)], 2), ([(10, 30), (0, 20)], 1), ([(0, 100), (10, 20), (50, 60)], 2),
                                       ([(0, 10), (5, 6), (0, 10)], 3)])
def test_overlaps_in_a_bedgraph_are_refused(rows, line, tmp_path):
    path = write_text(tmp_path/"x.bedGraph", [("chr1", s, e, 1) for s, e in rows])
    with pytest.raises(InputError, match=f"x.bedGraph, line {line}: overlaps another interval of chr1"):
        open_source(path, SIZES, ["chr1"])
    # touching, and other chromosomes, are no overlap
    write_text(path, [("chr1", 0, 10, 1), ("chr2", 0, 10, 1), ("chr1", 10, 20, 1)])
    assert open_source(path, SIZES, ["chr1"]).read("chr1", 0, 20).tolist() == [1]*20

# arrays

def test_sums_of_float16_do_not_overflow(tmp_path):
    np.save(tmp_path/"chr1:0-200.npy", np.full((1, 200), 60_000, np.float16))            # float16 ends at 65,504
    s = open_source(tmp_path, SIZES, ["chr1"])
    assert bin_signal(s, regions(("chr1", 0, 200)), 100, SIZES).values.tolist() == [[np.float16(60_000)]*2]

def test_regions_that_overlap_are_read_from_their_own_arrays(tmp_path):
    for s, v in ((0, 1), (50, 2)): np.save(tmp_path/f"chr1:{s}-{s+100}.npy", np.full((1, 100), v, np.float16))
    s = open_source(tmp_path, SIZES, ["chr1"])
    assert bin_signal(s, regions(("chr1", 50, 150), ("chr1", 0, 100)), 100, SIZES).values.tolist() == [[2], [1]]

def test_arrays_that_leave_the_chromosome(tmp_path):
    np.save(tmp_path/"chr2:-50-50.npy", np.tile(np.r_[np.zeros(50), np.full(50, 3)], (1, 1)).astype(np.float16))
    b = bin_signal(open_source(tmp_path, SIZES, ["chr2"]), regions(("chr2", -50, 50)), 50, SIZES)
    assert b.values.tolist() == [[0, 3]] and b.outside.tolist() == [50]

@pytest.mark.parametrize("region", [("chr1", 50, 150), ("chr1", 99, 100), ("chr1", 190, 210), ("chr2", 100, 110)])
def test_what_no_array_covers(region, tmp_path):
    np.save(tmp_path/"chr1:100-200.npy", np.ones((1, 100)))
    with pytest.raises(InputError, match=r"no array covers chr[12]:\d+-\d+"):
        bin_signal(RegionArrays(tmp_path), regions(region), 10, SIZES)

def read_array(folder, row=0): return bin_signal(RegionArrays(folder, row), regions(("chr1", 100, 200)), 10, SIZES)

@pytest.mark.parametrize("array,row,message", [
    (np.ones((2, 99)), 0, r"its shape is \(2, 99\); its name says \(tracks, 100\)"),
    (np.ones(100), 0, "its shape is"),
    (np.ones((2, 100)), 2, "no row 2, it has 2")])
def test_wrong_arrays(array, row, message, tmp_path):
    np.save(tmp_path/"chr1:100-200.npy", array)
    with pytest.raises(InputError, match="chr1:100-200.npy: " + message): read_array(tmp_path, row)

def test_a_truncated_array(tmp_path):
    np.save(tmp_path/"chr1:100-200.npy", np.ones((2, 100)))
    whole = (tmp_path/"chr1:100-200.npy").read_bytes()
    for n in (0, 5, 60, 200, len(whole) - 1):
        (tmp_path/"chr1:100-200.npy").write_bytes(whole[:n])
        with pytest.raises(InputError, match="chr1:100-200.npy: not a whole .npy file"): read_array(tmp_path)

def test_a_folder_without_arrays(tmp_path):
    np.save(tmp_path/"chr1.npy", np.ones(3))
    with pytest.raises(InputError, match="no file in it is named chrom:start-end.npy"):
        open_source(tmp_path, SIZES, ["chr1"])

@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_signal(value, tmp_path):
    x = np.ones((1, 300)); x[0, 250] = value
    np.save(tmp_path/"chr2:0-300.npy", x)
    with pytest.raises(InputError, match="infinite values in chr2:200-300"):
        bin_signal(RegionArrays(tmp_path), regions(("chr2", 0, 100), ("chr2", 200, 300)), 50, SIZES)

# formats and assemblies

@pytest.mark.parametrize("name,kind", [("a.bw", "bigwig"), ("a.BigWig", "bigwig"), ("a.b.bg", "bedgraph"),
                                       ("a.bdg.gz", "bedgraph"), ("a.bedGraph", "bedgraph"),
                                       ("a.narrowPeak.gz", "narrowpeak"), ("a.broadPeak", "broadpeak")])
def test_format_by_name(name, kind): assert source_kind(name) == kind and source_kind("nameless", kind) == kind

def test_unknown_formats(tmp_path):
    assert source_kind(tmp_path) == "npy"
    with pytest.raises(InputError, match="a.cram: cannot tell the format"): source_kind("a.cram")
    with pytest.raises(InputError, match="kind 'bigwg' is unknown; did you mean 'bigwig'"):
        source_kind("a.bw", "bigwg")
    with pytest.raises(InputError, match="no-such.bw: no such file"):
        open_source(tmp_path/"no-such.bw", SIZES, ["chr1"])

@pytest.mark.parametrize("name", ["x.bigWig", "x.bedGraph", "x.narrowPeak"])
def test_a_folder_in_place_of_a_file(name, tmp_path):
    (tmp_path/name).mkdir()
    with pytest.raises(InputError, match=name): open_source(tmp_path/name, SIZES, ["chr1"])

@pytest.mark.parametrize("kind", ["bigWig", "bedGraph", "narrowPeak", "npy"])
def test_chromosomes_by_other_names(kind, tmp_path, caplog):
    path, options = WRITE[kind](tmp_path, [(c[3:], *r) for c, *r in TRACK], {"1": 1000, "2": 300})
    s = open_source(path, SIZES, list(SIZES), **options)
    assert bins_of(s, "chr1", 150, 250, 50).values.tolist() == [[2, 3]]
    assert "1 is chr1" in caplog.text

def test_lengths_must_fit(tmp_path, caplog):
    path = write_bigwig(tmp_path/"x.bigWig", TRACK)
    with pytest.raises(InputError, match=r"x.bigWig: chr1 is 1000 bp long in its header, 1001 bp in"):
        open_source(path, SIZES | {"chr1": 1001}, ["chr1"])
    assert open_source(path, SIZES | {"chr1": 1001}, ["chr2"]).read("chr2", 55, 65).tolist()[:5] == [3]*5
    assert "not in use: chr1" in caplog.text

@pytest.mark.parametrize("kind", ["bedGraph", "narrowPeak", "npy"])
def test_ends_must_fit(kind, tmp_path, caplog):
    path, options = WRITE[kind](tmp_path, TRACK)
    with pytest.raises(InputError, match="chr1 ends at 999, and something in the file at 1000"):
        open_source(path, SIZES | {"chr1": 999}, ["chr1"], **options)
    open_source(path, SIZES, ["chr1"], **options)
    assert "it has no header; all ends fit the assembly, and no more can be checked" in caplog.text

def test_a_chromosome_that_the_file_lacks_is_uncovered(tmp_path, caplog):
    sizes = SIZES | {"chr3": 500}
    s = open_source(write_bigwig(tmp_path/"x.bigWig", TRACK), sizes, ["chr1", "chr3"])
    assert bin_signal(s, regions(("chr3", 0, 100)), 50, sizes).values.tolist() == [[0, 0]]
    assert "no chr3 in it" in caplog.text
    assert bin_signal(s, regions(("chr3", 0, 100)), 50, sizes, uncovered=1.).values.tolist() == [[1, 1]]
    with pytest.raises(InputError, match="chr4: not a chromosome"):
        bin_signal(s, regions(("chr4", 0, 100)), 50, sizes)

# real files

def test_the_hg38_file_among_hg19_files(data):
    folder, hg19 = data/"k562_chr9", chrom_sizes("hg19")
    for name in ("H3K27ac", "H3K27me3", "RNA"):
        s = open_source(folder/f"{name}.hg19.bigWig", hg19, ["chr9"])
        assert bin_signal(s, regions(("chr9", 4_000_000, 6_000_000)), 100, hg19).values.sum() > 0
    with pytest.raises(InputError,
                       match="H3K4me3.hg38.bigWig: chr9 is 138394717 bp long in its header, 141213431 bp in hg19; "
                                         "the file looks like hg38"):
        open_source(folder/"H3K4me3.hg38.bigWig", hg19, ["chr9"])
    assert open_source(folder/"H3K4me3.hg38.bigWig", chrom_sizes("hg38"),
                       ["chr9"]).header["chr9"] == ASSEMBLIES["hg38"]["chr9"]

@pytest.mark.parametrize("keep", [.01, .3, .7, .98])
def test_a_real_bigwig_cut_short(keep, data, tmp_path):
    whole = (data/"k562_chr9"/"H3K27ac.hg19.bigWig").read_bytes()
    (tmp_path/"cut.bigWig").write_bytes(whole[:int(keep*len(whole))])
    with pytest.raises(InputError, match="cut.bigWig: the file is truncated"):
        open_source(tmp_path/"cut.bigWig", chrom_sizes("hg19"), ["chr9"])

def test_a_real_bigwig_base_by_base(data):
    path, hg19 = data/"k562_chr9"/"H3K27ac.hg19.bigWig", chrom_sizes("hg19")
    r = pd.DataFrame(dict(chrom="chr9", start=[4_100_050, 5_999_900, 3_999_000, 4_100_000]))
    r["end"] = r.start + 6000
    found = bin_signal(open_source(path, hg19, ["chr9"]), r, 100, hg19).values
    with pyBigWig.open(str(path)) as bw:
        depth = [np.nan_to_num(np.array(bw.values("chr9", s, e))) for s, e in zip(r.start, r.end)]
    x = [d.reshape(60, 100).mean(1) for d in depth]
    np.testing.assert_allclose(found, x, rtol=1e-6)
