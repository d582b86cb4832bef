"Assemblies, gene tables and windows, against tables worked out by hand."
import gzip
import pandas as pd, pytest
from chromexpress.core import InputError
from chromexpress.genome import (ASSEMBLIES, check_ends, check_header, chrom_sizes, first_few, looks_like, read_genes,
                                 read_table,
                                 reconcile, some, tss_windows)
pytestmark = pytest.mark.usefixtures("hear")

SIZES = {"chr1": 1000, "chr2": 500, "chrX": 300, "chrM": 50}

def write(path, text): path.write_text(text); return path

# assemblies

@pytest.mark.parametrize("assembly,chrom,length",
                         [("hg19", "chr1", 249250621), ("hg19", "chr21", 48129895), ("hg19", "chrM", 16571),
    ("hg38", "chr1", 248956422), ("hg38", "chrY", 57227415), ("hg38", "chrM", 16569), ("mm10", "chr19", 61431566),
    ("mm10", "chrM", 16299)])
def test_lengths(assembly, chrom, length): assert chrom_sizes(assembly)[chrom] == length

def test_karyotype_order():
    assert list(ASSEMBLIES["hg19"]) == [f"chr{c}" for c in [*range(1, 23), "X", "Y", "M"]]
    assert list(ASSEMBLIES["mm10"]) == [f"chr{c}" for c in [*range(1, 20), "X", "Y", "M"]]

def test_known_sizes_are_a_copy():
    chrom_sizes("hg19")["chr1"] = 1
    assert chrom_sizes("hg19")["chr1"] == 249250621

def test_sizes_file(tmp_path):
    path = write(tmp_path/"a.sizes", "# a comment\nII 20\n\nI\t10\textra\n")
    assert chrom_sizes("own", path) == {"II": 20, "I": 10} and list(chrom_sizes("own", path)) == ["II", "I"]

def test_sizes_file_of_a_known_assembly(tmp_path):
    path = write(tmp_path/"a.sizes", "GL1\t7\nMT\t16571\n2\t243199373\n1\t249250621\n")
    assert list(chrom_sizes("hg19", path).items()) == [("chr1", 249250621), ("chr2", 243199373), ("chrM", 16571),
                                                       ("GL1", 7)]
    with pytest.raises(InputError, match="chr1 is 249250621 bp long here, 248956422 bp in hg38.*looks like hg19"):
        chrom_sizes("hg38", path)

@pytest.mark.parametrize("text,message", [("chr1\n", "line 1: 'chr1' is no name and length"),
    ("chr1\t0\n", "line 1"), ("chr1\t-5\n", "line 1"),
    ("chr1\t5\nchr1\t6\n", "line 2: chr1 has been given before"), ("", "it has no chromosome")])
def test_wrong_sizes_file(tmp_path, text, message):
    with pytest.raises(InputError, match=message): chrom_sizes("own", write(tmp_path/"a.sizes", text))

def test_unknown_assembly(tmp_path):
    with pytest.raises(InputError, match="'hg20' is unknown"): chrom_sizes("hg20")
    with pytest.raises(InputError, match="no such file"): chrom_sizes("own", tmp_path/"none")

def test_reconcile(caplog):
    assert reconcile(["chr2", "X", "MT", "other"], SIZES, "f") == {"chr2": "chr2", "chrX": "X", "chrM": "MT"}
    assert "f: chromosomes go by other names here: X is chrX, MT is chrM." in caplog.messages
    caplog.clear()
    assert reconcile(["chr1"], SIZES, "f") == {"chr1": "chr1"} and not caplog.messages

def test_reconcile_both_ways_and_exact_first():
    assert reconcile(["chr1"], {"1": 5}, "f") == {"1": "chr1"}
    assert reconcile(["MT", "chrM"], SIZES, "f") == {"chrM": "chrM"} == reconcile(["chrM", "MT"], SIZES, "f")
    assert reconcile(["1", "chr2"], SIZES, "f") == {"chr1": "1", "chr2": "chr2"}       # each name by itself

def test_a_chromosome_with_two_names_is_refused():
    for names in (["1", "chr1"], ["chr1", "1"], ["chr1", "NC_000001.10"]):
        with pytest.raises(InputError, match="f: one chromosome goes by two names: .* and .*; choose one style"):
            reconcile(names, SIZES, "f")

