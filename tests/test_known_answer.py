"A simulated study whose answer is known: how near do the models come, and do they rank the marks as the truth does?"
from itertools import permutations
import numpy as np, pandas as pd, pytest
from chromexpress.core import InputError
from chromexpress.partners import permuted, slots_of
from chromexpress.simulate import lay_contacts, lay_enhancers, lay_fragments, lay_genes, make_cell, simulate
from toy import finish

GRID = """[grid]
models = ["ridge", "promoter_cnn"]
marks = ["each", "all"]
folds = ["1", "2", "3", "4"]

[models.ridge]
folds = "all"

[models.promoter_cnn]
marks = ["all"]
folds = ["1", "2"]
epochs = 7
"""

@pytest.fixture(scope="module")
# a study of 2,000 genes, run; every gene has a blind prediction by ridge, a quarter of them by the CNN
def study(tmp_path_factory):
    path = simulate(tmp_path_factory.mktemp("known"), genes=2000, cells=1, seed=0, grid=GRID)
    path.write_text(path.read_text().replace("both_halves = false", "both_halves = true"))
    finish(path)
    truth = pd.read_csv(path.parent/"truth"/"marks.csv").set_index("mark").oracle_r2
    metrics = pd.read_csv(path.parent/"results"/"metrics.csv").query("fold == 'all'")
    metrics["mark"] = metrics.marks.where(~metrics.marks.str.contains("+", regex=False), "all")
    return truth, metrics.set_index(["model", "mark"])

def test_the_cnn_explains_most_of_what_an_oracle_can(study):
    truth, metrics = study
    # a quarter of the genes: two folds of four, without their swapped halves
    assert metrics.n["promoter_cnn", "all"] == 512
    assert metrics.r2["promoter_cnn", "all"] >= .85 * truth["all"]

def test_ridge_explains_most_of_what_an_oracle_can_with_every_mark(study):
    truth, metrics = study
    for mark in truth.index[truth > .1]: assert metrics.r2["ridge", mark] >= .85 * truth[mark], mark

def test_marks_are_ranked_as_in_truth(study):
    truth, metrics = study
    assert metrics.n["ridge", "all"] == 2000
    pairs = [(a, b) for a, b in permutations(truth.index, 2) if truth[a] > truth[b] + .02]
    assert len(pairs) > 20
    for a, b in pairs: assert metrics.r2["ridge", a] > metrics.r2["ridge", b], (a, b)

def test_nothing_does_better_than_an_oracle_that_knows_the_truth(study):
    truth, metrics = study
    assert (metrics.r2["ridge"] < truth[metrics.r2["ridge"].index] + .02).all()

# what contacts tell

def laid(mean, n=3000): # a cell; its genes' partners, and the activity of the enhancer in each fragment
    genes, sizes = lay_genes(n, 0)
    pairs = lay_contacts(genes, lay_fragments(sizes, 0), 0, least=int(mean))
    enhancers = lay_enhancers(genes, pairs, 0, mean)
    cell = make_cell("cellA", genes, enhancers, 0)
    edges = pairs.assign(gene_id=genes.gene_id.values[pairs.gene])[["gene_id", "chrom", "start", "end", "score"]]
    slots = slots_of(edges[edges.score > 1.5].sort_values(["gene_id", "score"], ascending=[True, False]), genes)
    far, f = (enhancers.kind == "contact").values, slots.fragments
    at = pd.MultiIndex.from_arrays([enhancers.chrom[far], enhancers.start[far] + 500])
    activity = pd.Series(cell.height[far], at).reindex(pd.MultiIndex.from_arrays([f.chrom, (f.start + f.end)//2]))
    return cell, genes, slots, activity.fillna(0).to_numpy()

def gains(mean): # R² of the contacts' part of expression by what contacts show: in themselves; and in fragments, moved and not
    cell, genes, slots, activity = laid(mean)
    there, root = slots.number >= 0, np.sqrt(slots.score)
    inside = lambda s: (root*np.where(there, activity[s.number], 0)).sum(1)/np.maximum(root.sum(1), 1)
    bare = np.c_[there.sum(1), there.sum(1)**2, slots.score.sum(1), root.sum(1)]
    def r2(*columns):
        X = np.c_[tuple([np.ones(len(genes)), *columns])]
        left = cell.parts.C - X @ np.linalg.lstsq(X, cell.parts.C, rcond=None)[0]
        return 1 - left.var()/cell.parts.C.var()
    return r2(bare), r2(bare, inside(permuted(slots, genes, 5))), r2(bare, inside(slots))

def test_only_the_right_fragments_tell_where_the_mean_counts():
    bare, moved, right = gains(mean=True)
    assert bare < .01 and moved < .01 and right > .5

def test_the_number_of_contacts_tells_much_where_the_sum_counts():
    bare, moved, right = gains(mean=False)
    assert bare > .4 and moved - bare < .01 and right > bare + .2

def test_another_way_of_counting_contacts_is_another_simulation(tmp_path):
    simulate(tmp_path/"a", genes=48, cells=1, contacts="mean")
    with pytest.raises(InputError, match="holds another simulation"): simulate(tmp_path/"a", genes=48, cells=1)
    with pytest.raises(InputError, match='contacts is \'median\'; it must be "sum" or "mean"'):
        simulate(tmp_path/"b", genes=48, cells=1, contacts="median")
