"""Tables of genes and bins as the signal of a study: what they say, what they lack, and that nothing is lost on the
way."""
import gzip, json, shutil
import numpy as np, pandas as pd, pytest
from chromexpress import signal
from chromexpress.core import InputError
from chromexpress.data import Run, Task, window_inputs
from chromexpress.registry import load_study
from chromexpress.signal import GeneTable, read_gene_table, table_genes, table_marks
from chromexpress.tracks import Need, Track, fill
from toy import cli, finish, not_current, times, units_of, write_study

MARKS = ["H3K4me3", "H3K27ac"]
RIDGE = '\n[models.ridge]\nmarks = ["each", "all"]\n'

def table(folder, text, name="t.tsv", **options): # a GeneTable of one file, two bins a gene unless said otherwise
    (folder/name).write_bytes(text if isinstance(text, bytes) else text.replace(" ", "\t").encode())
    return GeneTable((str(folder/name),), **dict(bin=100, bins=2) | options)

GOOD = "gene_id bin K4 K27\na 1 0 2\na 2 4 6\nb 2 5 7\nb 1 1 3\n"

# reading

def test_bins_in_any_order(tmp_path):
    ids, marks, x = read_gene_table(table(tmp_path, GOOD))
    assert ids == ["a", "b"] and marks == ("K4", "K27") and x.dtype == np.float32
    assert x.tolist() == [[[0, 2], [4, 6]], [[1, 3], [5, 7]]]

WAYS = dict( # file name, its content, further options; all of them the table above
    windows_lines=("t.tsv", GOOD.replace(" ", "\t").replace("\n", "\r\n").encode(), {}),
    csv=("t.csv", GOOD.replace(" ", ",").encode(), {}),
    byte_order_mark=("t.csv", b"\xef\xbb\xbf" + GOOD.replace(" ", ",").encode(), {}),
    quoted=("t.csv", GOOD.replace(" ", ",").replace("a,", '"a",').replace("gene_id", '"gene_id"').encode(), {}),
    gz=("t.tsv.gz", gzip.compress(GOOD.replace(" ", "\t").encode()), {}),
    no_header=("t.tsv", GOOD.split("\n", 1)[1].replace(" ", "\t").encode(),
               dict(columns=("gene_id", "bin", "K4", "K27"))),
    stray_tabs=("t.tsv", GOOD.replace(" ", "\t").replace("\n", "\t\n").encode(), {}),
    empty_lines=("t.tsv", GOOD.replace(" ", "\t").replace("b\t2", "\nb\t2").encode() + b"\n\n", {}),
    names_and_floats=("t.tsv", b"gene\tn\tK4\tK27\nx_a\t1\t0\t2\nx_a\t2\t4.0\t6\ny_b\t2\t5\t7e0\ny_b\t1\t1\t3\n",
                      dict(id="gene", id_pattern="_(.+)$", number="n")),
    ids_that_look_like_none=("t.tsv", GOOD.replace("a ", "NA ").replace(" ", "\t").encode(), {}),
    a_label=("t.tsv", GOOD.replace("K27", "K27 label").replace("\n", " 1\n").replace("label 1", "label").replace(" ",
    "\t").encode(), {}))

@pytest.mark.parametrize("way", WAYS)
def test_ways_to_write_the_same(way, tmp_path):
    name, content, options = WAYS[way]
    ids, marks, x = read_gene_table(table(tmp_path, content, name, **options))
    assert ids == (["NA", "b"] if "none" in way else ["a", "b"]) and marks == ("K4", "K27")
    assert x.tolist() == [[[0, 2], [4, 6]], [[1, 3], [5, 7]]]

def test_marks_can_be_chosen_and_put_in_order(tmp_path):
    t = table(tmp_path, GOOD, marks=("K27", "K4"))
    assert table_marks(t) == ("K27", "K4") and read_gene_table(t)[2][0].tolist() == [[2, 0], [6, 4]]
    assert table_marks(table(tmp_path, GOOD, ignore=("K4",))) == ("K27",)