@pytest.mark.parametrize("assembly,names", [
    ("hg19", dict(chr1="NC_000001.10", chr7="NC_000007.13", chr17="NC_000017.10", chrX="NC_000023.10", chrY="NC_000024.9", chrM="NC_012920.1")),
    ("hg38", dict(chr1="NC_000001.11", chr7="NC_000007.14", chr17="NC_000017.11", chrX="NC_000023.11", chrY="NC_000024.10", chrM="NC_012920.1")),
    ("mm10", dict(chr1="NC_000067.6", chr19="NC_000085.6", chrX="NC_000086.7", chrY="NC_000087.7", chrM="NC_005089.1"))])
def test_names_of_refseq(assembly, names):
    sizes = ASSEMBLIES[assembly]
    assert reconcile(names.values(), sizes, "f") == names
    assert check_header({n: sizes[c] for c, n in names.items()}, sizes, names, "f") == names
    assert looks_like({n: sizes[c] for c, n in names.items()}) == assembly
    assert check_ends({n: 100 for n in names.values()}, sizes, ["chr1"], "f") == names

def test_refseq_names_of_another_assembly_are_refused():
    with pytest.raises(InputError, match="f: NC_000001.11 is chr1 of hg38, NC_000023.11 is chrX of hg38, and the study is of hg19"):
        reconcile(["NC_000001.11", "NC_000023.11"], ASSEMBLIES["hg19"], "f")
    with pytest.raises(InputError, match="f: NC_000067.6 is chr1 of mm10"): check_ends({"NC_000067.6": 5}, ASSEMBLIES["hg38"], ["chr1"], "f")
    assert reconcile(["NC_000001.11"], {"NC_000001.11": 9}, "f") == {"NC_000001.11": "NC_000001.11"}   # an assembly of the user's

@pytest.mark.parametrize("one,m,x", [("chr1", "chrM", "chrX"), ("1", "MT", "X"), ("NC_000001.10", "NC_012920.1", "NC_000023.10")])
def test_names_in_annotations_tables_tracks_and_contacts(tmp_path, one, m, x):
    "The same genes, the same signal and the same partner, in the three styles."
    from chromexpress.contacts import read_edges
    from chromexpress.genome import annotated_genes
    from chromexpress.signal import open_source
    hg19 = ASSEMBLIES["hg19"]
    gene = 'ENSEMBL\tgene\t{}\t{}\t.\t{}\t.\tgene_id "{}"; gene_biotype "protein_coding";\n'.format
    gtf = write(tmp_path/"g.gtf", one + "\t" + gene(101, 200, "+", "a") + x + "\t" + gene(301, 400, "-", "b") + m + "\t" + gene(501, 600, "+", "c"))
    found = annotated_genes(gtf, hg19)
    assert found[["gene_id", "chrom", "tss"]].values.tolist() == [["a", "chr1", 100], ["b", "chrX", 399], ["c", "chrM", 500]]
    gff = "".join(f"{c}\tRefSeq\tgene\t{s}\t.\t{d}\t.\tID=gene-{g};gene_biotype=protein_coding\n"
                  for c, s, d, g in ((one, "101\t200", "+", "a"), (x, "301\t400", "-", "b"), (m, "501\t600", "+", "c")))
    assert annotated_genes(write(tmp_path/"g.gff3", gff), hg19)[["gene_id", "chrom", "tss"]].equals(found[["gene_id", "chrom", "tss"]])
    table = write(tmp_path/"g.tsv", f"gene_id\tchrom\ttss\tstrand\na\t{one}\t100\t+\nb\t{x}\t399\t-\nc\t{m}\t500\t+\n")
    genes = read_genes(table, hg19, tss_base=0)
    assert genes[["gene_id", "chrom", "tss"]].equals(found[["gene_id", "chrom", "tss"]])
    signal = open_source(write(tmp_path/"s.bedGraph", f"{one}\t95\t105\t2\n{m}\t0\t9\t3\n"), hg19, ["chr1", "chrM"])
    assert signal.read("chr1", 95, 97).tolist() == [2, 2] and signal.read("chrM", 7, 9).tolist() == [3, 3]
    edges = read_edges(write(tmp_path/"e.csv", f"gene_id,chrom,start,end,score\na,{one},500,900,2.5\n"), hg19, genes)
    assert edges.values.tolist() == [["a", "chr1", 500, 900, 2.5]]

def test_a_gene_table_that_says_its_assembly(tmp_path):
    table = write(tmp_path/"g.tsv", "gene_id\tchrom\ttss\tstrand\na\tchr1\t100\t+\n")
    write(tmp_path/"g.tsv.json", '{"assembly": "hg38"}')
    assert len(read_genes(table, ASSEMBLIES["hg38"])) == 1
    with pytest.raises(InputError, match="g.tsv: g.tsv.json says that it is of hg38, and it is to be of hg19"):
        read_genes(table, ASSEMBLIES["hg19"])

