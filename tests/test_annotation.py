"""Genes out of GTF and GFF3: positions, the choice of a TSS, what is left out and what is refused; against lines
worked out by hand."""
import gzip, json, sys
from pathlib import Path
import pandas as pd, pytest
from chromexpress.core import InputError, Problems, file_digest
from chromexpress.genome import (annotated_genes, chrom_sizes, ensembl_gtf, exon_lengths, is_annotation,
                                 read_annotation, read_genes)
from chromexpress.study import parse_study
from toy import cli
pytestmark = pytest.mark.usefixtures("hear")

HG19, SIZES = chrom_sizes("hg19"), {"chr1": 1000, "chr2": 500, "chrX": 300, "chrY": 300, "chrM": 50}

def gtf(*lines): # (chrom, feature, start, end, strand, attributes) of each line
    return "".join(f"{c}\tsource\t{f}\t{s}\t{e}\t.\t{d}\t.\t{a}\n" for c, f, s, e, d, a in lines)

def gene(chrom, start, end, strand, id, name="", biotype="protein_coding"):
    return chrom, "gene", start, end, strand, f'gene_id "{id}"; gene_name "{name}"; gene_biotype "{biotype}";'

def tx(chrom, start, end, strand, gene, id, tag="", biotype="protein_coding"):
    more = "".join(f' tag "{t}";' for t in tag.split())
    return (chrom, "transcript", start, end, strand,
            f'gene_id "{gene}"; transcript_id "{id}"; transcript_biotype "{biotype}";{more}')

def write(tmp_path, text, name="a.gtf"):
    (tmp_path/name).write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    return tmp_path/name

PLAIN = gtf(gene("1", 11, 20, "-", "G2", "B"), gene("1", 1, 5, "+", "G1", "A"),
            gene("X", 300, 300, "-", "G3", "C", "lincRNA"))

@pytest.mark.parametrize("name", ["a.gtf", "a.gtf.gz", "A.GTF"])
@pytest.mark.parametrize("text", [PLAIN, "\ufeff#!genome-version x\n\n" + PLAIN, PLAIN.replace("\n", "\r\n")])
def test_positions(tmp_path, name, text):
    if name == "A.GTF": assert is_annotation(name)
    g = annotated_genes(write(tmp_path, text, name), SIZES, biotypes=["all"])
    assert list(g) == ["gene_id", "chrom", "start", "end", "strand", "tss", "symbol", "biotype"]
    assert g.values.tolist() == [["G1", "chr1", 0, 5, "+", 0, "A", "protein_coding"],
                                 ["G2", "chr1", 10, 20, "-", 19, "B", "protein_coding"],
                                 ["G3", "chrX", 299, 300, "-", 299, "C", "lincRNA"]]

@pytest.mark.parametrize("name,is_one", [("x.gtf", True), ("x.gff3.gz", True), ("x.GFF", True), ("gtf.tsv", False),
                                         ("x.gtf.tsv.gz", False)])
def test_kind_from_the_name(name, is_one): assert is_annotation(name) == is_one

def test_gff3_is_the_same(tmp_path):
    text = ("##gff-version "
            "3\nchr1\te\tgene\t11\t20\t.\t-\t.\tID=gene:G2;Name=B%2C1;biotype=protein_coding;gene_id=G2\n"
            "chr1\te\tmRNA\t11\t18\t.\t-\t.\tID=transcript:T1;Parent=gene:G2;biotype=protein_coding;tag=basic,Ensembl_canonical;transcript_id=T1\n"
            "chr1\te\texon\t11\t12\t.\t-\t.\tParent=transcript:T1;Name=E1\nchr1\te\texon\t12\t18\t.\t-\t.\tParent=transcript:T1;Name=E2\n"
            "chr1\te\tncRNA_gene\t101\t120\t.\t+\t.\tID=gene:G4;biotype=lncRNA;gene_id=G4\n##FASTA\n>chr1\nACGT\n")
    path = write(tmp_path, text, "a.gff3")
    g = annotated_genes(path, SIZES, tss="canonical")
    assert g.values.tolist() == [["G2", "chr1", 10, 20, "-", 17, "B,1", "protein_coding", "T1"]]
    assert exon_lengths(path, SIZES).to_dict() == {"G2": 8}
    assert annotated_genes(path, SIZES, biotypes=["lncRNA"]).gene_id.tolist() == ["G4"]

