"Chromosome folds: the published ones to the letter, balanced and explicit ones, and every way to be refused."
import pandas as pd, pytest
from chromexpress.core import InputError, Problems
from chromexpress.genome import chrom_sizes, read_genes
from chromexpress.splits import GROUPS, HALVES, Fold, assign, deal, halve, make_folds
from chromexpress.study import parse_study
pytestmark = pytest.mark.usefixtures("hear")

CHROMS = [f"chr{c}" for c in [*range(1, 23), "X", "Y"]]
TEN = pd.Series(10, index=CHROMS)
chrs = lambda text: {f"chr{c}" for c in text.split()}

def check(folds, present):
    for f in folds:
        parts = [set(f.train), set(f.valid), set(f.test)]
        assert sum(map(len, parts)) == len(set.union(*parts)) == len(present)
    return folds

@pytest.mark.parametrize("name,group,a,b",
                         [("1", "1 5 6 8 14 Y", "1 14", "5 6 8 Y"), ("2", "7 10 11 12 15 21", "10 12 15", "7 11 21"),
    ("3", "2 3 4 16 18 20", "2 16 18", "3 4 20"), ("4", "9 13 17 19 22 X", "17 22 X", "9 13 19")])
def test_published(name, group, a, b):
    assert set(GROUPS[name]) == chrs(group) and [set(h) for h in HALVES[name]] == [chrs(a), chrs(b)]
    fold = {f.name: f for f in make_folds(TEN, CHROMS)}[name]
    assert (set(fold.train), set(fold.valid), set(fold.test)) == (set(CHROMS) - chrs(group), chrs(a), chrs(b))
    swapped = {f.name: f for f in make_folds(TEN, CHROMS, both_halves=True)}[f"{name}-swapped"]
    assert (set(swapped.valid), set(swapped.test)) == (chrs(b), chrs(a)) and swapped.train == fold.train

def test_names_and_coverage():
    assert [f.name for f in make_folds(TEN, CHROMS)] == ["1", "2", "3", "4"]
    folds = check(make_folds(TEN, CHROMS, both_halves=True), CHROMS)
    assert [f.name for f in folds] == ["1", "1-swapped", "2", "2-swapped", "3", "3-swapped", "4", "4-swapped"]
    assert sorted(c for f in folds for c in f.test) == sorted(CHROMS)        # each chromosome is blind once
    assert folds[0].train == tuple(c for c in CHROMS if c not in GROUPS["1"])  # in karyotype order

def test_chromosomes_without_genes_are_left_alone():
    present = [c for c in CHROMS if c != "chrY"]
    folds = check(make_folds(TEN, present), present)
    assert set(folds[0].test) == chrs("5 6 8")

def test_halves_are_rebalanced_over_labels(caplog):
    counts = TEN.drop(["chr14", "chr19"])
    counts.update(pd.Series(dict(chr1=100, chr5=40, chr6=30, chr8=20, chrY=5)))
    folds = check(make_folds(counts, CHROMS), CHROMS)
    assert set(folds[0].valid) == chrs("1") and set(folds[0].test) == chrs("5 6 8 Y 14")          # 100 : 95
    assert set(folds[1].valid) == chrs("10 12 15")                                                # as published
    assert set(folds[3].valid) in (chrs("17 22"), chrs("17 22 X")) and "chr19" in folds[3].test
    assert "group 1: no labelled genes on chr14" in caplog.text
    assert "group 4: no labelled genes on chr19" in caplog.text
    swapped = make_folds(counts, CHROMS, both_halves=True)[1]
    # unlabelled ones stay with the test
    assert set(swapped.valid) == chrs("5 6 8 Y") and set(swapped.test) == chrs("1 14")

def test_a_half_without_genes_is_rebalanced(caplog):
    present = [c for c in CHROMS if c not in chrs("1 14")]
    folds = check(make_folds(TEN, present), present)
    assert folds[0].valid and folds[0].test and "group 1: one of its halves has no genes" in caplog.text

@pytest.mark.parametrize("counts,like,first",
                         [(dict(a=5, b=4, c=3, d=3), "", "ac"), (dict(a=5, b=4, c=3, d=3), "ad", "ad"),
    (dict(a=5, b=4, c=3, d=3), "bc", "bc"), (dict(a=1, b=9), "b", "b"), (dict(a=7), "", "a"),
    (dict(a=8, b=3, c=3, d=2), "", "a")])
