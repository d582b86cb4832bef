"""The profile CNN, and its target from 0 to 1: what it sees, what is fitted to whom, and that nothing of it is lost
on the way."""
import shutil
from dataclasses import asdict, replace
from types import SimpleNamespace
import numpy as np, pandas as pd, pytest, torch
from chromexpress.batch import run_units
from chromexpress.core import InputError
from chromexpress.crossval import execute, load_fitted
from chromexpress.data import Batches, Data, NetworkOptions, UnitScale, _scale_of, fit_unit, make_data
from chromexpress.profile_cnn import ProfileCNN, ProfileCNNOptions, multiply_adds, profile_cnn
from chromexpress.promoter_cnn import PromoterCNN, PromoterCNNOptions
from chromexpress.train import fit_network, load_checkpoint, predict_network
from toy import UNLABELLED, cli, quiet_log, units_of, write_study

SMALL = "widths = [8, 8, 8]\ndense = 8\nbatch = 32\nepochs = 4\n"
RPKM = dict(unit="RPKM", transform="log2", pseudocount=1.)

def tasks_of(path): return {u.work.run.cell: u.work for u in units_of(path).values() if u.kind == "run"}

@pytest.fixture(scope="module")
def study(tmp_path_factory): # binned, with a small network, fold 1
    torch.set_num_threads(1)
    path = write_study(tmp_path_factory.mktemp("profile"), models='["profile_cnn"]',
                       tables=f"[models.profile_cnn]\n{SMALL}", folds='["1"]')
    with quiet_log(): run_units(path, {i: u for i, u in units_of(path).items() if u.kind == "bin"}, device="cpu")
    return path

@pytest.fixture(scope="module")
def done(study, tmp_path_factory): # its run on cellA: the task, the folder, the predictions
    task, folder = tasks_of(study)["cellA"], tmp_path_factory.mktemp("done")
    return task, folder, execute(task, folder)

def table(study): return pd.read_csv(study.parent/"rpkm.tsv", sep="\t").set_index("gene_id")

def changed(study, folder, edit): # its task on cellA where the expression table has been edited
    shutil.copytree(study.parent, folder)
    path = folder/study.name
    edit(t := table(path))
    t.to_csv(folder/"rpkm.tsv", sep="\t", na_rep="NA", float_format="%.12g")
    return tasks_of(path)["cellA"]

def weights(folder): return torch.load(folder/"model.pt", weights_only=True)

# what it sees

@pytest.mark.parametrize("window,bin,tracks,options", [
    (10_000, 25, 12, {}), (10_000, 25, 1, {}), (9950, 50, 2, {}), (10_050, 25, 3, {}), (1600, 25, 1, {}),
    (99*34, 34, 2, {}),
    (300, 100, 2, dict(widths=(4,), kernels=(3,), pools=(3,))),
    (200, 100, 1, dict(widths=(4, 4), kernels=(2, 4), pools=(1, 1)))])
