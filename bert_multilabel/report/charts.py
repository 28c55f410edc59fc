"""The charts of a report, as SVG for a page that sets the colours.

matplotlib draws in placeholder colours. They are replaced by the page's text colour and its CSS variables `--grid`,
`--one` and `--other`, so one drawing works in light mode, in dark mode and on paper. The curve and the histogram of a
label are a layer over axes that all labels share, which keeps the page small.
"""

import io
import re
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, StrMethodFormatter
from numpy.typing import NDArray

_INK, _GRID, _ONE, _OTHER = "#000001", "#000002", "#000003", "#000004"
_COLOURS = {_INK: "currentColor", _GRID: "var(--grid)", _ONE: "var(--one)", _OTHER: "var(--other)"}
# From nothing to blue: the page shines through, whether it is white or black.
_SHADES = LinearSegmentedColormap.from_list("shades", [(0.0, 0.45, 0.7, 0.0), (0.0, 0.45, 0.7, 1.0)])

_STYLE = {
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # a label may be called $x$
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "grid.color": _GRID,
    "grid.linewidth": 0.7,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
}
_styled = matplotlib.rc_context(_STYLE)  # type: ignore[arg-type]  # the types list every name

_SIZE = (4.6, 3.4)  # inches
_LABEL_AXES = (0.16, 0.15, 0.73, 0.72)  # left, bottom, width, height, as shares of the figure
_NAME_LENGTH = 24
_PERCENT = FuncFormatter(lambda share, _: f"{100 * share:.3g}%")
_COUNTS = StrMethodFormatter("{x:,.0f}")
# matplotlib has no option against these: style rules, which would apply to the page, ids that repeat in it, fonts.
_CLEANING = {
    r"<defs>\s*<style.*?</style>\s*</defs>": "",
    r"<g id=\"[^\"]*\"": "<g",
    r"font-family: [^;\"]*;": "",
    r"\s*\n\s*": "\n",
}
_LEAST_BAR = 0.7  # where logarithmic bars begin, so that one row still shows


@_styled
def curve_axes() -> Markup:
    """Draw the axes of all labels' precision-recall curves, with lines of equal F1."""
    figure, axes = _label_figure()
    axes.set(xlabel="recall", ylabel="precision")
    for f1 in (0.2, 0.4, 0.6, 0.8):
        recall = np.linspace(f1 / (2 - f1), 1, 100)
        axes.plot(recall, f1 * recall / (2 * recall - f1), ":", color=_GRID, linewidth=1.5)
        axes.text(1.02, f1 / (2 - f1), f"F1 {f1:g}", fontsize=9, va="center")
    axes.plot([], [], color=_ONE, label="curve")
    axes.plot([], [], "o", color=_OTHER, label="at the threshold")
    _legend_above(axes)
    return _svg(figure, "curve-axes", "Recall from 0 to 1 against precision from 0 to 1")


@_styled
def histogram_axes(most_rows: int) -> Markup:
    """Draw the axes of all labels' histograms; `most_rows` is the highest bar of any label."""
    figure, axes = _label_figure(most_rows)
    axes.set(xlabel="probability", ylabel="examples (logarithmic)")
    axes.yaxis.set_major_formatter(_COUNTS)
    axes.fill_between([], [], color=_OTHER, alpha=0.35, label="without the label")
    axes.fill_between([], [], color=_ONE, alpha=0.6, label="with it")
    axes.plot([], [], "--", color=_INK, label="threshold")
    _legend_above(axes)
    return _svg(figure, "histogram-axes", "Probability from 0 to 1 against the number of examples, logarithmic")


@_styled
def label_layers(labels: Sequence[dict[str, Any]], most_rows: int) -> list[tuple[Markup, Markup]]:
    """Draw the layers of each label, for `curve_axes` and for `histogram_axes` of the same `most_rows`."""
    # Axes are most of the work, so all labels are drawn on the same.
    (curve_figure, curve_axes), (histogram_figure, histogram_axes) = _label_figure(), _label_figure(most_rows)
    curve_axes.set_axis_off()
    histogram_axes.set_axis_off()
    layers = []
    for index, label in enumerate(labels):
        for axes in (curve_axes, histogram_axes):
            for artist in (*axes.lines, *axes.patches, *axes.texts):
                artist.remove()
        _draw_curve(curve_axes, label["curve"])
        _draw_histogram(histogram_axes, label["histogram"], label["threshold"])
        titles = f"Precision-recall curve of {label['label']}", f"Probabilities and threshold of {label['label']}"
        curve = _svg(curve_figure, f"curve-{index}", titles[0])
        layers.append((curve, _svg(histogram_figure, f"histogram-{index}", titles[1])))
    return layers


def _draw_curve(axes: Axes, curve: dict[str, Any] | None) -> None:
    if curve is None:
        axes.text(0.5, 0.5, "no example has this label", ha="center")
        return
    axes.step(curve["recall"], curve["precision"], where="post", color=_ONE, linewidth=1.8, clip_on=False)
    if curve["at_threshold"] is not None:
        axes.plot(*curve["at_threshold"], "o", color=_OTHER, markersize=8, clip_on=False)


def _draw_histogram(axes: Axes, counts: dict[str, list[int]], threshold: float | None) -> None:
    for kind, colour, alpha in (("without", _OTHER, 0.35), ("with", _ONE, 0.6)):
        heights = np.maximum(counts[kind], _LEAST_BAR)
        bars = axes.stairs(heights, np.linspace(0, 1, len(heights) + 1), baseline=_LEAST_BAR, fill=True)
        bars.set(facecolor=(colour, alpha), edgecolor=colour, linewidth=1.2, clip_on=False)
    if threshold is not None:
        axes.axvline(threshold, color=_INK, linestyle="--", clip_on=False)