# which TSS

TAGGED = gtf(gene("1", 101, 400, "+", "G1"), tx("1", 101, 200, "+", "G1", "T1", "", "retained_intron"),
             tx("1", 121, 400, "+", "G1", "T2", "basic"),
             tx("1", 151, 400, "+", "G1", "T3", "basic Ensembl_canonical"), gene("1", 501, 900, "-", "G2"),
             tx("1", 501, 900, "-", "G2", "T4", "", "x"),
             tx("1", 501, 800, "-", "G2", "T5", "basic"), tx("1", 601, 850, "-", "G2", "T6", "basic"),
             gene("1", 950, 960, "+", "G3"))

@pytest.mark.parametrize("rule,tss,transcript",
                         [("gene", [100, 899, 949], None), ("canonical", [150, 799, 949], ["T3", "T5", ""]),
                                                 ("5prime", [120, 849, 949], ["T2", "T6", ""])])
def test_tss(tmp_path, caplog, rule, tss, transcript):
    g = annotated_genes(write(tmp_path, TAGGED), SIZES, tss=rule).sort_values("gene_id")
    assert g.tss.tolist() == tss
    if transcript:
        assert g.transcript_id.tolist() == transcript and "1 of 3 genes have no transcript" in caplog.text
        assert "(G3)" in caplog.text

def test_no_canonical_transcript(tmp_path):
    text = gtf(gene("1", 101, 400, "+", "G1"), tx("1", 101, 200, "+", "G1", "T1", "CCDS"))
    with pytest.raises(InputError,
            match="no transcript is tagged Ensembl_canonical or MANE_Select or basic .its tags: CCDS.*\"5prime\""):
        annotated_genes(write(tmp_path, text), SIZES, tss="canonical")

def test_genes_made_of_transcripts(tmp_path, caplog):
    text = gtf(("chr1", "transcript", 101, 200, "-", 'gene_id "A"; transcript_id "T1";'),
               ("chr1", "exon", 101, 200, "-", 'gene_id "A";'),
               ("chr1", "transcript", 151, 300, "-", 'gene_id "A"; transcript_id "T2";'))
    g = annotated_genes(write(tmp_path, text), SIZES, biotypes=["all"])
    assert g[["gene_id", "start", "end", "tss"]].values.tolist() == [["A", 100, 300, 299]]
    assert "it has no lines of genes; they are made of 2 transcripts." in caplog.text
    with pytest.raises(InputError, match="it has no biotypes"): annotated_genes(tmp_path/"a.gtf", SIZES)

# what is left out

def test_what_is_left_out_is_named(tmp_path, caplog):
    text = gtf(gene("1", 1, 5, "+", "G1"), gene("2", 1, 5, "+", "G2", "", "lincRNA"),
               gene("2", 1, 5, "+", "G3", "", "snoRNA"),
               gene("MT", 1, 5, "+", "G4"), gene("GL1", 1, 5, "+", "G5"), gene("Y", 1, 5, "+", "G6"))
    path = write(tmp_path, text)
    assert annotated_genes(path, SIZES, without=["M", "chrY"]).gene_id.tolist() == ["G1"]
    for said in ("1 of 6 genes are on chromosomes that the assembly does not have (GL1): left out",
                 "2 of 5 genes have other biotypes "
                 "(1 lincRNA, 1 snoRNA): left out", "2 of 3 genes are on M, chrY: left "
                                                    "out"): assert said in caplog.text
    assert annotated_genes(path, SIZES).chrom.tolist() == ["chr1", "chrY", "chrM"]
    with pytest.raises(InputError, match="'chr7' is no chromosome of the assembly"):
        annotated_genes(path, SIZES, without=["chr7"])
    with pytest.raises(InputError, match="biotype 'lncRNA'; did you mean 'lincRNA'"):
        annotated_genes(path, SIZES, biotypes=["lncRNA"])

