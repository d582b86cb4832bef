"Figures: drawn again from their CSV they are the same to the byte, and they show what the table says."
import functools, importlib, json, re, tempfile
from pathlib import Path
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt, numpy as np, pandas as pd, papermill, pytest
from chromexpress.contact_plots import VIEW, gene_view
from chromexpress.contacts import EDGES
from chromexpress.core import InputError
from chromexpress.evaluate import read_table
from chromexpress.findings import TABLES, example_findings, write_findings
from chromexpress.panels import figure, looks, ranking_title, verdict
from chromexpress.perturb import SUMMARY
import chromexpress.attribution_plots, chromexpress.perturb_plots, chromexpress.transfer_plots
from chromexpress.attribution import example_attribution, read_attribution
from chromexpress.plots import (PANELS, draw, genes_label, mark_colors, marks_label, model_names, pooled, redraw,
                                save_figure, study_marks)
from chromexpress.qtl import KEYS, RESULT
from chromexpress.qtl_plots import turned
from chromexpress.transfer import example_transfer, read_scores
from chromexpress.quality import SHARES
from chromexpress.quality_plots import quality_tables
from chromexpress.combinations import adds, combine, example_combinations
import chromexpress.science_plots                                                    # registers its panels

# whatever else is tested beside it, every panel is registered
for file in sorted(Path(chromexpress.__file__).parent.glob("*_plots.py")): importlib.import_module(f"chromexpress.{file.stem}")

roadmap = "H3K4me1+H3K4me3+H3K9me3+H3K27me3+H3K36me3+H3K27ac+H3K9ac"
analysis = Path(__file__).parents[1]/"nbs"/"analysis"

@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return example_findings(tmp_path_factory.mktemp("results"), cells=2, genes=300, groups=dict(ESC=["E003"]))

@functools.cache
def transferred(): # of four cells, and gene by gene of five
    with tempfile.TemporaryDirectory() as tmp:
        pairs = read_scores(example_transfer(f"{tmp}/4", cells=4, genes=80)/"transfer.csv")
        genes = read_scores(example_transfer(f"{tmp}/5", cells=5, genes=80)/"transfer_genes.csv")
    return {"transfer": pairs[pairs.signal == "raw"], "difference": pairs, "gene_r": genes}

def perturbed(genes="expressed"): # H3K4me3 falls to −2 at the promoter and to −0.5 near it, with the dose; nothing is seen farther away
    places = [("promoter", 0., -2.), ("near", np.nan, -.5), ("far", np.nan, np.nan), ("distal", -4000., -.5), ("distal", 4000., -.25), ("distal", 12_000., np.nan)]
    rows = [("E003", "H3K4me3", "ridge", "aa", "ours", genes, k, x, d, 147*(v == v), v*(1 - d), v*(1 - d) - .1, v*(1 - d) + .1, v*(1 - d))
            for k, x, v in places for d in (1., .5, 0.)]
    return pd.DataFrame(rows, columns=SUMMARY).assign(unit="log2(RPKM + 1)")

class Ramp: # a signal that is the position in Mb
    def read(self, chrom, start, end): return np.arange(start, end, dtype=np.float32)/1e6

def contacts_of(gene, **tracks): # two genes of chr8; MYC has three partners here, and one on chr2
    genes = pd.DataFrame(dict(gene_id=["MYC", "near"], chrom="chr8", start=[1_000_000, 1_150_000],
                              end=[1_006_000, 1_180_000],
                              strand=["+", "-"], tss=[1_000_000, 1_179_999]))
    edges = [("chr8", 1_400_000, 1_405_000, 4.2), ("chr8", 1_390_000, 1_395_000, 3.), ("chr8", 830_000, 838_000, 2.5),
             ("chr2", 5, 9, 2.)]
    edges = pd.DataFrame([("MYC", *e) for e in edges], columns=EDGES)
    return gene_view(gene, genes, edges, dict(chr2=9_999, chr8=1_420_000), tracks or dict(H3K27ac=Ramp()), margin=.1,
                     bins=50)

def enriched(): # a cell with a first decile that holds 40 of 130 eQTLs, and one without an enrichment
    rows = [(c, "Liver", "ridge", "c", "H3K27ac", s, d, k, 500, h := 40 if (c, s, k) == ("E066", "model", 1) else 10, 130, h/130, 13., h/13, .04, .15,
             "genes", 999, p := .001 if h == 40 else .5, p) for c in ("E066", "E118") for d in ("upstream", "downstream")
            for s in ("model", "nearness") for k in range(1, 11)]
    return pd.DataFrame(rows, columns=[*KEYS, *RESULT, "q"])

