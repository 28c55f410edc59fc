"""The schema of requests and answers, and the messages for requests that do not match it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError
from pydantic_core import PydanticCustomError

from .refusal import Refused

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
    top_k: int | None = Field(
        default=None,
        ge=1,
        description="Return only this many scores, the highest first, and those of other predicted labels.",
    )
    min_labels: int | None = Field(default=None, ge=0, description="Predict at least this many labels for every text.")
    stride: int | None = Field(
        default=None,
        ge=0,
        description="Read a text that is too long in windows that overlap by this many tokens, instead of cutting it.",
    )
    pooling: str | None = Field(
        default=None,
        description='With a stride: a label gets the "max" or "mean" of its probabilities in all windows.',
    )


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
    truncated: bool = Field(description="Whether the text was too long, and its end was not read.")


class ErrorBody(BaseModel):
    """The answer to a request that is refused."""

    error: str = Field(
        description="What is wrong, and where", examples=["inputs[1].text must be a valid string, got 7"]
    )


def read_request(body: bytes) -> PredictRequest:
    """Read the body of a request.

    Raises:
        Refused: 400 if it is not JSON or names a key twice, 422 if it does not match the schema.
    """
    if not body:
        raise Refused(422, "the body is missing")
    try:
        content = json.loads(body.decode(), object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise Refused(400, f"the body is not JSON: {error.msg} at character {error.pos}") from error
    except (ValueError, RecursionError) as error:  # no UTF-8, a number of too many digits, or nested too deeply
        raise Refused(400, f"the body cannot be read: {error}") from error
    try:
        return PredictRequest.model_validate(content)
    except ValidationError as error:
        raise Refused(422, describe(error.errors(include_url=False))) from error


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its pairs; of two with one key, readers differ in which they take."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Refused(400, f"the body has an object with two keys {quote(twice)}: leave one out")
    return content


def describe(errors: Sequence[Mapping[str, Any]]) -> str:
    """Describe errors of pydantic: which field, at which index, with which value."""
    lines = [_describe(error) for error in errors[:PROBLEMS_SHOWN]]
    more = len(errors) - len(lines)
    return "; ".join([*lines, f"and {more} more"] if more else lines)


def _describe(error: Mapping[str, Any]) -> str:
    path = "".join(_path(error["loc"])).removeprefix(".") or "the body"
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
