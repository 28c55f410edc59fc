"""The model card: what a trained model decides, how well, how it came to be, what it cannot do, and how to use it."""

import re
from pathlib import Path

import numpy as np
from huggingface_hub import EvalResult, ModelCardData

from bert_multilabel.evaluation.bootstrap import CONFIDENCE, RESAMPLES, bootstrap_interval
from bert_multilabel.evaluation.decisions import FOLDS, Tuned
from bert_multilabel.evaluation.thresholds import Goal
from bert_multilabel.metrics import per_label_scores, sample_hamming_scores
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig
from bert_multilabel.model.hub_readme import usage
from bert_multilabel.utils.files import atomic_write

from .run_facts import RunFacts

# From this many on the table of the labels is folded.
_LABELS_FOLDED = 50
# A label with fewer rows to learn from is named among the limits; so many of them at most.
_RARE_ROWS = 20
_RARE_NAMED = 30

_SCORES = {
    "hamming_score": "hamming score",
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
# What goes into the metadata: its name among the metrics of the Hub, and what it is called here.
_INDEXED = {
    "hamming_score": ("hamming_score", "hamming score"),
    "micro_f1": ("f1", "micro F1"),
    "macro_f1": ("f1", "macro F1"),
}


def write_model_card(
    path: Path, config: MultiLabelConfig, facts: RunFacts, tuned: Tuned | None = None, source: str | None = None
) -> None:
    """Write the README.md of a model folder.

    Args:
        path: Where to.
        config: Names the labels, and says how they are decided.
        facts: What is told of the training.
        tuned: What fitting the decisions came to; None if the run did not evaluate.
        source: Name of the file that its rows are from; by default those of the run.
    """
    title = facts.hub_name or path.parent.resolve().name
    source = source or facts.validation_source
    sections = [
        f"---\n{_metadata(title, facts, tuned, source).to_yaml()}\n---",
        f"# {plain(title)}",
        f"A BERT that gives each {_input(facts)} any number of {_count(len(config.label_names), 'label')}, trained "
        f"by bert-multilabel from {_quoted(facts.base_model)}.",
        "## Use",
        usage(
            facts.hub_name or ".",
            facts.has_pairs,
            "its name on the Hub" if facts.hub_name else "this folder, or its name on the Hub",
        ),
        "## What it decides",
        _decisions(config, tuned, source),
        "## Scores",
        "None: the run did not evaluate." if tuned is None else _scores(tuned, source),
        "## Labels",
        _labels(config, facts, tuned),
        "## Training",
        _training(facts),
        "## Limits",
        _limits(config, facts, tuned),
    ]
    with atomic_write(path) as file:
        file.write("\n\n".join(sections) + "\n")


def plain(text: str) -> str:
    """Write a text so that Markdown shows it as it is, on one line, in a table, too."""
    return re.sub(r"[\\`*_\[\]<>|~&$#]", r"\\\g<0>", " ".join(text.split()))


def _metadata(title: str, facts: RunFacts, tuned: Tuned | None, source: str) -> ModelCardData:
    """Say for programs what can be said for sure: what is not known is left out."""
    results = [
        EvalResult(
            task_type="text-classification",
            task_name="multi-label text classification",
            dataset_type=facts.dataset_id if source == facts.dataset_id else "unknown",  # it must have one
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
        model_name=title if results else None,  # it names the results
        eval_results=results or None,
    )


def _input(facts: RunFacts) -> str:
    return "pair of texts" if facts.has_pairs else "text"


def _decisions(config: MultiLabelConfig, tuned: Tuned | None, source: str) -> str:
    if config.strategy == "cls":
        reading = "All labels are read from the vector at [CLS] (strategy `cls`)."
    else:
        layers = (
            f"the last {config.label_layers} of {config.num_hidden_layers} layers"
            if config.has_late_label_layers
            else "all layers"
        )
        reading = (
            "Each label is read from the vector of its own token behind the text (strategy `label_tokens`, label "
            f"attention `{config.label_attention}`, in {layers})."
        )
    temperature = "one per label" if isinstance(config.temperature, list) else f"{config.temperature:.3g}"
    threshold = (
        "its own, in the table below" if isinstance(config.threshold, list) else f"{config.threshold:.3g} for all"
    )
    rule = (
        f"A label's probability is the sigmoid of its logit divided by the temperature ({temperature}). It is given "
        f"where that is at least its threshold ({threshold})."
    )
    if config.min_labels:
        rule += f" Every text gets at least {_count(config.min_labels, 'label')}, the most probable ones first."
    return "\n".join(f"- {line}" for line in (reading, rule, _fit(tuned, source)))


def _fit(tuned: Tuned | None, source: str) -> str:
    """Say what the stored decisions were fitted to."""
    if tuned is None or tuned.scope is None:
        return "Temperature and thresholds were not fitted by this run: they are as they were before it."
    rows = _rows(tuned, source)
    temperature = "" if tuned.arguments.calibration == "keep" else f" The temperature was fitted on {rows}."
    if tuned.scope == "keep":
        asked = tuned.arguments.thresholds == "keep"
        reason = "as was asked" if asked else f"none fitted on {rows} did better on rows that they were not fitted on"
        return f"The thresholds decide as they did before, {reason}.{temperature}"
    goal = Goal.parse(tuned.arguments.threshold_goal)
    aim = f"the highest {_SCORES[goal.score]}" if goal.floor is None else f"a {goal.score} of at least {goal.floor:g}"
    return f"The thresholds were fitted on {rows}, for {aim}.{temperature}"


def _rows(tuned: Tuned, source: str) -> str:
    return f"{_count(len(tuned.labels), 'row')} of {_quoted(source)}"


def _scores(tuned: Tuned, source: str) -> str:
    scores, lines = tuned.scores, ["| score | as it decides | at threshold 0.5, uncalibrated |", "|---|--:|--:|"]
    low, high = bootstrap_interval(sample_hamming_scores(tuned.predicted, tuned.labels))
    for name, title in _SCORES.items():
        before = scores.get(f"{name}_at_half", scores.get(f"{name}_uncalibrated"))
        interval = f" ({low:.4f} to {high:.4f})" if name == "hamming_score" else ""
        lines.append(f"| {title} | {scores[name]:.4f}{interval} | {before:.4f} |")
    average_precision = scores["mean_average_precision"]
    lines.append(f"| mean average precision (without thresholds) | {average_precision:.4f} | |")
    if tuned.is_cross_fitted:
        how = f"Cross-fitted: each row is decided by a fit on the other {FOLDS - 1} of {FOLDS} parts of the rows."
    elif tuned.decisions.threshold == 0.5:
        how = "The thresholds are not fitted."
    else:
        how = "The thresholds are those of before; if they were fitted on these rows, that flatters."
    notes = (
        f"On {_rows(tuned, source)}. {how} The hamming score is the mean over rows of |given AND true| / |given OR "
        f"true|. In brackets its {CONFIDENCE:.0%} interval, the percentiles of {RESAMPLES:,} bootstrap redraws of the "
        "rows with a fixed seed: it covers the choice of these rows, and not what another training would change."
    )
    return "\n".join(lines) + "\n\n" + notes.replace("|", "\\|")


def _labels(config: MultiLabelConfig, facts: RunFacts, tuned: Tuned | None) -> str:
    """Tabulate the labels, the most frequent first."""
    names = config.label_names
    thresholds = config.label_thresholds
    by_name = None if tuned is None else per_label_scores(tuned.predicted, tuned.labels, names, zero_division=np.nan)
    if by_name is None:
        lines = ["| label | training rows | threshold |", "|---|--:|--:|"]
    else:
        lines = [
            "| label | training rows | support | precision | recall | F1 | threshold |",
            "|---|--:|--:|--:|--:|--:|--:|",
        ]
    support = facts.positives if by_name is None else [by_name[name]["support"] for name in names]
    # The sort is stable: equals stay in the order of the labels.
    for index in sorted(range(len(names)), key=lambda index: (-support[index], -facts.positives[index])):
        cells = [plain(names[index]), f"{facts.positives[index]:,}"]
        if by_name is not None:
            scores = by_name[names[index]]
            cells += [f"{scores['support']:,.0f}", *(_figure(scores[name]) for name in ("precision", "recall", "f1"))]
        lines.append(f"| {' | '.join([*cells, f'{thresholds[index]:.3g}'])} |")
    table = "\n".join(lines)
    if len(names) >= _LABELS_FOLDED:
        # The empty lines make it a table again, inside HTML.
        table = f"<details>\n<summary>All {_count(len(names), 'label')}</summary>\n\n{table}\n\n</details>"
    if tuned is None:
        return table
    unseen = (
        "Scores are cross-fitted as above; the threshold is the stored one, fitted on all rows."
        if tuned.is_cross_fitted
        else "Scores are those of the stored thresholds."
    )
    return (
        f"{table}\n\nSupport is the number of rows, of those above, that have the label; – is what is not defined "
        f"because none has it, or none is given it. {unseen}"
    )


def _figure(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"


def _training(facts: RunFacts) -> str:
    data = f"{_count(facts.train_rows, 'row')} of {_quoted(facts.train_source)}"
    time = "not known: training went on from a checkpoint" if facts.seconds is None else _duration(facts.seconds)
    base = _quoted(facts.base_model)
    if facts.base_model_id not in (None, facts.base_model):
        base += f", a folder whose configuration names {_quoted(str(facts.base_model_id))} as its origin"
    rows = {
        "base model": base,
        "training data": data,
        **{name: plain(value) for name, value in facts.recipe.items()},
        "hardware": plain(facts.hardware),
        "time": time,
        "versions": ", ".join(f"{name} {number}" for name, number in facts.versions.items()),
    }
    return "\n".join(f"- {name}: {value}" for name, value in rows.items())


def _limits(config: MultiLabelConfig, facts: RunFacts, tuned: Tuned | None) -> str:
    positions = config.max_position_embeddings
    takes_room = config.strategy == "label_tokens" and not config.encodes_text_separately
    limits = [
        f"It reads at most {positions} tokens at a time"
        + (f", of which {len(config.label_names)} are those of the labels" if takes_room else "")
        + (
            ""
            if facts.max_seq_length is None
            else f"; in training, inputs were cut at {_count(facts.max_seq_length, 'token')}"
        )
        + ". `truncation=True` cuts what is longer.",
        "It knows the labels above and no others.",
        f"Language of the texts: {', '.join(facts.languages)}."
        if facts.languages
        else "The language of the texts was not stated: expect nothing in others than those of the training data.",
    ]
    rare = sorted((positives, index) for index, positives in enumerate(facts.positives) if positives < _RARE_ROWS)
    if rare:
        named = [f"{_quoted(config.label_names[index])} ({positives})" for positives, index in rare[:_RARE_NAMED]]
        more = f", and {len(rare) - _RARE_NAMED} more" if len(rare) > _RARE_NAMED else ""
        limits.append(
            f"{_count(len(rare), 'label')} with fewer than {_RARE_ROWS} training rows, learned from hardly anything: "
            f"{', '.join(named)}{more}."
        )
    if tuned is None:
        limits.append("Nothing is known of how well it decides: it was not evaluated.")
    elif tuned.is_cross_fitted:
        limits.append(
            f"Thresholds fitted on {_count(len(tuned.labels), 'row')} hold for texts like those; for others, fit them "
            "anew with `python -m bert_multilabel.tune`."
        )
    limits.append(
        "This card is written by the training run, which does not examine bias: expect the model to repeat what its "
        "training data and its base model have."
    )
    return "\n".join(f"- {limit}" for limit in limits)


def _quoted(text: str) -> str:
    return f"“{plain(text)}”"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.0f} s"