def science_frames(): # panel → its table
    pairs = combine(*example_combinations(2, 100))
    marks = pd.DataFrame([dict(cell=c, group=g, model="ridge", config="c", base="ridge", mark=m, marks=m, window=6000, n=147, pearson=r, pearson_low=r - .1,
                               pearson_high=r + .1, low=r - .1, high=r + .1, r_model=abs(r) + .1, r_model_low=abs(r), r_model_high=abs(r) + .2, lead=.1,
                               lead_low=.05, group_mean=r) for c, g in (("E003", "ESC"), ("E116", "other")) for m, r in (("H3K4me3", .6), ("H3K27me3", -.3))])
    genes = pd.DataFrame(dict(cell="E003", mark="H3K4me3", window=6000, gene_id=[f"g{i}" for i in range(50)], activity=np.arange(50.), expression=np.arange(50.)**2))
    answer = adds(pairs, "H3K27ac", "H3K4me3").assign(added="H3K27ac", to="H3K4me3")
    one = pairs[pairs.cell == "cell0"]
    return {"receptive-field": marks[marks.cell == "E003"], "activity-expression": genes, "activity-groups": marks, "activity-models": marks,
            "combination-matrix": one, "combination-gains": one, "combination-cells": answer}

def attributed(folder): # panel → its table
    folder = example_attribution(folder, 120)
    return {f"attribution-{p}": read_attribution(folder/f"attribution{n}") for p, n in (("position", ".csv"), ("agreement", "_agreement.csv"), ("effect", "_pairs.csv.gz"))}

@pytest.fixture(scope="module")
def frames(out, tmp_path_factory):
    scores, history = pooled(read_table(out/"metrics.csv")), read_table(out/"history.csv")
    at = [-2950, -50, 2950]
    groups = ["all genes", "lowest quarter", "highest quarter"]
    profile = [(c, a, "profile", g, x, 1. + i*(x == -50), 147) for c in ("E003", "E116") for a in ("H3K4me3", "DNase")
               for i, g in enumerate(groups) for x in at]
    pair = [("E003", "H3K4me3", "correlation", "DNase", None, .7, 147),
            ("E003", "DNase", "correlation_of_cells", "E116", None, .9, 147)]
    chrom = [("E003", a, "chromosome_signal", c, None, v, 147) for a in ("H3K4me3", "DNase")
             for c, v in (*((f"chr{i}", 2.) for i in range(1, 9)), ("chr9", 0.))]
    empty = [("E003", "DNase", m, "all genes", None, v, 147) for m, v in (("empty_genes", .25), ("empty_bins", .5))]
    fit = [(a, "H3K4me3+DNase", "expression_fit", b, None, .5 if a == b else -.5, 147) for a in ("E003", "E116")
           for b in ("E003", "E116")]
    masked = [("all", "all", "masked_genes", g, w, v, 147) for w in (6_000, 40_000)
              for g, v in zip(SHARES, (.9, .06, .03, .01) if w == 6_000 else (.75, .15, .07, .03))]
    seen = [("E003", a, f"activity 1 kb around the TSS", f"g{i}", i, 2.*i, 1) for a in ("H3K4me3", "DNase")
            for i in range(9)]
    qc = quality_tables(pd.DataFrame(profile + pair + chrom + empty + fit + masked + seen,
                                     columns="cell assay measure group at value n".split()))
    t = {name: read_table(out/f"{name}.csv").assign(all_marks=roadmap) for name in TABLES}
    ties = t["ranking"][["cell", "model", "config", "marks", "tied"]]
    def of(name, **where): return t[name][np.logical_and.reduce([t[name][k] == v for k, v in where.items()])]
    return qc | science_frames() | {"gene-contacts": contacts_of("MYC"),
        "qtl-deciles": enriched().query("scorer == 'model'"), "qtl-scorers": enriched(),
        "dose-response": perturbed(), "effect-position": perturbed(), **transferred(), **attributed(tmp_path_factory.mktemp("attributed")),
        "heatmap": scores[scores.model == "ridge"].merge(ties, how="left"), "ranking": of("ranking", cell="E003"),
            "groups": of("groups", model="ridge"), "models": of("models", marks=roadmap),
            "gain": of("gains", cell="E003"),
            "calibration": of("calibration", cell="E003", model="ridge", marks=roadmap).assign(unit="log2(RPKM + 1)"),
            "marks": scores[scores.cell == "E003"], "cells": scores[scores.marks == roadmap],
            "observed-predicted": read_table(out/"predictions.csv", cell="E003", model="ridge", marks=roadmap,
                                             split="test"),
            "learning-curves": history[(history.cell == "E003") & (history.marks == roadmap)]}

