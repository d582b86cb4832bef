"Expression tables: transforms, labels, and what is missing."
import gzip
import numpy as np, pandas as pd, pytest
from chromexpress.core import InputError, Problems
from chromexpress.expression import (FORMATS, TRANSFORMS, check_scale, detect_format, expression_files,
                                     label_expressed, read_expression,
                                     unmatched)
from chromexpress.genome import chrom_sizes, read_genes
from chromexpress.study import parse_study
pytestmark = pytest.mark.usefixtures("hear")

GENES = pd.DataFrame(dict(gene_id=["g1", "g2", "g3", "g4"]))
NAN = float("nan")

def read(tmp_path, text, cells=("A",), genes=GENES, **kwargs):
    (tmp_path/"x.tsv").write_text(text.replace(" ", "\t"))
    return read_expression(tmp_path/"x.tsv", "id", {f"cell{c}": c for c in cells}, genes, **kwargs)

def test_a_table_by_hand(tmp_path):
    table = read(tmp_path, "id A B\ng2 1 0\ng1 0 3\ng4 7 7\ng3 3 15\n", "BA")
    assert list(table) == ["cell", "gene_id", "value", "y", "label"]
    assert table.values.tolist() == [
        ["cellB", "g1", 3, 2, 0], ["cellB", "g2", 0, 0, 0], ["cellB", "g3", 15, 4, 1], ["cellB", "g4", 7, 3, 1],
        ["cellA", "g1", 0, 0, 0], ["cellA", "g2", 1, 1, 0], ["cellA", "g3", 3, 2, 1], ["cellA", "g4", 7, 3, 1]]

@pytest.mark.parametrize("transform,c,x,y", [
    ("log2", 1, [0, 1, 3], [0, 1, 2]), ("log2", .5, [0, 1.5], [-1, 1]), ("ln", 1, [0, np.e - 1], [0, 1]),
    ("asinh", 1, [0, np.sinh(2)], [0, 2]), ("asinh", 2, [2*np.sinh(1)], [1]), ("none", 1, [-3, 5], [-3, 5])])
def test_transforms(transform, c, x, y):
    forward, inverse = TRANSFORMS[transform]
    np.testing.assert_allclose(forward(np.array(x, float), c), y, atol=1e-12)
    np.testing.assert_allclose(inverse(np.array(y, float), c), x, atol=1e-12)

@pytest.mark.parametrize("value,label", [
    ([1, 2, 3, 4], [0, 0, 1, 1]), ([1, 2, 3], [0, 1, 1]), ([0, 0, 5], [0, 0, 1]), ([0, 0, 5, 6], [0, 0, 1, 1]),
    ([0, 1, 1, 1], [0, 1, 1, 1]), ([2, 2], [0, 0]), ([NAN, 1, 2], [NAN, 0, 1]), ([NAN], [NAN])])
def test_labels(value, label): np.testing.assert_array_equal(label_expressed(np.array(value, float)), label)

def test_median_at_the_minimum_is_said(caplog):
    label_expressed(np.array([0., 0, 0, 9]), "h1")
    assert ("cell h1: the median is the minimum, 0 (75 % of its genes): label 1 is above it, not at "
            "it." in caplog.messages)
    caplog.clear()
    label_expressed(np.array([0., 1, 2, 9]), "h1")
    assert not caplog.messages

@pytest.mark.parametrize("field", ["", "NA", "na", "NaN", "nan", "."])
def test_missing_fields(tmp_path, caplog, field):
    table = read(tmp_path, f"id A B\ng1 {field} 1\ng2 0 1\ng3 1 2\ng4 3 2\n", "AB")
    np.testing.assert_array_equal(table.y[:4], [NAN, 0, 1, 2])
    np.testing.assert_array_equal(table.label[:4], [NAN, 0, 1, 1])
    assert table.value[4:].notna().all()
    assert "cell cellA: 1 of 4 genes have no value (g1); unlabelled, but predicted." in caplog.text

def test_genes_without_a_row(tmp_path, caplog):
    table = read(tmp_path, "id A\ng3 1\nother text\nother text\n")
    np.testing.assert_array_equal(table.y, [NAN, NAN, 1, NAN])
    assert table.gene_id.tolist() == ["g1", "g2", "g3", "g4"]
    assert "3 of 4 genes are not in it (g1, g2, g4)" in caplog.text and "2 of 3 rows are not read" in caplog.text

def test_stray_tabs(tmp_path): assert read(tmp_path, "id A\ng1 1 \ng2 3 \ng3 0 \ng4 0 \n").y.tolist() == [1, 2, 0, 0]

