"""Reads counted by hand: BAM, tagAlign and BED; introns, deletions, strands, copies, samples, scales, controls,
damage."""
import gzip, json
from collections import Counter
from dataclasses import replace
from pathlib import Path
import numpy as np, pandas as pd, pytest
from chromexpress.apply import track_differences
from chromexpress.core import InputError, Problems
from chromexpress.reads import Aligned, sample, shares
from chromexpress.registry import load_study
from chromexpress.signal import Reads, bin_signal, open_source, running_integral
from chromexpress.study import parse_study
from chromexpress.tracks import INTEGRAL, Need, Track, fill
from toy import command, cli, files, finish, killed_at_rename, not_current, write_study
pysam = pytest.importorskip("pysam", reason="the extra `reads` is not installed")
pytestmark = pytest.mark.usefixtures("hear")

SIZES = {"chr1": 1000, "chr2": 300}
REVERSE, SECOND, DUPLICATE, EXTRA, UNMAPPED = 16, 256, 1024, 2048, 4

def write_bam(path, rows, sizes=SIZES, index=True): # rows: chrom, start, flag, mapq, cigar[, mate start, length]
    with pysam.AlignmentFile(str(path), "wb", reference_names=list(sizes),
                             reference_lengths=list(sizes.values())) as out:
        for k, (chrom, start, flag, mapq, cigar, *pair) in enumerate(rows):
            r = pysam.AlignedSegment(out.header)
            r.query_name, r.flag, r.reference_id, r.reference_start = f"r{k}", flag, list(sizes).index(chrom), start
            r.mapping_quality, r.cigarstring = mapq, cigar
            if pair: r.next_reference_id, (r.next_reference_start, r.template_length) = r.reference_id, pair
            out.write(r)
    if index: pysam.index(str(path))
    return str(path)

def write_tags(path, rows, text="{}\t{}\t{}\tN\t1000\t{}\n"): # rows: chrom, start, end, strand
    lines = "".join(text.format(*r) for r in rows).encode()
    Path(path).write_bytes(gzip.compress(lines) if str(path).endswith(".gz") else lines)
    return str(path)

def steps(path, chrom="chr1", sizes=SIZES, kind=None, **options): # {position: value from there on}
    at, value = open_source(path, sizes, [chrom], kind, reads=Reads(**options)).steps(chrom)
    return dict(zip(at.tolist(), value.tolist()))

def bases(path, start, end, chrom="chr1", sizes=SIZES, kind=None, **options):
    return open_source(path, sizes, [chrom], kind, reads=Reads(**options)).read(chrom, start, end).tolist()

# what a read covers

@pytest.mark.parametrize("cigar,covers", [
    ("10M", [(100, 110)]), ("4=2X4=", [(100, 110)]), ("4M2D6M", [(100, 112)]), ("4M2I4M", [(100, 108)]),
    ("3S7M2H", [(100, 107)]), ("4M20N6M", [(100, 104), (124, 130)]),
    ("2M10N2M1D2M10N4M", [(100, 102), (112, 117), (127, 131)])])
def test_aligned_bases_of_a_cigar(cigar, covers, tmp_path):
    "Deleted bases count as covered, as in a tagAlign; introns do not."
    bam = write_bam(tmp_path/"x.bam", [("chr1", 100, 0, 60, cigar)])
    x = np.zeros(60)
    for s, e in covers: x[s - 90:e - 90] = 1
    assert bases(bam, 90, 150) == x.tolist()

def test_only_primary_mapped_records_count(tmp_path, caplog):
    rows = [("chr1", 100, f, 60, "10M") for f in (0, SECOND, EXTRA, UNMAPPED, DUPLICATE, REVERSE)]
    s = open_source(write_bam(tmp_path/"x.bam", rows), SIZES, ["chr1"])
    assert s.read("chr1", 99, 111).tolist() == [0] + [3]*10 + [0]
    assert s.done["chromosomes"] == {"chr1": dict(counted=3, records=6, unmapped=1) | {"not primary": 2}}
    assert "6 records, 2 left out (not primary); 1 left out (unmapped)" in caplog.text

@pytest.mark.parametrize("index", [True, False])
def test_random_reads_as_by_brute_force(index, tmp_path):
    rng, rows, x = np.random.default_rng(3), [], {c: np.zeros(n) for c, n in SIZES.items()}
    for _ in range(400):
        c = ["chr1", "chr2"][rng.integers(2)]
        a, gap, b = (int(v) for v in rng.integers([1, 0, 1], [30, 40, 30]))
        start = int(rng.integers(0, SIZES[c] - a - gap - b))
        rows.append((c, start, int(rng.choice([0, REVERSE])), 60, f"{a}M{gap}N{b}M" if gap else f"{a + b}M"))
        x[c][start:start + a] += 1
        x[c][start + a + gap:start + a + gap + b] += 1
    if index: rows.sort(key=lambda r: r[:2])
    s = open_source(write_bam(tmp_path/"x.bam", rows, index=index), SIZES, list(SIZES))
    for c, n in SIZES.items(): assert (s.read(c, 0, n) == x[c]).all()
    windows = pd.DataFrame([("chr2", -10, 65), ("chr1", 30, 105), ("chr1", 950, 1025)],
                           columns=["chrom", "start", "end"])
    by_hand = [np.pad(x[c], 100)[s + 100:e + 100].reshape(-1, 25).mean(1)
               for c, s, e in windows.itertuples(index=False)]
    assert np.allclose(bin_signal(s, windows, 25, SIZES).values, by_hand, rtol=1e-6)
    at, total = running_integral(s, "chr1", 1000, chunk=64)
    assert np.allclose(np.interp(np.arange(1001), at, total), np.append(0, np.cumsum(x["chr1"])))