@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")

def words(fig): return [t.get_text() for t in fig.findobj(matplotlib.text.Text) if t.get_text()]

@pytest.fixture(scope="module")
def saved(frames, tmp_path_factory): # a panel's name → its SVG file, drawn once, with CSV and PNG beside it
    folder = tmp_path_factory.mktemp("saved")
    @functools.cache
    def save(name): return save_figure(draw(name, frames[name]), frames[name], folder/name/f"E003-{name}")
    return save

@pytest.mark.parametrize("name", list(PANELS))
def test_redrawn_from_csv_to_the_byte(frames, saved, tmp_path, name):
    first = saved(name)
    with plt.rc_context({"font.size": 20, "svg.hashsalt": None}):        # the reader's own settings do not show
        again = save_figure(redraw(first.with_suffix(".csv")), frames[name], tmp_path/f"again-{name}")
    assert again.read_bytes() == first.read_bytes()
    assert sorted(p.name for p in first.parent.iterdir()) == [f"E003-{name}.{s}" for s in ("csv", "png", "svg")]

@pytest.mark.parametrize("name", list(PANELS))
def test_svg_is_plain(saved, name):
    text = saved(name).read_text()
    assert "<text" in text and "dc:date" not in text and "Matplotlib v" not in text
    assert not re.search(r'(href|src)="http', text) and not re.search(r"=\"[^\"]*\d\.\d{4}", text)

@pytest.mark.parametrize("name", list(PANELS))
def test_every_panel_says_what_and_draws_into_given_axes(frames, name):
    fig, axs = plt.subplots(1, 2)
    assert PANELS[name](frames[name], axs[1]) is axs[1] and not axs[0].texts
    ax = axs[1]
    assert ax.get_title(loc="left") and ax.get_xlabel()
    assert any(" genes" in w or "folds" in w for w in words(fig))

def test_heatmap_shows_the_numbers(frames):
    frame = frames["heatmap"]
    shown = words(draw("heatmap", frame))
    for r in frame.pearson: assert f"{r:.2f}" in shown
    assert "all 7 marks" in shown and "ridge: Pearson r, n = 147 test genes" in shown
    assert "–" in words(draw("heatmap", frame.iloc[1:]))
    with pytest.raises(InputError, match="one model a panel, not cnn, ridge"):
        draw("heatmap", pd.concat([frame, frame.assign(model="cnn")]).sort_values("model"))

def test_title_follows_the_data(frames):
    frame = frames["heatmap"].copy()
    frame["pearson"] = np.where(frame.marks == "H3K9me3", .9, .1)
    assert "H3K9me3 leads the single marks in 2 of 2 cells" in words(draw("heatmap", frame))
    assert "E003: H3K9me3 leads the single marks" in words(draw("marks", frame[frame.cell == "E003"]))

def test_bars_have_the_marks_colours_and_order(frames):
    frame = frames["marks"]
    ax = draw("marks", frame[frame.model == "ridge"]).axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == roadmap.split("+") + ["all 7 marks"]
    assert [matplotlib.colors.to_hex(p.get_facecolor()).upper() for p in ax.patches] == [
        "#E69F00", "#D55E00", "#56B4E9", "#0072B2", "#009E73", "#CC79A7", "#F0E442", "#333333"]
    with pytest.raises(InputError, match="one cell a panel"):
        draw("marks", pd.concat([frame, frame.assign(cell="E9")]))

def test_empty_r_is_said(frames):
    frame = frames["marks"].copy()
    frame.loc[frame.marks == "H3K9ac", ["pearson", "low", "high"]] = np.nan
    assert words(draw("marks", frame)).count("no r") == 2