def test_halve(counts, like, first):
    a, b = halve(counts, tuple(like))
    assert "".join(a) == first and sorted(a + b) == sorted(counts)

def test_halve_many():
    counts = {f"c{i}": 10 + i for i in range(40)}
    a, b = halve(counts)
    assert sorted(a + b) == sorted(counts) and abs(sum(counts[c] for c in a) - sum(counts[c] for c in b)) <= 10

# 6 | 4 + 2 | 4 + 1
def test_deal(): assert deal(dict(a=1, b=6, c=4, d=4, e=2), 3) == [["b"], ["c", "e"], ["a", "d"]]

def test_balanced():
    folds = check(make_folds(TEN, CHROMS, "balanced", k=4), CHROMS)
    assert [f.name for f in folds] == ["1", "2", "3", "4"]
    assert all((len(f.train), len(f.valid), len(f.test)) == (18, 3, 3) for f in folds)
    assert folds == make_folds(TEN[::-1], CHROMS, "balanced", k=4)           # the order of the counts does not matter
    both = make_folds(TEN, CHROMS, "balanced", k=4, both_halves=True)
    assert sorted(c for f in both for c in f.test) == sorted(CHROMS)

def test_valid_share():
    folds = check(make_folds(TEN, CHROMS, "balanced", k=6, valid_share=.3), CHROMS)
    assert all((len(f.train), len(f.valid), len(f.test)) == (14, 6, 4) for f in folds)               # 6 of 20
    assert sorted(c for f in folds for c in f.test) == sorted(CHROMS)
    assert len({f.valid for f in folds}) == 6

def test_balanced_with_unlabelled_chromosomes():
    folds = check(make_folds(TEN.drop("chr3"), CHROMS, "balanced", k=4), CHROMS)
    assert sum("chr3" in f.test for f in folds) == 1

EXPLICIT = dict(name="a", train=["chr1", "chr2"], valid=["chr3"], test=["chr4"])

def test_explicit(caplog):
    folds = make_folds(TEN[:5], CHROMS[:5], "explicit", folds=[EXPLICIT, EXPLICIT | dict(name=2)])
    assert folds == [Fold("a", ("chr1", "chr2"), ("chr3",), ("chr4",)),
                     Fold("2", ("chr1", "chr2"), ("chr3",), ("chr4",))]
    assert "fold a: 10 labelled genes on chr5 are in no list, and left out." in caplog.text
    # stored and read again
    assert make_folds(TEN[:5], CHROMS[:5], "explicit", folds=[f.to_dict() for f in folds]) == folds
    assert folds[0].to_dict() == EXPLICIT

@pytest.mark.parametrize("change,message", [
    (dict(test=["chr3"]), "chr3 given more than once"), (dict(train=["chr1", "chr1"]), "chr1 given more than once"),
    (dict(test=["chr99"]), "fold a: test: 'chr99' is not a chromosome of the study"),
    (dict(tset=["chr5"]), "'tset' is not a key of a fold; did you mean 'test'"),
    (dict(test="chr4"), "test must be a list"), (dict(test=[]), r"empty split: no labelled gene in fold a \(test\)")])
def test_wrong_explicit(change, message):
    with pytest.raises(InputError, match=message): make_folds(TEN, CHROMS, "explicit", folds=[EXPLICIT | change])

def test_more_wrong_explicit():
    with pytest.raises(InputError, match="fold a: valid is missing"):
        make_folds(TEN, CHROMS, "explicit", folds=[{k: v for k, v in EXPLICIT.items() if k != "valid"}])
    with pytest.raises(InputError, match="two folds have this name"):
        make_folds(TEN, CHROMS, "explicit", folds=[EXPLICIT, EXPLICIT])
    for folds in (None, []):
        with pytest.raises(InputError, match="needs folds"): make_folds(TEN, CHROMS, "explicit", folds=folds)

