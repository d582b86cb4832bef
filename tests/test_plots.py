"Figures: drawn again from their CSV they are the same to the byte, and they show what the table says."
import json, re
from pathlib import Path
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt, numpy as np, pandas as pd, papermill, pytest
from chromexpress.core import InputError
from chromexpress.evaluate import example_results, read_table
from chromexpress.plots import PANELS, draw, genes_label, mark_colors, marks_label, model_names, pooled, redraw, save_figure, study_marks
from chromexpress.quality_plots import quality_tables

roadmap = "H3K4me1+H3K4me3+H3K9me3+H3K27me3+H3K36me3+H3K27ac+H3K9ac"
analysis = Path(__file__).parents[1]/"nbs"/"analysis"

@pytest.fixture(scope="module")
def out(tmp_path_factory): return example_results(tmp_path_factory.mktemp("results"), cells=2, genes=300)

@pytest.fixture(scope="module")
def frames(out):
    scores, history = pooled(read_table(out/"metrics.csv")), read_table(out/"history.csv")
    at = [-2950, -50, 2950]
    groups = ["all genes", "lowest quarter", "highest quarter"]
    profile = [(c, a, "profile", g, x, 1. + i*(x == -50), 147) for c in ("E003", "E116") for a in ("H3K4me3", "DNase") for i, g in enumerate(groups) for x in at]
    pair = [("E003", "H3K4me3", "correlation", "DNase", None, .7, 147), ("E003", "DNase", "correlation_of_cells", "E116", None, .9, 147)]
    chrom = [("E003", a, "chromosome_signal", c, None, v, 147) for a in ("H3K4me3", "DNase") for c, v in (*((f"chr{i}", 2.) for i in range(1, 9)), ("chr9", 0.))]
    empty = [("E003", "DNase", m, "all genes", None, v, 147) for m, v in (("empty_genes", .25), ("empty_bins", .5))]
    fit = [(a, "H3K4me3+DNase", "expression_fit", b, None, .5 if a == b else -.5, 147) for a in ("E003", "E116") for b in ("E003", "E116")]
    qc = quality_tables(pd.DataFrame(profile + pair + chrom + empty + fit, columns="cell assay measure group at value n".split()))
    return qc | {"heatmap": scores[scores.model == "ridge"], "marks": scores[scores.cell == "E003"], "cells": scores[scores.marks == roadmap],
            "observed-predicted": read_table(out/"predictions.csv", cell="E003", model="ridge", marks=roadmap, split="test"),
            "learning-curves": history[(history.cell == "E003") & (history.marks == roadmap)]}

@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")

def words(fig): return [t.get_text() for t in fig.findobj(matplotlib.text.Text) if t.get_text()]

@pytest.mark.parametrize("name", list(PANELS))
def test_redrawn_from_csv_to_the_byte(frames, tmp_path, name):
    svg = save_figure(draw(name, frames[name]), frames[name], tmp_path/f"E003-{name}")
    first = svg.read_text()
    with plt.rc_context({"font.size": 20, "svg.hashsalt": None}):        # the reader's own settings do not show
        again = save_figure(redraw(tmp_path/f"E003-{name}.csv"), frames[name], tmp_path/f"again-{name}")
    assert again.read_text() == first
    assert sorted(p.name for p in tmp_path.glob("E003*")) == [f"E003-{name}.{s}" for s in ("csv", "png", "svg")]

@pytest.mark.parametrize("name", list(PANELS))
def test_svg_is_plain(frames, tmp_path, name):
    text = save_figure(draw(name, frames[name]), frames[name], tmp_path/f"x-{name}").read_text()
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
    with pytest.raises(InputError, match="one model a panel, not cnn, ridge"): draw("heatmap", pd.concat([frame, frame.assign(model="cnn")]).sort_values("model"))

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
    with pytest.raises(InputError, match="one cell a panel"): draw("marks", pd.concat([frame, frame.assign(cell="E9")]))

def test_empty_r_is_said(frames):
    frame = frames["marks"].copy()
    frame.loc[frame.marks == "H3K9ac", ["pearson", "low", "high"]] = np.nan
    assert words(draw("marks", frame)).count("no r") == 2

def test_observed_predicted_names_r_and_unit(frames):
    frame = frames["observed-predicted"]
    r = np.corrcoef(frame.y_true, frame.y_pred)[0, 1]
    shown = words(draw("observed-predicted", frame.assign(unit="log2(RPKM + 1)", all_marks=roadmap)))
    assert f"E003: r = {r:.2f} on genes not seen in training" in shown and "observed expression, log2(RPKM + 1)" in shown
    assert "ridge, all 7 marks, n = 147 test genes" in shown
    many = pd.concat([frame] * 4)
    assert "genes in a hexagon" in words(draw("observed-predicted", many))
    with pytest.raises(InputError, match="not 2"): draw("observed-predicted", pd.concat([frame, frame.assign(model="x")]))