def test_observed_predicted_names_r_and_unit(frames):
    frame = frames["observed-predicted"]
    r = np.corrcoef(frame.y_true, frame.y_pred)[0, 1]
    shown = words(draw("observed-predicted", frame.assign(unit="log2(RPKM + 1)", all_marks=roadmap)))
    assert f"E003: r = {r:.2f} on genes not seen in training" in shown
    assert "observed expression, log2(RPKM + 1)" in shown
    assert "ridge, all 7 marks, n = 147 test genes" in shown
    many = pd.concat([frame] * 4)
    assert "genes in a hexagon" in words(draw("observed-predicted", many))
    with pytest.raises(InputError, match="not 2"):
        draw("observed-predicted", pd.concat([frame, frame.assign(model="x")]))

def test_learning_curves_mark_the_kept_epoch(frames):
    frame = pd.DataFrame(dict(cell="A", model="cnn", marks="K4", fold=[1] * 4 + [2] * 4, seed=0,
                              epoch=[1, 2, 3, 4] * 2,
                              train_loss=[4., 3, 2, 1] * 2, valid_loss=[4., 2, 3, 3, 4, 3, 2, 3]))
    fig = draw("learning-curves", frame)
    assert [tuple(line.get_xydata()[0]) for line in fig.axes[0].lines if line.get_marker() == "o"] == [(2, 2), (3, 2)]
    assert "A: validation loss is lowest at epochs 2 to 3" in words(fig) and "cnn, K4, 2 folds" in words(fig)
    assert "A: no validation loss" in words(draw("learning-curves", frame.assign(valid_loss=np.nan)))

def test_ranking_shows_ties_and_letters():
    frame = pd.DataFrame(dict(cell="A", model="ridge", config="c", marks=["H3K27ac", "H3K4me3", "H3K9me3"], n=100,
                              pearson=[.7, .65, np.nan],
        low=[.6, .5, np.nan], high=[.8, .75, np.nan], rank=[1, 2, 3], best="H3K27ac", tied=[True, True, False],
        letters=["a", "ab", "–"]))
    ax = draw("ranking", frame).axes[0]
    shown = words(ax.figure)
    assert {"A: H3K27ac predicts best, tied with H3K4me3", "ridge, n = 100 test genes", ".70", ".65", "no r", "a",
            "ab", "–"} <= set(shown)
    # shaded: two of three
    assert [t.get_text() for t in ax.get_yticklabels()] == list(frame.marks) and len(ax.patches) == 2
    assert "95 % bootstrap interval" in ax.get_xlabel() and "Benjamini–Hochberg" in ax.get_xlabel()
    both = pd.concat([frame, frame.assign(model="cnn", tied=[True, False, False])])
    assert ranking_title(both) == "A: H3K27ac is best or tied in all 2 models"
    assert ranking_title(frame.assign(tied=[True] * 3,
                                      marks=list("xyz"))) == "A: H3K27ac predicts best, tied with y and z"

def test_groups_show_cells_and_means():
    frame = pd.DataFrame(dict(cell=["A", "B", "C"] * 2, group=["ESC", "ESC", "liver"] * 2, model="ridge", config="c",
                              marks=["K4"] * 3 + ["K9"] * 3, n=100,
        pearson=[.2, .4, .5, .6, .8, .1], cells=[2, 2, 1] * 2, group_mean=[.3, .3, .5, .7, .7, .1]))
    ax = draw("groups", frame).axes[0]
    assert {"K9 has the highest mean r in 1 of 2 groups", "ESC (2)", "liver (1)"} <= set(words(ax.figure))
    means = sorted({float(l.get_ydata()[0]) for l in ax.lines if l.get_color() == "#222222"})
    points = sorted(float(y) for l in ax.lines if l.get_marker() not in ("None", "") for y in l.get_ydata())
    assert means == [.1, .3, .5, .7] and points == [.1, .2, .4, .5, .6, .8]

def test_models_and_gain_show_the_pairs(frames):
    frame = frames["models"].copy()
    frame.loc[frame.model == "promoter_cnn", ["delta", "delta_low", "delta_high", "q"]] = [.031, -.002, .05, .2]
    shown = words(draw("models", frame))
    assert "no model is ahead of ridge in any of 2 cells" in shown and shown.count("+.031 (−.002 to +.050)") == 2
    assert shown.count("reference") == 2
    frame.loc[(frame.model == "promoter_cnn") & (frame.cell == "E004"), "q"] = .01
    assert "promoter_cnn is ahead of ridge in 1 of 2 cells" in words(draw("models", frame))
    gain = frames["gain"].assign(q=[.01] * 4 + [.5] * 4, delta=.1)
    ax = draw("gain", gain).axes[0]
    assert "promoter_cnn is ahead of ridge in 4 of 8 sets of marks" in words(ax.figure)
    assert "all 7 marks" in words(ax.figure)
    # hollow: not certain
    assert sum(l.get_markerfacecolor() == "white" for l in ax.lines if l.get_marker() not in ("None", "")) == 4

