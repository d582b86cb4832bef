"Lifting over, by a chain file that can be followed by hand; and every base of random chains against the library `liftover`."
import gzip, json
import numpy as np, pandas as pd, pytest
from toy import cli
from chromexpress.core import InputError
from chromexpress.liftover import lift_file, lift_genes, lift_regions, lift_spans, lift_variants, parse_variants, read_chain
pytestmark = pytest.mark.usefixtures("hear")

OLD, NEW = {"chr1": 1000, "chr2": 400}, {"chr1": 1010, "chr2": 400, "chr3": 300}
# chr1:100-300 → chr1 with 10 bases more from 200 on; chr1:400-500 → chr3:150-250, turned; chr1:600-650 and 650-700 apart;
# chr2:0-100 → chr2 and chr3: two places; chr2:200-300 → a scaffold
CHAIN = """# made by hand
chain 1000 chr1 1000 + 100 300 chr1 1010 + 100 310 1
100 0 10
100

chain 900 chr1 1000 + 400 500 chr3 300 - 50 150 2
100

chain 800 chr1 1000 + 600 650 chr1 1010 + 600 650 3
50
chain 700 chr1 1000 + 650 700 chr2 400 + 300 350 4
50
chain 600 chr2 400 + 0 100 chr2 400 + 0 100 5
100
chain 500 chr2 400 + 0 100 chr3 300 + 0 100 6
100
chain 400 chr2 400 + 200 300 chr2_random 500 + 0 100 7
100
"""

def write(path, text): path.write_text(text); return path

@pytest.fixture
def chain(tmp_path): return read_chain(write(tmp_path/"a.chain", CHAIN), "old", "new", OLD, NEW)

def spans(*places): return pd.DataFrame([p.replace("-", ":").split(":") for p in places], columns=["chrom", "start", "end"]).astype(dict(start=int, end=int))

LIFTED = [("chr1:100-101", "chr1", 100, 101, "+"), ("chr1:199-200", "chr1", 199, 200, "+"), ("chr1:200-201", "chr1", 210, 211, "+"),
          ("chr1:299-300", "chr1", 309, 310, "+"), ("chr1:400-401", "chr3", 249, 250, "-"), ("chr1:499-500", "chr3", 150, 151, "-"),
          ("chr1:410-430", "chr3", 220, 240, "-"), ("chr1:100-300", "chr1", 100, 310, "+"), ("chr1:95-300", "chr1", 100, 310, "+")]

@pytest.mark.parametrize("place,chrom,start,end,strand", LIFTED, ids=[r[0] for r in LIFTED])
def test_what_is_lifted(chain, place, chrom, start, end, strand):
    assert lift_spans(spans(place), chain).values.tolist() == [[chrom, start, end, strand, ""]]

LOST = [("chr1:99-100", "no part of it is in new"), ("chr1:300-301", "no part of it is in new"), ("chr1:700-800", "no part of it is in new"),
        ("chr1:190-210", "its length changes from 20 to 30 bp"), ("chr1:250-350", "50% of it is in new"),
        ("chr1:600-700", "split: its parts map to chr1:600-650, chr2:300-350"),
        ("chr1:602-651", "split: its ends map to chr1:602-650, chr2:300-301"),
        ("chr1:649-700", "split: its ends map to chr2:300-350, chr1:649-650"),
        ("chr2:0-100", "more than one place: chr2:0-100, chr3:0-100"), ("chr2:5-6", "more than one place: chr2:5-6, chr3:5-6"),
        ("chr2:200-300", "maps to chr2_random:0-100, which is not in use in new")]

@pytest.mark.parametrize("place,why", LOST, ids=[r[0] for r in LOST])
def test_what_is_lost_and_why(chain, place, why):
    row = lift_spans(spans(place), chain).iloc[0]
    assert row.why == why and row[["chrom", "start", "end", "strand"]].isna().all()

def test_all_at_once_is_the_same_as_one_by_one(chain):
    places = [r[0] for r in LIFTED + LOST]
    together = lift_spans(spans(*places).set_axis(range(7, 7 + len(places))), chain)
    assert together.index[0] == 7 and together.why.tolist() == [""]*len(LIFTED) + [w for _, w in LOST]
    assert together.start[:len(LIFTED)].tolist() == [r[2] for r in LIFTED]

def test_tolerance(chain):
    for place, least in (("chr1:190-210", .5), ("chr1:250-350", .5), ("chr1:90-300", .05)):
        assert lift_spans(spans(place), chain, least).why.tolist() == [""]
        assert lift_spans(spans(place), chain, least - .01).why[0]
    with pytest.raises(InputError, match="tolerance = 1: needs a share"): lift_spans(spans("chr1:1-2"), chain, 1)

