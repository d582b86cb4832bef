"Published programs, number for number: what the authors' own code printed, against ours."
import importlib.util
import numpy as np, pytest, torch
from chromexpress.promoter_cnn import PromoterCNN
from chromexpress.registry import MODELS
from chromexpress.train import predict_network

@pytest.fixture(scope="module")
def golden(data):
    folder = data.parent/"golden"
    if not folder.is_dir(): pytest.skip(f"no golden outputs: {folder} is absent; it belongs beside the real data")
    return folder

@pytest.fixture(scope="module")
def pattern(golden): # makes the weights: pattern(shape, k)
    spec = importlib.util.spec_from_file_location("golden_pattern", golden/"pattern.py")
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    return module.pattern

def with_pattern(net, pattern):
    net.load_state_dict({name: torch.tensor(pattern(p.shape, k))
                         for k, (name, p) in enumerate(net.state_dict().items())})
    return net.eval()

def test_promoter_cnn(golden, pattern):
    z = np.load(golden/"promoter_cnn.npz")
    net = with_pattern(PromoterCNN(n_tracks=1, n_bins=60), pattern)
    with torch.inference_mode(): y = net(torch.tensor(z["x"])).numpy()
    assert y.shape == (6,) and y.dtype == np.float32
    np.testing.assert_allclose(y, z["y_pred"], rtol=1e-5, atol=1e-5)

def test_promoter_cnn_as_a_study_builds_it(golden, pattern):
    z, model = np.load(golden/"promoter_cnn.npz"), MODELS["promoter_cnn"]
    net = with_pattern(model.network(model.options(), dict(signal=z["x"])), pattern)
    np.testing.assert_allclose(predict_network(net, dict(signal=z["x"])), z["y_pred"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(predict_network(net, dict(signal=z["x"]), size=1), z["y_pred"], rtol=1e-5, atol=1e-5)

def test_weights_come_as_kernel_bias_kernel_bias():
    "Six layers in forward order: three convolutions (out, in, kernel), three dense ones (out, in)."
    shapes = [tuple(p.shape) for p in PromoterCNN().state_dict().values()]
    assert shapes == [(175, 1, 8), (175,), (350, 175, 4), (350,), (700, 350, 4), (700,),
                      (625, 2100), (625,), (125, 625), (125,), (1, 125), (1,)]

def test_the_pattern_is_the_documented_one(pattern):
    w = pattern((100, 50), 0)
    assert w.dtype == np.float32 and abs(w.var() - 2/50) < .002 and abs(pattern((10_000,), 1)).max() <= .1
    np.testing.assert_array_equal(w, pattern((100, 50), 0))
