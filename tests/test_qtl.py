"QTL enrichment: tables of eQTLs, which tile each falls into, what each null draws, p, and the known answer."
import itertools, sys
from types import SimpleNamespace
import numpy as np, pandas as pd, pytest
from chromexpress.core import InputError
from chromexpress.genome import chrom_sizes
from chromexpress.qtl import (BUILDS, KEYS, NULLS, RESULT, SHEET, TISSUES, adjusted, cell_enrichment, choices, contact_of, deciles, draw_hits,
                              enrichment, exchange, expression_classes, on_assembly, p_values, parse_variants, place_eqtls, qtl_table,
                              read_eqtls, run_qtl, score_tiles, study_effects, tissue_cells)
from chromexpress.simulate import element_table, lay_contacts, lay_enhancers, lay_fragments, lay_genes, make_cell
from chromexpress.simulate_eqtls import SCENARIOS, add_eqtls, calibrate_null, false_alarms, lay_eqtls, null_study, true_tiles
from toy import HG19, cli, write_study

def eqtl(*pos, gene="G1", chrom="chr1", tissue="Liver", assembly="hg19"):
    return pd.DataFrame(dict(tissue=tissue, gene_id=gene, chrom=chrom, pos=pos, variant=[f"{chrom}:{p + 1}:A:G" for p in pos], assembly=assembly))

def two_sides(gene="G1", tss=10_000, n=2, chrom="chr1", minus=False): # distal tiles of 2 kb beyond 3 kb, in the order of the chromosome
    far = [*range(-2*n - 2, -3, 2), *range(4, 2*n + 3, 2)]
    rows = [(gene, chrom, tss + 1000*(d - 1), tss + 1000*(d + 1), -1000*d if minus else 1000*d) for d in far]
    return pd.DataFrame(rows, columns=["gene_id", "chrom", "start", "end", "distance"])

def table(path, text): path.write_text(text); return path

# tables of eQTLs

@pytest.mark.parametrize("name,chrom,pos,build", [("chr1:12345:A:G", "chr1", 12344, ""), ("chr1_12345_A_G_b38", "chr1", 12344, "hg38"),
                                                  ("X_1_AT_A_b37", "X", 0, "hg19"), ("chr2_7_A_<DEL>_sim", "chr2", 6, "sim")])
def test_a_variant_says_where_it_is(name, chrom, pos, build):
    assert parse_variants(pd.Series([name]), "f").iloc[0].tolist() == [chrom, pos, build]

def test_gtex_and_plain_tables(tmp_path, hear, caplog):
    f = table(tmp_path/"gtex.tsv", "tissue\tgene_id\tvariant_id\nLiver\tENSG00000000003.14\tchr1_500_A_G_b38\nLiver\tENSG00000000003.15\tchr1_500_A_G_b38\n"
                                   "Lung\tENSG00000000003.14\tchr1_500_A_G_b38\n")
    t = read_eqtls(f)
    assert t.values.tolist() == [[k, "ENSG00000000003", "chr1", 499, "chr1_500_A_G_b38", "hg38"] for k in ("Liver", "Lung")]
    assert "2 eQTLs of 2 tissues on hg38; 1 named twice count once; 3 gene ids lost their versions" in caplog.text
    plain = read_eqtls(table(tmp_path/"Whole_Blood.v8.csv", "chrom,position,gene\n1,17,G1\n"), "hg19")
    assert plain[["tissue", "gene_id", "chrom", "pos", "assembly"]].iloc[0].tolist() == ["Whole_Blood", "G1", "1", 16, "hg19"]