@pytest.mark.parametrize("place", ["chr1:990-1001", "chr1:5-5", "chr9:1-2"])
def test_places_that_are_none(chain, place):
    with pytest.raises(InputError, match="not within a chromosome of old: .*Is it another assembly"): lift_spans(spans(place), chain)

def genes(**more): return pd.DataFrame(dict(gene_id=["a", "b", "c", "d", "e"], chrom="chr1", start=[100, 400, 600, 95, 430], end=[300, 440, 700, 300, 450],
                                            strand=["+", "+", "-", "+", "-"], tss=[100, 400, 699, 95, 110]) | more)

def test_genes(chain, caplog):
    kept, lost = lift_genes(genes(symbol=list("ABCDE")), chain, "old")
    assert kept.values.tolist() == [["a", "chr1", 100, 310, "+", 100, "A"], ["b", "chr3", 210, 250, "-", 249, "B"]]
    assert kept.dtypes[["start", "end", "tss"]].astype(str).tolist() == ["int64"]*3
    assert lost.gene_id.tolist() == ["c", "d", "e"] and lost.tss.tolist() == [699, 95, 110]
    assert lost.why.tolist() == ["split: its parts map to chr1:600-650, chr2:300-350", "its TSS: no part of it is in new",
                                 "its TSS maps to another place than the gene"]
    assert "genes: 2 of 5 lifted from old to new, 3 lost." in caplog.messages

def test_regions_are_turned_with_their_strand(chain):
    t = spans("chr1:400-410", "chr1:420-430", "chr1:800-900").assign(strand=["+", ".", "-"], score=[1, 2, 3])
    kept, lost = lift_regions(t, chain, "old")
    assert kept.values.tolist() == [["chr3", 240, 250, "-", 1], ["chr3", 220, 230, ".", 2]] and lost.score.tolist() == [3]

def test_variants(chain):
    t = pd.DataFrame(dict(variant=["chr1:101:A:G", "chr1:201:A:AT", "chr1:401:A:G", "chr1:401:AC:A", "chr1_401_A_ATG", "chr1:200:AC:A", "chr1:1:A:C",
                                   "chr1:500:ac:t"], tissue=list("abcdefgh")))
    kept, lost = lift_variants(t, chain, "old")
    assert kept.variant.tolist() == ["chr1:101:A:G", "chr1:211:A:AT", "chr3:250:T:C", "chr3:249:GT:T", "chr3_250_T_CAT"]
    assert kept.tissue.tolist() == list("abcde")
    assert lost.variant.tolist() == ["chr1:200:AC:A", "chr1:1:A:C", "chr1:500:ac:t"]           # the last ends beyond its block
    assert lost.why.tolist() == ["its length changes from 2 to 12 bp", "no part of it is in new", "50% of it is in new"]

@pytest.mark.parametrize("variant", ["chr1:5:A", "rs123", "chr1:0:A:C", "chr1:5:A:<DEL>", "chr1:5:A:C,G", "chr1:5:A_C", ""])
def test_variants_that_are_none(variant):
    with pytest.raises(InputError, match=r"not of the form chr:pos:ref:alt.*\(line 0\)"): parse_variants(pd.Series([variant]), OLD)

def test_variants_that_name_their_assembly(tmp_path):
    sizes = "chr1 249250621 + 0 100 chr1 248956422 + 1000 1100 1\n100\n"
    chain = read_chain(write(tmp_path/"hg19ToHg38.chain", "chain 1 " + sizes), "hg19", "hg38")
    t = pd.DataFrame(dict(variant=["chr1_11_A_C_b37", "chr1:12:A:C"]))
    assert lift_variants(t, chain, "hg19")[0].variant.tolist() == ["chr1_1011_A_C_b38", "chr1:1012:A:C"]
    with pytest.raises(InputError, match="variants: not of hg19: 'chr1_11_A_C_b38'"): lift_variants(t.replace("b37", "b38", regex=True), chain, "hg19")

def test_a_table_of_another_assembly_is_refused(chain):
    for f in (lift_genes, lift_regions, lift_variants):
        with pytest.raises(InputError, match="is of hg38, and .*a.chain maps from old; take a chain from hg38"):
            f(genes(variant="chr1:5:A:C"), chain, "hg38")

# chain files

CUT = CHAIN.splitlines()
@pytest.mark.parametrize("text,says", [
    ("\n".join(CUT[:3]), "the last chain has no end. Was it cut?"), ("\n".join(CUT[:2] + CUT[5:]), "line 3: the chain before it has no end"),
    (CHAIN.replace("100 0 10", "100 0 11"), "line 4: this chain ends at 300 and 311, by its header at 300 and 310"),
    (CHAIN.replace("100 0 10", "100 x 10"), "line 3: '100 x 10' is no block"), ("5 5 5\n", "line 1 is of no chain"), ("", "no chain in it"),
    (CHAIN.replace("chr1 1000 + 100", "chr1 1000 - 100"), "line 2 is no header of a chain")])