def test_text_and_bam_of_the_same_reads_agree(tmp_path):
    rows = [("chr1", 5, 41, "+"), ("chr1", 20, 56, "-"), ("chr1", 20, 56, "+"), ("chr2", 0, 36, "-")]
    bam = write_bam(tmp_path/"x.bam", [(c, s, REVERSE*(d == "-"), 60, f"{e - s}M") for c, s, e, d in rows])
    for name, kind in (("x.tagAlign", None), ("x.tagAlign.gz", None), ("x.bed", "bed"), ("y.bed.gz", "bed")):
        tags = write_tags(tmp_path/name, rows)
        for o in ({}, dict(extend=100), dict(shift=-7, extend=50), dict(normalise="rpm"), dict(normalise="rpkm")):
            assert steps(tags, kind=kind, **o) == steps(bam, **o)
    assert steps(bam) == {0: 0, 5: 1, 20: 3, 41: 2, 56: 0}

def test_an_unsorted_bam_and_text_in_any_order(tmp_path):
    rows = [("chr2", 7, 0, 60, "10M"), ("chr1", 500, 0, 60, "10M"), ("chr2", 3, 0, 60, "10M"),
            ("chr1", 2, 0, 60, "10M")]
    bam = write_bam(tmp_path/"x.bam", rows, index=False)
    assert steps(bam) == {0: 0, 2: 1, 12: 0, 500: 1, 510: 0}
    assert steps(bam, "chr2") == {0: 0, 3: 1, 7: 2, 13: 1, 17: 0}

def test_a_chromosome_without_reads_has_depth_0_and_one_not_in_the_file_none(tmp_path):
    s = open_source(write_bam(tmp_path/"x.bam", [("chr1", 0, 0, 60, "10M")]), SIZES | {"chr3": 50}, ["chr1", "chr3"])
    assert s.read("chr2", 0, 3).tolist() == [0, 0, 0] and np.isnan(s.read("chr3", 0, 3)).all()

def test_a_bed_of_three_columns_has_depth_but_no_direction(tmp_path):
    bed = write_tags(tmp_path/"x.bed", [("chr1", 5, 9)], "track name=x\n\n{} {} {}\n")
    assert steps(bed, kind="bed") == {0: 0, 5: 1, 9: 0}
    with pytest.raises(InputError, match="need the strand of each read"): steps(bed, kind="bed", extend=20)

# direction

@pytest.mark.parametrize("options,plus,minus", [
    (dict(extend=200), (100, 300), (-64, 136)), (dict(extend=20), (100, 136), (100, 136)),
    (dict(shift=10), (110, 146), (90, 126)),
    (dict(shift=-10, extend=40), (90, 130), (106, 146)), (dict(shift=-120), (-20, 16), (220, 256))])
def test_reads_move_and_grow_in_their_own_direction(options, plus, minus, tmp_path):
    for strand, (s, e) in (("+", plus), ("-", minus)):
        assert steps(write_tags(tmp_path/"x.tagAlign", [("chr1", 100, 136, strand)]), **options) == \
            ({0: 0, s: 1, e: 0} if s > 0 else {0: 1, e: 0})

def test_an_intron_moves_with_its_read_and_is_never_covered(tmp_path):
    bam = write_bam(tmp_path/"x.bam", [("chr1", 100, REVERSE, 60, "10M30N10M")])
    assert steps(bam, shift=5) == {0: 0, 95: 1, 105: 0, 135: 1, 145: 0}
    assert steps(bam, extend=80) == {0: 0, 70: 1, 110: 0, 140: 1, 150: 0}

def test_bases_beyond_the_end_of_the_chromosome_are_not_read(tmp_path):
    bam = write_bam(tmp_path/"x.bam", [("chr2", 290, 0, 60, "10M")])
    b = bin_signal(open_source(bam, SIZES, ["chr2"], reads=Reads(extend=200)),
                   pd.DataFrame(dict(chrom="chr2", start=[280], end=[320])), 20, SIZES)
    assert b.values.tolist() == [[.5, 0]] and b.outside.tolist() == [20]

