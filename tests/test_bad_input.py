"Files that are broken, of another genome, or written elsewhere: each is refused in one line that says what to do, or read as it should be."
import errno, gzip, os, re
from pathlib import Path
import cooler, numpy as np, pandas as pd, pysam, pytest
import chromexpress.reads                                                 # which opens BAM, tagAlign and BED
from chromexpress.contacts import Cool, check_cooler, partners_of_pairs, read_pairs
from chromexpress.core import InputError, write_csv
from chromexpress.expression import read_expression
from chromexpress.genome import annotated_genes, chrom_sizes, read_genes
from chromexpress.signal import GeneTable, bin_signal, open_source, read_gene_table, read_mask
from chromexpress.tracks import Need, Track, fill
from test_reads import write_bam
from test_signal import write_bigwig
from toy import cli, write_study
pytestmark = pytest.mark.usefixtures("hear")

HG19, HG38 = chrom_sizes("hg19"), chrom_sizes("hg38")
SIZES = {"chr1": 1000, "chr2": 300}
GENES = pd.DataFrame(dict(gene_id=["A", "B"], chrom="chr1", tss=[300, 600], strand=["+", "-"], start=[300, 500], end=[500, 601]))
TEXT = { # name → lines that are as they should be
    "x.bedGraph": "chr1\t100\t200\t2\nchr1\t200\t220\t6\nchr2\t0\t60\t3\n",
    "x.narrowPeak": "chr1\t100\t200\tp\t9\t.\t2\t-1\t-1\t5\nchr1\t200\t220\tp\t9\t.\t6\t-1\t-1\t5\nchr2\t0\t60\tp\t9\t.\t3\t-1\t-1\t5\n",
    "x.broadPeak": "chr1\t100\t200\tp\t9\t.\t2\t-1\t-1\nchr1\t200\t220\tp\t9\t.\t6\t-1\t-1\nchr2\t0\t60\tp\t9\t.\t3\t-1\t-1\n",
    "x.tagAlign": "".join(f"chr1\t{s}\t{s + 20}\tN\t1000\t+\n" for s in (100, 110, 200)),
    "x.bed": "chr1\t100\t120\nchr1\t110\t130\n",
    "x.gtf": 'chr1\te\tgene\t301\t500\t.\t+\t.\tgene_id "A"; gene_biotype "protein_coding";\n'
             'chr1\te\tgene\t501\t601\t.\t-\t.\tgene_id "B"; gene_biotype "protein_coding";\n',
    "genes.tsv": "gene_id\tchrom\ttss\tstrand\tstart\tend\nA\tchr1\t300\t+\t300\t500\nB\tchr1\t600\t-\t500\t601\n",
    "rpkm.tsv": "gene_id\tH1\nA\t1.5\nB\t3\n",
    "counts.tsv": "gene_id\tbin\tK4\nA\t1\t0\nA\t2\t4\nB\t1\t1\nB\t2\t5\n",
    "x.ibed": "\t".join(["bait_chr", "bait_start", "bait_end", "bait_name", "otherEnd_chr", "otherEnd_start", "otherEnd_end",
                         "otherEnd_name", "N_reads", "score"]) + "\n1\t251\t350\tb\t1\t701\t800\t.\t9\t4\n"}

def read(path): # what each of them holds, as plain lists
    name = Path(path).name.removesuffix(".gz")
    if name == "x.gtf": return annotated_genes(path, SIZES)[["gene_id", "tss"]].values.tolist()
    if name == "genes.tsv": return read_genes(path, SIZES, {}, 0).drop(columns="chrom").values.tolist()
    if name == "rpkm.tsv": return read_expression(path, "gene_id", {"H1": "H1"}, GENES).value.tolist()
    if name == "counts.tsv": return read_gene_table(GeneTable((str(path),), 100, 2))[2].tolist()
    if name == "x.ibed": return partners_of_pairs(read_pairs(path, SIZES), GENES).values.tolist()
    kind = "bed" if name == "x.bed" else None
    source = open_source(path, SIZES, ["chr1"], kind)
    return bin_signal(source, pd.DataFrame(dict(chrom=["chr1"], start=[90], end=[230])), 20, SIZES).values.tolist()

