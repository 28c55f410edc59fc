"""What a request to the server may say, what it answers, and how it says what is wrong.

The models below are the only description of both: FastAPI checks requests by them and writes the OpenAPI schema.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

# Errors that are shown of a request; a list of thousands of texts may have as many.
PROBLEMS_SHOWN = 5
CHARACTERS_SHOWN = 80


def _form(forms: dict[type, str], expected: str) -> Any:
    """Choose the member of a union by the type of the value, so that errors are those of what was meant."""
    return Discriminator(
        lambda value: next((tag for type_, tag in forms.items() if isinstance(value, type_)), None),
        custom_error_type="wrong_form",
        custom_error_message=f"Input should be {expected}",
    )


def _check_unicode(text: str) -> str:
    """Refuse half of a surrogate pair, which JSON can spell and no tokenizer can read."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PydanticCustomError("lone_surrogate", "Input should be valid Unicode") from error
    return text


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


Text = Annotated[str, AfterValidator(_check_unicode)]


class TextPair(_Strict):
    """A text and what it is about."""

    text: Text
    text_pair: Text | None = Field(default=None, description="The second text, for a model that was trained on pairs.")


# The tags stand in the places of errors, from where `_place` removes them: no field is called like that.
_ONE, _PAIR, _MANY, _NUMBER, _BY_NAME = _TAGS = ("<text>", "<pair>", "<list>", "<number>", "<by name>")
Input = Annotated[
    Annotated[Text, Tag(_ONE)] | Annotated[TextPair, Tag(_PAIR)],
    _form({str: _ONE, dict: _PAIR, TextPair: _PAIR}, 'a text or an object with "text"'),
]
Inputs = Annotated[
    Annotated[Text, Tag(_ONE)]
    | Annotated[TextPair, Tag(_PAIR)]
    | Annotated[Annotated[list[Input], Field(min_length=1)], Tag(_MANY)],
    _form(
        {str: _ONE, dict: _PAIR, TextPair: _PAIR, list: _MANY},
        'a text, an object with "text", or a list of these',
    ),
]
Probability = Annotated[float, Field(ge=0, le=1)]
Threshold = Annotated[
    Annotated[Probability, Tag(_NUMBER)] | Annotated[dict[str, Probability], Tag(_BY_NAME)],
    _form({dict: _BY_NAME, object: _NUMBER}, "a number"),
]


class Parameters(_Strict):
    """How to decide, where it is not to be as the model's own configuration says."""

    threshold: Threshold | None = Field(default=None, description="One for all labels, or one per label by its name.")
    top_k: int | None = Field(
        default=None, ge=1, description="Give only the scores of this many labels, the highest first."
    )
    min_labels: int | None = Field(default=None, ge=0, description="Give at least this many labels to every text.")


class PredictRequest(_Strict):
    """One text or many, each with a second text where the model was trained on pairs."""

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
    def rows(self) -> list[tuple[str, str | None]]:
        """Return the texts with their pairs."""
        inputs = self.inputs if isinstance(self.inputs, list) else [self.inputs]
        return [(item, None) if isinstance(item, str) else (item.text, item.text_pair) for item in inputs]


class Prediction(BaseModel):
    """What the model says of a text."""

    labels: list[str] = Field(description="Names of the labels that are given.")
    scores: dict[str, float] = Field(description="The probability of each label.")


class Refusal(BaseModel):
    """Why a request was not answered."""

    error: str = Field(description="What is wrong, where.", examples=["inputs[1].text must be a valid string, got 7"])


def describe(errors: Sequence[dict[str, Any]]) -> str:
    """Say what is wrong with a request: which field, at which index, with which value.

    Args:
        errors: As FastAPI and pydantic list them.
    """
    lines = [_describe(error) for error in errors[:PROBLEMS_SHOWN]]
    more = len(errors) - len(lines)
    return "; ".join([*lines, f"and {more} more"] if more else lines)


def _describe(error: dict[str, Any]) -> str:
    place = "".join(_place(error["loc"][1:])).removeprefix(".") or "the body"
    if error["type"] == "json_invalid":
        return f"the body is no JSON: {error['ctx']['error']} at character {error['loc'][1]}"
    if isinstance(error["input"], bytes):
        return "the body is not marked as JSON: send the header 'Content-Type: application/json'"
    if error["type"] == "missing":
        return f"{place} is missing"
    if error["type"] == "extra_forbidden":
        return f"{place} is unknown: check the spelling"
    if error["type"] == "too_short":
        return f"{place} is an empty list: give at least one text"
    if error["type"] in ("model_type", "model_attributes_type"):
        message = "must be an object"
    else:
        message = error["msg"].replace("Input should", "must")
    return f"{place} {message}, got {quote(error['input'])}"


def _place(parts: Sequence[int | str]) -> Iterator[str]:
    for part in parts:
        if part in _TAGS or part == "[key]":
            continue
        is_name = isinstance(part, str) and part.isidentifier() and part.isascii()
        yield f".{part}" if is_name else f"[{quote(part)}]"


def quote(value: Any) -> str:
    """Write a value of a request as JSON, in ASCII, so that it can be shown whatever it is, and shortened."""
    try:
        text = json.dumps(value)
    except RecursionError:
        text = "a value that is nested too deeply"
    return text if len(text) <= CHARACTERS_SHOWN else f"{text[:CHARACTERS_SHOWN]}…"