def test_the_published_workbook(tmp_path, monkeypatch):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.create_sheet(SHEET)
    for row in (["A title"], ["tissue", "rank", "gene", "variant"], ["Liver", 1, "ENSG1.2", "chr1:500:A:G"], [None]*4): book[SHEET].append(row)
    book.save(tmp_path/"e.xlsx")
    assert read_eqtls(tmp_path/"e.xlsx").values.tolist() == [["Liver", "ENSG1", "chr1", 499, "chr1:500:A:G", "hg38"]]
    with pytest.raises(InputError, match="on hg38, not on hg19"): read_eqtls(tmp_path/"e.xlsx", "hg19")
    book[SHEET]["D2"] = "snp"
    book.save(tmp_path/"bad.xlsx")
    with pytest.raises(InputError, match="its first 10 lines name no columns tissue, gene, variant"): read_eqtls(tmp_path/"bad.xlsx")
    del book[SHEET]
    book.save(tmp_path/"none.xlsx")
    with pytest.raises(InputError, match="no sheet 'put_causal"): read_eqtls(tmp_path/"none.xlsx")
    with pytest.raises(InputError, match="cannot be read as a workbook"): read_eqtls(table(tmp_path/"text.xlsx", "no workbook"))
    with pytest.raises(InputError, match="no such table"): read_eqtls(tmp_path/"absent.xlsx")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(InputError, match=r"pip install 'chromexpress\[qtl\]'"): read_eqtls(tmp_path/"e.xlsx")

@pytest.mark.parametrize("text,message", [
    ("tissue\tvariant_id\nLiver\tchr1:5:A:G\n", "no column 'gene_id'"), ("tissue\tgene_id\nLiver\tG1\n", "no column variant_id, nor chrom and pos"),
    ("gene_id\tvariant_id\nG1\trs12\n", r"'rs12' \(line 2\)"), ("gene_id\tvariant_id\nG1\tchr1:0:A:G\n", "counted from 1"),
    ("gene_id\tvariant_id\n\tchr1:7:A:G\n", "gene is empty in line 2"), ("gene_id\tvariant_id\nG1\tchr1:7:A:G\n", "give --assembly"),
    ("gene_id\tvariant_id\nG1\tchr1_7_A_G_b38\nG1\tchr1_7_A_G_b37\n", "several assemblies: hg19, hg38")])
def test_wrong_tables(tmp_path, text, message):
    with pytest.raises(InputError, match=message): read_eqtls(table(tmp_path/"e.tsv", text))

def test_another_assembly_is_refused_and_liftover_offered(hear, caplog):
    with pytest.raises(InputError, match="on hg38, the study is on hg19.*--chain.*`chromexpress liftover`"): on_assembly(eqtl(5, assembly="hg38"), "hg19", HG19, "e.tsv")
    with pytest.raises(InputError, match="1 variants lie beyond the end .*chr1:249250622"): on_assembly(eqtl(249250621), "hg19", HG19, "e.tsv")
    both = on_assembly(pd.concat([eqtl(5, chrom="1"), eqtl(5, chrom="chrUn")]), "hg19", HG19, "e.tsv")
    assert both.chrom.tolist() == ["chr1"] and "1 eQTLs are on chromosomes that the assembly does not have (chrUn)" in caplog.text

# tissues

def test_tissues_of_cells(tmp_path, hear, caplog):
    assert tissue_cells(["liver", "Brain - Cerebellum", "Skin"], ["E118", "E066", "E007"]).values.tolist() == [
        ["liver", "E118"], ["liver", "E066"], ["Brain - Cerebellum", "E007"]]
    assert "1 tissues stand for no cell (Skin)" in caplog.text
    assert tissue_cells(["K562"], ["K562"]).values.tolist() == [["K562", "K562"]]
    own = table(tmp_path/"t.csv", "tissue,cell\nSkin,E066\n")
    assert tissue_cells(["Skin", "Liver"], ["E066"], own).values.tolist() == [["Skin", "E066"]]
    with pytest.raises(InputError, match="none of their tissues .Skin. stands for a cell .* --tissues"): tissue_cells(["Skin"], ["E066"])
    with pytest.raises(InputError, match="no column 'cell'"): tissue_cells(["Skin"], ["E066"], table(tmp_path/"w.csv", "tissue\nSkin\n"))
    assert {c for _, c in TISSUES} == {"E007", "E066", "E087", "E114", "E116", "E118"} and BUILDS["b38"] == "hg38"

# tiles

@pytest.mark.parametrize("minus", [False, True])
def test_which_tile(minus): # 3000-5000 5000-7000 | promoter 7000-13000 | 13000-15000 15000-17000
    t = two_sides(minus=minus)
    found = place_eqtls(eqtl(2999, 3000, 4999, 5000, 6999, 7000, 12_999, 13_000, 16_999, 17_000), t)
    assert found.tile.tolist() == [-1, 0, 0, 1, 1, -1, -1, 2, 3, -1]
    assert found.why.tolist() == ["outside the tiles", "", "", "", "", "promoter", "promoter", "", "", "outside the tiles"]