def test_genes_of_two_files(tmp_path):
    (tmp_path/"more.tsv").write_text("gene_id\tbin\tK27\tK4\nc\t1\t9\t8\nc\t2\t7\t6\n")
    first = table(tmp_path, GOOD).files[0]
    t = GeneTable((first, str(tmp_path/"more.tsv")), 100, 2)
    ids, marks, x = read_gene_table(t)
    assert ids == table_genes(t) == ["a", "b", "c"] and marks == ("K4", "K27") and x[2].tolist() == [[8, 9], [6, 7]]

BAD = dict( # old, new, options, what is said
    number_missing=("a 2 4 6", "a 2  6", {}, r"t\.tsv: column 'K4' needs numbers of 0 or more, .*: '' \(line 3\)"),
    not_a_number=("a 2 4 6", "a 2 x 6", {}, r"'x' \(line 3\)"),
    na=("a 2 4 6", "a 2 NA 6", {}, r"'NA' \(line 3\)"),
    nan=("a 2 4 6", "a 2 nan 6", {}, r"nan'? \(line 3\)"),
    infinite=("a 2 4 6", "a 2 inf 6", {}, r"inf'? \(line 3\)"),
    negative=("b 2 5 7", "b 2 5 -7", {}, r"column 'K27' needs numbers of 0 or more, as its scale has: -7 \(line 4\)"),
    two_problems=("a 2 4 6", "a 2.5 x 6", {},
                  r"t\.tsv: 2 problems\n  - column 'bin' .*2\.5 \(line 3\)\.\n  - column 'K4' .*'x' \(line 3\)"),
    missing_bin=("a 2 4 6\n", "", {},
                 r"t\.tsv, line 2: a has 1 of 2 bins, the first that is missing is 2 \(1 such genes\)"),
    repeated_bin=("a 2 4 6", "a 1 4 6", {}, r"t\.tsv, line 3: bin 1 of a is there already \(1 such lines\)"),
    repeated_gene=("b 1 1 3\n", "b 1 1 3\na 1 0 2\na 2 4 6\n", {},
                   r"line 6: bin 1 of a is there already \(2 such lines\)"),
    extra_bin=("b 1 1 3\n", "b 1 1 3\nb 3 1 3\n", {},
               r"column 'bin' needs whole numbers from 1 to 2, .*: 3 \(line 6\)"),
    counted_from_0=("a 1 0 2\n", "a 0 0 2\n", {}, r"needs whole numbers from 1 to 2, .*: 0 \(line 2\)"),
    other_number=("", "", dict(bins=4),
                  r"line 2: a has 2 of 4 bins, the first that is missing is 3 \(2 such genes\)"),
    no_id=("b 2 5 7", " 2 5 7", {}, r"line 4: no gene in column 'gene_id'"),
    no_such_column=("", "", dict(id="gene"),
                    r"line 1: no column 'gene'; it has 'gene_id', 'bin', 'K4'.*columns, if it has no header"),
    no_such_mark=("", "", dict(marks=("K9",)), r"line 1: no column 'K9'"),
    no_header=("gene_id bin K4 K27\n", "", {}, r"line 1: no column 'gene_id', 'bin'; it has 'a', '1', '0', '2'"),
    header_and_columns=("", "", dict(columns=("gene_id", "bin", "K4", "K27")), r"column 'bin' .*: 'bin' \(line 1\)"),
    wrong_columns=("", "", dict(columns=("gene_id", "bin")), r"line 1: 4 fields, but columns names 2"),
    no_marks=("", "", dict(ignore=("K4", "K27")), r"line 1: no column is left to be a mark"),
    same_name=("K27", "K4", {}, r"line 1: two columns are called 'K4'"),
    pattern=("", "", dict(id_pattern="^(b)"), r"line 2: id_pattern '\^\(b\)' finds no id in 'a' \(1 such genes\)"),
    merged=("", "", dict(id_pattern="^(.?)[ab]"), r"line 4: bin 2 of  is there already"),
    no_name=("gene_id bin", " bin", {}, r"line 1: column 1 has no name"),
    long_line=("a 2 4 6", "a 2 4 6 1", {}, r"line 3: more fields than the 4 columns"),
    longer_line=("a 2 4 6", "a 2 4 6 1 1", {}, r"cannot be read as a table \(.*line 3"),
    short_line=("a 2 4 6", "a 2 4", {}, r"column 'K27' .*'' \(line 3\)"),
    no_rows=(GOOD.split("\n", 1)[1], "", {}, r"t\.tsv: no rows in it"),
    empty=(GOOD, "", {}, r"t\.tsv, line 1: no column 'gene_id', 'bin'; it has "))

