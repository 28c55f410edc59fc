"""Writes the model card: how to use a trained model, how it decides, its scores, its training and its limits."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from bert_multilabel.backbones import FAMILIES
from bert_multilabel.evaluation.bootstrap import CONFIDENCE, RESAMPLES, bootstrap_interval
from bert_multilabel.evaluation.decisions import FOLDS, Tuned
from bert_multilabel.evaluation.goals import Goal
from bert_multilabel.metrics import per_label_scores, sample_hamming_scores
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig
from bert_multilabel.model.hub_readme import usage
from bert_multilabel.model.label_rules import quantity
from bert_multilabel.utils.duration import duration
from bert_multilabel.utils.files import atomic_write

from .run_facts import RunFacts

_SCORES = {
    "hamming_score": "hamming score (mean samples Jaccard)",
    "subset_accuracy": "subset accuracy",
    "micro_f1": "micro F1",
    "micro_precision": "micro precision",
    "micro_recall": "micro recall",
    "macro_f1": "macro F1",
    "samples_f1": "samples F1",
    "hamming_loss": "hamming loss (lower is better)",
    "expected_calibration_error": "expected calibration error (lower is better)",
    "brier_score": "Brier score (lower is better)",
}
# Scores in the metadata: the name of the metric on the Hub, and its title.
_INDEXED = {
    "hamming_score": ("hamming_score", "hamming score"),
    "micro_f1": ("f1", "micro F1"),
    "macro_f1": ("f1", "macro F1"),
}


def write_model_card(
    path: Path, config: MultiLabelConfig, facts: RunFacts, tuned: Tuned | None = None, source: str | None = None
) -> None:
    """Write the README.md of a model directory, by `model_card.md.jinja`.

    Args:
        path: The file to write.
        config: The configuration of the model.
        facts: The facts about the training run.
        tuned: The fitted decisions and their scores; None if the run did not evaluate.
        source: Name of the file of the evaluated examples; by default that of the run.
    """
    title = facts.hub_name or path.parent.resolve().name
    source = source or facts.validation_source
    where = "its name on the Hub" if facts.hub_name else "this folder, or its name on the Hub"
    card = _template().render(
        metadata=_metadata(title, facts, tuned, source).to_yaml(),
        title=title,
        config=config,
        family=_family(config),
        facts=facts,
        tuned=tuned,
        usage=usage(facts.hub_name or ".", facts.has_pairs, where),
        examples=None if tuned is None else f"{quantity(len(tuned.labels), 'example')} of {_quoted(source)}",
        goal=None if tuned is None else _goal(tuned),
        score_titles=_SCORES,
        interval=None if tuned is None else bootstrap_interval(sample_hamming_scores(tuned.predicted, tuned.labels)),
        labels=_labels(config, facts, tuned),
    )
    with atomic_write(path) as file:
        file.write(card)


def _template() -> Template:
    environment = markdown_environment(Path(__file__).parent)
    environment.filters |= {"quoted": _quoted, "figure": _figure, "duration": duration}
    names = {"count": quantity, "folds": FOLDS, "confidence": CONFIDENCE, "resamples": RESAMPLES}
    return environment.get_template("model_card.md.jinja", globals=names)


def markdown_environment(folder: Path) -> Environment:
    """Return what renders the templates of a folder as Markdown; their filter `plain` escapes texts."""
    environment = Environment(
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        autoescape=False,  # of HTML
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["plain"] = plain
    return environment


def plain(text: str) -> str:
    """Escape a text for one line of Markdown, which may be in a table."""
    return re.sub(r"[\\`*_\[\]<>|~&$#]", r"\\\g<0>", " ".join(text.split()))


def _metadata(title: str, facts: RunFacts, tuned: Tuned | None, source: str) -> ModelCardData:
    results = [
        EvalResult(
            task_type="text-classification",
            task_name="multi-label text classification",
            dataset_type=facts.dataset_id if source == facts.dataset_id else "unknown",  # required
            dataset_name=source,
            dataset_split="validation",
            metric_type=metric,
            metric_name=name,
            metric_value=round(tuned.scores[score], 4),
        )
        for score, (metric, name) in _INDEXED.items()
        if tuned is not None
    ]
    return ModelCardData(
        language=facts.languages or None,
        license=facts.license,
        library_name="transformers",
        pipeline_tag="text-classification",
        tags=["multi-label", "bert_multilabel"],
        base_model=facts.base_model_id,
        datasets=None if facts.dataset_id is None else [facts.dataset_id],
        metrics=["hamming_score", "f1"],
        widget=[{"text": text} for text in facts.examples] or None,
        model_name=title if results else None,  # of the results
        eval_results=results or None,
    )


def _goal(tuned: Tuned) -> str:
    goal = Goal.parse(tuned.arguments.threshold_goal)
    return f"the highest {_SCORES[goal.score]}" if goal.floor is None else f"a {goal.score} of at least {goal.floor:g}"


def _family(config: MultiLabelConfig) -> str:
    """Return the name of the backbone's family, "BERT" unless the configuration names another."""
    family = FAMILIES.get(config.backbone_model_type or "bert")
    return str(config.backbone_model_type) if family is None else family.title


def _labels(config: MultiLabelConfig, facts: RunFacts, tuned: Tuned | None) -> list[dict[str, Any]]:
    """Return the rows of the table of labels, the most frequent first."""
    names = config.label_names
    by_name = {} if tuned is None else per_label_scores(tuned.predicted, tuned.labels, names, zero_division=np.nan)
    rows = [
        {
            "name": name,
            "positives": positives,
            "threshold": threshold,
            "scores": by_name.get(name),
        }
        for name, positives, threshold in zip(names, facts.positives, config.label_thresholds, strict=True)
    ]
    return sorted(rows, key=lambda row: (-row["scores"]["support"] if row["scores"] else 0, -row["positives"]))


def _figure(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"


def _quoted(text: str) -> str:
    return f"“{plain(text)}”"
