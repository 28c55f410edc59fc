# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""The README.md of a Hub repository to which a model is pushed part by part: what it holds and what it lacks."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, ModelCard, ModelCardData
from huggingface_hub.errors import RevisionNotFoundError
from transformers.utils.hub import PushToHubMixin

# Stands in pages that the next push may replace, as this sentence does in those that Transformers writes.
_MARK = "<!-- Written by push_to_hub, which replaces this page as long as this line stands in it. -->"
_STOCK_MARK = "This model card has been automatically generated."
# What a repository needs to load, beside code, which every part brings along: the file that shows it is there, by how
# its name ends, and what pushes it. The model brings its configuration.
_PARTS = {"weights": (".safetensors", "model"), "tokenizer": ("tokenizer_config.json", "tokenizer")}


class PushedInParts(PushToHubMixin):
    """Lets `push_to_hub` leave a page that says what the repository holds and what it still lacks.

    A page that somebody wrote, or that came with a trained folder, stays as it is. This stands before the base class
    of Transformers in a configuration, a tokenizer and a model.
    """

    def _upload_modified_files(self, working_dir: Any, repo_id: str, *args: Any, **kwargs: Any) -> Any:
        # What `push_to_hub` and `save_pretrained(push_to_hub=True)` both end with.
        refresh_readme(Path(working_dir), repo_id, kwargs.get("token"), kwargs.get("revision"))
        return super()._upload_modified_files(working_dir, repo_id, *args, **kwargs)


def refresh_readme(folder: Path, repo_id: str, token: str | None = None, revision: str | None = None) -> None:
    """Write the page of a repository that a folder is about to be pushed to, unless it has one of its own.

    Args:
        folder: What is pushed, README.md included.
        repo_id: Where it is pushed, "user/name".
        token: For the Hub; by default the stored one.
        revision: The branch that is pushed to; by default main.
    """
    api = HfApi(token=token)
    try:
        there = set(api.list_repo_files(repo_id, revision=revision))
    except RevisionNotFoundError:  # the push is about to make this branch, from main
        there = set(api.list_repo_files(repo_id))
    path, card = folder / "README.md", None
    if path.is_file():
        card = ModelCard.load(path)
    elif path.name in there:
        card = ModelCard.load(repo_id, token=token)
    if card is None or _MARK in card.text or _STOCK_MARK in card.text:
        files = there | {file.name for file in folder.iterdir()}
        write_readme(path, repo_id, files, tags=[] if card is None else card.data.tags or [])


def write_readme(path: Path, repo_id: str, files: Collection[str], tags: Collection[str] = (), note: str = "") -> None:
    """Write the page of a repository that was not trained by the script, or is being trained by it.

    Args:
        path: Where to.
        repo_id: The repository, "user/name".
        files: Names of the files that it holds, or will hold once pushed.
        tags: For its metadata, beside those of this package.
        note: A paragraph in front of the rest.
    """
    metadata = ModelCardData(
        library_name="transformers",
        pipeline_tag="text-classification",
        tags=list(dict.fromkeys(["multi-label", "bert_multilabel", *tags])),
    )
    loaded = [name for name in files if "/" not in name]  # folders hold checkpoints
    lacking = [part for part, (ending, _) in _PARTS.items() if not any(name.endswith(ending) for name in loaded)]
    sections = [
        f"---\n{metadata.to_yaml()}\n---",
        f"# {repo_id.split('/')[-1]}",
        note,
        "A BERT that gives each text any number of labels. Their names, and from which probability on a label is "
        "given, stand in `config.json`.",
        _lacks(repo_id, lacking) if lacking else f"## Use\n\n{usage(repo_id)}",
        _MARK,
    ]
    ModelCard("\n\n".join(section for section in sections if section) + "\n").save(path)


def _lacks(repo_id: str, parts: list[str]) -> str:
    """Say what is missing and how to add it."""
    calls = "\n".join(f'{_PARTS[part][1]}.push_to_hub("{repo_id}")' for part in parts)
    return (
        f"## What is missing\n\nThis repository does not load as a model yet: it lacks the {' and the '.join(parts)}. "
        f"In Python, this adds what is missing:\n\n```python\n{calls}\n```"
    )


def usage(name: str, has_pairs: bool = False, where: str = "its name on the Hub") -> str:
    """Return blocks of Markdown that show how a folder or repository is loaded and asked.

    Args:
        name: Of the folder or repository.
        has_pairs: Whether the model was trained on pairs of texts.
        where: Says in a comment what the name is.
    """
    one = '{"text": "a text", "text_pair": "its second text"}' if has_pairs else '"a text"'
    batch = '["a text"], ["its second text"]' if has_pairs else '["a text"]'
    return f"""```python
from transformers import pipeline

name = {json.dumps(name)}  # {where}
decide = pipeline("multilabel-classification", model=name, trust_remote_code=True)
print(decide({one}))  # {{"labels": [names], "scores": {{name: probability}}}}
```

Or, with the logits at hand:

```python
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

name = {json.dumps(name)}  # {where}
tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=True)
model = AutoModelForSequenceClassification.from_pretrained(name, trust_remote_code=True)
with torch.inference_mode():
    logits = model(**tokenizer({batch}, padding=True, truncation=True, return_tensors="pt")).logits
probabilities, decisions = model.config.decide(logits)
print([label for label, given in zip(model.config.label_names, decisions[0]) if given])
```"""