@pytest.mark.parametrize("name", BAD)
def test_a_wrong_table_is_named_with_its_line(name, tmp_path):
    old, new, options, said = BAD[name]
    assert old in GOOD
    with pytest.raises(InputError, match=said): read_gene_table(table(tmp_path, GOOD.replace(old, new, 1), **options))

def test_other_scales_allow_what_linear_does_not(tmp_path):
    t = table(tmp_path, GOOD.replace("7", "-7"))
    assert read_gene_table(t, -np.inf)[2].min() == -7
    with pytest.raises(InputError, match=r"needs numbers from 0 to 1, as its scale has: 4 \(line 3\), 5 \(line 4\)"):
        read_gene_table(t, 0, 1)

def test_a_gzip_stream_that_ends_early(tmp_path):
    rng = np.random.default_rng(0)
    text = "gene_id\tbin\tK4\n" + "".join(f"g{i}\t{b}\t{rng.integers(99)}\n" for i in range(2000) for b in (1, 2))
    t = table(tmp_path, gzip.compress(text.encode())[:-2000], "t.tsv.gz")
    for read in (table_genes, read_gene_table):
        with pytest.raises(InputError, match=r"t\.tsv\.gz: the gzip stream ends early or is damaged"): read(t)

def test_files_that_do_not_go_together(tmp_path):
    a, b = table(tmp_path, GOOD).files[0], table(tmp_path, GOOD, "u.tsv").files[0]
    for read in (table_genes, read_gene_table):
        with pytest.raises(InputError, match=r"u\.tsv: a, b are in .*t\.tsv too"): read(GeneTable((a, b), 100, 2))
    c = table(tmp_path, "gene_id bin K4\nc 1 0\nc 2 0\n", "v.tsv").files[0]
    with pytest.raises(InputError, match=r"v\.tsv, line 1: its marks are K4; those of .*t\.tsv are K4, K27"):
        table_marks(GeneTable((a, c), 100, 2))

@pytest.mark.parametrize("options,said", [
    (dict(bin=101, bins=3), "an even number of bp"), (dict(bin=0), "needs 1 or more"),
    (dict(id_pattern="("), "not a regular expression"),
    (dict(id_pattern="^ENSG"), "needs a group"), (dict(files=()), "needs one file or more")])
def test_impossible_options(options, said):
    with pytest.raises(InputError, match=said): GeneTable(**dict(files=("t.tsv",), bin=100, bins=2) | options)

def test_known_genes_are_not_read_again(tmp_path, monkeypatch):
    t, cache = table(tmp_path, GOOD), {}
    assert table_genes(t, cache) == ["a", "b"]
    monkeypatch.setattr(signal, "_read_rows", lambda *a: pytest.fail("read again"))
    assert table_genes(t, json.loads(json.dumps(cache))) == ["a", "b"]
    with pytest.raises(pytest.fail.Exception): table_genes(GeneTable(t.files, 100, 2, id_pattern="(.)"), cache)

# strands and bins, by hand

GENES = pd.DataFrame(dict(gene_id=["p", "m"], chrom="chr1", start=1000, end=1001, strand=["+", "-"], tss=1000))