def test_an_eqtl_counts_for_its_own_gene_alone():
    t = pd.concat([two_sides(), two_sides("G2", 11_000)], ignore_index=True)
    both = pd.concat([eqtl(4500), eqtl(4500, gene="G2"), eqtl(4500, gene="G3"), eqtl(4500, chrom="chr2")], ignore_index=True)
    found = place_eqtls(both, t)
    assert found.tile.tolist() == [0, 4, -1, -1] and found.why.tolist() == ["", "", "gene without tiles", "other chromosome"]
    assert place_eqtls(eqtl(5500), t.drop(1)).why.tolist() == ["promoter"] and place_eqtls(eqtl(15_500), two_sides(n=3).drop(4)).why.tolist() == ["between tiles"]
    shuffled = t.sample(frac=1, random_state=1).reset_index(drop=True)
    assert shuffled.gene_id[place_eqtls(both, shuffled).tile[1]] == "G2"

def test_tiles_that_overlap_are_refused():
    with pytest.raises(InputError, match="gene G1 overlap"): place_eqtls(eqtl(5), two_sides().assign(end=lambda t: t.end + 1))

def test_contact_is_the_highest_score_that_meets_the_tile():
    e = pd.DataFrame([("G1", "chr1", 4999, 5001, 2.), ("G1", "chr1", 3000, 3500, 3.), ("G1", "chr2", 13_000, 15_000, 9.), ("G2", "chr1", 13_000, 15_000, 9.)],
                     columns=["gene_id", "chrom", "start", "end", "score"])
    assert contact_of(two_sides(), e).tolist() == [3., 2., 0., 0.]

def test_effects_of_a_dose_that_changes_nothing_are_refused(tmp_path): # all 0, they would be ranked by chance
    (tmp_path/"perturb"/"tiles"/"m-c").mkdir(parents=True)
    t = two_sides().assign(cell="A", model="m", config="c", marks="K", effect=0., dose=1.)
    t.to_csv(tmp_path/"perturb"/"tiles"/"m-c"/"A-K.csv.gz", index=False)
    with pytest.raises(InputError, match="A-K.csv.gz: its lowest dose is 1, which changes nothing; give a lower one"): study_effects(tmp_path)

# chance

def test_deciles_are_equal_and_ties_are_broken_by_chance():
    rng = np.random.default_rng(0)
    assert deciles(np.array([.3, -2., 5., 0., 1.]), rng, 5).tolist() == [2, 0, 4, 1, 3]
    a, b = (deciles(np.zeros(100), np.random.default_rng(s)) for s in (1, 2))
    assert np.bincount(a).tolist() == [10]*10 and (a != b).any()

def test_choices_without_repetition_are_uniform():
    for n, h in ((4, 2), (9, 2), (5, 5)):                                  # both ways of drawing
        x = choices(n, h, 60_000, np.random.default_rng(n))
        assert (np.diff(np.sort(x, 1), axis=1) > 0).all() and 0 <= x.min() and x.max() < n
        for k in range(h): assert abs(np.bincount(x[:, k], minlength=n)*n/60_000 - 1).max() < .06

def units(null, tiles, level=None): return exchange(tiles, null, np.zeros(len(tiles)) if level is None else level)

def test_who_exchanges_with_whom():
    t = pd.concat([two_sides(g, 50_000*(i + 1)) for i, g in enumerate(["G1", "G2", "G3"])], ignore_index=True)
    count = lambda groups: sorted(pd.Series(groups[2]).groupby(groups[0]).first().value_counts().tolist())
    assert count(units("genes", t)) == [3] and count(units("genes", t.iloc[1:])) == [1, 2]      # G1 has a tile less
    assert count(units("genes", t, np.repeat([0, 0, 1], 4))) == [1, 2]
    assert count(units("stratified", t)) == [3]*4 and count(units("within_gene", t)) == [4]*3 and count(units("published", t)) == [12]
    with pytest.raises(InputError, match="--null gene: .* did you mean 'genes'"): units("gene", t)
    with pytest.raises(InputError, match="two at the same distance"): units("genes", t.assign(distance=5))