def put(path, text, end="\n"): # the text with line ends of some kind, packed if the name says so
    data = text.replace("\n", end).encode()
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path

def complaint(f, *args, **kwargs): # the one line that an InputError says
    with pytest.raises(InputError) as e: f(*args, **kwargs)
    assert "\n" not in str(e.value), e.value
    return str(e.value)

# every text format: packed, with the line ends of Windows, cut short

@pytest.mark.parametrize("name", TEXT)
def test_line_ends_of_windows_and_gz(name, tmp_path):
    plain = read(put(tmp_path/name, TEXT[name]))
    assert np.size(np.array(plain, dtype=object)) > 1
    assert read(put(tmp_path/name, TEXT[name], "\r\n")) == plain
    assert read(put(tmp_path/f"{name}.gz", TEXT[name], "\r\n")) == plain

@pytest.mark.parametrize("keep", [.4, .75, .97])
@pytest.mark.parametrize("name", TEXT)
def test_a_gz_that_ends_early(name, keep, tmp_path):
    path = put(tmp_path/f"{name}.gz", TEXT[name])
    whole = path.read_bytes()
    path.write_bytes(whole[:int(keep*len(whole))])
    says = "the gzip stream ends early or is damaged; copy or download it again", "Compressed file ended before the end-of-stream marker"
    assert re.search(rf"{name}.gz: .*({'|'.join(says)})", complaint(read, path))

@pytest.mark.parametrize("name", TEXT)
def test_blocks_of_bgzip_that_end_early(name, tmp_path):
    "bgzip packs whole lines into a block, so that a file cut between two blocks reads as a shorter one."
    plain, lines = read(put(tmp_path/name, TEXT[name])), TEXT[name].splitlines(keepends=True)
    for k, part in enumerate((lines[:-1], lines[-1:])):
        pysam.tabix_compress(str(put(tmp_path/"part", "".join(part))), str(tmp_path/f"{k}.gz"), force=True)
    first, last = ((tmp_path/f"{k}.gz").read_bytes() for k in (0, 1))
    path = tmp_path/f"{name}.gz"
    path.write_bytes(first[:-28] + last)
    assert read(path) == plain
    path.write_bytes(first[:-28])
    assert "the gzip stream ends early (the empty block that closes it is missing)" in complaint(read, path)

# names of chromosomes

SOURCES = ["x.bedGraph", "x.narrowPeak", "x.broadPeak", "x.tagAlign", "x.bed"]

@pytest.mark.parametrize("name", SOURCES)
def test_names_without_chr(name, tmp_path, caplog):
    plain = read(put(tmp_path/name, TEXT[name]))
    assert read(put(tmp_path/name, TEXT[name].replace("chr", ""))) == plain and "1 is chr1" in caplog.text

@pytest.mark.parametrize("name", SOURCES)
def test_two_names_of_one_chromosome(name, tmp_path):
    first, *more = TEXT[name].splitlines(keepends=True)
    path = put(tmp_path/name, first.replace("chr", "") + "".join(more))
    assert complaint(read, path) == (f"{path}: one chromosome goes by two names: 1 and chr1; choose one style for "
                                     "the whole file.")

@pytest.mark.parametrize("name", SOURCES)
def test_names_of_refseq(name, tmp_path):
    plain = read(put(tmp_path/name, TEXT[name]))
    refseq = TEXT[name].replace("chr1", "NC_000001.10").replace("chr2", "NC_000002.11")
    assert read(put(tmp_path/name, refseq)) == plain

# another genome, or another file

def bigwig(folder, sizes): return write_bigwig(folder/"x.bigWig", [("chr1", 100, 200, 2.)], sizes)