@pytest.mark.parametrize("oriented,minus", [(False, [5, 6, 7, 9]), (True, [9, 7, 6, 5])])
def test_which_end_is_bin_1(oriented, minus, tmp_path):
    rows = "".join(f"{g} {b + 1} {v}\n" for g, of in dict(m=[5, 6, 7, 9], p=[0, 1, 2, 4]).items()
                   for b, v in enumerate(of))
    t = Track("c", "K4", str(tmp_path/"t.tsv"),
              table=table(tmp_path, "gene_id bin K4\n" + rows, bins=4, oriented=oriented))
    made = dict(of="it")
    assert fill(t, [Need(400, 100), Need(200, 100), Need(400, 200)], GENES, dict(chr1=10_000), tmp_path/"s",
                made) == \
        ["tss-w400-b100", "tss-w200-b100", "tss-w400-b200"]
    of = lambda key: np.load(tmp_path/"s"/f"tss-{key}.npy").tolist()
    assert of("w400-b100") == [[0, 1, 2, 4], minus] and of("w200-b100") == [[1, 2], minus[1:3]]
    assert of("w400-b200") == [[.5, 3], [np.mean(minus[:2]), np.mean(minus[2:])]]
    assert fill(t, [Need(400, 100)], GENES, dict(chr1=10_000), tmp_path/"s", made) == []

def test_an_odd_number_of_bins_has_the_tss_in_the_middle_one(tmp_path):
    rows = "".join(f"{g} {b} {b}\n" for g in "pm" for b in (1, 2, 3))
    t = Track("c", "K4", str(tmp_path/"t.tsv"), table=table(tmp_path, "gene_id bin K4\n" + rows, bins=3))
    fill(t, [Need(100, 100)], GENES, dict(chr1=10_000), tmp_path/"s", {})
    assert np.load(tmp_path/"s"/"tss-w100-b100.npy").tolist() == [[2], [2]]
    with pytest.raises(InputError,
            match="needs 200 bp around the TSS in bins of 100 bp; the table has 3 bins of 100 bp, 300 bp in all"):
        fill(t, [Need(200, 100)], GENES, dict(chr1=10_000), tmp_path/"s", {})

# a study of tables is the study of tracks that they were made from

# the stores of 6 kb of some genes of a cell as a table, in shuffled order
def write_table(study, cell, genes, path, oriented):
    x = np.stack([np.load(study.out/"tracks"/cell/m/"tss-w6000-b100.npy") for m in MARKS], -1)
    if oriented: x[study.genes.strand == "-"] = x[study.genes.strand == "-"][:, ::-1]
    rows = np.flatnonzero(study.genes.gene_id.isin(genes))
    long = pd.DataFrame(x[rows].reshape(-1, len(MARKS)).astype(float), columns=MARKS)
    long.insert(0, "gene", np.repeat(study.genes.gene_id.to_numpy()[rows], 60) + "_x")
    long.insert(1, "bin", np.tile(np.arange(1, 61), len(rows)))
    long.sample(frac=1, random_state=0).to_csv(path, sep="\t", index=False, float_format="%.9g")

def make_tables(path, oriented, genes=None): # the same study, its tracks replaced by tables, each in two parts
    study = load_study(path)[0]
    ids = list(study.genes.gene_id if genes is None else genes)
    for cell in study.cells:
        for part, of in (("train", ids[::2]), ("valid", ids[1::2])):
            write_table(study, cell, of, path.parent/f"{cell}-{part}.tsv.gz", oriented)
    text = path.read_text()
    of = "".join(f'[tables.{c}]\nfiles = ["{c}-train.tsv.gz", "{c}-valid.tsv.gz"]\n' for c in study.cells)
    new = (f'[tables]\nbin = 100\nbins = 60\noriented = {str(oriented).lower()}\nid = "gene"\nid_pattern '
           '= "^(.+)_x$"\n'
           f'marks = {json.dumps(MARKS)}\n{of}')
    text = text[:text.index("[tracks.cellA]")] + new + text[text.index("[grid]"):]
    (path.parent/"tables.toml").write_text(text.replace('"results"', '"of_tables"'))
    return path.parent/"tables.toml"

