"""QTL enrichment: does each null keep its promise, what does it find where there is something, and what do 10,000 draws cost?

Calibration: studies with nothing to find (`simulate_eqtls.null_study`), in which eQTLs and effects share what real ones share; how often
is p of the first decile ≤ α, and is the randomised p uniform? Power: tiles of a simulated genome whose effects are the true ones with
noise of 1, 2 and 4 times their spread; the eQTLs lie in causal elements (`simulate_eqtls.lay_eqtls`). Time: 10,000 draws × 10 deciles ×
10⁵ tiles, 2,000 of which hold eQTLs, against a table join for each draw, with whose counts they are compared first.
"""
from common import alternate, check, parse, parser, report
import time
import numpy as np, pandas as pd
from chromexpress.qtl import NULLS, cell_enrichment, deciles, draw_hits, enrichment, exchange, expression_classes, place_eqtls, score_tiles
from chromexpress.simulate import lay_contacts, lay_enhancers, lay_fragments, lay_genes, make_cell, element_table
from chromexpress.simulate_eqtls import SCENARIOS, calibrate_null, false_alarms, lay_eqtls, null_study, true_tiles


def calibration(a):
    "The table of false alarms, and its figures."
    p = pd.concat([calibrate_null(n, s, a.studies, a.draws, genes=a.genes) for n in NULLS for s in SCENARIOS])
    table = false_alarms(p)
    figures = {f"{r.null}, {r.scenario}: P(p ≤ {r.alpha:g})": float(r.share) for r in table.itertuples()}
    figures |= {f"{n}: scenarios and levels kept, of {len(d)}": int(d.held.sum()) for n, d in table.groupby("null", sort=False)}
    return figures, table


def power(a):
    "Share of small studies in which p of the model's first decile, and that of shuffled scores, is ≤ .05."
    rows = []
    for i in range(a.power):
        rng, (genes, sizes) = np.random.default_rng(i), lay_genes(a.genes, i)
        contacts = lay_contacts(genes, lay_fragments(sizes, i), i)
        enhancers = lay_enhancers(genes, contacts, i)
        cell = make_cell("cellA", genes, enhancers, i)
        elements = element_table(cell, genes, enhancers)
        tiles, eqtls = true_tiles(genes, elements), lay_eqtls(elements, genes, sizes, "cellA", i)
        placed, y = place_eqtls(eqtls, tiles), pd.Series(cell.parts.f.to_numpy(), genes.gene_id)
        scores = {f"noise × {k}": tiles.effect + k*tiles.effect.std()*rng.normal(size=len(tiles)) for k in (1, 2, 4)}
        for name, effect in (scores | dict(shuffled=pd.Series(rng.permutation(scores["noise × 1"])))).items():
            found = cell_enrichment(score_tiles(tiles.assign(effect=effect)), placed, y, ("cellA", "cellA", name, "", str(i)), draws=a.draws)
            found = found[(found.scorer == "model") & (found.decile == 1)]
            rows += [(name, p) for p in found.p]
    t = pd.DataFrame(rows, columns=["scores", "p"])
    return {f"{name}: P(p ≤ .05)": float((d.p <= .05).mean()) for name, d in t.groupby("scores", sort=False)}


def joined(label, weight, groups, draws, rng):
    "The plain way: for one draw after another the units of each stratum are shuffled, and the eQTLs joined to the tiles."
    unit, slot, stratum = groups
    out = np.zeros((draws, 10))
    for d in range(draws):
        to = np.arange(unit.max() + 1)
        of = pd.Series(stratum).groupby(unit).first().to_numpy()
        for s in np.unique(of): to[of == s] = rng.permutation(to[of == s])
        moved = pd.DataFrame(dict(unit=to[unit], slot=slot, weight=weight)).merge(pd.DataFrame(dict(unit=unit, slot=slot, label=label)))
        out[d] = np.bincount(moved.label, moved.weight, 10)
    return out


def agree(null):
    "Whether the means of the draws are those of the plain ones, within five standard errors."
    tiles, weight, y = null_study(np.random.default_rng(0), 60)
    label = deciles(tiles.effect.to_numpy(), np.random.default_rng(0))
    groups = exchange(tiles, null, expression_classes(tiles.gene_id, y))
    fast = draw_hits(label, weight, groups, 5000, np.random.default_rng(2))
    plain = joined(label, weight, groups, 60, np.random.default_rng(3))
    return (abs(fast.mean(0) - plain.mean(0)) <= 5*fast.std(0)*(1/60 + 1/5000)**.5 + 1e-9).all()


def timing(a):
    "Seconds, and seconds of the processor, of 10,000 draws; and of a table join for each draw."
    tiles, _, y = null_study(np.random.default_rng(0), a.tiles//8)
    weight, hits = np.zeros(len(tiles), int), np.random.default_rng(1).choice(len(tiles), a.hits, replace=False)
    weight[hits] = 1 + (np.arange(a.hits) % 5 == 0)
    level, score, cpu = expression_classes(tiles.gene_id, y), tiles.effect.to_numpy(), {}
    def of(null):
        start = time.process_time()
        enrichment(tiles, score, weight, level, null, 10_000)
        cpu[f"{null}, CPU s"] = time.process_time() - start
    label, groups = deciles(score, np.random.default_rng(0)), exchange(tiles, "genes", level)
    jobs = {n: lambda n=n: of(n) for n in NULLS} | dict(plain=lambda: joined(label, weight, groups, 2, np.random.default_rng(0)))
    seconds = alternate(jobs, a.rounds)
    return {f"{n}, s": s for n, s in seconds.items() if n != "plain"} | cpu | {"a join a draw, 10,000 draws, s (scaled from 2)": 5000*seconds["plain"]}


def main():
    p = parser(__doc__)
    p.add_argument("--studies", type=int, default=200, help="null studies of each scenario")
    p.add_argument("--power", type=int, default=40, help="simulated genomes")
    p.add_argument("--genes", type=int, default=400, help="of a study")
    p.add_argument("--draws", type=int, default=999, help="of a test")
    p.add_argument("--tiles", type=int, default=100_000, help="for the time of 10,000 draws")
    p.add_argument("--hits", type=int, default=2000, help="tiles with an eQTL, for the time of 10,000 draws")
    a = parse(p, studies=3, power=1, genes=60, draws=49, tiles=800, hits=40, rounds=1)
    figures, table = calibration(a)
    figures |= {f"{n}: equal to a join a draw": check(agree(n), n) for n in NULLS}
    report(figures | power(a) | timing(a), a.json, tables=dict(false_alarms=table.to_dict("records")))


if __name__ == "__main__": main()