PAIR = [("chr1", 100, 99, 60, "10M", 190, 100), ("chr1", 190, 147, 60, "10M", 100, -100), # a proper pair, 100–200
        # 300–350, its first mate on −
        ("chr1", 300, 163, 60, "10M", 340, 50), ("chr1", 340, 83, 20, "10M", 300, -50),
        ("chr1", 500, 65, 60, "10M", 900, 410)]                                          # not proper

def test_a_pair_is_two_reads_or_one_fragment(tmp_path, caplog):
    bam = write_bam(tmp_path/"x.bam", PAIR)
    assert steps(bam) == {0: 0, 100: 1, 110: 0, 190: 1, 200: 0, 300: 1, 310: 0, 340: 1, 350: 0, 500: 1, 510: 0}
    assert steps(bam, extend="template") == {0: 0, 100: 1, 200: 0, 300: 1, 350: 0}
    assert "1 left out (not in a proper pair); 2 left out (second mate)" in caplog.text
    assert steps(bam, extend="template", mapq=30) == {0: 0, 100: 1, 200: 0}
    assert steps(bam, extend="template", shift=5) == {0: 0, 105: 1, 205: 0, 295: 1, 345: 0}
    assert "each mate" not in caplog.text
    assert steps(bam, extend=20)[180] == 1 and 'extend = "template" takes a pair as one' in caplog.text

def test_templates_of_single_reads_are_refused(tmp_path):
    bam = write_bam(tmp_path/"x.bam", [("chr1", 100, 0, 60, "10M")])
    with pytest.raises(InputError, match=r"x\.bam: extend = \"template\" needs paired reads"):
        steps(bam, extend="template")
    with pytest.raises(InputError, match="needs a BAM"):
        steps(write_tags(tmp_path/"x.tagAlign", [("chr1", 1, 9, "+")]), extend="template")

# what is left out

COPIES = [("chr1", 100, 0, 60, "10M"), ("chr1", 100, DUPLICATE, 60, "12M"), ("chr1", 100, REVERSE, 60, "12M"),
          ("chr1", 102, REVERSE, 9, "10M")]

@pytest.mark.parametrize("options,depth", [
    ({}, [4, 4, 3]), (dict(duplicates="drop"), [3, 3, 2]), (dict(duplicates="position"), [2, 2, 2]),
    (dict(mapq=10), [3, 3, 2]),
    (dict(mapq=9), [4, 4, 3]), (dict(duplicates="drop", mapq=10), [2, 2, 1])])
def test_duplicates_and_mapping_quality(options, depth, tmp_path):
    "At 105, 109 and 111. Position keeps the longest read of each strand and 5′ end: 100–112 on + and 100–112 on −."
    x = bases(write_bam(tmp_path/"x.bam", COPIES), 0, 120, **options)
    assert [x[105], x[109], x[111]] == [depth[0], depth[1], depth[2]]

def test_copies_of_a_pair_share_both_ends(tmp_path):
    "100–200 thrice, once with its first mate on −; 100–250 is another fragment, though it begins where these do."
    bam = write_bam(tmp_path/"x.bam", [
        ("chr1", 100, 99, 60, "10M", 190, 100), ("chr1", 100, 99, 60, "10M", 190, 100), ("chr1", 100, 163, 60, "10M", 190, 100),
        ("chr1", 100, 99, 60, "10M", 240, 150), ("chr1", 190, 147, 60, "10M", 100, -100), ("chr1", 190, 147, 60, "10M", 100, -100),
        ("chr1", 190, 83, 60, "10M", 100, -100), ("chr1", 240, 147, 60, "10M", 100, -150)])
    assert steps(bam, extend="template") == {0: 0, 100: 4, 200: 1, 250: 0}
    assert steps(bam, extend="template", duplicates="position") == {0: 0, 100: 2, 200: 1, 250: 0}

def test_copies_in_text_are_those_of_one_position(tmp_path):
    tags = write_tags(tmp_path/"x.tagAlign",
                      [("chr1", 10, 46, "+"), ("chr1", 10, 46, "+"), ("chr1", 10, 46, "-"), ("chr2", 10, 46, "+")])
    s = open_source(tags, SIZES, ["chr1"], reads=Reads(duplicates="drop"))
    assert s.read("chr1", 20, 21).tolist() == [2]
    assert s.done["chromosomes"]["chr1"] == dict(counted=2, duplicate=1, records=3)

def test_a_bam_without_marked_duplicates_says_so(tmp_path, caplog):
    steps(write_bam(tmp_path/"x.bam", COPIES[:1]*2), duplicates="drop")
    assert 'no record is flagged as a duplicate' in caplog.text

# down-sampling