@pytest.fixture(scope="module")
def pair(tmp_path_factory): # results of tracks, and the study of tables, finished
    path = write_study(tmp_path_factory.mktemp("pair"), models='["ridge"]', tables=RIDGE)
    finish(path)
    of_tables = make_tables(path, oriented=True)
    finish(of_tables)
    return path.parent/"results", of_tables

def test_the_stores_are_the_same_to_the_bit(pair):
    results, path = pair
    stores = sorted(p.relative_to(path.parent/"of_tables")
                    for p in (path.parent/"of_tables").glob("tracks/*/*/*.npy"))
    # quality control asks tables for no wider one
    assert len(stores) == 4
    for s in stores: assert (results/s).read_bytes() == (path.parent/"of_tables"/s).read_bytes()

def test_the_predictions_are_the_same(pair):
    results, path = pair
    a, b = [pd.read_csv(f/"predictions.csv") for f in (results, path.parent/"of_tables")]
    assert len(a) == 240*12 and a.equals(b)

def test_units_of_tables_go_on_and_know_their_files(pair, tmp_path):
    folder = tmp_path/"copy"
    shutil.copytree(pair[1].parent, folder)
    path = folder/"tables.toml"
    assert not_current(path) == set()
    assert {i for i in units_of(path) if i.startswith("bin")} == {f"bin:{c}:{m}" for c in ("cellA", "cellB")
                                                                  for m in MARKS}
    before = times(folder/"of_tables"/"tracks", "*.npy")
    finish(path)
    assert times(folder/"of_tables"/"tracks", "*.npy") == before
    f = folder/"cellB-valid.tsv.gz"
    f.write_bytes(gzip.compress(gzip.decompress(f.read_bytes())[:-1] + b"\r\n"))
    redone = not_current(path)
    assert {i for i in redone if i.startswith("bin")} == {"bin:cellB:H3K4me3", "bin:cellB:H3K27ac"}
    assert all("cellB" in i for i in redone)
    path.write_text(path.read_text().replace("oriented = true", "oriented = false"))
    assert {i for i in not_current(path) if i.startswith("bin")} == {f"bin:{c}:{m}" for c in ("cellA", "cellB")
                                                                     for m in MARKS}

def test_a_file_is_read_once_for_all_its_marks(pair, tmp_path, monkeypatch):
    study, _ = load_study(pair[1])
    read, real = [], signal._read_counts
    monkeypatch.setattr(signal, "_read_counts",
                        lambda table, path, *rest: (read.append(path), real(table, path, *rest))[1])
    signal._read_gene_table.cache_clear()
    for m, t in study.tracks["cellA"].items(): fill(t, [Need(6000, 100)], study.genes, study.sizes, tmp_path/m, {})
    assert read == list(study.tables["cellA"].files) and len(read) == 2

def test_an_edit_of_the_genome_shows_in_windows_of_a_table(pair):
    study, models = load_study(pair[1])
    ridge = models["ridge"]
    run = Run("toy", "ridge", ridge.config, "cellA", tuple(MARKS), "1", 0)
    task = Task(study, run, ridge.model, ridge.options, {Need(6000, 100): Need(6000, 100)})
    row = int(np.flatnonzero(study.genes.strand == "-")[0])
    g = study.genes.iloc[row]
    edit = pd.DataFrame(dict(chrom=[g.chrom], start=[g.tss], end=[g.tss + 150], assay=["H3K4me3"], factor=[0.]))
    x, y = [np.expm1(window_inputs(task, [row], e)["signal"][0].astype(float)) for e in (None, edit)]
    # on '-', the bases from the TSS on are upstream, to the left
    assert x[29, 0] > 0 and x[28, 0] > 0
    np.testing.assert_allclose(y[28:30, 0], [x[28, 0]/2, 0], atol=1e-5)
    same = np.ones((60, 2), bool)
    same[28:30, 0] = False
    assert (x[same] == y[same]).all()