@pytest.mark.parametrize("field,message", [
    ("low", r"column 'A' is not a number: 'low' \(line 3\)"), ("inf", r"is not finite: 'inf' \(line 3\)"),
    ("-inf", "is not finite"), ("1e999", "is not finite"),
    ("-0.1", r"is below 0 in a linear unit: '-0.1' \(line 3\)"), ("1,5", "is not a number"),
    ("NULL", "is not a number")])
def test_wrong_fields(tmp_path, field, message):
    with pytest.raises(InputError, match=message) as e: read(tmp_path, f"id A\ng1 1\ng2 {field}\n")
    assert "x.tsv" in str(e.value)

def test_all_columns_are_said_at_once(tmp_path):
    with pytest.raises(InputError, match="2 problems") as e: read(tmp_path, "id A B\ng1 1 x\ng2 -1 2\n", "AB")
    assert "'A'" in str(e.value) and "'B'" in str(e.value)

@pytest.mark.parametrize("text,message",
                         [("id A\ng1 1\ng1 2\n", r"more than one row: 'g1' \(line 2\), 'g1' \(line 3\)"),
    ("id A\nENSG1 1\n", "no gene of the study is in it.*look like 'g1'.*like 'ENSG1'"),
    ("id B\ng1 1\n", "no column 'A'; it has 'id', 'B'"),
    ("id A\ng1 NA\ng2 .\n", r"column 'A' has no value for any gene of the study \(cell cellA\)"),
    ("id A\n", "no gene of the study")])
def test_wrong_tables(tmp_path, text, message):
    with pytest.raises(InputError, match=message): read(tmp_path, text)

def test_a_logarithmic_unit_may_be_negative(tmp_path):
    table = read(tmp_path, "id A\ng1 -2\ng2 -1\ng3 0\ng4 5\n", unit="log2 TPM", transform="none")
    assert table.y.tolist() == [-2, -1, 0, 5] and table.label.tolist() == [0, 0, 1, 1]

@pytest.mark.parametrize("unit,transform,c,message", [
    ("log2 TPM", "log2", 1, "logarithmic already"), ("RPKM", "sqrt", 1, "transform 'sqrt' is unknown"),
    ("RPKM", "log2", 0, "above 0"), ("RPKM", "ln", NAN, "above 0"), ("RPKM", "asinh", -1, "above 0")])
def test_scales_that_do_not_fit(unit, transform, c, message):
    with pytest.raises(InputError, match=message): check_scale(unit, transform, c)

def test_real_table(data):
    genes = read_genes(data/"roadmap_genes.tsv.gz", chrom_sizes("hg19"))
    table = read_expression(data/"roadmap_rpkm.tsv.gz", "gene_id", dict(H1="E003", K562="E123"), genes)
    assert len(table) == 2*len(genes) and table.value.notna().all()
    h1 = table[table.cell == "H1"].set_index("gene_id")
    assert h1.value["ENSG00000000003"] == 43.985 and h1.y["ENSG00000000003"] == np.log2(44.985)
    assert abs(h1.label.mean() - .5) < 1e-4

# what the field brings

def write(path, text): path.write_text(text); return path

def one(file, genes=GENES, column="", **kwargs): # a cell with a file of its own
    return read_expression(None, "", dict(A=file if isinstance(file, list) else str(file)), genes, transform="none",
                           column=column, **kwargs)

FC = ("# Program:featureCounts v2.0.1; "
      "Command:\"featureCounts\"\nGeneid\tChr\tStart\tEnd\tStrand\tLength\ta.bam\tb.bam\n"
      "g1\tchr1;chr1\t1;5\t4;9\t+;+\t1000\t10\t0\ng2\tchr1\t1\t9\t+\t500\t10\t1\ng3\tchr1\t1\t9\t+\t100\t0\t2\ng4\tchr1\t1\t9\t+\t100\t0\t0\n")
STAR = ("N_unmapped\t9\t9\t9\nN_multimapping\t5\t5\t5\nN_noFeature\t2\t8\t3\nN_ambiguous\t1\t0\t1\ng1\t30\t2\t28\ng2\t10\t0\t10\ng3\t0\t0\t0\ng4\t5\t1\t4\n")
RSEM = ("gene_id\ttranscript_id(s)\tlength\teffective_length\texpected_count\tTPM\tFPKM\n"
        "g1\tt1,t2\t900.00\t800.00\t8.00\t2.50\t1.25\ng2\tt3\t90\t0.00\t0.00\t0.00\t0.00\ng3\tt4\t300\t200\t6\t7.5\t3.5\ng4\tt5\t300\t200\t0\t0\t0\n")
