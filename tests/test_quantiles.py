"Targets as normal scores of the training genes, and back."
import json
import numpy as np, pandas as pd, pytest
from scipy.stats import norm
from toy import cli, finish, units_of, write_study
from chromexpress.core import InputError
from chromexpress.crossval import load_fitted
from chromexpress.data import KNOTS, UnitScale, _scale_of, fit_quantiles, make_data, scale_of

def test_normal_scores_by_hand():
    "0, 0, 2 and 6: probabilities ¼ for the two that are equal, ⅝ and ⅞."
    scale = fit_quantiles([6., 0, 2, 0], "")
    assert scale.values == [0, 2, 6]
    np.testing.assert_allclose(scale.scores, [-.6744898, .3186394, 1.1503494], atol=1e-7)
    np.testing.assert_allclose(scale.scaled([0, 2, 6, 4]), [-.6744898, .3186394, 1.1503494, .7344944], atol=1e-7)
    np.testing.assert_allclose(scale.restored([-.6744898, .7344944, 0]), [0, 4, 2*.6744898/(.6744898 + .3186394)], atol=1e-6)

def test_what_is_beyond_the_training_genes_is_cut_on_both_sides():
    scale = fit_quantiles([1., 3], "")
    assert scale.scaled([0, 7]).tolist() == scale.scaled([1, 3]).tolist() and scale.restored([-9, 9]).tolist() == [1, 3]
    assert np.isnan(scale.scaled([np.nan, 1])).tolist() == [True, False]

def test_scores_of_many_genes_are_normal_and_come_back():
    y = np.random.default_rng(1).gamma(1., 2., 5001)
    scale = fit_quantiles(y, "")
    assert 500 < len(scale.values) == len(scale.scores) <= KNOTS and [scale.values[0], scale.values[-1]] == [y.min(), y.max()]
    z = scale.scaled(y)
    assert abs(np.median(z)) < .005 and abs(z.std() - 1) < .005
    np.testing.assert_allclose(np.sort(z), norm.ppf((np.arange(5001) + .5)/5001), atol=.01)
    np.testing.assert_allclose(scale.restored(z), y, rtol=1e-6)

def test_one_value_has_no_quantiles():
    with pytest.raises(InputError, match='fold 1, training genes of A: all 3 have the same expression, and target = "quantile"'):
        fit_quantiles([7., 7, 7], "fold 1, training genes of A")

def test_a_saved_scale_comes_back():
    assert scale_of(dict(values=[0., 1], scores=[-1., 1])).restored(0) == .5
    assert scale_of(dict(low=0., high=4., transform="none", pseudocount=1., linear=True)) == UnitScale(0., 4., "none", 1., True)

def test_a_run_is_fitted_to_training_genes_and_predicts_in_the_unit_of_the_study(tmp_path):
    path = write_study(tmp_path, models='["promoter_cnn"]', folds='["1"]', tables='[models.promoter_cnn]\nepochs = 2\ntarget = "quantile"\n')
    finish(path)
    unit = next(u for u in units_of(path).values() if u.kind == "run" and "cellA" in u.id)
    task, table = unit.work, pd.read_csv(unit.folder/"predictions.csv")
    data = make_data(task)
    train = data.y[data.rows("train")]
    assert data.scale == fit_quantiles(train, "") == _scale_of(task, train) != fit_quantiles(data.y[~np.isnan(data.y)], "")
    z = data.scaled().y
    assert np.isnan(z).sum() == 3 and abs(np.mean(z[data.rows("train")])) < .01 and (z[~np.isnan(z)] <= max(data.scale.scores)).all()
    assert table.y_pred.between(train.min(), train.max()).all() and table.y_pred.std() > 0
    known = table.y_true.notna()
    np.testing.assert_allclose(table.y_true[known], data.y[known.to_numpy()], rtol=1e-6)
    np.testing.assert_allclose(load_fitted(task, unit.folder)(data.x), table.y_pred, rtol=1e-4, atol=1e-4)
    assert json.loads((unit.folder/"run.json").read_text())["options"]["target"] == "quantile"

def test_an_unknown_target_is_told_with_those_that_exist(tmp_path, capsys):
    path = write_study(tmp_path, models='["promoter_cnn"]', tables='[models.promoter_cnn]\ntarget = "quantiles"\n')
    assert cli("units", path) == 2 and "did you mean 'quantile'?" in capsys.readouterr().err
