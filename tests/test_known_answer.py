"A simulated study whose answer is known: how near do the models come, and do they rank the marks as the truth does?"
from itertools import permutations
import pandas as pd, pytest
from chromexpress.simulate import simulate
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
