"Expression tables: transforms, labels, and what is missing."
import numpy as np, pandas as pd, pytest
from chromexpress.core import InputError
from chromexpress.expression import TRANSFORMS, check_scale, label_expressed, read_expression
from chromexpress.genome import chrom_sizes, read_genes
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
    assert "cell h1: the median is the minimum, 0 (75 % of its genes): label 1 is above it, not at it." in caplog.messages
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

@pytest.mark.parametrize("text,message", [("id A\ng1 1\ng1 2\n", r"more than one row: 'g1' \(line 2\), 'g1' \(line 3\)"),
    ("id A\nENSG1 1\n", "no gene of the study is in it.*look like 'g1'.*like 'ENSG1'"), ("id B\ng1 1\n", "no column 'A'; it has 'id', 'B'"),
    ("id A\ng1 NA\ng2 .\n", r"column 'A' has no value for any gene of the study \(cell cellA\)"), ("id A\n", "no gene of the study")])
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