def test_genes_without_rows_are_left_out_and_named(pair, tmp_path, caplog, hear):
    folder = tmp_path/"copy"
    shutil.copytree(pair[1].parent, folder)
    genes = pd.read_csv(folder/"genes.tsv", sep="\t")
    make_tables(folder/"study.toml", oriented=False, genes=list(genes.gene_id[24:]))
    genes[genes.gene_id != "g239"].to_csv(folder/"genes.tsv", sep="\t", index=False)
    study, _ = load_study(folder/"tables.toml")
    assert sorted(study.genes.gene_id) == list(genes.gene_id[24:239])
    assert set(study.expression.gene_id) == set(study.genes.gene_id)
    assert ("[tables] cellA, cellB: 24 of 239 genes have no rows (g000, g001, g002 and 21 more); left out of the "
            "study." in caplog.messages)
    assert "[tables] cellA, cellB: 1 of 216 genes are not in the gene table (g239); not read." in caplog.messages
    finish(folder/"tables.toml")
    x = np.stack([np.load(f) for f in sorted((folder/"of_tables"/"tracks").rglob("*.npy"))])
    assert x.shape == (4, 215, 60) and np.isfinite(x).all()
    of_tracks = load_study(folder/"study.toml")[0].genes.gene_id     # g239 is gone there too, but not from its stores
    before = np.load(folder/"results"/"tracks"/"cellA"/"H3K27ac"/"tss-w6000-b100.npy")[:len(of_tracks)]
    assert (x[0] == before[of_tracks.isin(study.genes.gene_id)]).all()

def test_genes_are_those_of_all_tables(tmp_path, caplog, hear):
    from chromexpress.study import genes_of_tables
    of = {c: table(tmp_path, "gene_id bin K4\n" + "".join(f"{g} 1 1\n" for g in ids), f"{c}.tsv", bins=1)
          for c, ids in dict(A="abc", B="bcd").items()}
    genes = pd.DataFrame(dict(gene_id=list("dcbaz")))
    assert list(genes_of_tables(genes, of).gene_id) == ["c", "b"]
    assert caplog.messages == ["[tables] A: 2 of 5 genes have no rows (d, z); left out of the study.",
                               "[tables] B: 2 of 5 genes have no rows (a, z); left out of the study.",
                               "[tables]: 2 of 5 genes are in the tables of all cells, and make the study."]
    with pytest.raises(InputError,
                       match=r"\[tables.A\]: no gene of the study is in .*A\.tsv.* look like 'z'.* like 'a'"):
        genes_of_tables(genes.tail(1), of)
    with pytest.raises(InputError, match=r"no gene is in the tables of all cells \(A, B\)"):
        genes_of_tables(pd.DataFrame(dict(gene_id=["a", "d"])), of)

# the study file

def replace(old, new): return lambda text: text.replace(old, new, 1)