def test_looks_like():
    assert looks_like(ASSEMBLIES["mm10"]) == "mm10"
    assert looks_like({}) == "" == looks_like({"chrM": 16569}) == looks_like({"chr9": 1})
    assert looks_like({"chr9": 141213431, "chrM": 16569}) == "hg19"     # with the other mitochondrion

# headers

def test_header_fits(caplog):
    assert check_header({"1": 1000, "chr2": 500}, SIZES, ["chr1", "chr2", "chr1"], "f") == {"chr1": "1",
        "chr2": "chr2"}
    assert not [r for r in caplog.records if r.levelname == "WARNING"]

def test_header_of_another_assembly():
    with pytest.raises(InputError) as e:
        check_header({"chr9": 138394717}, ASSEMBLIES["hg19"], ["chr9"], "x/H3K4me3.bigWig")
    assert str(e.value).startswith("x/H3K4me3.bigWig: chr9 is 138394717 bp long in its header, 141213431 bp in hg19; "
                                   "the file looks like hg38.")
    with pytest.raises(InputError,
                       match="chr1 is 999 bp.*1000 bp in its chrom_sizes; the file fits no known assembly"):
        check_header({"chr1": 999}, SIZES, ["chr1"], "f")

def test_header_differs_elsewhere(caplog):
    assert check_header({"chr1": 1000, "chr2": 1000}, SIZES, ["chr1"], "f") == {"chr1": "chr1", "chr2": "chr2"}
    assert "f: of another length than in the study, but not in use: chr2." in caplog.messages

def test_header_lacks_chromosomes(caplog):
    assert check_header({"chr1": 1000}, SIZES, ["chr1", "chrX"], "f") == {"chr1": "chr1"}
    assert "f: no chrX in it; it reads as uncovered there." in caplog.messages
    with pytest.raises(InputError, match="no chromosome of those in use; it has scaffold, needed are chr1, chrX"):
        check_header({"scaffold": 5}, SIZES, ["chr1", "chrX"], "f")

def test_ends(caplog):
    assert check_ends({"1": 1000}, SIZES, ["chr1", "chr2"], "f") == {"chr1": "1"}
    assert "no more can be checked" in caplog.text
    with pytest.raises(InputError, match="f: in the study chr1 ends at 1000, and something in the file at 1001"):
        check_ends({"chr1": 1001}, SIZES, ["chr1"], "f")
    assert check_ends({"chr1": 10, "chr2": 501}, SIZES, ["chr1"], "f")      # chr2 is not in use
    with pytest.raises(InputError, match="no chromosome of those in use"): check_ends({"z": 1}, SIZES, ["chr1"], "f")

def test_real_headers(data):
    pyBigWig = pytest.importorskip("pyBigWig")
    header = lambda p: pyBigWig.open(str(p)).chroms()
    folder = data/"k562_chr9"
    for name in ("H3K27ac", "H3K27me3", "RNA"):
        path = folder/f"{name}.hg19.bigWig"
        assert check_header(header(path), chrom_sizes("hg19"), ["chr9"], path) == {"chr9": "chr9"}
    trap = folder/"H3K4me3.hg38.bigWig"
    with pytest.raises(InputError, match=r"H3K4me3\.hg38\.bigWig: chr9 is .*looks like hg38"):
        check_header(header(trap), chrom_sizes("hg19"), ["chr9"], trap)

# tables

@pytest.mark.parametrize("text", ["a\tb\n1\t2\n", "a,b\n1,2\n", "\ufeffa\tb\r\n1\t2\r\n", "a\tb\t\n1\t2\t\n",
    "a\tb\n1\t2\t\t\n", "a,b\n1,2", "a,b\n\"1\",2\n"])
def test_tables(tmp_path, text):
    (tmp_path/"t.tsv").write_bytes(text.encode())
    table = read_table(tmp_path/"t.tsv")
    assert table.to_dict("list") == dict(a=["1"], b=["2"]) and table.index.tolist() == [2]

def test_table_keeps_lines_and_text(tmp_path):
    with gzip.open(tmp_path/"t.tsv.gz", "wt") as f: f.write("a\tb\n1\tNA\n\n3\n\t\n\"x\t05\n\n")
    table = read_table(tmp_path/"t.tsv.gz")
    assert table.index.tolist() == [2, 4, 6]
    assert table.values.tolist() == [["1", "NA"], ["3", ""], ['"x', "05"]]

