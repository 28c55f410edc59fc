# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""The README.md of a Hub repository whose model, tokenizer and configuration are pushed one by one."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, ModelCard, ModelCardData
from transformers.utils.hub import PushToHubMixin

# The next push replaces a README.md that has one of these: of an earlier push, or of Transformers.
_MARK = "<!-- Written by push_to_hub, which replaces this page as long as it contains this line. -->"
_STOCK_MARK = "This model card has been automatically generated."
# What a repository needs to load, apart from code, which each push contains: the ending of its file, and the object
# that pushes it. The model pushes its configuration, too.
_PARTS = {"weights": (".safetensors", "model"), "tokenizer": ("tokenizer_config.json", "tokenizer")}


class PushedInParts(PushToHubMixin):
    """Makes `push_to_hub` write a README.md that says how to use the repository, or what is still missing.

    A README.md that a person or a training run wrote is kept. Configuration, tokenizer and model inherit from this
    class before their base class from Transformers.
    """

    def push_to_hub(self, *args: Any, **kwargs: Any) -> Any:
        """Push as Transformers does, then bring README.md up to date in a second commit; return the first one."""
        info: Any = super().push_to_hub(*args, **kwargs)  # annotated as its base class, str
        _refresh_readme(info.repo_url.repo_id, kwargs.get("token"), info.pr_revision or kwargs.get("revision"))
        return info

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> Any:
        """Save as Transformers does; with `push_to_hub=True`, bring the README.md of the repository up to date."""
        saved = super().save_pretrained(save_directory, *args, **kwargs)
        # A pull request gets no README.md, because only the call above knows its branch.
        if kwargs.get("push_to_hub") and kwargs.get("is_main_process", True) and not kwargs.get("create_pr"):
            name, token = kwargs.get("repo_id") or Path(save_directory).name, kwargs.get("token")
            repo_id = HfApi(token=token).create_repo(name, exist_ok=True).repo_id
            _refresh_readme(repo_id, token, kwargs.get("revision"))
        return saved


def _refresh_readme(repo_id: str, token: bool | str | None, revision: str | None) -> None:
    api = HfApi(token=token)
    files = api.list_repo_files(repo_id, revision=revision)
    tags: list[str] = []
    if "README.md" in files:
        card = ModelCard.load(api.hf_hub_download(repo_id, "README.md", revision=revision))
        if _MARK not in card.text and _STOCK_MARK not in card.text:
            return
        tags = card.data.tags or []
    page = str(make_readme(repo_id, files, tags)).encode()
    api.upload_file(
        repo_id=repo_id,
        path_or_fileobj=page,
        path_in_repo="README.md",
        revision=revision,
        commit_message="Update README.md",
    )


def make_readme(repo_id: str, files: Collection[str], tags: Collection[str] = (), note: str = "") -> ModelCard:
    """Return the README.md of a repository without a finished training run.

    Args:
        repo_id: The repository, "user/name".
        files: Names of the files that it holds, or will hold once pushed.
        tags: For its metadata, in addition to those of this package.
        note: First paragraph.

    Examples:
        >>> page = make_readme("me/opinions", ["config.json", "model.safetensors"])
        >>> page.data.library_name
        'transformers'
        >>> 'tokenizer.push_to_hub("me/opinions")' in page.text
        True
    """
    metadata = ModelCardData(
        library_name="transformers",
        pipeline_tag="text-classification",
        tags=list(dict.fromkeys(["multi-label", "bert_multilabel", *tags])),
    )
    loaded = [name for name in files if "/" not in name]  # folders hold checkpoints
    missing = [part for part, (ending, _) in _PARTS.items() if not any(name.endswith(ending) for name in loaded)]
    use = f"## Use\n\n{usage(repo_id)}"
    if missing:
        calls = "\n".join(f'{_PARTS[part][1]}.push_to_hub("{repo_id}")' for part in missing)
        what = f"the {' and the '.join(missing)} {'is' if missing == ['tokenizer'] else 'are'} missing"
        todo = f"This repository does not load as a model yet: {what}. To add what is missing, in Python:"
        use = f"## What is missing\n\n{todo}\n\n```python\n{calls}\n```"
    sections = [
        f"---\n{metadata.to_yaml()}\n---",
        f"# {repo_id.split('/')[-1]}",
        note,
        "A BERT that predicts any number of labels for each text. `config.json` holds their names and thresholds: a "
        "label is predicted if its probability is at least its threshold.",
        use,
        _MARK,
    ]
    return ModelCard("\n\n".join(section for section in sections if section) + "\n")


def usage(name: str, has_pairs: bool = False, where: str = "its name on the Hub") -> str:
    """Return Markdown that shows how to load the model `name` and predict; `where` explains the name in a comment."""
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
print([label for label, predicted in zip(model.config.label_names, decisions[0]) if predicted])
```"""