def test_calibration_shows_bins_line_and_verdict(frames):
    frame = frames["calibration"].assign(slope=.5, slope_low=.4, slope_high=.6, intercept=-1., intercept_low=-2.,
                                         intercept_high=0.)
    ax = draw("calibration", frame).axes[0]
    assert "E003: predictions spread too far" in words(ax.figure)
    assert "slope 0.50 (0.40 to 0.60)\nintercept −1.00 (−2.00 to 0.00)" in " ".join(words(ax.figure))
    assert f"ridge, all 7 marks, n = 147 test genes in {len(frame)} bins of 14–15" in words(ax.figure)
    points = next(l for l in ax.lines if l.get_marker() == "o")
    assert np.allclose(points.get_xydata(), frame[["predicted", "observed"]], atol=1e-8)
    assert verdict(pd.Series(dict(slope=np.nan))) == "one prediction for all genes"
    flat = frame.iloc[:1].assign(slope=np.nan, slope_low=np.nan, slope_high=np.nan)
    assert "E003: one prediction for all genes" in words(draw("calibration", flat))

@pytest.mark.parametrize("name", ["ranking", "groups", "models", "gain", "calibration"])
def test_a_figure_that_cannot_be_made_is_named(frames, tmp_path, name):
    said = figure(name, frames[name].iloc[:0], tmp_path/f"A-{name}").data
    assert said.startswith(f"*Not drawn: {name}, for there is no ") and list(tmp_path.iterdir()) == []
    assert plt.get_fignums() == []
    one = figure(name, frames[name].iloc[[0]], tmp_path/f"A-{name}")
    assert "<svg" in one.data and (tmp_path/f"A-{name}.csv").is_file()

def test_thin_frames_for_ties(frames):
    frame = frames["heatmap"]
    edges = [p.get_linewidth() for p in draw("heatmap", frame).axes[0].patches]
    assert edges.count(2) == 2 and edges.count(.8) == frame.tied.eq(True).sum()

def test_models_have_looks_of_their_own():
    found = looks(["ridge", "cnn_b", "cnn_a", "promoter_cnn"])
    assert len(set(found.values())) == 4 and found["ridge"] == looks(["ridge"])["ridge"]

def test_quality_panels_say_what_the_table_says(frames):
    assert set(frames) == set(PANELS)
    assert "1 chromosome without signal" not in (w := words(draw("chromosome-signal", frames["chromosome-signal"])))
    assert "2 chromosomes without signal, over all tracks" in w and w.count("×") == 2
    assert "E003 DNase is empty at 25 % of genes" in words(draw("empty-windows", frames["empty-windows"]))
    assert "Own tracks fit expression best" in words(draw("expression-fit", frames["expression-fit"]))
    swapped = frames["expression-fit"].assign(value=lambda d: -d.value)
    assert "E003, E116: other tracks fit better" in words(draw("expression-fit", swapped))
    shown = words(draw("tss-profiles", frames["tss-profiles"]))
    assert {"lowest quarter", "highest quarter", "E003", "E116", "DNase", "2"} <= set(shown)
    assert "all genes" not in shown
    alone = frames["tss-profiles"][frames["tss-profiles"].group == "all genes"]
    assert "all genes" in words(draw("tss-profiles", alone))
    shown = words(draw("masked-windows", frames["masked-windows"]))
    assert {"The blacklist touches 25.0 % of windows of 40 kb", "6 kb", "n = 147 genes", *SHARES} <= set(shown)
    assert words(draw("signal-expression", frames["signal-expression"])).count("Spearman 1.00, n = 9 genes") == 2
    r = words(draw("track-correlation", frames["track-correlation"]))
    assert r.count("0.7") == 2 and r.count("0.9") == 2

def test_qtl_panels_say_what_is_enriched(frames):
    shown = words(fig := draw("qtl-deciles", frames["qtl-deciles"]))
    assert {"First decile enriched in 2 of 4 tests", "E066\nLiver", "E118\nLiver", "upstream", "downstream", "31 %", "15 %"} <= set(shown) and shown.count("n = 130") == 4
    assert len(fig.axes[0].lines) == 4*4 and len(fig.axes[0].collections) == 4
    assert {"The model's first decile holds 1.9 times the eQTLs expected", "nearness to the TSS", "3.1 ×"} <= set(words(draw("qtl-scorers", frames["qtl-scorers"])))
    t = turned(frames["qtl-scorers"])
    assert t[t.scorer == "nearness"].decile.tolist() == sorted(t[t.scorer == "nearness"].decile) and t[t.scorer == "model"].hits.iloc[0] == 40