def bad_scale(folder):
    path = put(folder/"x.bedGraph", "chr1\t100\t200\t-2\n")
    fill(Track("H1", "K4", str(path)), [Need(400, 100)], GENES, SIZES, folder/"store", {})

def unsorted_bam(folder):
    rows = [("chr1", s, 0, 60, "20M") for s in (500, 100, 300)]
    return open_source(write_bam(folder/"x.bam", rows, index=False), SIZES, ["chr1"]).read("chr1", 495, 505).tolist()

def cut_bam(folder):
    path = Path(write_bam(folder/"x.bam", [("chr1", s, 0, 60, "20M") for s in range(0, 900, 10)], index=False))
    path.write_bytes(path.read_bytes()[:-40])
    open_source(path, SIZES, ["chr1"])

def cool(folder, balanced=True, sizes=SIZES):
    n = {c: -(-s // 100) for c, s in sizes.items()}
    bins = pd.DataFrame([(c, 100*i, min(100*i + 100, sizes[c])) for c in n for i in range(n[c])], columns=["chrom", "start", "end"])
    i, j = np.triu_indices(len(bins))
    if balanced: bins["weight"] = 1.
    path = str(folder/"x.cool")
    cooler.create_cooler(path, bins, pd.DataFrame(dict(bin1_id=i, bin2_id=j, count=1)))
    return path

def mcool(folder):
    path = str(folder/"x.mcool")
    cooler.zoomify_cooler(cool(folder), path, [100, 200], 1000)
    return path

CASES = { # what is wrong → how it is met, what the line says
    "bigWig of another genome": (lambda f: open_source(bigwig(f, {"chr1": HG38["chr1"]}), HG19, ["chr1"]),
        r"x\.bigWig: chr1 is 248956422 bp long in its header, 249250621 bp in hg19; the file looks like hg38"),
    "bigWig that is cut": (lambda f: bigwig(f, SIZES).write_bytes((f/"x.bigWig").read_bytes()[:-9]) and open_source(f/"x.bigWig", SIZES, ["chr1"]),
        r"x\.bigWig: the file is truncated .*; copy or download it again"),
    "bigWig with names of RefSeq": (lambda f: open_source(write_bigwig(f/"x.bigWig", [("NC_999999.10", 0, 9, 1.)], {"NC_999999.10": 1000}), SIZES, ["chr1"]),
        r"x\.bigWig: it has no chromosome of those in use; it has NC_999999\.10, needed are chr1"),
    "text in place of a bigWig": (lambda f: open_source(put(f/"x.bigWig", TEXT["x.bedGraph"]), SIZES, ["chr1"]), r"x\.bigWig: not a bigWig file"),
    "bedGraph of another genome": (lambda f: open_source(put(f/"x.bedGraph", "chr1\t900\t1200\t1\n"), SIZES, ["chr1"]),
        r"x\.bedGraph: in the study chr1 ends at 1000, and something in the file at 1200\. Is the file of another assembly\?"),
    "negative depth": (bad_scale, r"x\.bedGraph: bins from -2 to 0, but the scale of H1 K4 is 'linear'; give the scale"),
    "BAM that is cut": (cut_bam, r"x\.bam: the file is truncated .*; copy or download it again"),
    "BAM of another genome": (lambda f: open_source(write_bam(f/"x.bam", [("chr1", 5, 0, 60, "20M")], {"chr1": HG38["chr1"]}), HG19, ["chr1"]),
        r"x\.bam: chr1 is 248956422 bp long in its header, 249250621 bp in hg19; the file looks like hg38"),
    "text in place of a BAM": (lambda f: open_source(put(f/"x.bam", TEXT["x.bed"]), SIZES, ["chr1"]), r"x\.bam: not a BAM file"),
    "GTF without genes": (lambda f: annotated_genes(put(f/"x.gtf", TEXT["x.gtf"].replace("\tgene\t", "\tCDS\t")), SIZES), r"x\.gtf: it has no line of a gene or transcript"),
    "genes of another biotype": (lambda f: annotated_genes(put(f/"x.gtf", TEXT["x.gtf"].replace("protein_coding", "lncRNA")), SIZES), r"x\.gtf: no gene has the biotype 'protein_coding'; known: lncRNA"),
    "gene twice in a table": (lambda f: read_genes(put(f/"genes.tsv", TEXT["genes.tsv"].replace("B\t", "A\t")), SIZES, {}, 0),
        r"genes\.tsv: gene ids that stand there more than once: 'A' \(line 2\), 'A' \(line 3\)"),
    "gene twice in expression": (lambda f: read(put(f/"rpkm.tsv", TEXT["rpkm.tsv"] + "A\t2\n")), r"rpkm\.tsv: genes with more than one row: 'A' \(line 2\)"),
    "gene twice in a GTF": (lambda f: annotated_genes(put(f/"x.gtf", TEXT["x.gtf"].replace('"B"', '"A"')), SIZES), r"x\.gtf: gene ids that stand there more than once"),
    "no gene of the study in expression": (lambda f: read(put(f/"rpkm.tsv", "gene_id\tH1\nENSG1\t2\n")), r"rpkm\.tsv: no gene of the study is in it"),
    "contacts without weights": (lambda f: check_cooler(Cool(cool(f, False), 100), SIZES, ["chr1"]), r"x\.cool.*: balanced contacts need weights, and it has no column 'weight'"),
    "resolution that is not there": (lambda f: Cool(mcool(f), 500), r"x\.mcool: no resolution of 500 bp in it; it has 100, 200"),
    "cooler of another genome": (lambda f: check_cooler(Cool(cool(f, True, {"chr1": 1200}), 100), SIZES, ["chr1"]),
        r"x\.cool: chr1 is 1200 bp long in its header, 1000 bp in its chrom_sizes"),
    "partners on unknown chromosomes": (lambda f: read_pairs(put(f/"x.ibed", TEXT["x.ibed"].replace("\n1\t", "\n77\t").replace("\t1\t701", "\t77\t701")), SIZES),
        r"x\.ibed: chromosomes that the assembly does not have: '77' \(line 2\); drop these rows, or give their lengths"),
    "empty blacklist": (lambda f: read_mask(put(f/"list.bed", "# nothing\n"), SIZES), r"list\.bed: no intervals in it"),
    "blacklist of another genome": (lambda f: read_mask(put(f/"list.bed", "chr1\t990\t1010\n"), SIZES),
        r"list\.bed: in the study chr1 ends at 1000, and something in the file at 1010\. Is the file of another assembly\?"),
    "blacklist of another species": (lambda f: read_mask(put(f/"list.bed", "2L\t990\t1010\n"), SIZES), r"list\.bed: it has no chromosome of those in use; it has 2L"),
    "blacklist that is a table": (lambda f: read_mask(put(f/"list.bed", "chrom\tstart\tend\nchr1\t1\t2\n"), SIZES), r"list\.bed, line 1: needs 0 ≤ start < end"),
}

@pytest.mark.parametrize("what", CASES)
def test_one_line_that_says_what_to_do(what, tmp_path):
    meet, message = CASES[what]
    assert re.search(message, found := complaint(meet, tmp_path)), found

def test_a_bam_need_not_be_sorted(tmp_path): assert unsorted_bam(tmp_path) == [0]*5 + [1]*5

# through the command line: exit status 2, one line, no traceback

def study_with(folder, old="", new="", change=lambda folder: None):
    path = write_study(folder, models='["ridge"]', tables="", folds='["1"]')
    change(folder)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1) if old else text)
    return path

