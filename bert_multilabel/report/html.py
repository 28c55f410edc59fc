"""The page of a report: figures in, one HTML file out that needs no other file.

Drawing takes packages of the extra `report`, which are imported where they are used.
"""

import base64
import hashlib
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from bert_multilabel.evaluation.bootstrap import CONFIDENCE, RESAMPLES
from bert_multilabel.evaluation.decisions import FOLDS
from bert_multilabel.output_dir.checkpoints import REPORT_FILES
from bert_multilabel.utils.files import atomic_write, explain_write_errors, write_json

from .figures import CHARACTERS_SHOWN, Evaluation, gather_figures

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Report:
    """How a model does on labelled examples; it contains texts of these. In a notebook it shows itself.

    Attributes:
        figures: Those of `gather_figures`, and the name of the `model`: JSON values.
    """

    figures: dict[str, Any] = field(repr=False)

    @classmethod
    def of(cls, name: str, evaluation: Evaluation) -> "Report":
        """Gather the figures of the model `name`."""
        return cls({"model": name, **gather_figures(evaluation)})

    def write(self, folder: str | PathLike[str]) -> list[Path]:
        """Write `report.html` and `report.json` into a folder, and return their paths.

        Raises:
            FileError: If they cannot be written.
        """
        page, target = render(self.figures), Path(folder)
        with explain_write_errors(target):
            target.mkdir(parents=True, exist_ok=True)
        html, json = (target / file for file in REPORT_FILES)
        write_json(json, self.figures)
        with atomic_write(html) as file:
            file.write(page)
        return [html, json]

    def _repr_html_(self) -> str:
        """Show the page in a frame, apart from the styles and scripts of the notebook."""
        title, page = escape(f"Report on {self.figures['model']}"), escape(render(self.figures, "about:srcdoc"))
        return (
            f'<iframe title="{title}" srcdoc="{page}" sandbox="allow-scripts" '
            'style="width: 100%; height: 40rem; border: 1px solid #888"></iframe>'
        )


def render(figures: dict[str, Any], base: str | None = None) -> str:
    """Return the page for the figures of `gather_figures` and the name of the `model`.

    Args:
        figures: They are not changed.
        base: What links of the page start from, where that is not its own address, as in a frame.
    """
    script = (_HERE / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # Everything is escaped except our own markup: a text that looks like markup is shown as it is.
    loader = FileSystemLoader(_HERE)
    templates = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    templates.filters |= {"figure": _figure, "title": _title}
    return templates.get_template("report.html.jinja").render(
        **figures,
        base=base,
        charts=_charts(figures),
        style=Markup((_HERE / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        # The browser itself refuses every other script, and every request.
        policy=f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
        confidence=CONFIDENCE,
        resamples=RESAMPLES,
        folds=FOLDS,
        characters_shown=CHARACTERS_SHOWN,
    )


def _charts(figures: dict[str, Any]) -> dict[str, Any]:
    """Draw all charts; those without anything to draw are left out."""
    from . import charts as report_charts

    labels, confusion, together = figures["label_scores"], figures["confusion"], figures["cooccurrence"]
    most_rows = max(count for label in labels for counts in label["histogram"].values() for count in counts)
    charts: dict[str, Any] = {
        "curve_axes": report_charts.curve_axes(),
        "histogram_axes": report_charts.histogram_axes(most_rows),
        "layers": report_charts.label_layers(labels, most_rows),
        "calibration": report_charts.calibration(figures["calibration"]),
    }
    if confusion["labels"]:
        shares = np.asarray(confusion["rows"]) / np.maximum(confusion["support"], 1)[:, None]  # (S, S)
        titles = "predicted instead", "missed", "share of the missed label"
        charts["confusion"] = report_charts.matrix("confusion", shares, shares.max(), confusion["labels"], titles)
    if together["labels"]:
        counts = np.asarray([together["true"], together["predicted"]], dtype=np.float64)  # (2, S, S)
        diagonal = np.arange(counts.shape[-1])
        having = counts[:, diagonal, diagonal, None]  # (2, S, 1), rows with the label
        counts[:, diagonal, diagonal] = np.nan
        shares = counts / np.maximum(having, 1)
        # In the same shades, to be compared.
        for kind, verb, part in zip(("true", "predicted"), ("with", "predicted with"), shares, strict=True):
            titles = f"also {kind}", kind, f"share {verb} the label"
            charts[f"together_{kind}"] = report_charts.matrix(
                f"together-{kind}", part, np.nanmax(shares), together["labels"], titles
            )
    if figures["learning"] is not None:
        charts["learning"] = [report_charts.losses(figures["learning"]), report_charts.scores(figures["learning"])]
    return charts


def _figure(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _title(name: str) -> str:
    return name.replace("_f1", " F1").replace("brier", "Brier").replace("_", " ")