SALMON = ("Name\tLength\tEffectiveLength\tTPM\tNumReads\ng1\t900\t700.5\t3\t11\ng2\t900\t700\t0\t0\ng3\t900\t700\t5\t7\ng4\t90\t70\t1\t1\n")
E1, E2, E3, E4 = (f"ENSG0000000000{i}" for i in (1, 2, 3, 4))
ENSEMBL = pd.DataFrame(dict(gene_id=[E1, E2, E3, E4]))
GCT = f"#1.2\n3\t2\t\nName\tDescription\tLiver\tLung\n{E1}.4\tA\t1\t2\n{E2}.1\tB\t0\t5\n{E3}.1\tC\t7\t7\n"
GCT3 = "#1.3\n2\t2\t1\t1\nid\tsymbol\tLiver\tLung\nage\tna\t50\t60\ng1\tA\t1\t2\ng2\tB\t0\t5\n"

@pytest.mark.parametrize("text,name,unit",
    [(FC, "featurecounts", "counts"), (FC.split("\n", 1)[1], "featurecounts", "counts"), (STAR, "star", "counts"),
    (RSEM, "rsem", "TPM"), (SALMON, "salmon", "TPM"), (GCT, "gct", "TPM"), (GCT3, "gct", "TPM"),
    ("gene_id\tA\n", "table", "RPKM"), ("", "table", "RPKM")])
def test_formats_by_their_first_lines(tmp_path, text, name, unit):
    assert detect_format(write(tmp_path/"x", text)) == name and FORMATS[name].unit == unit

@pytest.mark.parametrize("text,column,value", [(STAR, "", [30, 10, 0, 5]), (STAR, "forward", [2, 0, 0, 1]),
                                               (STAR, "reverse", [28, 10, 0, 4]), (FC, "b.bam", [0, 1, 2, 0]),
    (RSEM, "", [2.5, 0, 7.5, 0]), (RSEM, "expected_count", [8, 0, 6, 0]), (SALMON, "", [3, 0, 5, 1]),
    (SALMON, "NumReads", [11, 0, 7, 1]),
    (GCT3, "Lung", [2, 5, NAN, NAN])])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_files_of_one_sample(tmp_path, text, column, value, end):
    (tmp_path/"x").write_bytes(text.replace("\n", end).encode())
    np.testing.assert_array_equal(one(tmp_path/"x", column=column).value, value)

def test_gct_as_a_matrix(tmp_path):
    path = write(tmp_path/"x.gct", GCT)
    t = read_expression(path, "Name", dict(L="Lung", H="Liver"), ENSEMBL, "TPM", "none", strip_versions=True)
    np.testing.assert_array_equal(t.value, [2, 5, 7, NAN, 1, 0, 7, NAN])
    assert t.gene_id.tolist() == [E1, E2, E3, E4]*2
    with pytest.raises(InputError, match="Without versions they match: set strip_versions = true in .expression"):
        read_expression(path, "Name", dict(L="Lung"), ENSEMBL, "TPM")
    symbols = read_expression(path, "Description", dict(L="Lung"), pd.DataFrame(dict(gene_id=["B", "A"])), "TPM",
                              "none")
    assert symbols.value.tolist() == [5, 2]

def test_star_says_what_is_no_gene(tmp_path, caplog):
    one(write(tmp_path/"x.tab", STAR))
    assert ("N_unmapped, N_multimapping, N_noFeature, N_ambiguous are left out; they are no genes. "
            "Counted reads: 45 unstranded, 3 forward, 42 reverse.") in caplog.text

# counts to TPM

def test_tpm_with_the_lengths_of_the_file(tmp_path):
    # rates 10/1000, 10/500: 1 to 2
    t = one(write(tmp_path/"x", FC), column="a.bam", unit="TPM", tpm=True)
    np.testing.assert_allclose(t.value, [1e6/3, 2e6/3, 0, 0])
    # 8/800, 6/200: 1 to 3; g2 has length 0 and no reads
    t = one(write(tmp_path/"y", RSEM), column="expected_count", unit="TPM", tpm=True)
    np.testing.assert_allclose(t.value, [.25e6, 0, .75e6, 0])
    part = read_expression(None, "", dict(A=str(tmp_path/"x")), GENES[:1], "TPM", "none", column="a.bam", tpm=True)
    # genes that are not of the study count
    np.testing.assert_allclose(part.value, [1e6/3])