def test_a_gene_with_its_contacts():
    v = contacts_of("MYC")
    assert list(v) == VIEW and v.part.value_counts().to_dict() == dict(stretch=1, tss=1, partner=3, gene=2, track=50)
    # 10 % more, within the chromosome
    assert v[v.part == "stretch"][["start", "end", "value"]].values.tolist() == [[772_500, 1_420_000, 1.]]
    bins = v[v.part == "track"]
    assert bins.start.iloc[0] == 772_500 and bins.end.iloc[-1] == 1_420_000
    assert (bins.start.iloc[1:].values == bins.end.iloc[:-1].values).all()
    np.testing.assert_allclose(bins.value, (bins.start + bins.end - 1)/2e6, rtol=1e-5)
    w = words(draw("gene-contacts", v))
    assert {"MYC →", "← near", "2.5", "3 to 4.2 (2)", "H3K27ac", "chr8, Mb", "MYC and its partners"} <= set(w)
    assert ("3 partners with their scores, 1 on other chromosomes; n = 2 genes in view; each track from 0 to the "
            "value written in it" in w)
    none = words(draw("gene-contacts", contacts_of("near")))
    assert any(x.startswith("0 partners with their scores; n = 1 gene in view") for x in none)

def test_a_long_line_below_the_title_does_not_squeeze_the_axes(frames):
    widths = []
    for model in ("ridge", "a_model_with_a_very_long_name_"*4):
        fig = draw("calibration", frames["calibration"].assign(model=model))
        fig.draw_without_rendering()
        widths.append(fig.axes[0].get_position().width)
    assert widths[0] == widths[1] > .4

def test_other_assays_have_one_colour_in_all_figures():
    few, many = mark_colors(["DNase"]), mark_colors(["H3K4me3", "ATAC", "H2A.Z", "DNase", "mine", "H3K4me2"])
    assert few["DNase"] == many["DNase"] and len(set(many.values())) == 6

def test_titles_compare_what_can_be_compared():
    f = pd.DataFrame([(c, m, "c", "K4", 100, r, r - .1, r + .1) for c, m, r in (("A", "x", .9), ("A", "y", .8), ("B", "y", .1))],
                     columns="cell model config marks n pearson low high".split())
    title = lambda panel, frame: draw(panel, frame).axes[0].get_title(loc="left")
    assert title("cells", f) == "x has the highest r, 0.90, over the 1 cell of all models"             # and not y, by the mean of B
    assert title("cells", f[f.model == "y"]) == "y: mean r = 0.45"
    assert title("cells", f.drop(index=1)) == "r in each cell type"
    assert title("marks", f.iloc[:1]) == "A: r of each mark set" and title("heatmap", f.iloc[:1]) == "Sets of marks by cell"

def test_folds_are_in_order_and_told_apart():
    f = pd.DataFrame(dict(cell="A", model="cnn", marks="K4", fold=range(1, 12), seed=0, epoch=1, train_loss=2., valid_loss=1.))
    legend = draw("learning-curves", f).axes[0].get_legend()
    assert [t.get_text() for t in legend.get_texts()][:11] == [f"fold {i}" for i in range(1, 12)]
    assert len({matplotlib.colors.to_hex(h.get_color()) for h in legend.legend_handles[:11]}) == 11

def test_doses_above_one():
    up = perturbed().assign(dose=lambda d: d.dose*2)                                                   # 2, 1 and 0
    ax = draw("dose-response", up).axes[0]
    ends = [(l.get_xdata().min(), l.get_xdata().max()) for l in ax.lines[:2]]
    assert ends[0] == (0, 2) and ends[1][0] > 2                                                        # blocks do not overlap
    assert [t.get_text() for t in ax.get_xticklabels()][:3] == ["2", "1", "0"]
    more = perturbed().assign(dose=lambda d: 2 - d.dose)                                               # 1, 1.5 and 2: nothing is lost
    assert draw("effect-position", more).axes[0].get_title(loc="left") == "E003: away from the promoter, H3K4me3 at −4 kb changes most (−0.50)"
    assert "changes most (−2.00 at dose 2)" in draw("dose-response", more).axes[0].get_title(loc="left")

