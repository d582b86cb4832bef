"A complete model in one file, to be named under `plugins` in a study: a profile around the TSS, each of its bins by ridge regression."
from dataclasses import dataclass
import numpy as np
from chromexpress.core import InputError
from chromexpress.data import Model, window_inputs
from chromexpress.registry import register
from chromexpress.tracks import Need

@dataclass(frozen=True)
class ProfileRidgeOptions:
    "Options of `profile_ridge`. Raises: InputError if α is not positive."
    window:int=6000 # bp around the TSS, of the marks
    bin:int=1000 # bp, of the marks
    profile:str="cage" # which of [profiles.<cell>] to predict
    out_window:int=6000 # bp around the TSS, of the profile
    out_bin:int=2000 # bp, of the profile
    alpha:float=1e-3 # penalty on the weights, per training gene
    def __post_init__(self):
        Need(self.window, self.bin), Need(self.out_window, self.out_bin)
        if not self.alpha > 0: raise InputError(f"alpha = {self.alpha}: needs a number above 0.")

def features(x): return x["signal"].reshape(len(x["signal"]), -1).astype(float) # (genes, bins × tracks)

def fit(task, data): # weights (bins × tracks, profile bins), intercept (profile bins,)
    "The minimum of ‖y − xw − b‖²/n + α‖w‖² over the training genes."
    x, y = features(data.x)[data.rows("train")], data.y[data.rows("train")].astype(float)
    xc, yc = x - x.mean(0), y - y.mean(0)
    w = np.linalg.solve(xc.T @ xc / len(x) + task.options.alpha*np.eye(x.shape[1]), xc.T @ yc / len(x))
    return dict(weights=w, intercept=y.mean(0) - x.mean(0) @ w)

def predict(fitted, x): return features(x) @ fitted["weights"] + fitted["intercept"] # (genes, profile bins)

def lacks(study, options): # what a study lacks for this model, as sentences
    if any(options.profile in p for p in study.profiles.values()): return []
    return [f"no [profiles.<cell>] has {options.profile!r}, which it predicts."]

register(Model("profile_ridge", "a profile, bin by bin, by ridge regression", ProfileRidgeOptions,
               needs=lambda o: [Need(o.window, o.bin)], inputs=window_inputs, fit=fit, predict=predict,
               profile=lambda o: (o.profile, Need(o.out_window, o.out_bin)), lacks=lacks))