def test_damaged_chain_files(tmp_path, text, says):
    with pytest.raises(InputError) as e: read_chain(write(tmp_path/"a.chain", text), "old", "new", OLD, NEW)
    assert says in str(e.value) and "\n" not in str(e.value)

def test_a_gz_that_ends_early(tmp_path):
    whole = gzip.compress(CHAIN.encode())
    (tmp_path/"a.chain.gz").write_bytes(whole)
    assert len(read_chain(tmp_path/"a.chain.gz", "old", "new", OLD, NEW).blocks) == 8
    (tmp_path/"a.chain.gz").write_bytes(whole[:-20])
    with pytest.raises(InputError, match="a.chain.gz: cannot be read as a chain file"): read_chain(tmp_path/"a.chain.gz", "old", "new", OLD, NEW)

def test_a_chain_of_other_assemblies(tmp_path):
    path = write(tmp_path/"a.chain", "chain 1 1 249250621 + 0 100 chr1 248956422 + 0 100 1\n100\nchain 1 MT 16569 + 0 9 chrM 16569 + 0 9 2\n9\n")
    assert read_chain(path, "hg19", "hg38").blocks.chrom.tolist() == ["chr1"]                # hg19 has another chrM
    with pytest.raises(InputError, match="it is a chain from hg19 to hg38, and you want it from hg38 to hg19"): read_chain(path, "hg38", "hg19")
    with pytest.raises(InputError, match="side that it maps from, chr1 is 249250621 bp long there, 195471971 bp in mm10; it looks like hg19"):
        read_chain(path, "mm10", "hg38")
    with pytest.raises(InputError, match="side that it maps to, chr1 is 248956422 bp long there, 195471971 bp in mm10; it looks like hg38"):
        read_chain(path, "hg19", "mm10")
    with pytest.raises(InputError, match="'hg20' is unknown"): read_chain(path, "hg20", "hg38")
    with pytest.raises(InputError, match="there is nothing to lift"): read_chain(path, "hg19", "hg19")

@pytest.mark.parametrize("seed", range(3))
def test_every_base_as_the_library_has_it(tmp_path, seed):
    "Random chains that overlap, on both strands."
    library = pytest.importorskip("liftover", reason="liftover is not installed; it is an extra of developers")
    rng, text = np.random.default_rng(seed), ""
    for n in range(8):
        sizes, gaps = rng.integers(1, 12, 5), rng.integers(0, 6, (4, 2))
        long = [int(sizes.sum() + g) for g in gaps.sum(0)]
        a, b = (int(rng.integers(0, 200 - m)) for m in long)
        text += f"chain 1 chr1 200 + {a} {a + long[0]} chr{1 + n % 2} 200 {'+-'[n // 2 % 2]} {b} {b + long[1]} {n}\n"
        text += "".join(f"{s} {g[0]} {g[1]}\n" for s, g in zip(sizes, gaps)) + f"{sizes[-1]}\n\n"
    path, both = write(tmp_path/"r.chain", text), {"chr1": 200, "chr2": 200}
    theirs = library.ChainFile(str(path))
    mine = lift_spans(pd.DataFrame(dict(chrom="chr1", start=range(200), end=range(1, 201))), read_chain(path, "old", "new", {"chr1": 200}, both), 0)
    seen = set()
    for i, row in enumerate(mine.itertuples()):
        found = theirs.query("chr1", i)
        seen.add(min(len(found), 2))
        if len(found) == 1: assert (row.chrom, row.start, row.strand, row.why) == (*found[0], "")
        else: assert row.why.startswith("more than one place" if found else "no part of it")
    assert seen == {0, 1, 2}

# files and the command

@pytest.fixture
def files(tmp_path):
    write(tmp_path/"a.chain", CHAIN)
    for name, sizes in (("old", OLD), ("new", NEW)): write(tmp_path/f"{name}.sizes", "".join(f"{c}\t{n}\n" for c, n in sizes.items()))
    return tmp_path

def lift(folder, *args):
    return cli("liftover", "--chain", folder/"a.chain", "--from", "old", "--to", "new", "--from-sizes", folder/"old.sizes", "--to-sizes", folder/"new.sizes", *args)

