"Chromoformer: the numbers of the authors' own program, and what must hold for any weights."
import importlib.util, zipfile
import numpy as np, pandas as pd, pytest, torch
from chromexpress.chromoformer import Chromoformer, ChromoformerSizes, Pairwise, attend_bins, predict_variants, share
from chromexpress.core import InputError
from toy import unpack

SMALL = dict(d_emb=32, d_head=32, embed_ff=32, pair_ff=64, reg_width=64, reg_ff=64)         # of the golden outputs
TINY = ChromoformerSizes(tracks=2, bins=(1000, 500), span=4000, slots=3, d_emb=8, d_head=6, embed_ff=10, pair_ff=12, reg_layers=2,
                         reg_heads=2, reg_width=12, reg_ff=10)

@pytest.fixture(scope="module")
def golden(data):
    folder = data.parent/"golden"
    if not folder.is_dir(): pytest.skip(f"no golden outputs: {folder} is absent; it belongs beside the real data")
    spec = importlib.util.spec_from_file_location("golden_pattern", folder/"pattern.py")
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    return np.load(folder/"chromoformer_regressor_small.npz"), module.pattern

@pytest.fixture(scope="module")
def demo(data, golden, tmp_path_factory): # the genes of the golden outputs, and where their signal is
    folder = tmp_path_factory.mktemp("e003")
    unpack(data/"e003_demo.tar.xz", folder)
    meta = pd.read_csv(folder/"e003_demo"/"demo_meta.csv").set_index("gene_id").loc[golden[0]["gene_id"]]
    return meta, folder/"e003_demo"/"signals"

def bin_means(depth, b): # (tracks, bp) → (bins, tracks): the last bin by the bases it has
    return np.log1p(np.stack([depth[:, i:i + b].mean(1, dtype=float) for i in range(0, depth.shape[1], b)])).astype(np.float32)

def padded(regions, tracks): # (regions, bins of the longest, tracks), zeros after
    x = np.zeros((len(regions), max(map(len, regions), default=0), tracks), np.float32)
    for i, r in enumerate(regions): x[i, :len(r)] = r
    return torch.tensor(x)