def library(n=300): # reads on two chromosomes, each at a place of its own
    return [("chr1", 3*k, 3*k + 1 + k % 2, "+-"[k % 2]) for k in range(n)] + [("chr2", 2*k, 2*k + 1, "+")
                                                                              for k in range(n//3)]

def kept(path, chrom, **options):
    return np.flatnonzero(np.diff(bases(path, 0, SIZES[chrom], chrom, **options), prepend=0) > 0).tolist()

def test_a_sample_is_exact_and_depends_on_its_seed_alone(tmp_path):
    tags = write_tags(tmp_path/"x.tagAlign", library())
    both = [(len(kept(tags, "chr1", reads=100, seed=s)), len(kept(tags, "chr2", reads=100, seed=s)))
            for s in range(4)]
    assert all(a + b == 100 and 60 < a < 90 for a, b in both) and len(set(both)) > 1
    first = kept(tags, "chr1", reads=100, seed=5)
    assert first == kept(tags, "chr1", reads=100, seed=5) != kept(tags, "chr1", reads=100, seed=6)
    shuffled = [library()[k] for k in np.random.default_rng(0).permutation(400)]
    # chromosomes by another name
    other = write_tags(tmp_path/"y.tagAlign.gz", [(c[3:], *r) for c, *r in shuffled])
    bam = write_bam(tmp_path/"x.bam", [(c, s, REVERSE*(d == "-"), 60, f"{e - s}M") for c, s, e, d in library()])
    assert kept(other, "chr1", reads=100, seed=5) == kept(bam, "chr1", reads=100, seed=5) == first
    # the other chromosome first
    s = open_source(tags, SIZES, list(SIZES), reads=Reads(reads=100, seed=5))
    s.read("chr2", 0, 1)
    assert np.flatnonzero(np.diff(s.read("chr1", 0, 1000), prepend=0) > 0).tolist() == first

def test_every_read_has_the_same_chance():
    counts = dict(a=60, b=30, c=10)
    drawn = pd.DataFrame([shares(counts, 20, s) for s in range(400)])
    assert (drawn.sum(axis=1) == 20).all() and np.allclose(drawn.mean(), [12, 6, 2], atol=.25)
    none = np.zeros(0, np.int32)
    a = Aligned(np.arange(30, dtype=np.int32), np.arange(30, dtype=np.int32) + 1, np.zeros(30, bool), none, none,
                none)
    seen = Counter(int(x) for s in range(400) for x in sample(a, 10, s, "a").start)
    # 133 expected, 9.4 the spread
    assert len(seen) == 30 and all(90 < v < 180 for v in seen.values())

def test_a_library_that_is_small_enough_is_kept_whole(tmp_path, caplog):
    tags = write_tags(tmp_path/"x.tagAlign", library())
    assert steps(tags, reads=400) == steps(tags) and "no more than the 400 asked for" in caplog.text

def test_a_region_keeps_its_share_of_the_sample(tmp_path):
    tags = write_tags(tmp_path/"x.tagAlign", library())
    n = [len(kept(tags, c, reads=1000, library_size=4000)) for c in SIZES]
    # 400 of 4000, and 1000 kept of those
    assert sum(n) == 100

# scaling: 4 reads, together 10 + 10 + 20 + 40 bases

FOUR = [("chr1", 0, 10, "+"), ("chr1", 5, 15, "+"), ("chr1", 100, 120, "-"), ("chr2", 0, 40, "+")]

@pytest.mark.parametrize("options,factor", [
    ({}, 1), (dict(normalise="rpm"), 1e6/4), (dict(normalise="rpm", library_size=50), 1e6/50),
    (dict(normalise="rpkm"), 1e9/(4*20)),
    (dict(normalise="rpkm", library_size=50), 1e9/(50*20)), (dict(normalise="rpkm", extend=40), 1e9/(4*40)),
    (dict(normalise="1x", genome_size=800), 800/(4*20)),
    (dict(normalise="1x", genome_size=800, extend=50), 800/(4*50)),
    (dict(normalise="1x", genome_size=800, library_size=8), 800/(8*20)),
    (dict(normalise="rpm", reads=20, library_size=40), 1e6/20)])
def test_scales(options, factor, tmp_path):
    tags = write_tags(tmp_path/"x.tagAlign", FOUR)
    s = open_source(tags, SIZES, ["chr1"], reads=Reads(**options))
    s.read("chr1", 0, 1)
    assert s.done["factor"] == pytest.approx(factor)
    if "reads" not in options: assert s.read("chr1", 7, 8)[0] == np.float32(2*factor)

def test_1x_has_a_mean_of_1(tmp_path):
    s = open_source(write_tags(tmp_path/"x.tagAlign", FOUR), SIZES, list(SIZES),
                    reads=Reads(normalise="1x", genome_size=1300))
    assert np.mean(np.concatenate([s.read(c, 0, n) for c, n in SIZES.items()])) == pytest.approx(1)

def test_a_library_is_no_smaller_than_its_region(tmp_path, caplog):
    tags = write_tags(tmp_path/"x.tagAlign", FOUR)
    with pytest.raises(InputError, match="library_size = 3, but 4 reads count in the file alone"):
        steps(tags, normalise="rpkm", library_size=3)
    with pytest.raises(InputError, match=r"x\.tagAlign: library_size = 2, but 3 reads count in the file alone; give all"):
        steps(tags, normalise="rpm", library_size=2)
    steps(write_bam(tmp_path/"x.bam", [("chr1", 0, 0, 60, "10M")]), normalise="rpm")
    assert "all reads are on chr1; if the file is a region of a library, give library_size" in caplog.text

# control

def test_log2_ratio_and_difference_by_hand(tmp_path):
    x = write_tags(tmp_path/"x.tagAlign", [("chr1", 0, 20, "+"), ("chr1", 0, 20, "-"), ("chr1", 10, 30, "+")])
    control = write_tags(tmp_path/"c.tagAlign.gz", [("chr1", 10, 40, "+")])
    # (2+1)/1, (3+1)/2, 2/2, 1/2, 1/1
    log2 = {0: np.log2(3), 10: 1, 20: 0, 30: -1, 40: 0}
    assert steps(x, control=control) == pytest.approx(log2)
    assert steps(x, control=control, pseudocount=2.)[0] == pytest.approx(1)                   # (2+2)/2
    assert steps(x, control=control, compare="subtract") == {0: 2, 10: 2, 20: 0, 30: 0, 40: 0}
    s = open_source(x, SIZES, ["chr1"], reads=Reads(control=control, compare="subtract"))
    s.read("chr1", 0, 1)
    assert s.done["bases_below_control"] == dict(chr1=10)
    assert s.done["control_reads"]["chromosomes"]["chr1"]["counted"] == 1

def test_the_control_goes_through_the_same_steps_with_its_own_size(tmp_path, caplog):
    x = write_bam(tmp_path/"x.bam", [("chr1", 100, 0, 60, "10M")]*2 + [("chr1", 100, 0, 3, "10M")])
    control = write_bam(tmp_path/"c.bam", [("chr1", 110, REVERSE, 60, "10M"), ("chr1", 110, 0, 3, "10M")])
    o = dict(control=control, mapq=30, extend=20, normalise="rpm", library_size=1_000_000,
             control_library_size=500_000)
    assert "compared as they are" not in caplog.text
    assert steps(x, **o) == pytest.approx({0: 0, 100: 0, 120: 0}, abs=1e-6) or steps(x, **o) == {0: 0}
    assert steps(x, **o | dict(compare="subtract", control_library_size=1_000_000)) == {0: 0, 100: 1, 120: 0}
    steps(x, control=control)
    assert "depths are compared as they are" in caplog.text

def test_a_control_that_lacks_a_chromosome_or_is_no_reads(tmp_path):
    x = write_tags(tmp_path/"x.tagAlign", FOUR)
    control = write_tags(tmp_path/"c.tagAlign", [("chr1", 10, 40, "+")])
    with pytest.raises(InputError, match="the control has no chr2"): steps(x, control=control)
    (tmp_path/"c.bedGraph").write_text("chr1\t0\t1\t1\n")
    with pytest.raises(InputError, match="needs to be reads, not bedgraph"):
        steps(x, control=str(tmp_path/"c.bedGraph"))
    with pytest.raises(InputError, match="no such file; it is the control"):
        steps(x, control=str(tmp_path/"none.bam"))

# files that are wrong

def test_truncated_and_damaged_bams(tmp_path):
    rng = np.random.default_rng(0)
    rows = sorted(("chr1", int(s), 0, int(q), "10M") for s, q in rng.integers([0, 0], [900, 60], (20_000, 2)))
    whole = Path(write_bam(tmp_path/"x.bam", rows)).read_bytes()
    for cut in (10, 28, len(whole)//2, len(whole) - 1):
        (tmp_path/"x.bam").write_bytes(whole[:-cut])
        with pytest.raises(InputError, match=r"x\.bam: (the file is truncated|not a BAM)"): steps(tmp_path/"x.bam")
    (tmp_path/"y.bam").write_bytes(whole[:len(whole)//2] + bytes(200) + whole[len(whole)//2 + 200:])
    with pytest.raises(InputError, match=r"y\.bam: damaged or truncated"): steps(tmp_path/"y.bam")
    # cut, with an end glued on
    (tmp_path/"z.bam").write_bytes(whole[:len(whole)//2] + whole[-28:])
    with pytest.raises(InputError, match=r"z\.bam: "): steps(tmp_path/"z.bam")

def test_the_index_of_another_file(tmp_path):
    bam = write_bam(tmp_path/"x.bam", [("chr1", 100, 0, 60, "10M")]*3)
    index = Path(bam + ".bai").read_bytes()
    write_bam(bam, [("chr1", 100, 0, 60, "10M")]*2)
    Path(bam + ".bai").write_bytes(index)
    with pytest.raises(InputError, match="2 records of chr1, but 3 by its index"): steps(bam)

@pytest.mark.parametrize("content,message", [
    (b"", "not a BAM"), (b"chr1\t1\t2\n", "not a BAM"), (gzip.compress(b"chr1\t1\t2\n"), "not a BAM|truncated")], ids=["empty", "text", "packed"])
def test_what_is_no_bam(content, message, tmp_path):
    (tmp_path/"x.bam").write_bytes(content)
    with pytest.raises(InputError, match=message): steps(tmp_path/"x.bam")

GOOD = "chr1\t1\t9\tN\t1000\t+\n"

@pytest.mark.parametrize("text,message", [
    ("", "no reads in it"), ("# nothing\n\n", "no reads in it"),
    (GOOD + "chr1\t5\t5\tN\t0\t+\n", "line 2: .* start < end"),
    (GOOD + "chr1\tx\t5\tN\t0\t+\n", "line 2"), ("# one\n" + GOOD + "\nchr1\t-5\t5\tN\t0\t+\n", "line 4"),
    (GOOD*3 + "chr1\t1\n", "line 4"),
    (GOOD + "chr1\t1\t9\tN\t1000\t.\n", r"line 2: .*a strand \(\+ -\)"), ("chr1\t1\t9\n", "line 1"),
    (GOOD + "chr1\t1.5\t9\tN\t0\t+\n", "line 2"),
    ("\ufeffnone\n", "line 1")])
def test_wrong_lines(text, message, tmp_path):
    (tmp_path/"x.tagAlign").write_text(text)
    with pytest.raises(InputError, match=r"x\.tagAlign.*" + message): steps(tmp_path/"x.tagAlign")

def test_names_of_reads_may_hold_a_hash(tmp_path):
    name = "{}\t{}\t{}\tHWUSI:1:7#0/1\t1000\t{}\n"
    for path in ("x.tagAlign", "x.tagAlign.gz"):
        tags = write_tags(tmp_path/path, [("chr1", 10, 46, "+"), ("chr1", 20, 56, "-")], name)
        assert steps(tags) == {0: 0, 10: 1, 20: 2, 46: 1, 56: 0}

def test_blocks_of_bgzip_that_end_early(tmp_path):
    "Each block holds whole lines, as bgzip writes them; what closes the file is 28 bytes."
    def packed(start):
        pysam.tabix_compress(write_tags(tmp_path/"one", [("chr1", start, start + 9, "+")]), str(tmp_path/"one.gz"), force=True)
        return (tmp_path/"one.gz").read_bytes()
    tags = tmp_path/"x.tagAlign.gz"
    tags.write_bytes(packed(10)[:-28] + packed(50))
    assert steps(tags) == {0: 0, 10: 1, 19: 0, 50: 1, 59: 0}
    tags.write_bytes(packed(10)[:-28])
    with pytest.raises(InputError, match=r"x\.tagAlign\.gz: the gzip stream ends early"): steps(tags)

def test_windows_line_ends_and_blank_lines(tmp_path):
    (tmp_path/"x.tagAlign").write_bytes(GOOD.replace("\n", "\r\n").encode() + b"\r\n" + GOOD.encode() + b"\n")
    assert steps(tmp_path/"x.tagAlign") == {0: 0, 1: 2, 9: 0}

def test_gz_that_ends_early(tmp_path):
    whole = gzip.compress("".join(f"chr1\t{k}\t{k + 9}\tN\t1000\t+\n"
                                  for k in np.random.default_rng(0).integers(0, 900, 50_000)).encode())
    for cut in (4, len(whole)//2):
        (tmp_path/"x.tagAlign.gz").write_bytes(whole[:-cut])
        with pytest.raises(InputError, match="ends early or is damaged"): steps(tmp_path/"x.tagAlign.gz")
    (tmp_path/"x.tagAlign.gz").write_bytes(b"chr1\t1\t9\tN\t1000\t+\n")
    with pytest.raises(InputError, match="ends early or is damaged"): steps(tmp_path/"x.tagAlign.gz")

# assemblies

def test_the_header_of_another_genome(tmp_path):
    from chromexpress.genome import ASSEMBLIES
    bam = write_bam(tmp_path/"x.bam", [("chr9", 100, 0, 60, "10M")], ASSEMBLIES["hg38"])
    with pytest.raises(InputError,
            match=r"x\.bam: chr9 is 138394717 bp long in its header, 141213431 bp in hg19; the file looks like hg38"):
        open_source(bam, ASSEMBLIES["hg19"], ["chr9"])
    tags = write_tags(tmp_path/"x.tagAlign", [("chr2", 290, 320, "+")])
    with pytest.raises(InputError, match="chr2 ends at 300, and something in the file at 320"):
        open_source(tags, SIZES, ["chr2"])

def test_a_wrong_length_matters_only_where_there_are_reads(tmp_path, caplog):
    wrong = dict(chr1=1000, chr2=1000)
    for index in (True, False):
        bam = write_bam(tmp_path/f"{index}.bam", [("chr1", 0, 0, 60, "10M")], wrong, index)
        assert steps(bam) == {0: 1, 10: 0} and "but not in use: chr2" in caplog.text
    s = open_source(str(tmp_path/"True.bam"), SIZES, ["chr1", "chr2"])
    assert np.isnan(s.read("chr2", 0, 2)).all()
    assert "chr2 of another length in its header than in the study, but without reads" in caplog.text
    with pytest.raises(InputError, match="chr2 is 1000 bp long"):
        open_source(str(tmp_path/"False.bam"), SIZES, ["chr1", "chr2"])
    bam = write_bam(tmp_path/"reads.bam", [("chr1", 0, 0, 60, "10M"), ("chr2", 0, 0, 60, "10M")], wrong)
    with pytest.raises(InputError, match="chr2 is 1000 bp long"): open_source(bam, SIZES, ["chr1", "chr2"])

def test_names_without_chr(tmp_path):
    bam = write_bam(tmp_path/"x.bam", [("1", 5, 0, 60, "10M")], {"1": 1000, "2": 300})
    assert steps(bam) == {0: 0, 5: 1, 15: 0} and steps(bam, normalise="rpm", library_size=2_000_000)[5] == .5

# the study file

def with_reads(folder, line): # the toy study, its first track of cellA made of reads
    path = write_study(folder, models='["ridge"]', tables="", folds='["1"]')
    genes = pd.read_csv(folder/"genes.tsv", sep="\t")
    rows = [(c, t - 50 + 10*k, t - 14 + 10*k, "+-"[k % 2]) for c, t in zip(genes.chrom, genes.tss)
            for k in range(1 + t % 7)]
    write_tags(folder/"k4.tagAlign.gz", rows)
    path.write_text(path.read_text().replace('H3K4me3 = "cellA-H3K4me3.bigWig"', f"H3K4me3 = {line}"))
    return path

def parsed(path):
    problems = Problems()
    return parse_study(path, problems), problems.found

def test_a_track_of_reads_in_a_study(tmp_path):
    s, found = parsed(with_reads(tmp_path, '{path = "k4.tagAlign.gz", extend = 200, normalise = "rpm", control = '
                                           '"k4.tagAlign.gz"}'))
    track = s.tracks["cellA"]["H3K4me3"]
    assert found == [] and track.scale == "log" and track.uncovered == 0 and track.format == "tagalign"
    assert track.reads == Reads(extend=200, normalise="rpm", control=str(tmp_path/"k4.tagAlign.gz"))
    assert s.tracks["cellB"]["H3K4me3"].scale == "linear" and s.tracks["cellB"]["H3K4me3"].reads is None

@pytest.mark.parametrize("line,message", [
    ('{path = "k4.tagAlign.gz", extnd = 200}', "extnd: no such key; did you mean 'extend'"),
    ('{path = "k4.tagAlign.gz", extend = -1}', "extend = -1: needs a whole number of 0 or more, or template"),
    ('{path = "k4.tagAlign.gz", extend = "pair"}', "extend = 'pair': needs a whole number"),
    ('{path = "k4.tagAlign.gz", normalise = "cpm"}', "normalise = 'cpm': is none of none, rpm, rpkm, 1x"),
    ('{path = "k4.tagAlign.gz", normalise = "1x"}', "give genome_size"),
    ('{path = "k4.tagAlign.gz", control = "none.bam"}', "control: no file"),
    ('{path = "k4.tagAlign.gz", compare = "log2"}', "there is no control to compare with"),
    ('{path = "k4.tagAlign.gz", scale = "log"}', "a depth of reads is 'linear'; leave scale out"),
    ('{path = "cellA-H3K4me3.bigWig", extend = 200}', "options of reads, but the format is bigwig")])
def test_wrong_options(line, message, tmp_path):
    found = parsed(with_reads(tmp_path, line))[1]
    assert len(found) == 1 and found[0].startswith("[tracks.cellA] H3K4me3") and message in found[0]

def test_a_study_of_reads_is_prepared_and_keeps_what_was_done(tmp_path):
    path = with_reads(tmp_path, '{path = "k4.tagAlign.gz", extend = 200, reads = 500, seed = 3, normalise = "rpm"}')
    done = command("prepare", path, "--jobs", "2")
    assert done.returncode == 0, done.stderr
    side = json.loads(next((tmp_path/"results"/"tracks"/"cellA"/"H3K4me3").glob("tss-*.json")).read_text())
    assert side["scale"] == "linear" and side["reads"]["factor"] == 2000 and side["reads"]["extend"] == 200
    assert sum(c["counted"] for c in side["reads"]["chromosomes"].values()) == 500
    assert side["made_from"]["reads"]["seed"] == 3 and not any(u.startswith("bin:") for u in not_current(path))
    path.write_text(path.read_text().replace("seed = 3", "seed = 4"))
    assert "bin:cellA:H3K4me3" in not_current(path) and "bin:cellB:H3K4me3" not in not_current(path)

def test_another_control_is_another_track(tmp_path):
    path = with_reads(tmp_path, '{path = "k4.tagAlign.gz", control = "c.tagAlign"}')
    genes = pd.read_csv(tmp_path/"genes.tsv", sep="\t")
    control = lambda start: write_tags(tmp_path/"c.tagAlign",
                                       [(c, start, start + 36, "+") for c in dict.fromkeys(genes.chrom)])
    control(5)
    finish(path)
    assert not_current(path) == set()
    control(7)
    assert "bin:cellA:H3K4me3" in not_current(path)

def test_a_killed_binning_resumes(tmp_path):
    genes = pd.DataFrame(dict(gene_id=["a", "b"], chrom=["chr1", "chr2"], tss=[500, 100], strand=["+", "-"]))
    track = Track("c", "m", write_bam(tmp_path/"x.bam", [("chr1", 490, 0, 60, "36M"),
                                                         ("chr2", 90, REVERSE, 60, "36M")]), reads=Reads(extend=50))
    work = lambda folder: lambda: fill(track, [Need(100, 10), Need(60, 5), INTEGRAL], genes, SIZES, folder, {"v": 1})
    work(tmp_path/"whole")()
    n = 0
    while killed_at_rename(n, work(tmp_path/f"{n}")):
        work(tmp_path/f"{n}")()
        assert files(tmp_path/f"{n}") == files(tmp_path/"whole")
        n += 1
    # 2 stores, 4 integrals, 3 sidecars
    assert n == 9

def test_applying_to_reads_that_were_treated_otherwise():
    then = dict(kind="bam", scale="linear", uncovered=0.,
                reads=Track("c", "m", "x.bam", reads=Reads(extend=200)).treatment)
    now = Track("d", "m", "y.bam", reads=Reads(extend=150, library_size=7, normalise="rpm"))
    assert track_differences(now, then) == ["[tracks.d] m: of its reads, extend is 150, in training it was 200; "
                                            "normalise is 'rpm', in training it was 'none'."]
    assert track_differences(replace(now, reads=Reads(extend=200)), then) == []

def test_without_pysam_the_message_names_the_extra(tmp_path, monkeypatch):
    bam = write_bam(tmp_path/"x.bam", [("chr1", 100, 0, 60, "10M")])
    monkeypatch.setitem(__import__("sys").modules, "pysam", None)
    with pytest.raises(InputError, match=r"needs pysam; install it with pip install 'chromexpress\[reads\]'"):
        steps(bam)

def test_an_index_is_no_file_of_reads_and_a_bam_without_reads_has_no_signal(tmp_path):
    bam = write_bam(tmp_path/"x.bam", [("chr1", 100, UNMAPPED, 0, "10M")])
    genes = pd.DataFrame(dict(gene_id=["a"], chrom=["chr1"], tss=[500], strand=["+"]))
    for reads, message in ((Reads(), "no signal in any of 1 windows"), (Reads(normalise="rpm"), "no read counts")):
        with pytest.raises(InputError, match=rf"x\.bam: {message}"):
            fill(Track("c", "m", bam, reads=reads), [Need(100, 10)], genes, SIZES, tmp_path/"out", {})
    with pytest.raises(InputError, match="not a BAM file"): open_source(bam + ".bai", SIZES, ["chr1"], "bam")

def test_another_assembly_is_refused_before_work_starts(tmp_path):
    from chromexpress.genome import ASSEMBLIES
    path = with_reads(tmp_path, '{path = "k4.bam", control = "input.bam"}')
    write_bam(tmp_path/"k4.bam", [("chr9", 100, 0, 60, "10M")], ASSEMBLIES["hg19"])
    write_bam(tmp_path/"input.bam", [("chr9", 100, 0, 60, "10M")], ASSEMBLIES["hg38"])
    with pytest.raises(InputError, match=r"input\.bam: .*chr9 is 138394717 bp long in its header.*looks like hg38"):
        load_study(path)
    write_bam(tmp_path/"input.bam", [("chr9", 100, 0, 60, "10M")], ASSEMBLIES["hg19"])
    assert load_study(path)[0].tracks["cellA"]["H3K4me3"].scale == "log"

def test_a_study_that_fails_on_a_wrong_line_is_one_line_and_status_2(tmp_path, capsys):
    path = with_reads(tmp_path, '{path = "k4.tagAlign.gz"}')
    (tmp_path/"k4.tagAlign.gz").write_bytes(gzip.compress((GOOD + "chr1\t7\t3\tN\t0\t+\n").encode()))
    assert cli("prepare", path) != 0
    said = capsys.readouterr().err
    assert "k4.tagAlign.gz, line 2:" in said and "Traceback" not in said

def test_a_record_without_a_cigar_is_counted_as_such(tmp_path, caplog):
    bam = write_bam(tmp_path/"x.bam", [("chr1", 100, 0, 60, "10M"), ("chr1", 105, 0, 60, None)], index=False)
    assert steps(bam) == {0: 0, 100: 1, 110: 0} and "1 left out (no alignment given)" in caplog.text