def test_the_command_on_genes_regions_and_variants(files, capsys):
    write(files/"g.tsv", "gene_id\tchrom\ttss\tstrand\tstart\tend\tsymbol\nb\tchr1\t401\t+\t401\t440\tB\nc\tchr1\t700\t-\t601\t700\tC\n")
    assert lift(files, "--base", 1, files/"g.tsv", files/"g.new.tsv") == 0
    assert (files/"g.new.tsv").read_text() == "gene_id\tchrom\tstart\tend\tstrand\ttss\tsymbol\nb\tchr3\t211\t250\t-\t250\tB\n"
    assert "c,chr1,601,700,-,700,C,\"split: its parts map to" in (files/"g.new.tsv.lost.csv").read_text()
    assert "g.new.tsv: 1 lifted, 1 lost" in capsys.readouterr().out
    said = json.loads((files/"g.new.tsv.json").read_text())
    assert (said["assembly"], said["lifted_from"], said["rows"], said["lost"]) == ("new", "old", 1, 1)
    with gzip.open(files/"r.bed.gz", "wt") as f: f.write("track name=x\n1\t400\t410\tp\t5\t+\t400\t410\nchr2\t5\t6\tq\t5\t-\t5\t6\n")
    assert lift(files, files/"r.bed.gz", files/"r.bed") == 0
    assert (files/"r.bed").read_text() == "chr3\t240\t250\tp\t5\t-\n"
    assert (files/"r.bed.lost.csv").read_text().splitlines() == ["line,chrom,start,end,name,score,strand,why",
                                                                  '3,chr2,5,6,q,5,-,"more than one place: chr2:5-6, chr3:5-6"']
    write(files/"v.csv", "tissue,variant\nliver,chr1:401:A:G\nlung,chr1:1:A:G\n")
    assert lift(files, files/"v.csv", files/"v.new.csv") == 0
    assert (files/"v.new.csv").read_text() == "tissue,variant\nliver,chr3:250:T:C\n"
    assert (files/"v.new.csv.lost.csv").read_text() == "line,tissue,variant,why\n3,lung,chr1:1:A:G,no part of it is in new\n"
    write(files/"t.tsv", "chrom\tstart\tend\tp\nchr1\t401\t410\t.5\n")
    assert lift(files, "--base", 1, files/"t.tsv", files/"t.csv") == 0
    assert (files/"t.csv").read_text() == "chrom,start,end,p\nchr3,241,250,.5\n"

def test_what_goes_into_a_gz_is_packed_once(files):
    write(files/"r.bed", "chr1\t400\t410\n")
    for name in ("one.bed.gz", "two.bed.gz"):
        assert lift(files, files/"r.bed", files/name) == 0
        assert gzip.decompress((files/name).read_bytes()) == b"chr3\t240\t250\n"
    assert (files/"one.bed.gz").read_bytes() == (files/"two.bed.gz").read_bytes()

@pytest.mark.parametrize("name,text,args,says", [
    ("g.tsv", "gene_id\tchrom\ttss\tstrand\nb\tchr1\t401\t+\n", (), "give --base 0 or 1"), ("x.tsv", "a\tb\n1\t2\n", (), "it has the columns a, b; needed are"),
    ("r.bed", "chr1\t5\n", (), "a BED has 3 or more columns"), ("r.bed", "chr1\t5\tx\n", (), "start and end need whole numbers: '5-x' (line 1)"),
    ("r.bed", "chr7\t5\t9\n", (), "chromosomes that the assembly does not have: 'chr7' (line 1)"),
    ("r.bed", "chr1\t5\t2000\n", (), "not within a chromosome of old: 'chr1:5-2000' (line 1)"),
    ("r.bed", "chr1\t5\t9\n1\t5\t9\n", (), "one chromosome goes by two names"), ("v.tsv", "variant\nrs5\n", (), "not of the form chr:pos:ref:alt")])
def test_wrong_input_is_one_line_and_status_2(files, capsys, name, text, args, says):
    assert lift(files, *args, write(files/name, text), files/"out.tsv") == 2
    err = capsys.readouterr().err.strip().splitlines()
    assert says in err[-1] and err[-1].startswith("chromexpress: ") and not (files/"out.tsv").exists()

def test_assemblies_are_never_mixed(files, capsys):
    write(files/"r.bed", "chr1\t400\t410\n")
    assert lift(files, files/"r.bed", files/"new.bed") == 0
    assert lift(files, files/"new.bed", files/"again.bed") == 2 and "says that it is of new, and it is to be of old" in capsys.readouterr().err
    assert cli("liftover", "--chain", files/"a.chain", "--from", "hg38", "--to", "hg19", files/"r.bed", files/"x.bed") == 2
    assert "on the side that it maps from, chr1 is 1000 bp long there, 248956422 bp in hg38" in capsys.readouterr().err
    assert cli("liftover", "--chain", files/"none.chain", "--from", "hg38", "--to", "hg19", files/"r.bed", files/"x.bed") == 2
    assert cli("liftover", files/"r.bed", files/"x.bed") == 2 and "--chain" in capsys.readouterr().err
    assert not (files/"x.bed").exists()