def test_classes_of_expression():
    ids = pd.Series([f"g{i:02}" for i in range(60)])
    got = expression_classes(pd.concat([ids, pd.Series(["new"])]), pd.Series(np.arange(60.), ids))
    assert np.bincount(got + 1).tolist() == [1, 20, 20, 20] and got[:20].tolist() == [0]*20 and got[-1] == -1

def exhaustive(label, weight, groups, n): # the exact null, by every permutation of the units of each stratum
    unit, slot, stratum = groups
    of = pd.Series(stratum).groupby(unit).first().to_numpy()
    table = {(u, s): l for u, s, l in zip(unit, slot, label)}
    strata = [np.flatnonzero(of == s) for s in np.unique(of)]
    out = []
    for orders in itertools.product(*(itertools.permutations(s) for s in strata)):
        to = dict(zip(np.concatenate(strata), np.concatenate(orders)))
        held = np.zeros(n)
        for u, s, w in zip(unit, slot, weight): held[table[to[u], s]] += w
        out.append(tuple(held))
    return pd.Series(out).value_counts(normalize=True)

@pytest.mark.parametrize("null", NULLS)
def test_draws_follow_the_exact_null(null):
    t = pd.concat([two_sides(f"G{i}", 50_000*(i + 1), 1) for i in range(3)], ignore_index=True)
    label, weight, groups = np.array([0, 1, 1, 0, 2, 0]), np.array([2, 0, 1, 1, 0, 0]), units(null, t)
    exact = exhaustive(label, weight, groups, 3)
    drawn = pd.Series(map(tuple, draw_hits(label, weight, groups, 20_000, np.random.default_rng(0), 3))).value_counts(normalize=True)
    assert set(drawn.index) == set(exact.index) and (drawn - exact).abs().max() < .02

def test_draws_do_not_depend_on_how_many_are_held_at_a_time_in_sum():
    tiles, eqtls, y = null_study(np.random.default_rng(0), 80)
    label, groups = deciles(tiles.effect.to_numpy(), np.random.default_rng(0)), units("genes", tiles)
    small, large = (draw_hits(label, eqtls, groups, 500, np.random.default_rng(1), room=r) for r in (2_000, 2_000_000))
    assert (small.sum(1) == eqtls.sum()).all() and (large.sum(1) == eqtls.sum()).all()
    assert abs(small.mean(0) - large.mean(0)).max() < 6*large.std(0).max()*(2/500)**.5

# p

def test_p_counts_what_was_observed():
    counts, rng = np.array([[0., 5], [1, 5], [2, 5], [3, 5]]), np.random.default_rng(0)
    p, r = p_values(counts, np.array([2., 6.]), rng)
    assert p.tolist() == [3/5, 1/5] and 1/5 <= r[0] <= 3/5 and 0 <= r[1] <= 1/5
    assert p_values(counts, np.array([2., 6.]), rng, published=True)[0].tolist() == [2/4, 0.]

def test_enrichment_by_hand(): # two eQTLs in the tile with the lowest score, of 20 tiles that may all exchange: p is about 1/10 in the first decile
    t = pd.concat([two_sides(f"G{i}", 50_000*(i + 1), 1).iloc[1:] for i in range(20)], ignore_index=True)
    weight = np.r_[2, np.zeros(19, int)]
    r = enrichment(t, np.arange(20.), weight, np.zeros(20), draws=5000)
    assert list(r.columns) == ["decile", *RESULT[:3], "null", "draws", *RESULT[3:8], "p", "p_random"]
    assert r.n_regions.tolist() == [2]*10 and r.hits.tolist() == [2] + [0]*9 and r.possible.eq(2).all() and r.share.tolist() == [1.] + [0.]*9
    assert r.p[0] == pytest.approx(.1, abs=.015) and (r.p[1:] == 1).all()
    assert r.expected.tolist() == pytest.approx([.2]*10, abs=.06) and r.fold[0] == pytest.approx(10, rel=.15) and r["draws"].eq(5000).all()
    assert r.low.eq(0).all() and r.high.eq(1).all()
    assert enrichment(t, np.arange(20.), weight*0, np.zeros(20)).p.isna().all()

