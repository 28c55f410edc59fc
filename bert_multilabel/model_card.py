"""The model card: what a trained model decides, how well, and how to use it."""

from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData

from .configuration_multilabel import MultiLabelConfig

_SHOWN_SCORES = {
    "eval_hamming_score": "hamming score",
    "eval_hamming_score_at_half": "hamming score at threshold 0.5",
    "eval_subset_accuracy": "subset accuracy",
    "eval_micro_f1": "micro F1",
    "eval_macro_f1": "macro F1",
    "eval_mean_average_precision": "mean average precision",
}


def write_model_card(path: Path, config: MultiLabelConfig, base_model: str, results: dict[str, float]) -> None:
    """Write the README.md of a model folder.

    Args:
        path: Where to.
        config: Names the labels and the strategy.
        base_model: What the training started from.
        results: The metrics of the run; those of the evaluation are shown.
    """
    metadata = ModelCardData(
        library_name="transformers", pipeline_tag="text-classification", tags=["multi-label", "bert_multilabel"]
    )
    scores = "\n".join(f"| {title} | {results[key]:.4f} |" for key, title in _SHOWN_SCORES.items() if key in results)
    sections = [
        f"---\n{metadata.to_yaml()}\n---",
        f"# {path.parent.resolve().name}",
        f"A BERT that gives each text any number of {len(config.label_names)} labels "
        f"(strategy `{config.strategy}`), trained by bert-multilabel from `{Path(base_model).name}`.",
        "## Labels",
        "\n".join(f"- {name}" for name in config.label_names),
        "## Scores on the validation data",
        f"| score | value |\n|---|---|\n{scores}" if scores else "None: the run did not evaluate.",
        "## Use",
        _USAGE,
    ]
    ModelCard("\n\n".join(sections) + "\n").save(path)


_USAGE = """```python
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder = "."  # this folder, or its name on the Hub
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)
with torch.inference_mode():
    logits = model(**tokenizer(["a text"], padding=True, truncation=True, return_tensors="pt")).logits
probabilities, decisions = model.config.decide(logits)
print([name for name, given in zip(model.config.label_names, decisions[0]) if given])
```"""