def test_tpm_of_a_gene_whose_reads_are_not_known(tmp_path, caplog):
    # 10/1000 and 0/500; g2 has no count, which is not a count of 0
    path = write(tmp_path/"x", "gene_id\tA\tbp\ng1\t10\t1000\ng2\tNA\t1000\ng3\t0\t500\ng4\t30\t1000\n")
    t = read_expression(path, "", dict(K="A"), GENES, "TPM", "none", tpm=True, lengths="bp")
    np.testing.assert_allclose(t.value, [.25e6, NAN, 0, .75e6])
    assert t.label.isna().tolist() == [False, True, False, False] and "1 of 4 genes have no value (g2)" in caplog.text

def test_tpm_with_the_lengths_of_an_annotation(tmp_path):
    exon = lambda g, s, e: f'1\tx\texon\t{s}\t{e}\t.\t+\t.\tgene_id "{g}.7";\n'
    gtf = write(tmp_path/"a.gtf",
                exon("ENSG00000000001", 1, 150) + exon("ENSG00000000001", 101, 200) + exon("ENSG00000000002", 1, 100))
    star = write(tmp_path/"x", STAR.split("g1")[0] + "ENSG00000000001.7\t30\t0\t0\nENSG00000000002.7\t5\t0\t0\n")
    genes = pd.DataFrame(dict(gene_id=["ENSG00000000002", "ENSG00000000001"]))
    t = one(star, genes, unit="TPM", tpm=True, lengths=str(gtf), strip_versions=True)     # 5/100, 30/200
    np.testing.assert_allclose(t.value, [.25e6, .75e6])
    write(star, star.read_text() + "ENSG00000000003.7\t1\t0\t0\nENSG00000000004.7\t0\t0\t0\n")
    with pytest.raises(InputError, match=r"1 genes have reads and no length: 'ENSG00000000003' \(line 7\)"):
        one(star, genes, unit="TPM", tpm=True, lengths=str(gtf), strip_versions=True)
    with pytest.raises(InputError, match="it tells no lengths of genes"): one(star, genes, unit="TPM", tpm=True)

# replicates

def test_replicates_are_averaged(tmp_path):
    t = read(tmp_path, "id A B C\ng1 1 3 NA\ng2 0 0 3\ng3 NA NA NA\ng4 2 4 9\n", "A")
    path = tmp_path/"x.tsv"
    t = read_expression(path, "id", dict(K=["A", "B", "C"], L="A"), GENES)
    np.testing.assert_array_equal(t.value, [2, 1, NAN, 5, 1, 0, NAN, 2])
    # the mean first, then the logarithm
    np.testing.assert_array_equal(t.y[:2], [np.log2(3), 1])
    with pytest.raises(InputError, match=r"K: replicates in the unit 'log2 TPM' cannot be averaged"):
        read_expression(path, "id", dict(K=["A", "B"]), GENES, "log2 TPM", "none")
    a, b = write(tmp_path/"a", STAR), write(tmp_path/"b", STAR.replace("g1\t30", "g1\t10"))
    assert one([str(a), str(b)]).value.tolist() == [20, 10, 0, 5]

# what does not match

def test_duplicates_of_the_studys_genes(tmp_path, caplog):
    text = "id A\ng1 1\ng2 2\ng1 3\nother 1\nother 2\ng3 0\ng4 0\n"
    with pytest.raises(InputError,
            match=r"'g1' \(line 2\), 'g1' \(line 4\); keep one row a gene, or set duplicates in \[expression\]"):
        read(tmp_path, text)
    assert read(tmp_path, text, duplicates="first").value.tolist() == [1, 2, 0, 0]
    assert "1 ids stand there more than once (g1): 1 rows are left out, the first of each is kept." in caplog.text
    np.testing.assert_array_equal(read(tmp_path, text, duplicates="drop").value, [NAN, 2, 0, 0])

def test_unmatched_ids_are_listed(tmp_path):
    path = write(tmp_path/"x.gct", GCT.replace(f"{E3}.1", "z9.1"))
    t = unmatched(path, "Name", dict(A="Lung"), ENSEMBL, strip_versions=True, unit="TPM")
    assert t.values.tolist() == [[str(path), E3, "gene without a row"], [str(path), E4, "gene without a row"],
                                 [str(path), "z9.1", "row without a gene"]]