def test_q_is_over_all_tests_of_a_null():
    t = pd.DataFrame(dict(null=["a"]*3 + ["b"], p=[.01, .02, np.nan, .5]))
    assert adjusted(t).q.tolist()[:2] == [.02, .02] and adjusted(t).q.isna().tolist() == [False, False, True, False] and adjusted(t).q[3] == .5

def test_scores():
    t = two_sides().assign(effect=[-1., 2., np.nan, .5], model="m")
    s = score_tiles(t)
    assert s.model.tolist() == [-1., 2., .5] and s.nearness.tolist() == [-6000, -4000, -6000]
    assert score_tiles(t, absolute=True).model.tolist() == [1., 2., .5]

def two_cells(genes=8): # effects of two cells, of which A alone has contacts; an eQTL in every tile; expression; tissues
    t = pd.concat([two_sides(f"G{i}", 50_000*(i + 1)) for i in range(genes)], ignore_index=True)
    e = pd.concat([t.assign(cell=c, model="m", config="c", marks="K", effect=np.arange(len(t))*s) for c, s in (("A", 1.), ("B", -1.))], ignore_index=True)
    e["contact"] = np.where(e.cell == "A", e.start, np.nan)
    of = pd.concat([eqtl(s, gene=g, tissue=c) for c in "AB" for g, s in zip(t.gene_id, t.start)], ignore_index=True)
    y = pd.DataFrame([(c, f"G{i}", float(i)) for c in "AB" for i in range(genes)], columns=["cell", "gene_id", "y"])
    return e, of, y, pd.DataFrame(dict(tissue=["A", "B"], cell=["A", "B"]))

def test_a_baseline_is_tested_only_in_cells_that_have_data_for_it(): # ranks of what is not known would be chance, and called contact
    r, _ = qtl_table(*two_cells(), draws=19)
    assert {c: list(dict.fromkeys(d.scorer)) for c, d in r.groupby("cell")} == {"A": ["model", "nearness", "contact"], "B": ["model", "nearness"]}
    alone, _ = qtl_table(*two_cells(), draws=19, scorers=("model", "nearness"))
    pd.testing.assert_frame_equal(r[r.scorer != "contact"].drop(columns="q").reset_index(drop=True), alone.drop(columns="q"))

def test_what_is_not_ranked_is_said_once_and_too_few_tiles_are(hear, caplog):
    e, of, y, pairs = two_cells()
    e.loc[e.index[(e.cell == "B") & (e.distance < 0)][9:], "effect"] = np.nan      # of 16
    r, _ = qtl_table(e, of, y, pairs, draws=19)
    assert caplog.text.count("left out") == 1 and "of 64 effects, over all cells and models, 7 are of promoters or empty; left out" in caplog.text
    assert [m for m in caplog.messages if "deciles" in m] == ["qtl: B, B, m on K: 9 tiles upstream, and deciles take 10 or more; not tested."]
    assert set(r.direction[r.cell == "A"]) == {"upstream", "downstream"} and set(r.direction[r.cell == "B"]) == {"downstream"}

# nothing to find

@pytest.fixture(scope="module")
def alarms(): return false_alarms(pd.concat([calibrate_null(n, "all", 50, 99, genes=150) for n in ("genes", "within_gene", "published")]))

def test_the_headline_null_keeps_its_promise(alarms):
    d = alarms[alarms.null == "genes"]
    assert d.held.all() and d.studies.eq(50).all() and d.uniform.iloc[0] > .01
    assert d.allowed.tolist() == pytest.approx([.01 + 2*(.01*.99/50)**.5, .05 + 2*(.05*.95/50)**.5, .1 + 2*(.1*.9/50)**.5])

def test_the_published_null_and_the_exchange_within_genes_do_not(alarms):
    assert not alarms[alarms.null != "genes"].held.any()

def test_the_published_null_is_right_for_eqtls_that_are_independent():
    assert false_alarms(calibrate_null("published", "independent", 50, 99, genes=150)).held[1:].all()

# something to find