def test_shapes(window, bin, tracks, options):
    o = ProfileCNNOptions(window=window, bin=bin, **options)
    x = torch.rand(5, window//bin, tracks)
    net = profile_cnn.network(o, dict(signal=x))
    for n in (1, 5): assert net.train()(x[:n]).shape == (n,) and torch.isfinite(net(x[:n])).all()
    assert net.eval()(x).shape == (5,)

@pytest.mark.parametrize("options,message", [
    (dict(window=1550), r"window = 1550, bin = 25: 62 bins; profile_cnn with pools = \[4, 4, 4\] needs 64 or more"),
    (dict(window=0), "window = 0"), (dict(window=10_000, bin=30), "whole number of bins"),
    (dict(pools=(4, 4)), "for each block"),
    (dict(widths=(), kernels=(), pools=()), "for each block"), (dict(kernels=(11, 5.5, 5)), "for each block"),
    (dict(widths=(8, 0, 8)), "for each block"), (dict(dense=0), "dense of 1 or more"),
    (dict(dropout=1.), "dropout from 0 to below 1"),
    (dict(target="log"), "target = 'log' is unknown"), (dict(min_delta=-1.), "min_delta ≥ 0"),
    (dict(window=50, bin=50, widths=(4,), kernels=(1,), pools=(1,)),
     r"1 bins; profile_cnn with pools = \[1\] needs 2 or more")])
def test_options_that_do_not_go_together(options, message):
    with pytest.raises(InputError, match=message): ProfileCNNOptions(**options)

def test_the_study_file_is_told(tmp_path, capsys):
    path = write_study(tmp_path, models='["profile_cnn"]',
                       tables='[models.profile_cnn]\nwindow = 1550\ntarget = "unit"\n')
    assert cli("units", path) == 2
    assert "[models.profile_cnn] window = 1550, bin = 25: 62 bins" in capsys.readouterr().err

def test_bins_of_25_bp(study):
    """Blocks of 2 kb, the second around the TSS: bins 80 to 320 of 400, upstream first on either strand; nothing
    beyond them."""
    task = tasks_of(study)["cellA"]
    x, k4 = profile_cnn.inputs(task, np.arange(240))["signal"], 0
    assert x.shape == (240, 400, 2)
    assert (x[:, :80, k4] == 0).all() and (x[:, 320:, k4] == 0).all()
    block = x[:, 80:320, k4].reshape(240, 3, 80)
    assert (block == block[:, :, :1]).all()
    # multiples of a quarter, by which expression is made
    level = np.expm1(block[:, :, 0])
    np.testing.assert_allclose(level*4, np.round(level*4), atol=1e-4)
    known = ~table(study).cellA.reindex(task.study.genes.gene_id).isna().to_numpy()
    y = 5 + 3*np.log1p(level[:, 1]) - 1.5*np.log1p(level[:, 2])
    np.testing.assert_allclose(task.study.y("cellA")[known], y[known], rtol=1e-4)

def test_cost():
    o = ProfileCNNOptions()
    count = lambda tracks: multiply_adds(ProfileCNN(o, tracks, 400), dict(signal=torch.rand(3, 400, tracks)))
    assert count(12) == 6_411_392 <= 8_000_000
    assert count(12) - count(11) == 400*11*48

def test_multiply_adds_by_hand():
    net = torch.nn.Sequential(torch.nn.Conv1d(2, 3, 4), torch.nn.Flatten(), torch.nn.Linear(3*7, 5))
    assert multiply_adds(net, dict(input=torch.rand(2, 2, 10))) == 7*3*2*4 + 21*5
    assert net.training

# the scale

def test_zero_to_one_by_hand():
    "1, 3 and 9 RPKM train; a gene of 17 is beyond them."
    scale = fit_unit(np.log2([4., 2, 10]), RPKM, "")
    assert asdict(scale) == pytest.approx(dict(low=1., high=9., transform="log2", pseudocount=1., linear=True))
    np.testing.assert_allclose(scale.scaled(np.log2([2., 4, 6, 10, 18])), [0, .25, .5, 1, 2], atol=1e-14)
    np.testing.assert_allclose(scale.restored([0, .25, .5, 1, 2]), np.log2([2., 4, 6, 10, 18]), atol=1e-14)
    assert np.isnan(scale.scaled(np.array([np.nan]))).all()

@pytest.mark.parametrize("transform,c,y",
                         [("log2", 1., 0.), ("log2", .5, -1.), ("ln", 1., 0.), ("asinh", 2., 0.), ("none", 1., 0.)])
def test_no_expression_below_zero(transform, c, y):
    "1 − 8/8 = 0 RPKM is as low as it gets; a prediction of −3 is no lower."
    scale = UnitScale(1., 9., transform, c, True)
    np.testing.assert_allclose(scale.restored([-.125, -3]), [y, y], atol=1e-14)

def test_logarithms_may_be_below_zero():
    scale = fit_unit([-2., 2], dict(unit="log10 TPM", transform="none", pseudocount=1.), "")
    np.testing.assert_allclose(scale.restored([-.25, .5]), [-3, 0])

def test_one_value_is_no_scale():
    with pytest.raises(InputError,
            match="fold 1, training genes of A: all 3 have the same expression, 7 RPKM, and target = \"unit\""):
        fit_unit(np.log2([8., 8, 8]), RPKM, "fold 1, training genes of A")

def test_the_same_expression_everywhere(study, tmp_path):
    def constant(t): t.cellA = 7.
    with pytest.raises(InputError,
                       match="fold 1, training genes of cellA: all [0-9]+ have the same expression, 7 RPKM"):
        execute(changed(study, tmp_path/"study", constant), tmp_path/"run")

def test_profiles_have_no_such_scale():
    task = SimpleNamespace(options=ProfileCNNOptions(), run=SimpleNamespace(model="mine", fold="1", cell="A"))
    with pytest.raises(InputError, match=r"\[models.mine\] target = \"unit\" scales expression"):
        _scale_of(task, np.zeros((3, 2)))

def test_other_models_keep_their_target():
    for o in (NetworkOptions(), PromoterCNNOptions()):
        assert (o.target, o.min_delta, o.batch) == ("transformed", 1e-4, 64)
    assert _scale_of(SimpleNamespace(options=PromoterCNNOptions()), np.ones(3)) is None
    data = Data({}, np.ones(2), np.array(["train", "test"]))
    assert data.scaled() is data and data.restored(z := np.ones(2)) is z

# a run

def test_the_scale_is_of_the_training_genes(done, study):
    task, folder, _ = done
    genes, train = task.study.genes, task.study.folds["1"].train
    rpkm = table(study).cellA.reindex(genes.gene_id[genes.chrom.isin(train)]).dropna()
    scale = weights(folder)["scale"]
    assert scale == asdict(make_data(task).scale)
    np.testing.assert_allclose([scale["low"], scale["high"]], [rpkm.min(), rpkm.max()], rtol=1e-9)

def test_y_is_in_the_unit_of_the_transform(done, study):
    task, _, t = done
    known = t.set_index("gene_id").y_true.dropna()
    np.testing.assert_allclose(known, np.log2(table(study).cellA[known.index] + 1), rtol=1e-9)
    assert len(known) == 240 - len(UNLABELLED["cellA"]) and t.y_pred.min() >= 0

def test_losses_are_on_the_scale(done):
    task, folder, t = done
    history, state, data = pd.read_csv(folder/"history.csv"), weights(folder), make_data(task)
    net = profile_cnn.network(task.options, data.x)
    net.load_state_dict(state["net"])
    z, valid = predict_network(net, data.x), data.rows("valid")
    low, high = state["scale"]["low"], state["scale"]["high"]
    unit = (2**data.y - 1 - low) / (high - low)
    np.testing.assert_allclose(np.mean((z - unit)[valid]**2), history.valid_loss.min(), rtol=1e-5)
    np.testing.assert_allclose(t.y_pred, np.log2(np.maximum(low + z.astype(float)*(high - low), 0) + 1), rtol=1e-9)

def test_taken_up_again(done):
    task, folder, t = done
    np.testing.assert_allclose(load_fitted(task, folder)(task.model.inputs(task, np.arange(240))), t.y_pred,
                               rtol=1e-9)

def test_expression_of_test_genes_is_not_used(done, study, tmp_path):
    task, folder, t = done
    tested = t.gene_id[t.split == "test"].iloc[:5]
    def more(table): table.loc[tested, "cellA"] *= 1e6
    other = execute(changed(study, tmp_path/"study", more), tmp_path/"run")
    np.testing.assert_array_equal(other.y_pred, t.y_pred)
    assert (other.y_true != t.y_true)[t.gene_id.isin(tested)].all()
    a, b = weights(folder), weights(tmp_path/"run")
    assert a["scale"] == b["scale"] and all(torch.equal(v, b["net"][k]) for k, v in a["net"].items())

def test_expression_of_training_genes_is(done, study, tmp_path):
    _, folder, t = done
    highest = t.gene_id[t.y_true[t.split == "train"].idxmax()]
    def more(table): table.loc[highest, "cellA"] *= 2
    scale = make_data(changed(study, tmp_path/"study", more)).scale
    assert scale.high == pytest.approx(2*weights(folder)["scale"]["high"], rel=1e-9)

def test_the_other_target(study, tmp_path):
    task = tasks_of(study)["cellA"]
    task = replace(task, options=replace(task.options, target="transformed", epochs=1))
    execute(task, tmp_path)
    assert weights(tmp_path)["scale"] is None and make_data(task).scale is None

# training

def toy(n, scale=None): # n training genes and 20 others, 64 bins
    rng = np.random.default_rng(1)
    x = rng.random((n + 20, 64, 2), dtype=np.float32)
    return Data(dict(signal=x), x[:, 20:40, 0].mean(1)*8, np.repeat(["train", "valid", "test"], [n, 10, 10]),
                scale=scale)

class Breaks(ProfileCNN):
    "A network that breaks when it is about to begin its fourth epoch."
    left = 3
    def train(self, mode=True):
        if mode and not self.left: raise KeyboardInterrupt
        self.left -= bool(mode)
        return super().train(mode)

def test_resumed_to_the_same_weights(tmp_path):
    "Running means and variances too."
    o, data = ProfileCNNOptions(window=1600, widths=(4, 4, 4), dense=4, batch=16, epochs=6), toy(50,
        fit_unit([2., 6], RPKM, ""))
    fit = lambda net, **more: fit_network(lambda: net(o, 2, 64), data, o, seed=3, **more)
    whole, history = fit(ProfileCNN)
    with pytest.raises(KeyboardInterrupt): fit(Breaks, checkpoint=tmp_path/"checkpoint.pt", every=0.)
    assert len(load_checkpoint(tmp_path/"checkpoint.pt")["history"]) == 3
    resumed, again = fit(ProfileCNN, checkpoint=tmp_path/"checkpoint.pt", every=0.)
    a, b = whole.state_dict(), resumed.state_dict()
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a) and any("running_var" in k for k in a)
    pd.testing.assert_frame_equal(history.drop(columns="seconds"), again.drop(columns="seconds"), check_exact=True)