@pytest.mark.parametrize("on_y", ["ENSG00000000001.2_PAR_Y", "ENSG00000000001.2", "ENSG00000000001.2-2"])   # the last as RefSeq
def test_pseudoautosomal_copies(tmp_path, caplog, on_y):
    text = gtf(gene("chrX", 11, 20, "+", "ENSG00000000001.2"), gene("chrY", 11, 20, "+", on_y),
               gene("chrY", 31, 40, "+", "ENSG00000000002.1"))
    path = write(tmp_path, text)
    assert annotated_genes(path, SIZES).values[:, :2].tolist() == [["ENSG00000000001.2", "chrX"],
                                                                   ["ENSG00000000002.1", "chrY"]]
    assert f"1 pseudoautosomal genes stand on X and on Y ({on_y}): the copies on Y are left out." in caplog.text
    assert annotated_genes(path, SIZES, without=["chrX"], strip_versions=True).gene_id.tolist() == ["ENSG00000000002"]

def test_versions(tmp_path):
    text = gtf(gene("1", 1, 5, "+", "ENSG00000000001.2"), gene("2", 1, 5, "+", "ENSG00000000002.11"),
               gene("2", 3, 5, "+", "RP11-1.2"))
    assert annotated_genes(write(tmp_path, text), SIZES, strip_versions=True).gene_id.tolist() == ["ENSG00000000001",
        "ENSG00000000002", "RP11-1.2"]
    text += gtf(gene("1", 7, 9, "+", "ENSG00000000001.3"))
    assert len(annotated_genes(write(tmp_path, text), SIZES)) == 4
    with pytest.raises(InputError,
            match=r"one without their versions: 'ENSG00000000001.2' \(line 1\), 'ENSG00000000001.3' \(line 4\)"):
        annotated_genes(tmp_path/"a.gtf", SIZES, strip_versions=True, duplicates="first")

def test_symbols_as_ids(tmp_path, caplog):
    text = gtf(gene("1", 1, 5, "+", "G1", "A"), gene("1", 11, 15, "+", "G2", "A"), gene("1", 21, 25, "+", "G3", "B"),
               gene("1", 31, 35, "+", "G4"))
    path = write(tmp_path, text)
    with pytest.raises(InputError, match=r"more than once: 'A' \(line 1\), 'A' \(line 2\).*duplicates in \[genes\] "
                                         r"to \"first\" or \"drop\""):
        annotated_genes(path, SIZES, ids="symbol")
    first = annotated_genes(path, SIZES, ids="symbol", duplicates="first")
    assert first[["gene_id", "start"]].values.tolist() == [["A", 0], ["B", 20], ["G4", 30]]
    assert "1 ids stand there more than once (A): 1 rows are left out, the first of each is kept." in caplog.text
    assert annotated_genes(path, SIZES, ids="symbol", duplicates="drop").gene_id.tolist() == ["B", "G4"]

# bad input

@pytest.mark.parametrize("text,message", [
    ("", "no line of a gene or transcript"),
    (gtf(("1", "exon", 1, 5, "+", 'gene_id "A";')), "no line of a gene or transcript"),
    ("1\tx\tgene\t1\t5\n", "line 1 has 5 fields; GTF and GFF3 have 9"),
    ("1 x gene 1 5 . + . gene_id\n", "line 1 has 1 field;"),
    (gtf(gene("1", 0, 5, "+", "A")), "line 1: 0-5 is no span"),
    (gtf(gene("1", 5, 4, "+", "A")), "line 1: 5-4 is no span"),
    (gtf(gene("1", 1, 5, ".", "A")), "line 1: the strand is '.'"),
    (gtf(gene("1", 1, 1001, "+", "A")), "chr1 ends at 1000, and a gene at 1001"),
    (gtf(gene("1", 1, 5, "+", "")), "line 1: a gene without an id"),
    (gtf(gene("7", 1, 5, "+", "A")), r"none of its chromosomes \(7\)"),
    (gtf(gene("1", 1, 5, "+", "A"), gene("chr1", 7, 9, "+", "B")), "one chromosome goes by two names: 1 and chr1"),
    (gtf(gene("1", 1, 5, "+", "A"), gene("2", 7, 9, "+", "A")), r"more than once: 'A' \(line 1\), 'A' \(line 2\)")])