def make_batch(promoters, plus, partners, sizes=ChromoformerSizes()): # signal per base; per gene a list of (score, signal)
    x, slots = {}, [(g*sizes.slots + j, *p) for g, own in enumerate(partners) for j, p in enumerate(own)]
    for b in sizes.bins:
        p, m = [bin_means(v, b) for v in promoters], sizes.span//b
        x[f"promoter_{b}"] = padded([v if s else v[::-1] for v, s in zip(p, plus)], sizes.tracks)
        x[f"promoter_left_{b}"] = torch.tensor([-((len(v) - m)//2) if s else (m - len(v))//2 for v, s in zip(p, plus)])
        f = [bin_means(v, b) for *_, v in slots]
        x[f"partner_{b}"], x[f"partner_n_{b}"] = padded(f, sizes.tracks), torch.tensor([len(v) for v in f], dtype=torch.long)
    return x | dict(slot=torch.tensor([s for s, *_ in slots], dtype=torch.long), score=torch.tensor([s for _, s, _ in slots], dtype=torch.float32))

def published_batch(demo, window=40_000):
    meta, folder = demo
    load = lambda region: np.load(folder/f"{region}.npy").astype(np.float64)
    promoters = [load(f"{r.chrom}:{r.start - 20_000}-{r.start + 20_000}")[:, 20_000 - window//2:20_000 + window//2] for r in meta.itertuples()]
    listed = [([], []) if pd.isna(r.neighbors) else (r.scores.split(";"), r.neighbors.split(";")) for r in meta.itertuples()]
    return make_batch(promoters, meta.strand == "+", [[(float(s), load(n)) for s, n in zip(*own)] for own in listed])

def with_pattern(net, pattern):
    offset = lambda k: float(".ln." in k and k.endswith("weight") or "gamma_f" in k)
    net.load_state_dict({name: torch.tensor(pattern(p.shape, k, offset(name))) for k, (name, p) in enumerate(net.state_dict().items())})
    return net

@pytest.fixture(scope="module")
def batch(demo): return published_batch(demo)

@pytest.fixture(scope="module")
def regressor(golden): return with_pattern(Chromoformer(ChromoformerSizes(**SMALL)), golden[1])

def predicted(net, x):
    with torch.inference_mode(): return net(**x)

# the authors' numbers

def test_names_and_their_order_are_published(golden, regressor):
    assert list(regressor.state_dict()) == list(golden[0]["param_name"])

@pytest.mark.parametrize("b", [2000, 500, 100])
def test_the_batch_is_what_the_published_loader_makes(golden, batch, demo, b):
    z, k = golden[0], 40_000//b
    np.testing.assert_allclose(batch[f"promoter_{b}"][:3], z[f"x_promoter_{b}"][:, 0], rtol=0, atol=2e-6)
    third = [(int(s) % 8, f[:n], n) for s, f, n in zip(batch["slot"], batch[f"partner_{b}"], batch[f"partner_n_{b}"]) if s//8 == 2]
    assert third and len(third) == int((np.abs(z[f"x_pcre_{b}"][0]).sum((1, 2)) > 0).sum())
    for j, f, n in third:
        left = -((int(n) - k)//2)
        np.testing.assert_allclose(f, z[f"x_pcre_{b}"][0, j, left:left + n], rtol=0, atol=2e-6)
        assert not z[f"x_pcre_{b}"][0, j, :left].any() and not z[f"x_pcre_{b}"][0, j, left + n:].any()

def test_the_regressor(golden, batch, regressor):
    y = predicted(regressor, batch)
    assert y.shape == (10,) and y.dtype == torch.float32
    np.testing.assert_allclose(y, golden[0]["y_pred"], rtol=0, atol=1e-5)

def test_a_narrow_window(golden, demo, regressor):
    z, x = golden[0], published_batch(demo, 6000)
    for b in (2000, 500, 100):                                               # one gene on each strand
        n, m = 6000//b, 40_000//b
        for g in (0, 1):
            left = int(x[f"promoter_left_{b}"][g])
            assert left == ((m - n + 1)//2 if demo[0].strand.iloc[g] == "+" else (m - n)//2)
            np.testing.assert_allclose(x[f"promoter_{b}"][g], z[f"narrow_x_promoter_{b}"][g, 0, left:left + n], rtol=0, atol=2e-6)
    assert set(demo[0].strand[:2]) == {"+", "-"}
    np.testing.assert_allclose(predicted(regressor, x), z["narrow_y_pred"], rtol=0, atol=1e-5)

def test_the_classifier(golden, batch):
    net = with_pattern(Chromoformer(ChromoformerSizes(outputs=2, **SMALL)), golden[1])
    np.testing.assert_allclose(predicted(net, batch), golden[0]["classifier_logits"], rtol=0, atol=1e-5)

def test_gradients(golden, batch, demo, regressor):
    z, y = golden[0], torch.tensor(np.log2(demo[0].expression.to_numpy() + 1), dtype=torch.float32)
    regressor.zero_grad(set_to_none=True)
    loss = torch.nn.functional.mse_loss(regressor(**batch), y)
    loss.backward()
    assert loss.item() == pytest.approx(float(z["loss"]), rel=1e-5)
    want, got = dict(zip(z["grad_name"], z["grad_norm"])), {k: p.grad for k, p in regressor.named_parameters()}
    assert {k for k, g in got.items() if g is None} == {k for k, g in want.items() if g == 0} and len(want) == len(got)
    for k, g in got.items():
        if g is not None: assert float(g.norm()) == pytest.approx(want[k], rel=1e-4), k

def test_published_weights_go_in_and_out(golden, batch, regressor, tmp_path):
    state = regressor.to_published()
    torch.save(dict(net=state, optimizer={}, epoch=9, val_score=np.ones((3, 2), np.float32), val_label=np.arange(3), last_val_r2=np.float64(.5),
                    last_val_loss=torch.tensor(1.)), tmp_path/"new.pt")
    with zipfile.ZipFile(tmp_path/"new.pt") as a, zipfile.ZipFile(tmp_path/"old.pt", "w") as b:      # as NumPy 1 names its parts
        for i in a.infolist(): b.writestr(i.filename, a.read(i).replace(b"numpy._core.", b"numpy.core."))
    for source in (state, dict(net=state), tmp_path/"new.pt", str(tmp_path/"old.pt")):
        net = Chromoformer.from_published(source)
        assert net.sizes == ChromoformerSizes(**SMALL) and not net.training
        back = net.to_published()
        assert list(back) == list(state) and all(torch.equal(back[k], state[k]) for k in state)
    np.testing.assert_allclose(predicted(net, batch), golden[0]["y_pred"], rtol=0, atol=1e-5)

def test_with_the_published_sizes_there_are_as_many_parameters():
    net = Chromoformer()
    assert sum(p.numel() for p in net.parameters()) == 5_342_543
    unused = 3*2 + 3*4 + 3*2*128 + 3*2*2 + 18*16                             # embedding: γ, w_bias; pairs: ln, γ; regulation: w_bias
    assert unused == 1086

# any weights

def toy(seed=0, window=4000, partners=(3, 1, 0, 2)):
    rng = np.random.default_rng(seed)
    depth = lambda bp: rng.poisson(2., (2, bp)).astype(float)
    own = [[(1.5 + rng.random(), depth(int(rng.integers(1, 4001)))) for _ in range(n)] for n in partners]
    return make_batch([depth(window) for _ in partners], [True, False, True, False], own, TINY)

@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return Chromoformer(TINY).eval()

def test_the_same_twice(tiny):
    x = toy()
    assert torch.equal(predicted(tiny, x), predicted(tiny, x))
    torch.manual_seed(0)
    assert torch.equal(predicted(Chromoformer(TINY), x), predicted(tiny, x))

def test_the_order_of_packed_partners_does_not_matter(tiny):
    x, order = toy(), torch.tensor([4, 0, 5, 2, 1, 3])
    mixed = {k: v if k.startswith("promoter") else v[order] for k, v in x.items()}
    torch.testing.assert_close(predicted(tiny, mixed), predicted(tiny, x), rtol=0, atol=1e-6)

def test_a_gene_does_not_depend_on_the_others(tiny):
    x, y = toy(), None
    for g in range(4):
        own = x["slot"]//3 == g
        one = {k: v[g:g + 1] if k.startswith("promoter") else v[own] for k, v in x.items()} | dict(slot=x["slot"][own] - 3*g)
        torch.testing.assert_close(predicted(tiny, one), predicted(tiny, x)[g:g + 1], rtol=0, atol=1e-6)

def test_zeros_after_a_partner_are_padding(tiny):
    x = toy()
    wider = x | {k: torch.nn.functional.pad(v, (0, 0, 0, TINY.span//int(k[8:]) - v.shape[1])) for k, v in x.items() if k in ("partner_1000", "partner_500")}
    torch.testing.assert_close(predicted(tiny, wider), predicted(tiny, x), rtol=0, atol=1e-6)

def test_no_contacts_at_all(tiny):
    x = toy(partners=(0, 0, 0, 0))
    assert x["partner_500"].shape == (0, 0, 2)
    y = tiny(**x)
    y.sum().backward()
    assert y.shape == (4,) and all(torch.isfinite(p.grad).all() for p in tiny.parameters() if p.grad is not None)
    three = {k: v for k, v in toy(partners=(0, 0, 1, 0)).items()}            # a partner of one gene changes that gene alone
    three |= {k: v for k, v in x.items() if k.startswith("promoter")}
    changed = (predicted(tiny, three) - predicted(tiny, x)).abs() > 1e-6
    assert changed.tolist() == [False, False, True, False]

def test_one_bin_on_the_minus_strand_sees_everything_alike(tiny):
    "Its centre is padding, so attention is uniform: the order of a partner's bins means nothing, which it does on the plus strand."
    depth = lambda bp, seed: np.random.default_rng(seed).poisson(3., (2, bp)).astype(float)
    promoter, partner = depth(500, 1), depth(3000, 2)
    turned = np.concatenate([partner[:, 1000:], partner[:, :1000]], 1)
    for plus in (False, True):
        a, b = (make_batch([promoter], [plus], [[(2., p)]], TINY) for p in (partner, turned))
        assert a["promoter_left_500"] == (4 if plus else 3) and a["promoter_left_1000"] == (2 if plus else 1)
        ya, yb = predicted(tiny, a), predicted(tiny, b)
        assert torch.isfinite(ya).all() and bool((ya - yb).abs() < 1e-6) != plus

def test_attention_by_hand():
    "Two bins of value 1 and 3 at positions 0 and 1 of three; one head; the projection is 1, the table 0, 0, 1."
    x, table, w = torch.tensor([[[1., 3., 0.]]]), torch.tensor([[0.], [0.], [1.]]), torch.tensor([[1.]])
    u = torch.full((1, 1, 1), float(np.log(2)))                              # logits ln 2 and 3 ln 2: weights 1/5 and 4/5
    seen = attend_bins(u, x, torch.tensor([[False, False, True]]), w, table)
    assert seen.item() == pytest.approx(1/5 + 3*4/5, abs=1e-6)
    assert attend_bins(u, x, torch.ones(1, 3, dtype=torch.bool), w, table).item() == pytest.approx((1 + 3 + 1)/3, abs=1e-6)

# variants

def test_variants_are_predicted_as_if_they_were_genes(tiny):
    x = {k: v[:1] if k.startswith("promoter") else v[:3] for k, v in toy().items()}
    many = {k: v.repeat(9, *[1]*(v.ndim - 1)) for k, v in x.items()} | dict(slot=torch.arange(27))
    many["promoter_500"][2, 3] = 0                                           # gene 2: its promoter; 4 and 5: the same edit of a partner
    for g in (4, 5): many["partner_1000"][3*g + 1, 0] += 30
    many["score"][3*7] += 20                                                 # gene 7: a contact alone
    shared, of = share(TINY, many)
    assert of.tolist() == [0, 0, 1, 0, 2, 2, 0, 3, 0] and len(shared["promoter_500"]) == 2 and len(shared["partner_500"]) == 4
    y = predict_variants(tiny, many)
    torch.testing.assert_close(y, predicted(tiny, many), rtol=0, atol=1e-6)
    assert len({round(v, 5) for v in y.tolist()}) == 4 and y[4] == y[5]

@pytest.mark.parametrize("window,of_few", [(4000, True), (500, False)])
def test_many_promoters_of_few_partners(tiny, window, of_few, monkeypatch):
    "Keys are made once a partner. A window of one bin misses the centre on the minus strand (genes 1 and 3), and takes the plain way."
    x = toy(window=window, partners=(3, 2, 0, 1))
    many = {k: v.repeat(20, *[1]*(v.ndim - 1)) for k, v in x.items()} | dict(slot=torch.cat([x["slot"] + 12*i for i in range(20)]))
    many["promoter_500"] *= 1 - torch.arange(80)[:, None, None]//4/20
    many["partner_500"][7*6, 0] += 5                                         # one of them is another partner
    asked, real = [], Pairwise.of_few
    monkeypatch.setattr(Pairwise, "of_few", lambda self, *a: asked.append(a[-1]) or real(self, *a))
    y = predict_variants(tiny, many)
    torch.testing.assert_close(y, predicted(tiny, many), rtol=0, atol=1e-6)
    assert [sorted(a) for a in asked] == ([[1, 19, *[20]*5]]*2 if of_few else [])

@pytest.mark.parametrize("partners", [(3, 1, 0, 2), (0, 0, 0, 0)])
def test_genes_with_nothing_in_common(tiny, partners):
    x = toy(3, partners=partners)
    torch.testing.assert_close(predict_variants(tiny, x), predicted(tiny, x), rtol=0, atol=1e-6)

# wrong inputs

def test_wrong_weights_are_named(tiny, tmp_path):
    state = tiny.to_published()
    load = lambda s: Chromoformer.from_published(s, span=4000, slots=3)
    with pytest.raises(InputError, match=r"missing: fc_head\.2\.bias\.$"): load({k: v for k, v in state.items() if k != "fc_head.2.bias"})
    with pytest.raises(InputError, match=r"missing: fc_head\.2\.weight\.$"): load({k: v for k, v in state.items() if k != "fc_head.2.weight"})
    with pytest.raises(InputError, match=r"unknown: extra\.weight\.$"): load(state | {"extra.weight": torch.ones(1)})
    with pytest.raises(InputError, match=r"of another shape: fc_head\.0\.bias\.$"): load(state | {"fc_head.0.bias": torch.ones(5)})
    with pytest.raises(InputError, match=r"missing: embed\.2000\.lin_proj\.weight"): load({})
    with pytest.raises(InputError, match="span = 4100 is no whole number of bins of 1000 bp"): Chromoformer.from_published(state, span=4100)

def test_wrong_files_are_named(tmp_path):
    with pytest.raises(InputError, match="none.pt: no such file"): Chromoformer.from_published(tmp_path/"none.pt")
    (tmp_path/"text.pt").write_text("weights\n")
    with pytest.raises(InputError, match="text.pt: no checkpoint that can be read safely"): Chromoformer.from_published(tmp_path/"text.pt")
    torch.save(dict(net=Chromoformer), tmp_path/"code.pt")                   # would execute code on loading
    with pytest.raises(InputError, match="code.pt: no checkpoint that can be read safely"): Chromoformer.from_published(tmp_path/"code.pt")
    torch.save([1, 2], tmp_path/"list.pt")
    with pytest.raises(InputError, match="list.pt: no state dict"): Chromoformer.from_published(tmp_path/"list.pt")
    torch.save(dict(net={"conv.weight": torch.ones(2)}), tmp_path/"other.pt")
    with pytest.raises(InputError, match=r"other\.pt: no weights of Chromoformer: missing: embed\.2000\.lin_proj\.weight"):
        Chromoformer.from_published(tmp_path/"other.pt")

@pytest.mark.parametrize("sizes,match", [
    (dict(bins=(3000,)), "no whole number of bins of 3000 bp"), (dict(bins=()), "one or more"), (dict(slots=0), "slots = 0"),
    (dict(embed_heads=3), "d_emb = 128 cannot be shared by embed_heads = 3"), (dict(d_emb=33, embed_heads=1, pair_heads=1), "must be even"),
    (dict(tracks=7.), "tracks = 7.0: needs a whole number")])
def test_wrong_sizes(sizes, match):
    with pytest.raises(InputError, match=match): ChromoformerSizes(**sizes)

def test_wrong_inputs(tiny):
    x = toy()
    with pytest.raises(InputError, match="partner_500 has 9 bins, and span = 4000 bp has room for 8"): tiny(**x | dict(partner_500=torch.ones(6, 9, 2)))
    with pytest.raises(InputError, match="promoter_1000 has 3 tracks, the network 2"): tiny(**x | dict(promoter_1000=torch.ones(4, 4, 3)))
    with pytest.raises(InputError, match="no input 'partner_n_500'"): tiny(**{k: v for k, v in x.items() if k != "partner_n_500"})