@pytest.fixture(scope="module")
def known():
    genes, sizes = lay_genes(500, 3)
    enhancers = lay_enhancers(genes, lay_contacts(genes, lay_fragments(sizes, 3), 3), 3)
    cell = make_cell("cellA", genes, enhancers, 3)
    return SimpleNamespace(genes=genes, sizes=sizes, elements=element_table(cell, genes, enhancers), y=pd.Series(cell.parts.f.to_numpy(), genes.gene_id))

def test_simulated_eqtls_lie_in_causal_elements_or_near_the_tss(known):
    t = lay_eqtls(known.elements, known.genes, known.sizes, "cellA", 3)
    pd.testing.assert_frame_equal(t, lay_eqtls(known.elements, known.genes, known.sizes, "cellA", 3))
    inside = t[t.element_id != ""].merge(known.elements, on=["element_id", "gene_id"], suffixes=("", "_e"))
    assert inside.pos.between(inside.start, inside.end - 1).all() and (inside.kind == inside.kind_e).all() and .5 < len(inside)/len(t) < .7
    many = t.groupby("gene_id").size().reindex(known.genes.gene_id, fill_value=0)
    assert many.var() > 2*many.mean()                                             # clustered: a Poisson number would have 1
    far = t[t.kind == "background"].distance.abs()
    assert (far < 10_000).sum() > 1.5*far.between(10_000, 20_000).sum() > 0       # thins out

def test_true_effects_are_enriched_and_shuffled_ones_are_not(known):
    tiles = true_tiles(known.genes, known.elements)
    noisy = tiles.effect + tiles.effect.std()*np.random.default_rng(0).normal(size=len(tiles))
    placed = place_eqtls(lay_eqtls(known.elements, known.genes, known.sizes, "cellA", 3), tiles)
    found = {}
    for name, effect in (("true", noisy), ("shuffled", np.random.default_rng(1).permutation(noisy))):
        r = cell_enrichment(score_tiles(tiles.assign(effect=effect)), placed, known.y, ("cellA", "cellA", name, "", ""), draws=999)
        found[name] = r[(r.scorer == "model") & (r.decile == 1)]
    assert (found["true"].p <= .002).all() and (found["true"].fold > 1.5).all() and (found["shuffled"].p > .01).all()

def test_true_tiles():
    genes = pd.DataFrame(dict(gene_id=["G1"], chrom="chr1", tss=[100_000], strand=["-"]))
    t = true_tiles(genes, pd.DataFrame(dict(gene_id=["G1"], start=[104_500], end=[105_500], effect=[4.])), n=2)
    assert t[["start", "end", "distance"]].values.tolist() == [[105_000, 107_000, -6000], [103_000, 105_000, -4000], [95_000, 97_000, 4000], [93_000, 95_000, 6000]]
    assert t.effect.tolist() == [-2., -2., 0., 0.]

def test_add_eqtls_needs_a_simulated_study(tmp_path):
    with pytest.raises(InputError, match="simulation.json: no such file; eQTLs are laid in a simulated study"): add_eqtls(tmp_path)

# a whole study

@pytest.fixture(scope="module")
def study(tmp_path_factory):
    path = write_study(tmp_path_factory.mktemp("qtl"))
    genes = pd.read_csv(path.parent/"genes.tsv", sep="\t").assign(tss=lambda g: g.tss - 1)
    rng = np.random.default_rng(0)
    t = true_tiles(genes, pd.DataFrame(columns=["gene_id", "start", "end", "effect"]).astype(dict(start=int, end=int, effect=float)), n=4)
    t = t.assign(cell="cellA", model="ridge", config="c", marks="H3K4me3", dose=0., effect=-rng.gamma(1, 1, len(t)))
    (path.parent/"results"/"perturb"/"tiles"/"ridge-c").mkdir(parents=True)
    both = pd.concat([t, t.assign(dose=.5, effect=0.)])
    both.to_csv(path.parent/"results"/"perturb"/"tiles"/"ridge-c"/"cellA-H3K4me3.csv.gz", index=False)
    low = t[t.effect < t.effect.quantile(.1)].sample(90, random_state=0)
    pd.DataFrame(dict(tissue="cellA", gene_id=low.gene_id, variant_id=[f"{c}_{s + 700}_A_G_b37" for c, s in zip(low.chrom, low.start)])).to_csv(
        path.parent/"eqtls.tsv", sep="\t", index=False)
    return path