def test_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as e: annotated_genes(write(tmp_path, text), SIZES)
    assert str(e.value).startswith(str(tmp_path/"a.gtf")) and "\n" not in str(e.value)

def test_broken_files(tmp_path):
    (tmp_path/"a.gtf.gz").write_bytes(gzip.compress((PLAIN*500).encode())[:-20])
    with pytest.raises(InputError, match="a.gtf.gz: cannot be read as an annotation"):
        annotated_genes(tmp_path/"a.gtf.gz", SIZES)
    write(tmp_path, PLAIN).rename(tmp_path/"b.gtf.gz")
    with pytest.raises(InputError, match="b.gtf.gz: cannot be read as an annotation"):
        annotated_genes(tmp_path/"b.gtf.gz", SIZES)
    with pytest.raises(InputError, match="no such annotation"): annotated_genes(tmp_path/"none.gtf", SIZES)

def test_another_assembly_by_its_header(tmp_path):
    text = "##description: evidence-based annotation of the human genome (GRCh38), version 44 (Ensembl 110)\n" + gtf(
        gene("chr1", 1, 5, "+", "A"))
    with pytest.raises(InputError, match="its header says hg38, and the study is of hg19"):
        annotated_genes(write(tmp_path, text), HG19)
    assert len(annotated_genes(tmp_path/"a.gtf", chrom_sizes("hg38"))) == 1

# lengths

def test_exon_lengths(tmp_path):
    exon = lambda g, s, e: ("1", "exon", s, e, "+", f'gene_id "{g}"; transcript_id "T";')
    path = write(tmp_path, gtf(exon("A", 101, 200), exon("B", 1, 1), exon("A", 401, 500), exon("A", 151, 300),
                               exon("A", 160, 170)))
    assert exon_lengths(path, SIZES).to_dict() == {"A": 300, "B": 1}
    with pytest.raises(InputError, match="no line of an exon"): exon_lengths(write(tmp_path, PLAIN), SIZES)

def test_exons_without_a_gene_are_counted(tmp_path, caplog, hear):
    row = lambda kind, s, e, about: f"1\tx\t{kind}\t{s}\t{e}\t.\t+\t.\t{about}\n"
    known = row("mRNA", 101, 300, "ID=rna1;Parent=gene-A") + row("exon", 101, 200, "Parent=rna1")
    path = write(tmp_path, known + row("exon", 401, 420, "Parent=rna9"), "x.gff3")
    assert exon_lengths(path, SIZES).to_dict() == {"A": 100}
    assert "1 of 2 exons tell neither their gene nor a transcript that the file has ('rna9' (line 3)): left out" in caplog.text
    with pytest.raises(InputError, match="none of its 1 exons tells its gene"):
        exon_lengths(write(tmp_path, row("exon", 401, 420, "Parent=rna9"), "y.gff3"), SIZES)

# gene tables have the same options

def test_options_of_tables(tmp_path, caplog):
    path = write(tmp_path, "gene_id,chrom,tss,strand\nENSG00000000001.1,1,5,+\nB,2,7,-\nB,2,9,-\nC,MT,3,+\n", "g.csv")
    with pytest.raises(InputError, match=r"'B' \(line 3\), 'B' \(line 4\); keep one row a gene, or set duplicates"):
        read_genes(path, SIZES)
    g = read_genes(path, SIZES, without=["chrM"], strip_versions=True, duplicates="first")
    assert g[["gene_id", "tss"]].values.tolist() == [["ENSG00000000001", 4], ["B", 6]]
    assert read_genes(path, SIZES, duplicates="drop").gene_id.tolist() == ["ENSG00000000001.1", "C"]
    with pytest.raises(InputError, match="'last' is none of error, first, drop"):
        read_genes(path, SIZES, duplicates="last")
    with pytest.raises(InputError, match="one chromosome goes by two names: 1 and chr1"):
        read_genes(write(tmp_path, "gene_id,chrom,tss,strand\na,1,5,+\nb,chr1,7,-\n", "g.csv"), SIZES)

# real files