def test_learning_curves_mark_the_kept_epoch(frames):
    frame = pd.DataFrame(dict(cell="A", model="cnn", marks="K4", fold=[1] * 4 + [2] * 4, seed=0, epoch=[1, 2, 3, 4] * 2,
                              train_loss=[4., 3, 2, 1] * 2, valid_loss=[4., 2, 3, 3, 4, 3, 2, 3]))
    fig = draw("learning-curves", frame)
    assert [tuple(line.get_xydata()[0]) for line in fig.axes[0].lines if line.get_marker() == "o"] == [(2, 2), (3, 2)]
    assert "A: validation loss is lowest at epochs 2 to 3" in words(fig) and "cnn, K4, 2 folds" in words(fig)
    assert "A: no validation loss" in words(draw("learning-curves", frame.assign(valid_loss=np.nan)))

def test_quality_panels_say_what_the_table_says(frames):
    assert set(frames) == set(PANELS)
    assert "1 chromosome without signal" not in (w := words(draw("chromosome-signal", frames["chromosome-signal"])))
    assert "2 chromosomes without signal, over all tracks" in w and w.count("×") == 2
    assert "E003 DNase is empty at 25 % of genes" in words(draw("empty-windows", frames["empty-windows"]))
    assert "Own tracks fit expression best" in words(draw("expression-fit", frames["expression-fit"]))
    swapped = frames["expression-fit"].assign(value=lambda d: -d.value)
    assert "E003, E116: other tracks fit better" in words(draw("expression-fit", swapped))
    shown = words(draw("tss-profiles", frames["tss-profiles"]))
    assert {"lowest quarter", "highest quarter", "E003", "E116", "DNase", "3"} <= set(shown) and "all genes" not in shown
    alone = frames["tss-profiles"][frames["tss-profiles"].group == "all genes"]
    assert "all genes" in words(draw("tss-profiles", alone))
    r = words(draw("track-correlation", frames["track-correlation"]))
    assert r.count("0.7") == 2 and r.count("0.9") == 2

def test_names_of_marks():
    assert marks_label("H3K4me3", roadmap) == "H3K4me3" and marks_label(roadmap, roadmap) == "all 7 marks"
    assert marks_label(roadmap.replace("H3K9me3+", ""), roadmap) == "all but H3K9me3"
    assert marks_label("H3K4me1+H3K27ac", roadmap) == "H3K4me1 + H3K27ac" and marks_label("a+b+c", roadmap) == "a + b +\nc"
    assert study_marks([roadmap, "H3K9ac", "H3K4me1", "sequence"]) == (["H3K4me1", "H3K9ac", "sequence", roadmap], roadmap)
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

@pytest.mark.parametrize("name", ["60_cell", "61_overview"])
def test_one_parameters_cell(name):
    cells = json.loads((analysis/f"{name}.ipynb").read_text())["cells"]
    tagged = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
    assert len(tagged) == 1 and all(re.fullmatch(r"\w+ = \"\"  # .+\n?", line) for line in tagged[0]["source"])
    assert not any("#| export" in "".join(c["source"]) for c in cells)

def execute(name, folder, **parameters):
    papermill.execute_notebook(analysis/f"{name}.ipynb", folder/f"{name}.ipynb", parameters, kernel_name="python3", progress_bar=False)
    return (folder/f"{name}.ipynb").read_text()

def test_cell_notebook(out, tmp_path):
    execute("60_cell", tmp_path, cell="E004", out=str(out), figures=str(tmp_path/"f"), unit="log2(RPKM + 1)")
    names = [f"E004-{p}.{s}" for p in ("learning-curves", "marks", "observed-predicted") for s in ("csv", "png", "svg")]
    assert sorted(p.name for p in (tmp_path/"f").iterdir()) == names
    assert set(read_table(tmp_path/"f"/"E004-marks.csv").cell) == {"E004"}
    assert "log2(RPKM + 1)" in (tmp_path/"f"/"E004-observed-predicted.svg").read_text()

def test_cell_notebook_refuses_an_unknown_cell(out, tmp_path):
    with pytest.raises(papermill.PapermillExecutionError, match="'E999' is not in .*metrics.csv; known: E003, E004"):
        execute("60_cell", tmp_path, cell="E999", out=str(out))

def test_notebooks_of_the_smallest_study(out, tmp_path):
    "One ridge on one mark in one cell: no network, nothing to compare."
    for name in ("predictions", "metrics"):
        read_table(out/f"{name}.csv", cell="E003", model="ridge", marks="H3K4me3").to_csv(tmp_path/f"{name}.csv", index=False)
    read_table(out/"comparisons.csv").iloc[:0].to_csv(tmp_path/"comparisons.csv", index=False)
    text = execute("60_cell", tmp_path, out=str(tmp_path))
    assert "No network was trained on this cell" in text and "There is no pair to compare." in text
    assert sorted(p.name for p in (tmp_path/"figures"/"E003").glob("*.svg")) == ["E003-marks.svg", "E003-observed-predicted.svg"]
    execute("61_overview", tmp_path, out=str(tmp_path))
    assert sorted(p.name for p in (tmp_path/"figures").glob("*.svg")) == ["overview-cells.svg", "overview-ridge-heatmap.svg"]