@pytest.mark.parametrize("kwargs,message", [(dict(scheme="blanced"), "did you mean 'balanced'"),
                                            (dict(scheme="balanced", k=1), "k = 1"),
    (dict(scheme="balanced", k=25), "k = 25.*at most 24"),
    (dict(scheme="balanced", valid_share=1.), "valid_share = 1.0"),
    (dict(scheme="balanced", valid_share=.3, both_halves=True), "both_halves does not go with"),
    (dict(k=4), r"k: scheme 'published' does not heed it, only balanced; leave it out"),
    (dict(valid_share=.3), "valid_share: scheme 'published' does not heed it"),
    (dict(folds=[EXPLICIT]), "folds: scheme 'published' does not heed it, only explicit"),
    (dict(scheme="explicit", folds=[EXPLICIT], both_halves=True), "both_halves: .* only published and balanced"),
    (dict(scheme="balanced", k=24), "empty split: no labelled gene in fold 1 .test.")])
def test_wrong_options(kwargs, message):
    with pytest.raises(InputError, match=message): make_folds(TEN, CHROMS, **kwargs)

@pytest.mark.parametrize("chroms", [["chrI", "chrII"], [*CHROMS, "chrM"], ["1", "2"]])
def test_published_is_human(chroms):
    with pytest.raises(InputError, match="published.*balanced"): make_folds(pd.Series(5, index=chroms), chroms)

def test_lists_of_a_study_may_name_chromosomes_without_genes(tmp_path):
    for name, text in {"g.tsv": "gene_id\tchrom\ttss\tstrand\n" + "".join(f"g{k}\tchr{k}\t9000\t+\n" for k in (1, 2, 3)),
                       "e.tsv": "gene_id\tK\ng1\t1\ng2\t2\ng3\t3\n", "x.bedGraph": "chr1\t0\t9\t1\n",
                       "s.toml": 'name = "s"\nassembly = "hg19"\n[genes]\ntable = "g.tsv"\ntss_base = 1\n[expression]\ntable = "e.tsv"\n'
                                 '[expression.cells]\nK = "K"\n[tracks.K]\nM = "x.bedGraph"\n[splits]\nscheme = "explicit"\n'
                                 'folds = [{name = "1", train = ["chr1", "chr7"], valid = ["chr2"], test = ["chr3", "chrY"]}]\n'}.items():
        (tmp_path/name).write_text(text)
    fold = parse_study(tmp_path/"s.toml", Problems()).folds["1"]
    assert (fold.train, fold.valid, fold.test) == (("chr1", "chr7"), ("chr2",), ("chr3", "chrY"))
    (tmp_path/"s.toml").write_text((tmp_path/"s.toml").read_text().replace("chrY", "chrW"))
    with pytest.raises(InputError, match="test: 'chrW' is not a chromosome of the study"):
        parse_study(tmp_path/"s.toml", Problems()).folds

def test_empty_splits_name_fold_and_part():
    with pytest.raises(InputError,
                       match=r"no labelled gene in fold 1 \(train\), fold 2 \(valid, test\), fold 3 \(valid, test\)"):
        make_folds(TEN, [c for c in CHROMS if c in GROUPS["1"]])
    with pytest.raises(InputError, match="empty split"): make_folds(TEN*0, CHROMS)

def test_assign():
    fold = Fold("a", ["chr1"], ["chr2"], ["chr3"])
    assert assign(fold, pd.Series(["chr3", "chr1", "chrM", "chr2"])).tolist() == ["test", "train", "", "valid"]
    assert assign(fold, []).tolist() == []

def test_a_fold_cannot_leak():
    with pytest.raises(InputError, match="chr1 given more than once"): Fold("a", ["chr1"], ["chr2"], ["chr1"])
    with pytest.raises(AttributeError): Fold("a", ["chr1"], ["chr2"], ["chr3"]).train = ()

def test_published_halves_are_balanced_on_real_genes(data):
    genes = read_genes(data/"roadmap_genes.tsv.gz", chrom_sizes("hg19"))
    counts = genes.groupby("chrom").size()
    for f in make_folds(counts, genes.chrom.unique()):
        a, b = counts[list(f.valid)].sum(), counts[list(f.test)].sum()
        assert abs(a - b) / (a + b) < .04
        assert tuple(f.valid) == tuple(c for c in genes.chrom.unique() if c in HALVES[f.name][0])