def test_ensembl_75_of_a_region(data, caplog):
    path = data/"k562_chr9"/"genes.GRCh37.75.gtf.gz"
    every = annotated_genes(path, HG19, biotypes=["all"])
    assert len(every) == 55 and len(read_annotation(path, HG19, ("gene", "transcript"))) == 194
    coding = annotated_genes(path, HG19).set_index("gene_id")
    assert len(coding) == 21
    assert "34 of 55 genes have other biotypes (21 pseudogene, 3 antisense, 3 lincRNA and 5 more)" in caplog.text
    assert coding.loc["ENSG00000107249", ["chrom", "start", "end", "strand", "tss", "symbol"]].tolist() == [
        "chr9", 3824126, 4348392, "-", 4348391, "GLIS3"]
    roadmap = read_genes(data/"roadmap_genes.tsv.gz", HG19).set_index("gene_id")
    both = coding.index.intersection(roadmap.index)
    assert len(both) == 19 and (coding.tss[both] == roadmap.tss[both]).all()
    assert (coding.strand[both] == roadmap.strand[both]).all()
    five = annotated_genes(path, HG19, tss="5prime").set_index("gene_id")
    assert five.loc["ENSG00000107249", ["tss", "transcript_id"]].tolist() == [4299915, "ENST00000381971"]
    with pytest.raises(InputError, match="none is known to be canonical"):
        annotated_genes(path, HG19, tss="canonical")

def test_a_table_that_repeats_an_id(data, caplog):
    path, hg38 = data/"k562_chr22"/"genes.hg38.tsv.gz", chrom_sizes("hg38")
    with pytest.raises(InputError, match="'ENSG00000273032'.*set duplicates in"): read_genes(path, hg38, tss_base=0)
    first = read_genes(path, hg38, dict(symbol="symbol"), tss_base=0, duplicates="first").set_index("gene_id")
    assert first.symbol["ENSG00000273032"] == "DGCR5" and "ids stand there more than once" in caplog.text
    assert "ENSG00000273032" not in set(read_genes(path, hg38, tss_base=0, duplicates="drop").gene_id)

# an annotation in a study file

def study(folder, genes='table = "a.gtf"\nbiotypes = ["all"]', text=PLAIN):
    write(folder, text)
    (folder/"chrom.sizes").write_text("".join(f"{c}\t{n}\n" for c, n in SIZES.items()))
    (folder/"x.bedGraph").write_text("chr1\t0\t10\t1\n")
    (folder/"study.toml").write_text(f'name = "s"\nassembly = "toy"\nchrom_sizes = '
                                     f'"chrom.sizes"\n[genes]\n{genes}\n[tracks.A]\nK4 = "x.bedGraph"\n')
    problems = Problems("study.toml")
    s = parse_study(folder/"study.toml", problems)
    problems.check()
    return s

def test_an_annotation_in_a_study_is_read_once(tmp_path, caplog, monkeypatch):
    s = study(tmp_path)
    assert s.genes[["gene_id", "start", "end", "tss"]].values.tolist() == [["G1", 0, 5, 0], ["G2", 10, 20, 19],
                                                                           ["G3", 299, 300, 299]]
    pd.testing.assert_frame_equal(study(tmp_path).genes, s.genes)
    assert "gene_table.csv, as they were made of the annotation before" in caplog.text
    with monkeypatch.context() as m:
        m.setattr("chromexpress.study.annotated_genes", lambda *_, **__: pytest.fail("read again"))
        assert len(study(tmp_path).genes) == 3
    # another source
    assert study(tmp_path, text=PLAIN + gtf(gene("2", 1, 5, "+", "G4"))).genes.gene_id.tolist() == ["G1", "G2", "G4",
        "G3"]
    # other options
    assert study(tmp_path, 'table = "a.gtf"').genes.gene_id.tolist() == ["G1", "G2"]
    (tmp_path/"results"/"gene_table.csv").write_text("# cut")
    assert len(study(tmp_path).genes) == 3

@pytest.mark.parametrize("genes,message", [('table = "a.gtf"\ntss_base = 1', "tss_base: an annotation has none"),
    ('table = "a.gtf"\n[genes.columns]\ntss = "x"', "columns: an annotation has none"),
    ('table = "a.gtf"\nbiotypes = "all"', "biotypes = 'all': needs a list"),
    ('table = "study.toml"\ntss_base = 1\ntss = "canonical"', "tss: only of an annotation"),
    ('table = "a.gtf"\ntss = "first"', "tss = 'first': is none of gene, canonical, 5prime"),
    ('table = "study.toml"', r"\[genes\] tss_base: missing")])