def test_ticks_of_profiles_are_where_they_say(frames):
    ax = draw("tss-profiles", frames["tss-profiles"]).axes[0]                                          # bins from −2950 to 2950
    ticks = dict(zip([t.get_text() for t in ax.get_xticklabels()][:3], ax.get_xticks()[:3]))
    assert np.isclose(ticks["2"], .5 + .44*2000/2950) and np.isclose(ticks["−2"], .5 - .44*2000/2950)

def test_names_of_marks():
    assert marks_label("H3K4me3", roadmap) == "H3K4me3" and marks_label(roadmap, roadmap) == "all 7 marks"
    assert marks_label(roadmap.replace("H3K9me3+", ""), roadmap) == "all but H3K9me3"
    assert marks_label("H3K4me1+H3K27ac", roadmap) == "H3K4me1 + H3K27ac"
    assert marks_label("a+b+c", roadmap) == "a + b +\nc"
    assert study_marks([roadmap, "H3K9ac", "H3K4me1", "sequence"]) == (["H3K4me1", "H3K9ac", "sequence", roadmap],
                                                                       roadmap)
    assert study_marks(["DNase", "H3K27ac"]) == (["H3K27ac", "DNase"], "H3K27ac+DNase")
    palette = mark_colors(["H2A.Z", "DNase", "H3K4me3", "H3K4me3+DNase"])
    assert len(set(palette.values())) == 4 and palette["H3K4me3"] == "#D55E00"
    assert genes_label([1000, 1200]) == "n = 1,000–1,200 test genes"
    assert model_names(pd.DataFrame(dict(model=["a", "a"], config=["1", "2"]))).tolist() == ["a (1)", "a (2)"]

def test_pooled_averages_seeds_and_leaves_other_cells_out(out):
    m = read_table(out/"metrics.csv")
    both = pooled(pd.concat([m, m.assign(seed=1, pearson=m.pearson + .1), m.assign(trained_on="elsewhere")]))
    one = pooled(m)
    assert (both.seeds == 2).all() and np.allclose(both.pearson, one.pearson + .05) and (both.n == one.n).all()
    with pytest.raises(InputError, match="no row with fold 'all'"): pooled(m[m.fold != "all"])

def test_unknown_panels_and_files(tmp_path):
    with pytest.raises(InputError, match="did you mean 'heatmap'"): draw("heatmaps", pd.DataFrame())
    with pytest.raises(InputError, match="does not end with a panel"): redraw(tmp_path/"E003.csv")
    with pytest.raises(InputError, match="no such file"): redraw(tmp_path/"E003-marks.csv")

@pytest.mark.parametrize("path", sorted((analysis.parents[1]/"figures").glob("*.csv")), ids=lambda p: p.stem)
def test_the_figures_of_the_demo_say_what_their_tables_say(path, tmp_path):
    again = save_figure(redraw(path), read_table(path), tmp_path/path.stem)
    texts = [re.findall(r"<text[^>]*>(.*?)</text>", p.read_text(), re.S) for p in (path.with_suffix(".svg"), again)]
    assert texts[0] == texts[1] and len(texts[0]) > 5

@pytest.mark.parametrize("name", ["60_cell", "61_overview"])
def test_one_parameters_cell(name):
    cells = json.loads((analysis/f"{name}.ipynb").read_text())["cells"]
    tagged = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
    assert len(tagged) == 1 and all(re.fullmatch(r"\w+ = \"\"  # .+\n?", line) for line in tagged[0]["source"])
    assert not any("#| export" in "".join(c["source"]) for c in cells)

def execute(name, folder, **parameters):
    papermill.execute_notebook(analysis/f"{name}.ipynb", folder/f"{name}.ipynb", parameters, kernel_name="python3",
                               progress_bar=False)
    return (folder/f"{name}.ipynb").read_text()

def test_cell_notebook(out, tmp_path):
    execute("60_cell", tmp_path, cell="E004", out=str(out), figures=str(tmp_path/"f"), unit="log2(RPKM + 1)")
    names = [f"E004-{p}.{s}" for p in ("calibration", "gain", "learning-curves", "marks", "models",
                                       "observed-predicted", "ranking") for s in ("csv", "png", "svg")]
    assert sorted(p.name for p in (tmp_path/"f").iterdir()) == names
    assert set(read_table(tmp_path/"f"/"E004-marks.csv").cell) == {"E004"}
    assert "log2(RPKM + 1)" in (tmp_path/"f"/"E004-observed-predicted.svg").read_text()