@pytest.mark.parametrize("text,column,message", [
    (GCT.replace("3\t2", "4\t2"), "Lung", "line 2 says 4 rows, and it has 3. Was it cut?"),
    (GCT.replace("3\t2", "3\t3"), "Lung", "line 2 says 3 samples, and the header has 4 columns"),
    (GCT.replace("3\t2", "three\t2"), "Lung", "line 2 is 'three"),
    (GCT.replace("#1.2", "#1.1"), "Lung", "first line is '#1.1'; a GCT begins with #1.2 or #1.3"),
    (GCT3.replace("2\t2\t1\t1", "2\t2\t0\t1"), "Lung", "1 of them no samples"),
    (STAR + "g5\t1\n", "", "line 9 has fewer than four columns"),
    (STAR.replace("g2\t10", "g2\t-10"), "", r"column 'unstranded' is below 0 in a linear unit: '-10' \(line 6\)"),
    (FC, "", "which of its columns is the cell's is not known"),
    (RSEM, "TMP", "no column 'TMP'"), ("gene_id\tA\ng1\t1\n", "", "which of its columns")])
def test_files_that_are_refused(tmp_path, text, column, message):
    with pytest.raises(InputError, match=message) as e: one(write(tmp_path/"x", text), column=column)
    assert "\n" not in str(e.value)

def test_negative_counts_are_not_scaled(tmp_path):
    with pytest.raises(InputError, match="'a.bam' is below 0"):
        one(write(tmp_path/"x", FC.replace("\t10\t1\n", "\t-10\t1\n")), column="a.bam", tpm=True)
    with pytest.raises(InputError, match="it has no reads"):
        one(write(tmp_path/"x", FC.replace("\t10\t", "\t0\t")), column="a.bam", tpm=True)

# in a study

def study(folder, expression, genes="gene_id,chrom,tss,strand\ng1,1,5,+\ng2,1,6,+\ng3,2,7,-\ng4,2,8,-\n",
          table='table = "g.csv"\ntss_base = 1'):
    write(folder/"g.csv", genes)
    write(folder/"x.bedGraph", "chr1\t0\t10\t1\n")
    write(folder/"study.toml",
          f'name = "s"\nassembly = "hg19"\n[genes]\n{table}\n[expression]\n{expression}\n[tracks.A]\nK4 = '
          '"x.bedGraph"\n')
    problems = Problems("study.toml")
    s = parse_study(folder/"study.toml", problems)
    problems.check()
    return s

def test_files_of_a_cell_in_a_study(tmp_path):
    write(tmp_path/"a",
          FC.replace("\tb.bam", "").replace("\t0\n", "\n").replace("\t1\n", "\n").replace("\t2\n", "\n"))
    s = study(tmp_path, 'tpm = true\n[expression.cells]\nA = "a"')
    np.testing.assert_allclose(s.expression.value, [1e6/3, 2e6/3, 0, 0])
    assert s.unit == "log2(TPM + 1)" and expression_files(s.expression_table) == [str(tmp_path/"a")]
    write(tmp_path/"s1", STAR); write(tmp_path/"s2", STAR.replace("g1\t30", "g1\t10"))
    s = study(tmp_path, 'column = "unstranded"\ntransform = "none"\n[expression.cells]\nA = ["s1", "s2"]')
    assert s.expression.y.tolist() == [20, 10, 0, 5] and s.unit == "counts"
    assert len(expression_files(s.expression_table)) == 2
    write(tmp_path/"r", RSEM)
    assert study(tmp_path, '[expression.cells]\nA = "r"').unit == "log2(TPM + 1)"
    assert study(tmp_path, 'column = "FPKM"\n[expression.cells]\nA = "r"').unit == "log2(FPKM + 1)"
    # the same file as a table of columns
    assert study(tmp_path, 'table = "r"\n[expression.cells]\nA = "FPKM"').unit == "log2(FPKM + 1)"
    assert study(tmp_path, 'table = "r"\n[expression.cells]\nA = "expected_count"').unit == "log2(counts + 1)"

def test_lengths_are_of_the_studys_annotation(tmp_path):
    line = lambda f, g, s, e: f'chr1\tx\t{f}\t{s}\t{e}\t.\t+\t.\tgene_id "{g}"; gene_type "protein_coding";\n'
    write(tmp_path/"a.gtf",
          "".join(line(f, g, s, e) for f in ("gene", "exon") for g, s, e in (("g1", 1, 200), ("g2", 301, 400))))
    write(tmp_path/"s1", STAR.split("g3")[0].replace("g2\t10", "g2\t5"))
    s = study(tmp_path, 'tpm = true\n[expression.cells]\nA = "s1"', table='table = "a.gtf"')
    np.testing.assert_allclose(s.expression.value, [.75e6, .25e6])                       # 30/200, 5/100