def test_the_command(study, capsys):
    out = study.parent/"results"
    assert cli("qtl", study, "--eqtl", study.parent/"eqtls.tsv", "--draws", 1999, "--nulls", "genes,published") == 0
    assert "qtl/enrichment.csv" in capsys.readouterr().out
    t = pd.read_csv(out/"qtl"/"enrichment.csv")
    assert list(t.columns) == [*KEYS, *RESULT, "q"] and set(t.scorer) == {"model", "activity", "nearness"} and len(t) == 3*2*10*2
    first = t[(t.scorer == "model") & (t.decile == 1)]
    assert first.hits.sum() > 2*85 and (first.p <= 1/2000).all() and (first.q < .02).all()
    assert pd.read_csv(out/"qtl"/"placed.csv", keep_default_na=False).values.tolist() == [["cellA", "cellA", "ridge", "c", "H3K4me3", "", 90]]
    assert pd.read_csv(out/"qtl"/"tissues.csv").values.tolist() == [["cellA", "cellA"]]
    for null, panel in itertools.product(("genes", "published"), ("qtl-deciles", "qtl-scorers")):
        assert (out/"figures"/"qtl"/f"cellA-ridge-H3K4me3-{null}-{panel}.svg").stat().st_size > 1000
    assert (out/"notebooks"/"cellA-65_qtl.ipynb").exists()

@pytest.mark.parametrize("args,message", [
    ([], "--eqtl: missing"), (["--eqtl", "absent.tsv"], "[qtl] eqtls: no file"), (["--eqtl", "E", "--assembly", "hg38"], "on hg19, not on hg38"),
    (["--eqtl", "E", "--nulls", "gene"], "no such null; did you mean 'genes'"), (["--eqtl", "E", "--places", "bed"], "`chromexpress perturb` writes them"),
    (["--eqtl", "E", "--draws", "-1"], "needs 1 or more")])
def test_what_is_wrong_is_said_in_a_line(study, capsys, args, message):
    args = [study.parent/"eqtls.tsv" if a == "E" else a for a in args]
    assert cli("qtl", study, *args) == 2
    assert message in (err := capsys.readouterr().err) and "Traceback" not in err

def test_liftover_by_a_chain(study, tmp_path):
    hg38 = chrom_sizes("hg38")
    s = SimpleNamespace(out=study.parent/"results", assembly="hg19", sizes=HG19, tracks={}, contacts={},
                        expression=pd.DataFrame(columns=["cell", "gene_id", "y"]).astype(dict(y=float)))
    t = study_effects(s.out)
    one = t[(t.chrom == "chr1") & (t.distance == 4000)].iloc[0]
    chain = table(tmp_path/"c.chain", f"chain 1 chr1 {hg38['chr1']} + 100 1000100 chr1 {HG19['chr1']} + {one.start - 900} {one.start + 999100} 1\n1000000\n\n")
    f = table(tmp_path/"e.tsv", f"tissue\tgene_id\tvariant_id\ncellA\t{one.gene_id}\tchr1_1001_A_G_b38\ncellA\t{one.gene_id}\tchr1_99_A_G_b38\n")
    with pytest.raises(InputError, match="--chain"): run_qtl(s, [f], draws=9)
    r = pd.read_csv(run_qtl(s, [f], chain=chain, draws=9))
    assert r[(r.scorer == "model") & (r.direction == "downstream")].hits.sum() == 1
    lost = pd.read_csv(s.out/"qtl"/"lost.csv")
    assert lost.variant.tolist() == ["chr1_99_A_G_b38"] and len(lost.why[0]) > 10

def test_the_same_seed_gives_the_same_table(study):
    effects, y = study_effects(study.parent/"results"), pd.DataFrame(dict(cell="cellA", gene_id=[], y=[])).astype(dict(y=float))
    e = read_eqtls(study.parent/"eqtls.tsv")
    a, b, c = (qtl_table(effects, e, y, tissue_cells(e.tissue, ["cellA"]), draws=50, seed=s)[0] for s in (0, 0, 1))
    pd.testing.assert_frame_equal(a, b)
    assert (a.expected != c.expected).any()