@pytest.mark.parametrize("text,message", [("a,b\n1,2\n1,2,3\n", "line 3 has more fields"),
    ("", "first line is empty"), ("a,a\n1,2\n", "two columns are called 'a'"),
    ("a,b\n1,2\n1" + ",2"*20 + "\n", "cannot be read.*line 2")])
def test_wrong_tables(tmp_path, text, message):
    with pytest.raises(InputError, match=message): read_table(write(tmp_path/"t.csv", text))

def test_table_of_a_header_alone(tmp_path):
    table = read_table(write(tmp_path/"t.csv", "a,b\n"))
    assert list(table) == ["a", "b"] and not len(table)

def test_broken_tables(tmp_path):
    with pytest.raises(InputError, match="no such table"): read_table(tmp_path/"none.tsv")
    whole = gzip.compress(b"a\tb\n" + b"1\t2\n"*5000)
    for name, content in (("cut.tsv.gz", whole[:len(whole)//2]), ("plain.tsv.gz", b"a\tb\n"),
                          ("latin.tsv", b"a\tb\n\xe4\t1\n")):
        (tmp_path/name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name}: cannot be read as a table"): read_table(tmp_path/name)

def test_messages_of_many():
    assert some(["a", "b"]) == "a, b" and some("abcde", 2) == "a, b and 3 more"
    assert first_few(pd.Series(["x", "y"], index=[2, 9])) == "'x' (line 2), 'y' (line 9)"
    assert first_few(pd.Series(["x", "y"], index=[2, 9]), 1) == "'x' (line 2), … 2 in all"

# genes

TABLE = ("id\tchr\tpos\tsense\tfrom\tto\tsymbol\nb\tX\t300\t-\t251\t300\tB\na\t1\t10\t+\t10\t20\tA\nc\t1\t5\t-\t1\t5\tC\n")
COLUMNS = dict(gene_id="id", chrom="chr", tss="pos", strand="sense")

def test_genes_base_1(tmp_path):
    genes = read_genes(write(tmp_path/"g.tsv", TABLE), SIZES, COLUMNS | dict(start="from", end="to", symbol="symbol"))
    assert list(genes) == ["gene_id", "chrom", "start", "end", "strand", "tss", "symbol"]
    assert genes.values.tolist() == [["c", "chr1", 0, 5, "-", 4, "C"], ["a", "chr1", 9, 20, "+", 9, "A"],
                                     ["b", "chrX", 250, 300, "-", 299, "B"]]
    assert genes.index.tolist() == [0, 1, 2] and genes.tss.dtype == genes.start.dtype == "int64"

def test_genes_base_0(tmp_path):
    path = write(tmp_path/"g.tsv", TABLE.replace("\t300\t-", "\t299\t-"))
    genes = read_genes(path, SIZES, COLUMNS | dict(start="from", end="to"), tss_base=0, span_base=1)
    assert genes[["start", "end", "tss"]].values.tolist() == [[0, 5, 5], [9, 20, 10], [250, 300, 299]]
    genes = read_genes(path, SIZES, COLUMNS | dict(start="from", end="to"), tss_base=0)
    assert genes.start.tolist() == [1, 10, 251]

def test_genes_without_span(tmp_path):
    genes = read_genes(write(tmp_path/"g.tsv", TABLE), SIZES, COLUMNS)
    assert genes[["start", "end", "tss"]].values.tolist() == [[4, 5, 4], [9, 10, 9], [299, 300, 299]]

def test_span_columns_are_found_by_name(tmp_path):
    genes = read_genes(write(tmp_path/"g.csv", "gene_id,chrom,start,end,tss,strand\ng,chr1,3,8,3,+\n"), SIZES)
    assert genes[["start", "end", "tss"]].values.tolist() == [[2, 8, 2]]

def test_tss_outside_its_gene_is_kept(tmp_path, caplog):
    path = write(tmp_path/"g.csv",
        "gene_id,chrom,start,end,tss,strand\ng,chr1,100,200,60,+\nh,chr1,100,200,150,+\ni,chr1,100,200,201,-\n")
    assert len(read_genes(path, SIZES, tss_base=0)) == 3
    assert "the TSS of 2 of 3 genes is outside its gene, by up to 40 bp (g); they are kept." in caplog.text

def test_ties_are_sorted_by_gene(tmp_path):
    genes = read_genes(write(tmp_path/"g.csv", "gene_id,chrom,tss,strand\nb,chr1,5,+\na,chr1,5,+\nc,chr1,4,+\n"),
                       SIZES)
    assert genes.gene_id.tolist() == ["c", "a", "b"]

@pytest.mark.parametrize("rows,message", [
    ("a,chr1,1,+\na,chr1,2,+", r"gene ids that stand there more than once: 'a' \(line 2\), 'a' \(line 3\)"),
    ("a,chr9,1,+", r"chromosomes that the assembly does not have \(chr9\): 'chr9' \(line 2\).*chrom_sizes"),
    ("a,chr1,1,.", r"strand is neither '\+' nor '-': '.' \(line 2\)"), ("a,chr1,1,", "strand is neither"),
    ("a,chr1,x,+", r"tss is not a whole number: 'x' \(line 2\)"), ("a,chr1,1.5,+", "tss is not a whole number"),
    ("a,chr1,inf,+", "tss is not a whole number"),
    ("a,chr1,,+", "tss is not a whole number"), ("a,chr1,0,+", "tss outside its chromosome: 'chr1:0'"),
    ("a,chr1,1001,+", "tss outside its chromosome"), (",chr1,1,+", "gene_id is empty"), ("a,,1,+", "chrom is empty"),
    ("", "no genes")])
def test_wrong_genes(tmp_path, rows, message):
    with pytest.raises(InputError, match=message) as e:
        read_genes(write(tmp_path/"g.csv", f"gene_id,chrom,tss,strand\n{rows}\n"), SIZES)
    assert "g.csv" in str(e.value) and "\n" not in str(e.value)

def test_the_last_base_is_inside(tmp_path):
    path = write(tmp_path/"g.csv", "gene_id,chrom,tss,strand,start,end\na,chr1,1000,-,1,1000\n")
    assert read_genes(path, SIZES)[["start", "end", "tss"]].values.tolist() == [[0, 1000, 999]]
    with pytest.raises(InputError, match="end outside its chromosome"):
        read_genes(write(path, "gene_id,chrom,tss,strand,start,end\na,chr1,10,-,1,1001\n"), SIZES)
    with pytest.raises(InputError, match="the end is not after the start: 'a'"):
        read_genes(write(path, "gene_id,chrom,tss,strand,start,end\na,chr1,10,-,9,8\n"), SIZES)

def test_wrong_columns_and_bases(tmp_path):
    path = write(tmp_path/"g.tsv", TABLE)
    with pytest.raises(InputError, match="no column 'gene_id', 'chrom', 'tss', 'strand'; it has 'id', 'chr'"):
        read_genes(path, SIZES)
    with pytest.raises(InputError, match="tss_base is 2"): read_genes(path, SIZES, COLUMNS, tss_base=2)
    with pytest.raises(InputError, match="one of start and end"):
        read_genes(path, SIZES, COLUMNS | dict(start="from"))

def test_all_is_said_at_once(tmp_path):
    with pytest.raises(InputError, match="3 problems"):
        read_genes(write(tmp_path/"g.csv", "gene_id,chrom,tss,strand\na,chr1,1,+\na,chr1,2,*\nb,chr1,x,+\n"), SIZES)

def test_real_genes(data, caplog):
    genes = read_genes(data/"roadmap_genes.tsv.gz", chrom_sizes("hg19"), dict(symbol="symbol"))
    gene = genes.set_index("gene_id").loc["ENSG00000000003"]
    assert (gene.symbol, gene.chrom, gene.tss, gene.strand) == ("TSPAN6", "chrX", 99894987, "-")
    assert genes.chrom.drop_duplicates().tolist() == [c for c in ASSEMBLIES["hg19"] if c in set(genes.chrom)]
    with pytest.raises(InputError, match="tss outside its chromosome.*in all"):
        read_genes(data/"roadmap_genes.tsv.gz", chrom_sizes("hg38"))

# windows

GENES = pd.DataFrame(dict(gene_id=["a", "b"], chrom=["chr1", "chr2"], strand=["+", "-"], tss=[100, 3]))

def test_windows():
    assert tss_windows(GENES, 10).values.tolist() == [["a", "chr1", 95, 105, "+"], ["b", "chr2", -2, 8, "-"]]
    assert list(tss_windows(GENES, 10)) == ["gene_id", "chrom", "start", "end", "strand"]

@pytest.mark.parametrize("window", [0, -2, 5])
def test_wrong_windows(window):
    with pytest.raises(InputError, match="an even number"): tss_windows(GENES, window)
