"""Batches: what an epoch of 14,000 genes × 1 track × 60 bins costs without a model, and with the promoter CNN."""
import numpy as np, torch
from chromexpress.data import Batches, Data
from chromexpress.promoter_cnn import PromoterCNN
from common import alternate, parser, report


def main():
    p = parser(__doc__)
    p.add_argument("--genes", type=int, default=14_000)
    args = p.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    data = Data(dict(signal=rng.random((args.genes, 60, 1), dtype=np.float32)), rng.random(args.genes), np.full(args.genes, "train"))
    batches, net = Batches(data, data.rows("train"), 64, torch.Generator().manual_seed(0)), PromoterCNN()
    adam = torch.optim.Adam(net.parameters(), fused=True)
    x, y = next(iter(batches))
    def epoch():
        for _ in batches: pass
    def step():
        torch.nn.functional.mse_loss(net(**x), y).backward(); adam.step()
    def gemm(a=torch.rand(1024, 1024)): a @ a
    t = alternate(dict(epoch=epoch, step=step, gemm=gemm), args.rounds)
    flops = 3 * 2 * 64 * (60*8*175 + 15*4*175*350 + 7*4*350*700 + 2100*625 + 625*125 + 125)
    report({"epoch of batches, s": t["epoch"], "training step of 64 genes, s": t["step"], "epoch with training, s (from the step)": t["step"]*len(batches),
            "share of batching": t["epoch"]/(t["epoch"] + t["step"]*len(batches)), "training step, GFLOP/s": flops/t["step"]/1e9, "matrix product, GFLOP/s": 2*1024**3/t["gemm"]/1e9}, args.json)


if __name__ == "__main__": main()
