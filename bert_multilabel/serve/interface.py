"""The description of the interface: OpenAPI, and a page that shows it without requests to other hosts."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic.json_schema import models_json_schema

from .refusal import STATUSES
from .request_form import ErrorBody, Prediction, PredictRequest

_HERE = Path(__file__).parent
_SCHEMAS = "#/components/schemas/"


@cache
def openapi(version: str, has_key: bool) -> dict[str, Any]:
    """Describe the interface in OpenAPI 3.1.

    Args:
        version: Of this package.
        has_key: Whether the server asks for an API key.
    """
    models = [(PredictRequest, "validation"), (Prediction, "serialization"), (ErrorBody, "serialization")]
    _, defined = models_json_schema(models, ref_template=f"{_SCHEMAS}{{model}}")  # type: ignore[arg-type]
    components: dict[str, Any] = {"schemas": defined["$defs"]}
    statuses = {status: text for status, text in STATUSES.items() if status != 401 or has_key}
    predict = {
        "summary": "Label texts",
        "requestBody": {"required": True, **_content(_reference("PredictRequest"))},
        "responses": {
            "200": {"description": "One prediction for one text, a list for a list.", **_content(_predictions())},
            **{str(status): _refusal(text) for status, text in statuses.items()},
        },
    }
    paths: dict[str, Any] = {
        "/predict": {"post": predict},
        "/health": {"get": _get("Whether the server is ready", {"503": _refusal("The model is being loaded.")})},
        "/info": {"get": _get("The labels of the model")},
        "/metrics": {"get": _get("Counters for Prometheus")},
    }
    if has_key:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        for path, method in (("/predict", "post"), ("/info", "get"), ("/metrics", "get")):
            paths[path][method]["security"] = [{"key": []}]
    about = {"title": "bert-multilabel", "version": version}
    return {"openapi": "3.1.0", "info": about, "paths": paths, "components": components}


def _get(summary: str, others: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": {"description": "As asked."}, **(others or {})}}


def _predictions() -> dict[str, Any]:
    one = _reference("Prediction")
    return {"anyOf": [one, {"type": "array", "items": one}]}


def _refusal(description: str) -> dict[str, Any]:
    return {"description": description, **_content(_reference("ErrorBody"))}


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": _SCHEMAS + name}


def docs_page(interface: dict[str, Any]) -> str:
    """Return a page of HTML that shows the interface, and tries it."""
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("docs.html.jinja").render(interface)