@_styled
def matrix(name: str, shares: NDArray[np.float64], most: float, labels: list[str], titles: Sequence[str]) -> Markup:
    """Draw a matrix of labels by labels as a heat map.

    Args:
        name: Of the chart, among all.
        shares: (S, S), from 0 to 1; NaN stays empty.
        most: The share that has the full shade.
        labels: Names of rows and columns, S.
        titles: Of the columns, the rows and the shares.
    """
    side = 2.0 + 0.165 * max(len(labels), 8)  # inches
    figure = Figure((side + 0.6, side), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap=_SHADES, vmin=0, vmax=max(most, 1e-9), interpolation="none")
    short = [_short(label) for label in labels]
    axes.set_xticks(range(len(labels)), short, rotation=90)
    axes.set_yticks(range(len(labels)), short)
    axes.set(xlabel=titles[0], ylabel=titles[1])
    axes.tick_params(length=0, labelsize=9)
    # Lines between the cells.
    between = np.arange(len(labels) + 1) - 0.5
    axes.set_xticks(between, minor=True)
    axes.set_yticks(between, minor=True)
    axes.grid(False)
    axes.grid(which="minor", linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, fraction=0.035, pad=0.03, format=_PERCENT)
    bar.set_label(titles[2])
    bar.outline.set_edgecolor(_GRID)
    return _svg(figure, name, f"{titles[2]}, {titles[1]} by {titles[0]}; the largest are in the table")


@_styled
def calibration(figures: dict[str, Any]) -> Markup:
    """Draw predicted probabilities against observed frequencies, and how many entries have them."""
    figure = Figure((4.6, 4.4), layout="constrained")
    curve, cells = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    curve.plot([0, 1], [0, 1], "--", color=_INK, linewidth=1, alpha=0.6, label="perfectly calibrated")
    curve.plot(figures["probability"], figures["true"], "o-", color=_ONE, label="observed", clip_on=False)
    curve.set(xlim=(0, 1), ylim=(0, 1), ylabel="share that is true")
    curve.legend(loc="upper left")
    cells.bar(figures["probability"], figures["cells"], width=0.04, color=_OTHER, alpha=0.6)
    cells.set(xlabel="probability", ylabel="entries", yscale="log")
    cells.yaxis.set_major_formatter(_COUNTS)
    cells.set_ylim(bottom=_LEAST_BAR)
    cells.minorticks_off()
    return _svg(figure, "calibration", "Calibration curve: probability against the share that is true")


@_styled
def losses(figures: dict[str, Any]) -> Markup:
    """Draw the losses of training and evaluation over the epochs."""
    training, evaluation = figures["training"], figures["evaluation"]
    figure, axes = _epochs_figure()
    for history, mark, colour, name in ((training, ".-", _ONE, "training"), (evaluation, "o--", _OTHER, "evaluation")):
        if history["epoch"]:  # a short run logs no training loss, and one without --do_eval no evaluation
            axes.plot(history["epoch"], history["loss"], mark, color=colour, label=name)
    axes.set(ylabel="loss")
    axes.legend()
    return _svg(figure, "losses", "Losses over the epochs")


@_styled
def scores(figures: dict[str, Any]) -> Markup:
    """Draw the scores of evaluations over the epochs."""
    evaluation = figures["evaluation"]
    figure, axes = _epochs_figure()
    for score, mark, colour in (("hamming_score", "o-", _ONE), ("micro_f1", "s--", _OTHER), ("macro_f1", "^:", _INK)):
        title = score.replace("_f1", " F1").replace("_", " ")
        axes.plot(evaluation["epoch"], evaluation[score], mark, color=colour, label=title)
    axes.set(ylabel="score in evaluation")
    axes.legend()
    return _svg(figure, "scores", "Scores in evaluation over the epochs")


def _epochs_figure() -> tuple[Figure, Axes]:
    figure = Figure(_SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return figure, axes


def _label_figure(most_rows: int | None = None) -> tuple[Figure, Axes]:
    """Make a figure of the size and axes that all labels have, of a curve or, with `most_rows`, of a histogram."""
    figure = Figure(_SIZE)
    axes = figure.add_axes(_LABEL_AXES)
    if most_rows is None:
        axes.set(xlim=(0, 1), ylim=(0, 1))
    else:
        axes.set(xlim=(0, 1), ylim=(_LEAST_BAR, 1.3 * max(most_rows, 10)), yscale="log")
        axes.minorticks_off()
    return figure, axes


def _legend_above(axes: Axes) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, handlelength=1.4, columnspacing=1.2)


def _short(name: str) -> str:
    plain = " ".join(name.split())
    return plain if len(plain) <= _NAME_LENGTH else f"{plain[: _NAME_LENGTH - 1]}…"


def _svg(figure: Figure, name: str, description: str) -> Markup:
    """Write a figure as an `<svg>` element of a page with others."""
    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}), warnings.catch_warnings():
        # The browser has the glyphs that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(
            file, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
        )
    width, height = 72 * figure.get_size_inches()  # points
    content = re.sub(r"^.*?<svg[^>]*>|</svg>\s*$", "", file.getvalue(), flags=re.DOTALL)
    for pattern, replacement in _CLEANING.items():
        content = re.sub(pattern, replacement, content, flags=re.DOTALL)
    # A tenth of a point is less than a pixel.
    content = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d)\d+", r"\1", path[0]), content)
    content = re.sub("|".join(_COLOURS), lambda colour: _COLOURS[colour[0]], content)
    box = f"0 0 {width:g} {height:g}"
    return Markup(f'<svg role="img" aria-label="{escape(description)}" viewBox="{box}">{content}</svg>')
