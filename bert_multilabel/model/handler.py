# Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
"""Answers requests at Hugging Face Inference Endpoints, which look for this file and class in a repository."""

from typing import Any

from transformers import pipeline


class EndpointHandler:
    """Answers requests with the pipeline of the model in the directory `path`."""

    def __init__(self, path: str = "") -> None:
        self.pipeline: Any = pipeline(  # type: ignore[call-overload]  # the types know Transformers' own tasks only
            "multilabel-classification", model=path, trust_remote_code=True
        )

    def __call__(self, data: dict[str, Any]) -> Any:
        """Answer one request with `{"labels": [names], "scores": {name: probability}}`, or a list of those for a list.

        Args:
            data: `{"inputs": ..., "parameters": {...}}`: a text, a pair as `{"text": ..., "text_pair": ...}`, or a
                list of those; and arguments of the pipeline, if any.

        Raises:
            ValueError: If the request does not have this form, or a parameter is unknown or invalid.
        """
        form = 'a request must be {"inputs": ..., "parameters": {...}}'
        if not isinstance(data, dict) or "inputs" not in data:
            raise ValueError(f"{form}, got {_brief(data)}")
        if unknown := sorted(data.keys() - {"inputs", "parameters"}):
            raise ValueError(f"{form}, but this one also has {unknown}")
        inputs, parameters = data["inputs"], {} if data.get("parameters") is None else data["parameters"]
        if not isinstance(inputs, (str, dict, list)):
            raise ValueError(f"inputs must be a text, a pair, or a list of those, got {_brief(inputs)}")
        if not isinstance(parameters, dict) or "inputs" in parameters:
            raise ValueError(f"parameters must be an object of call arguments, got {_brief(parameters)}")
        return self.pipeline(inputs, **parameters)


def _brief(value: Any) -> str:
    return f"{repr(value)[:80]} ({type(value).__name__})"