@pytest.mark.parametrize("n,batch,sizes",
                         [(1, 128, [1]), (33, 16, [11, 11, 11]), (50, 16, [13, 13, 12, 12]), (3, 1, [1, 1, 1])])
def test_no_gene_is_dropped(n, batch, sizes):
    seen = []
    class Sees(ProfileCNN):
        def forward(self, signal):
            if self.training: seen.append(len(signal))
            return super().forward(signal)
    o = ProfileCNNOptions(window=1600, widths=(4, 4, 4), dense=4, batch=batch, epochs=2)
    net, history = fit_network(lambda: Sees(o, 2, 64), toy(n), o, seed=0)
    assert seen == sizes*2
    assert np.isfinite(history.valid_loss).all() and np.isfinite(predict_network(net, toy(n).x)).all()

def test_batches_of_a_network_without_batch_norm_are_as_before():
    seen = []
    class Sees(PromoterCNN):
        def forward(self, signal):
            if self.training: seen.append(len(signal))
            return super().forward(signal)
    fit_network(lambda: Sees(2, 64), toy(33), NetworkOptions(batch=16, epochs=1), seed=0)
    assert seen == [16, 16, 1]
    assert [len(y) for _, y in Batches(toy(33), np.arange(33), 16)] == [16, 16, 1]

def test_any_lower_loss_counts_where_min_delta_is_0():
    "A learning rate that falls whatever happens, since no loss on this scale falls by 10⁻⁴."
    scale = UnitScale(0., 1e6, "none", 1., True)                              # y of about 4 is 4·10⁻⁶
    o = ProfileCNNOptions(window=1600, widths=(4, 4, 4), dense=4, batch=16, epochs=10, patience=100)
    lr = lambda o: fit_network(lambda: ProfileCNN(o, 2, 64), toy(50, scale), o, seed=0)[1]
    strict = lr(replace(o, min_delta=1e-4))
    np.testing.assert_allclose(strict.lr, [1e-3]*4 + [2e-4]*3 + [4e-5]*3)
    kept = lr(o)
    better = np.diff(kept.valid_loss.cummin()) < 0
    assert better[:3].any() and kept.lr[4] == 1e-3