def test_cell_notebook_refuses_an_unknown_cell(out, tmp_path):
    with pytest.raises(papermill.PapermillExecutionError, match="'E999' is not in .*metrics.csv; known: E003, E004"):
        execute("60_cell", tmp_path, cell="E999", out=str(out))

def test_notebooks_of_the_smallest_study(out, tmp_path):
    "One ridge on one mark in one cell: no network, nothing to compare."
    for name in ("predictions", "metrics"):
        read_table(out/f"{name}.csv", cell="E003", model="ridge", marks="H3K4me3").to_csv(tmp_path/f"{name}.csv",
            index=False)
    read_table(out/"comparisons.csv").iloc[:0].to_csv(tmp_path/"comparisons.csv", index=False)
    names = read_table(tmp_path/"predictions.csv").gene_id.unique()
    write_findings(tmp_path, pd.Series("chr1", names))
    text = execute("60_cell", tmp_path, out=str(tmp_path))
    for why in ("ranking, for there is no ranking of single marks",
                "models, for there is no set of marks that two models",
                "gain, for there is no network with a baseline"): assert f"Not drawn: {why}" in text
    assert "No network was trained on this cell" in text and "There is no pair to compare." in text
    assert sorted(p.name for p in (tmp_path/"figures"/"E003").glob("*.svg")) == ["E003-calibration.svg",
        "E003-marks.svg", "E003-observed-predicted.svg"]
    execute("61_overview", tmp_path, out=str(tmp_path))
    assert sorted(p.name for p in (tmp_path/"figures").glob("*.svg")) == ["overview-cells.svg",
        "overview-ridge-groups.svg", "overview-ridge-heatmap.svg"]

def test_perturbations_are_drawn_as_the_table_says():
    ax = draw("dose-response", perturbed()).axes[0]
    assert ax.get_title(loc="left") == "E003: H3K4me3 at the promoter changes most (−2.00)"
    assert [l.get_ydata().tolist() for l in ax.lines[:2]] == [[0, -1, -2], [0, -.25, -.5]]
    assert "a tile beyond 10 kb" not in words(ax.figure)
    ax = draw("effect-position", perturbed()).axes[0]
    assert [l.get_xydata().tolist() for l in ax.lines[1:4]] == [[[-3, -2], [3, -2]], [[-4, -.5]], [[4, -.25]]]
    assert ax.get_title(loc="left") == "E003: away from the promoter, H3K4me3 at −4 kb changes most (−0.50)"
    assert "mean effect, log2(RPKM + 1)" in words(ax.figure)
    two = pd.concat([perturbed(), perturbed("silent")])
    with pytest.raises(InputError, match="group of genes a panel, not 2"): draw("dose-response", two)
    unseen = perturbed().query("distance == 12_000")
    with pytest.raises(InputError, match="the model sees none of these places"): draw("effect-position", unseen)

def test_attributions_are_drawn_as_the_table_says(tmp_path):
    tables = attributed(tmp_path)
    t = tables["attribution-position"]
    ax = draw("attribution-position", t).axes[0]
    top = t[(t["class"] == "highest third") & (t.mark == "H3K4me3")]
    assert ax.get_title(loc="left") == "Most comes from H3K4me3 at the TSS (highest third of genes)"
    line = next(l for l in ax.lines if str(l.get_label()).startswith("highest third"))
    np.testing.assert_allclose(line.get_ydata(), top["mean"])
    assert line.get_label() == f"highest third (n = {top.n.iloc[0]})"
    assert "E003, promoter_cnn, integrated gradients against no signal" in words(ax.figure)
    with pytest.raises(InputError, match="one study, model, config, cell"): draw("attribution-position", pd.concat([t, t.assign(baseline="mean")]))
    ax = draw("attribution-effect", tables["attribution-effect"]).axes[0]
    assert sum(len(l.get_xdata()) for l in ax.lines[1:]) == 600 and "600 tiles of n = 100 genes" in " ".join(words(ax.figure))
    r = tables["attribution-agreement"].set_index("mark").spearman
    assert draw("attribution-agreement", tables["attribution-agreement"]).axes[0].get_title(loc="left") == f"Attribution and perturbation: r = {r['all marks']:.2f}"
