"""Training the promoter CNN on one thread: what an epoch costs with and without its data, and how near a step is to
the machine's speed.

A step is many matrix products (convolutions too). The machine's speed is measured in the same process, on products
of just these shapes, and on one of 1024³. Floating-point operations are counted by formula, which is checked against
torch's own counter.
"""
from common import alternate, check, parse, parser, report
import numpy as np, torch
from torch.utils.flop_counter import FlopCounterMode
from chromexpress.data import Batches, Data
from chromexpress.promoter_cnn import PromoterCNN
from chromexpress.train import epoch_of


class Same:
    "An epoch of one batch, again and again: no data are fetched."
    def __init__(self, batches): self.batch, self.n, self.y = next(iter(batches)), len(batches), batches.y
    def __iter__(self): return (self.batch for _ in range(self.n))


def products(batch, bins, tracks):
    """(rows, inner, columns) of every matrix product of a step: forward, and the gradients of weights and of inputs
    but the first. Positions that the pooling after a layer drops are not computed."""
    first, second, third = bins//4, bins//4//2, bins//4//2//2            # positions that are left after each pooling
    lengths = 4*first, 2*second, 2*third
    layers = [(batch*n, c_in*k, c_out)
              for n, c_in, c_out, k in zip(lengths, (tracks, 175, 350), (175, 350, 700), (8, 4, 4))]
    layers += [(batch, i, o) for i, o in ((700*third, 625), (625, 125), (125, 1))]
    forward, weights = layers, [(k, m, n) for m, k, n in layers]
    return forward + weights + [(m, n, k) for m, k, n in layers[1:]]

def flops(shapes): return sum(2*m*k*n for m, k, n in shapes)

def counted(net, x, y):
    "Operations of a step, as torch counts them."
    with FlopCounterMode(display=False) as counter: torch.nn.functional.mse_loss(net(**x), y).backward()
    return counter.get_total_flops()

def multiply(shapes):
    "A function that does these matrix products."
    pairs = [(torch.rand(m, k), torch.rand(k, n), torch.empty(m, n)) for m, k, n in shapes]
    def f():
        for a, b, out in pairs: torch.mm(a, b, out=out)
    return f


def main():
    p = parser(__doc__)
    p.add_argument("--genes", type=int, default=14_000, help="genes of an epoch")
    p.add_argument("--tracks", type=int, default=7)
    p.add_argument("--bins", type=int, default=60)
    p.add_argument("--batch", type=int, default=64)
    a = parse(p, rounds=1, genes=128, tracks=1, batch=16)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    x = dict(signal=rng.random((a.genes, a.bins, a.tracks), dtype=np.float32))
    data = Data(x, rng.random(a.genes), np.full(a.genes, "train"))
    batches = Batches(data, data.rows("train"), a.batch, torch.Generator().manual_seed(0))
    net = PromoterCNN(a.tracks, a.bins)
    adam, same = torch.optim.Adam(net.parameters(), fused=True), Same(batches)
    shapes = products(a.batch, a.bins, a.tracks)
    right = check(flops(shapes) == counted(net, *same.batch), "operations by formula and as counted")
    def data_only():
        for _ in batches: pass
    def step():
        torch.nn.functional.mse_loss(net(**same.batch[0]), same.batch[1]).backward(); adam.step(); adam.zero_grad()
    t = alternate(dict(epoch=lambda: epoch_of(net, batches, adam), same=lambda: epoch_of(net, same, adam),
                       data=data_only), a.rounds)
    s = alternate(dict(step=step, products=multiply(shapes), large=multiply([(1024, 1024, 1024)])), 5*a.rounds)
    rate, sgemm = flops(shapes)/s["step"]/1e9, flops(shapes)/s["products"]/1e9
    report({"genes": a.genes, "tracks": a.tracks, "steps of an epoch": len(batches),
            "operations as counted by torch": right,
            "epoch, s": t["epoch"], "epoch of the same batch, s": t["same"], "data only, s": t["data"],
            "share of data": t["data"]/t["epoch"], "epoch / epoch of the same batch": t["epoch"]/t["same"],
            "operations of a step, GFLOP": flops(shapes)/1e9, "step, ms": s["step"]*1e3, "step, GFLOP/s": rate,
            "products of the same shapes, GFLOP/s": sgemm, "product of 1024³, GFLOP/s": 2*1024**3/s["large"]/1e9,
            "step / products of the same shapes": rate/sgemm}, a.json)


if __name__ == "__main__": main()