@pytest.mark.parametrize("expression,message", [
    ('[expression.cells]\nA = "none"', r"A .without a table, each cell names its file or files.: no file"),
    ('tpm = true\n[expression.cells]\nA = "s1"', "lengths of the genes are not known"),
    ('tpm = true\nunit = "RPKM"\n[expression.cells]\nA = "s1"', "unit is 'RPKM'; only counts"),
    ('format = "gtc"\n[expression.cells]\nA = "s1"', "format = 'gtc': is none of auto"),
    ('table = "s1"\n[expression.cells]\nA = []', "needs the name of a column, or a list of replicates"),
    ('table = "s1"\ncolumn = "reverse"\n[expression.cells]\nA = "unstranded"', "column: is of files of one sample"),
    ('lengths = "bp"\n[expression.cells]\nA = "s1"', "lengths: nothing needs them without tpm = true"),
    ('table = "r"\n[expression.cells]\nA = ["TPM", "FPKM"]', "the columns are TPM and FPKM; read one kind"),
    ("", "expression. table: missing")])
def test_studies_that_are_refused(tmp_path, expression, message):
    write(tmp_path/"s1", STAR); write(tmp_path/"r", RSEM)
    with pytest.raises(InputError, match=message): study(tmp_path, expression)

@pytest.mark.parametrize("tracks,message", [
    ('[tracks.A]\nK4 = {path = "x.bedGraph", row = 1}', "row: is of a folder of arrays, and .*x.bedGraph is none"),
    ('[tracks."A/B"]\nK4 = "x.bedGraph"', "a cell's name makes folders"),
    ('[tracks.".A"]\nK4 = "x.bedGraph"', "a cell's name makes folders")])
def test_tracks_that_are_refused(tmp_path, tracks, message):
    write(tmp_path/"s1", STAR)
    study(tmp_path, '[expression.cells]\nA = "s1"')
    text = (tmp_path/"study.toml").read_text()
    (tmp_path/"study.toml").write_text(text[:text.index("[tracks.A]")] + tracks + "\n")
    problems = Problems("study.toml")
    parse_study(tmp_path/"study.toml", problems)
    with pytest.raises(InputError, match=message): problems.check()

# real tables

def test_roadmaps_matrix_as_published(data, tmp_path):
    "As published, lines of data end in a tab, and a column E000 comes first; the cleaned table has the same numbers."
    genes = read_genes(data/"roadmap_genes.tsv.gz", chrom_sizes("hg19"))
    with gzip.open(data/"roadmap_rpkm.tsv.gz", "rt") as f: lines = f.read().splitlines()[:301]
    rows = [l.split("\t") for l in lines]
    published = ["\t".join([r[0], "E000" if not i else "1.5", *r[1:]]) + ("\t" if i else "") + "\n"
                 for i, r in enumerate(rows)]
    with gzip.open(tmp_path/"57epigenomes.RPKM.pc.gz", "wt") as f: f.writelines(published)
    write(tmp_path/"clean.tsv", "".join(l + "\n" for l in lines))
    few = genes[genes.gene_id.isin([r[0] for r in rows[1:]])].reset_index(drop=True)
    a, b = (read_expression(tmp_path/f, "gene_id", dict(H1="E003", K562="E123"), few)
            for f in ("57epigenomes.RPKM.pc.gz", "clean.tsv"))
    pd.testing.assert_frame_equal(a, b)
    assert len(few) > 200 and a.set_index(["cell", "gene_id"]).value["H1", "ENSG00000000003"] == 43.985

def test_tpm_of_k562_on_chr22(data, caplog):
    "One id stands in three rows, and 41 genes have no value."
    path, hg38 = data/"k562_chr22"/"genes.hg38.tsv.gz", chrom_sizes("hg38")
    genes = read_genes(path, hg38, tss_base=0, duplicates="first")
    with pytest.raises(InputError, match="'ENSG00000273032'.*set duplicates in .expression."):
        read_expression(path, "gene_id", dict(K562="tpm"), genes, "TPM")
    t = read_expression(path, "gene_id", dict(K562="tpm"), genes, "TPM", duplicates="first")
    assert len(t) == len(genes) == 460 and t.value.isna().sum() == 41
    assert t.set_index("gene_id").value["ENSG00000198062"] == 0
