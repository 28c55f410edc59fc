"""The schema of requests and answers, and the messages for requests that do not match it."""

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

PROBLEMS_SHOWN = 5  # of a request, which may have thousands
CHARACTERS_SHOWN = 80  # of a value


def _by_type(tags: dict[type, str], expected: str) -> Any:
    """Choose the member of a union by the type of the value, so that errors concern that member alone."""
    return Discriminator(
        lambda value: next((tag for type_, tag in tags.items() if isinstance(value, type_)), None),
        custom_error_type="wrong_form",
        custom_error_message=f"Input should be {expected}",
    )


def _check_unicode(text: str) -> str:
    """Refuse a lone surrogate, which JSON can encode but no tokenizer can read."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PydanticCustomError("lone_surrogate", "Input should be valid Unicode") from error
    return text


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


Text = Annotated[str, AfterValidator(_check_unicode)]


class TextPair(_Strict):
    """A text and its second text."""

    text: Text
    text_pair: Text | None = Field(default=None, description="The second text, for a model that was trained on pairs.")


# Tags of the unions below. They appear in the locations of errors; `_path` removes them.
_ONE, _PAIR, _MANY, _NUMBER, _BY_NAME = _TAGS = ("<text>", "<pair>", "<list>", "<number>", "<by name>")
Input = Annotated[
    Annotated[Text, Tag(_ONE)] | Annotated[TextPair, Tag(_PAIR)],
    _by_type({str: _ONE, dict: _PAIR, TextPair: _PAIR}, 'a text or an object with "text"'),
]
Inputs = Annotated[
    Annotated[Text, Tag(_ONE)]
    | Annotated[TextPair, Tag(_PAIR)]
    | Annotated[Annotated[list[Input], Field(min_length=1)], Tag(_MANY)],
    _by_type(
        {str: _ONE, dict: _PAIR, TextPair: _PAIR, list: _MANY},
        'a text, an object with "text", or a list of these',
    ),
]
Probability = Annotated[float, Field(ge=0, le=1)]
Threshold = Annotated[
    Annotated[Probability, Tag(_NUMBER)] | Annotated[dict[str, Probability], Tag(_BY_NAME)],
    _by_type({dict: _BY_NAME, object: _NUMBER}, "a number"),
]


class Parameters(_Strict):
    """How to decide; by default as the configuration of the model says."""

    threshold: Threshold | None = Field(default=None, description="One number for all labels, or one per label name.")
    top_k: int | None = Field(default=None, ge=1, description="Return only this many scores, the highest first.")
    min_labels: int | None = Field(default=None, ge=0, description="Predict at least this many labels for every text.")


class PredictRequest(_Strict):
    """One text or many, each with a second text if the model was trained on pairs."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"inputs": "The zip went on day two."},
                {
                    "inputs": ["A fair price.", {"text": "The zip went on day two.", "text_pair": "gym bag"}],
                    "parameters": {"min_labels": 1},
                },
            ]
        }
    )
    inputs: Inputs
    parameters: Parameters = Parameters()

    @property
    def examples(self) -> list[tuple[str, str | None]]:
        """The texts with their second texts."""
        inputs = self.inputs if isinstance(self.inputs, list) else [self.inputs]
        return [(item, None) if isinstance(item, str) else (item.text, item.text_pair) for item in inputs]


class Prediction(BaseModel):
    """The prediction for a text."""

    labels: list[str] = Field(description="Names of the predicted labels.")
    scores: dict[str, float] = Field(description="The probability of each label.")


class Refusal(BaseModel):
    """The answer to a request that is refused."""

    error: str = Field(
        description="What is wrong, and where", examples=["inputs[1].text must be a valid string, got 7"]
    )


def describe(errors: Sequence[dict[str, Any]]) -> str:
    """Describe errors from FastAPI and pydantic: which field, at which index, with which value."""
    lines = [_describe(error) for error in errors[:PROBLEMS_SHOWN]]
    more = len(errors) - len(lines)
    return "; ".join([*lines, f"and {more} more"] if more else lines)


def _describe(error: dict[str, Any]) -> str:
    path = "".join(_path(error["loc"][1:])).removeprefix(".") or "the body"
    if error["type"] == "json_invalid":
        return f"the body is not JSON: {error['ctx']['error']} at character {error['loc'][1]}"
    if isinstance(error["input"], bytes):
        return "the body is not marked as JSON: send the header 'Content-Type: application/json'"
    if error["type"] == "missing":
        return f"{path} is missing"
    if error["type"] == "extra_forbidden":
        return f"{path} is unknown: check the spelling"
    if error["type"] == "too_short":
        return f"{path} is an empty list: give at least one text"
    if error["type"] in ("model_type", "model_attributes_type"):
        message = "must be an object"
    else:
        message = error["msg"].replace("Input should", "must")
    return f"{path} {message}, got {quote(error['input'])}"


def _path(parts: Sequence[int | str]) -> Iterator[str]:
    for part in parts:
        if part in _TAGS or part == "[key]":
            continue
        is_name = isinstance(part, str) and part.isidentifier() and part.isascii()
        yield f".{part}" if is_name else f"[{quote(part)}]"


def quote(value: Any) -> str:
    """Write a value of a request as shortened ASCII JSON, which is safe to show."""
    try:
        text = json.dumps(value)
    except RecursionError:
        text = "a value that is nested too deeply"
    return text if len(text) <= CHARACTERS_SHOWN else f"{text[:CHARACTERS_SHOWN]}…"