def test_keys_that_do_not_go_with_the_file(tmp_path, genes, message):
    with pytest.raises(InputError, match=message): study(tmp_path, genes)

def test_tables_in_a_study_have_the_options(tmp_path):
    (tmp_path/"g.csv").write_text("gene_id,chrom,tss,strand\na,1,5,+\na,1,6,+\nb,MT,7,-\n")
    assert study(tmp_path, 'table = "g.csv"\ntss_base = 1\nduplicates = "first"\nwithout = '
                           '["chrM"]').genes.tss.tolist() == [4]

# the command

def test_command(tmp_path, capsys):
    path, out = write(tmp_path, PLAIN), tmp_path/"new"/"genes.tsv"
    (tmp_path/"chrom.sizes").write_text("".join(f"{c}\t{n}\n" for c, n in SIZES.items()))
    args = ["genes", "--gtf", path, "--assembly", "toy", "--chrom-sizes", tmp_path/"chrom.sizes", "--out", out]
    assert cli(*args, "--biotypes", "protein_coding, lincRNA", "--without", "X") == 0
    assert out.read_text() == ("gene_id\tchrom\tstart\tend\tstrand\ttss\tsymbol\tbiotype\nG1\tchr1\t0\t5\t+\t0\tA\tprotein_coding\n"
                               "G2\tchr1\t10\t20\t-\t19\tB\tprotein_coding\n")
    assert f'{out}: 2 genes. In the study file: [genes] table = "{out}", tss_base = 0.' in capsys.readouterr().out
    about = json.loads((tmp_path/"new"/"genes.tsv.json").read_text())
    assert about["genes"] == 2 and about["without"] == ["X"] and about["checksum"] == file_digest(path)
    assert about["ensembl"] is None
    pd.testing.assert_frame_equal(read_genes(out, SIZES, dict(symbol="symbol", biotype="biotype"), 0),
                                  annotated_genes(path, SIZES, biotypes=["all"]).iloc[:2])
    for more, said in ((["--tss", "canonical"], "none is known to be canonical"),
                       (["--ensembl", "75"], "give one of"), (["--ids", "x"], "is none of gene_id, symbol")):
        assert cli(*args, *more) == 2
        err = capsys.readouterr().err
        assert said in err and "Traceback" not in err
    assert cli("genes", "--gtf", path) == 2 and "--assembly: missing" in capsys.readouterr().err

def test_an_ensembl_release(tmp_path, monkeypatch, capsys):
    pyensembl = pytest.importorskip("pyensembl")
    monkeypatch.setenv("PYENSEMBL_CACHE_DIR", str(tmp_path))
    release = pyensembl.EnsemblRelease(75)
    cached = Path(release.download_cache.cached_path(release.gtf_url))
    assert cached.is_relative_to(tmp_path)
    cached.parent.mkdir(parents=True, exist_ok=True)
    cached.write_bytes(gzip.compress(b"#!genome-build GRCh37.p13\n" +
                                     gtf(gene("9", 3824127, 4348392, "-", "ENSG00000107249", "GLIS3")).encode()))
    assert ensembl_gtf(75, "hg19") == cached
    assert cli("genes", "--ensembl", "75", "--assembly", "hg19", "--out", tmp_path/"g.tsv") == 0
    assert (tmp_path/"g.tsv").read_text().splitlines()[1].split("\t")[:6] == ["ENSG00000107249", "chr9", "3824126",
                                                                              "4348392", "-", "4348391"]
    assert json.loads((tmp_path/"g.tsv.json").read_text())["ensembl"] == 75
    with pytest.raises(InputError, match="--ensembl 75: this release is of GRCh37, and the study is of hg38"):
        ensembl_gtf(75, "hg38")
    with pytest.raises(InputError, match="--ensembl 3: cannot be had"): ensembl_gtf(3, "hg19")
    monkeypatch.setitem(sys.modules, "pyensembl", None)
    with pytest.raises(InputError, match=r"install chromexpress\[ensembl\]"): ensembl_gtf(75, "hg19")