def file_in_place_of_results(folder): (folder/"results").write_text("not a folder\n")
def hidden(text): return lambda folder: put(folder/"list.bed", text)
TOP, TRACK = 'assembly = "hg19"\n', '"cellA-H3K27ac.bedGraph"'
def negative(folder): put(folder/"minus.bedGraph", "chr1\t1000000\t1000900\t-3\n")

def two_names(folder): put(folder/"x.bedGraph", "1\t1000000\t1000900\t3\nchr1\t1001000\t1001900\t3\n")
def swapped(name, old, new): # one file of the study changed
    def change(folder):
        text = (folder/name).read_text()
        assert old in text
        (folder/name).write_text(text.replace(old, new, 1))
    return change
def bam(sizes, keep=None): # a file of reads, whole or its first bytes
    def change(folder):
        path = Path(write_bam(folder/"x.bam", [("chr1", s, 0, 60, "20M") for s in range(1_000_000, 1_000_900, 10)], sizes, index=False))
        path.write_bytes(path.read_bytes()[:keep])
    return change
def early(folder):
    whole = gzip.compress((folder/"cellA-H3K27ac.bedGraph").read_bytes(), mtime=0)
    (folder/"x.bedGraph.gz").write_bytes(whole[:len(whole)//2])
def only_exons(folder): put(folder/"x.gtf", TEXT["x.gtf"].replace("\tgene\t", "\tCDS\t"))

def map_of_chr1(weights, gap=True): # 25 bins of 10 Mb: each pair is seen as often as the product of its bins' biases says
    def change(folder):
        bias = 1 + np.arange(25)/10
        if not gap: bias[13] = 0                                           # 130 to 140 Mb lie in a gap of hg19
        bins = pd.DataFrame(dict(chrom="chr1", start=10_000_000*np.arange(25)))
        bins["end"] = np.minimum(bins.start + 10_000_000, HG19["chr1"])
        with np.errstate(divide="ignore"): w = dict(none=None, multiply=1/bias, divide=bias, flat=np.ones(25))[weights]
        if w is not None: bins["weight"] = np.where(bias > 0, w, np.nan)
        i, j = np.triu_indices(25)
        pixels = pd.DataFrame(dict(bin1_id=i, bin2_id=j, count=np.round(10_000*bias[i]*bias[j]).astype(int)))
        cooler.create_cooler(str(folder/"x.cool"), bins, pixels[pixels["count"] > 0])
    return change
def zoomed(folder):
    map_of_chr1("multiply", False)(folder)
    cooler.zoomify_cooler(str(folder/"x.cool"), str(folder/"x.mcool"), [10_000_000, 20_000_000], 1000)
def contacts(file, resolution=10_000_000): return f'[contacts.cellA]\npath = "{file}"\nresolution = {resolution}\nvalues = "balanced"\n[grid]\n'
def far_edges(folder): put(folder/"edges.tsv", "gene_id\tchrom\tstart\tend\tscore\ng000\tchr77\t100\t200\t3\n")
GRID, TABLE = "[grid]\n", 'table = "genes.tsv"\ntss_base = 1\n'

COMMANDS = { # what is wrong → what is written into the study, what is done to its files, the command, its line
    "results that are a file": ("", "", file_in_place_of_results, "prepare", r"results: cannot make this folder \(.*\); choose a folder you may write to"),
    "empty blacklist": (TOP, TOP + 'blacklist = "list.bed"\n', hidden(""), "units", r"list\.bed: no intervals in it"),
    "blacklist of another genome": (TOP, TOP + 'blacklist = "list.bed"\n', hidden("chr1\t249250000\t249250700\n"), "units",
        r"list\.bed: in hg19 chr1 ends at 249250621, and something in the file at 249250700"),
    "blacklist that is missing": (TOP, TOP + 'blacklist = "list.bed"\n', lambda f: None, "units", r"blacklist: no file .*list\.bed"),
    "BAM that is cut": (TRACK, '"x.bam"', bam(HG19, -30), "prepare", r"x\.bam: the file is truncated .*; copy or download it again"),
    "BAM of another genome": (TRACK, '"x.bam"', bam(HG38), "prepare",
        r"x\.bam: chr1 is 248956422 bp long in its header, 249250621 bp in hg19, .*; the file looks like hg38"),
    "gz that ends early": (TRACK, '"x.bedGraph.gz"', early, "prepare", r"x\.bedGraph\.gz: the gzip stream ends early or is damaged"),
    "two names of one chromosome": (TRACK, '"x.bedGraph"', two_names, "prepare", r"x\.bedGraph: one chromosome goes by two names: 1 and chr1; choose one"),
    "two names among genes": ("", "", swapped("genes.tsv", "\tchr1\t", "\t1\t"), "units", r"genes\.tsv: one chromosome goes by two names: 1 and chr1"),
    "expression twice": ("", "", swapped("rpkm.tsv", "\ng005\t", "\ng004\t"), "units", r"rpkm\.tsv: genes with more than one row: 'g004' \(line 6\)"),
    "GTF without genes": (TABLE, 'table = "x.gtf"\n', only_exons, "units", r"x\.gtf: it has no line of a gene or transcript; a GTF or GFF3 with genes is needed"),
    "map without weights": (GRID, contacts("x.cool"), map_of_chr1("none", False), "prepare",
        r"x\.cool at 10000000 bp: balanced contacts need weights, and it has no column 'weight' .*; run `cooler balance`"),
    "weights that do not balance": (GRID, contacts("x.cool"), map_of_chr1("flat", False), "prepare",
        r"x\.cool at 10000000 bp: its balanced row sums vary .* Run `cooler balance`"),
    "weights that divide": (GRID, contacts("x.cool"), map_of_chr1("divide", False), "prepare",
        r"x\.cool .*'weight' divide, they are of Juicer's kind, .*; give divide = true"),
    "contacts in a gap": (GRID, contacts("x.cool"), map_of_chr1("multiply"), "prepare",
        r"x\.cool .*in 1 bins in gaps of hg19, the first at chr1:130000000-140000000; nothing can be there\. The counts "),
    "resolution that is not there": (GRID, contacts("x.mcool", 5000), zoomed, "units", r"x\.mcool: no resolution of 5000 bp in it; it has 10000000, 20000000"),
    "partners on an unknown chromosome": (GRID, '[contacts.cellA]\npath = "edges.tsv"\nkind = "edges"\n' + GRID, far_edges, "prepare",
        r"edges\.tsv: chromosomes that the assembly does not have: 'chr77' \(line 2\); drop these rows"),
    "negative depth": (TRACK, '"minus.bedGraph"', negative, "prepare", r"minus\.bedGraph: bins from -3 to 0, but the scale of cellA H3K27ac is 'linear'"),
}

@pytest.mark.parametrize("what", COMMANDS)
def test_on_the_command_line(what, tmp_path, capsys):
    old, new, change, command, message = COMMANDS[what]
    assert cli(command, study_with(tmp_path/"s", old, new, change), *["--jobs", "1"]*(command == "prepare")) == 2
    out, err = capsys.readouterr()
    last = err.strip().splitlines()[-1]
    assert re.search(message, last) and out == "" and "Traceback" not in err, err

def test_a_map_whose_weights_balance_is_taken(tmp_path):
    path = study_with(tmp_path/"s", GRID, contacts("x.cool").replace("[grid]", "divide = true\nlongest = 10_000_000\nfarthest = 60_000_000\n[grid]"), map_of_chr1("divide", False))
    assert cli("prepare", path, "--jobs", "1") == 0
    edges = pd.read_csv(path.parent/"results"/"contacts"/"cellA.csv")
    assert edges.gene_id.nunique() == 10 and set(edges.chrom) == {"chr1"} and np.allclose(edges.score, 10_000, rtol=1e-3)

def test_a_folder_that_cannot_be_written_to(tmp_path, capsys, monkeypatch):
    path = study_with(tmp_path/"s")
    def refuse(a, b): raise OSError(errno.EROFS, "Read-only file system", str(b))
    monkeypatch.setattr(os, "replace", refuse)
    assert cli("prepare", path, "--jobs", "1") == 2
    err = capsys.readouterr().err
    assert re.search(r"cannot write here \(Read-only file system\); choose a folder", err.strip().splitlines()[-1]) and "Traceback" not in err