WRONG = dict( # change of tables.toml, what the message says
    wide=(replace("[models.ridge]", "[models.ridge]\nwindow = 20000"),
          r"\[models.ridge\] with \[tables\] cellA, cellB: needs 20,000 bp around the TSS in bins of 100 bp; the "
          r"table has 60 bins of 100 bp, 6,000 bp"),
    fine=(replace("[models.ridge]", "[models.ridge]\nbin = 50"),
          r"needs 6,000 bp around the TSS in bins of 50 bp; the table has 60 bins"),
    askew=(replace("[models.ridge]", "[models.ridge]\nwindow = 1500\nbin = 500"),
           r"needs 1,500 bp .* symmetrically in whole bins"),
    integral=(replace("[models.ridge]", "[models.ridge]\nwindow = 400000"), r"needs 400,000 bp"),
    no_files=(replace('files = ["cellA-train.tsv.gz", "cellA-valid.tsv.gz"]', ""),
              r"\[tables.cellA\] files: missing"),
    lost_file=(replace("cellA-valid", "cellA-test"), r"\[tables.cellA\] files: no file .*cellA-test\.tsv\.gz"),
    no_orientation=(replace("oriented = true", ""),
                    r"\[tables.cellA\] oriented: missing; true: bin 1 is the most upstream"),
    misspelt=(replace("oriented =", "orientated ="),
              r"\[tables\] orientated: no such key; did you mean 'oriented'\?"),
    text_for_number=(replace("bins = 60", 'bins = "60"'), r"\[tables\] bins = '60': needs int"),
    numbers_for_names=(replace('marks = ["H3K4me3", "H3K27ac"]', "marks = [4, 27]"),
                       r"\[tables.cellA\] marks = \[4, 27\]: needs a list of names"),
    scale=(replace("bins = 60", 'bins = 60\nscale = "linaer"'),
           r"\[tables\] scale = 'linaer': is none of linear, ratio, log, fraction"),
    no_id=(replace('id = "gene"\n', ""), r"line 1: no column 'gene_id'; it has 'gene', 'bin', 'H3K4me3', 'H3K27ac'"),
    pattern=(replace("^(.+)_x$", "^(.+)_y$"),
             r"cellA-train\.tsv\.gz, line 2: id_pattern '\^\(\.\+\)_y\$' finds no id in 'g\d+_x' \(120 such genes\)"),
    other_ids=(replace('id_pattern = "^(.+)_x$"\n', ""), r"\[tables.cellA\]: no gene of the study is in .*look like "
                                                         r"'g\d+', the table's \(gene\) like 'g\d+_x'"),
    both=(replace("[grid]", '[tracks.cellA]\nH3K4me3 = "cellA-H3K4me3.bigWig"\n[grid]'),
          r"\[tracks.cellA\] H3K4me3: it is in \[tables.cellA\] too"),
    unknown_cell=(replace("[tables.cellB]", "[tables.cellX]"),
                  r"\[expression.cells\] cellB: there is no \[tracks.cellB\]"),
    plus=(replace('marks = ["H3K4me3"', 'columns = ["gene", "bin", "a+b", "H3K27ac"]\nmarks = ["a+b"'),
          r"\[tables.cellA\] a\+b: an assay's name may not"))

@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_study_of_tables_is_refused_before_work_starts(name, pair, tmp_path):
    change, said = WRONG[name]
    for f in pair[1].parent.glob("*.*"): (tmp_path/f.name).symlink_to(f)
    text = pair[1].read_text()
    assert (new := change(text)) != text
    (tmp_path/"wrong.toml").write_text(new)
    with pytest.raises(InputError, match=said): load_study(tmp_path/"wrong.toml")
    assert not (tmp_path/"of_tables").exists()

def test_a_cell_may_have_tracks_and_a_table(pair, tmp_path):
    for f in pair[1].parent.glob("*.*"): (tmp_path/f.name).symlink_to(f)
    text = pair[1].read_text().replace('marks = ["H3K4me3", "H3K27ac"]', 'marks = ["H3K4me3"]')
    (tmp_path/"mixed.toml").write_text(text.replace("[grid]",
                                                    '[tracks.cellA]\nH3K27ac = "cellA-H3K27ac.bedGraph"\n[grid]'))
    study, _ = load_study(tmp_path/"mixed.toml")
    assert study.cells == ["cellA", "cellB"] and list(study.tracks["cellB"]) == ["H3K4me3"]
    assert [(a, t.table is None) for a, t in study.tracks["cellA"].items()] == [("H3K27ac", True), ("H3K4me3", False)]

def test_the_command_line_says_one_line_of_a_wrong_bin(pair, tmp_path, capsys):
    for f in pair[1].parent.glob("*.*"): shutil.copy(f, tmp_path)
    f = tmp_path/"cellB-train.tsv.gz"
    text = gzip.decompress(f.read_bytes()).decode().splitlines()
    f.write_bytes(gzip.compress("\n".join([*text[:4], text[1], *text[5:]]).encode()))
    assert cli("prepare", tmp_path/"tables.toml", "--jobs", "1") == 2
    last = capsys.readouterr().err.strip().splitlines()
    assert any("bin:cellB:H3K4me3: " in l and "cellB-train.tsv.gz, line 5: bin" in l and "is there already" in l
               for l in last[-2:])
    assert "Traceback" not in "".join(last)
