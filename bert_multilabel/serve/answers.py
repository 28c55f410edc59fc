"""Answers batches of requests with a model: what the process of the model does.

Shapes: N texts, L labels.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from itertools import chain

import torch

from bert_multilabel.errors import MultiLabelError
from bert_multilabel.model.configuration_multilabel import MultiLabelConfig
from bert_multilabel.model.output_format import prediction_records
from bert_multilabel.model.scoring import score_rows
from bert_multilabel.model.windows import Windows

from .refusal import Refused
from .request_form import Parameters, PredictRequest
from .served_model import Scorer

_Asked = tuple[PredictRequest, MultiLabelConfig]  # a request, and the configuration that decides on its texts


def answer(scorer: Scorer, requests: Sequence[PredictRequest]) -> list[bytes | Refused]:
    """Return the answer to each request, as JSON, or its refusal.

    Texts that are read in the same way, cut off or in the same windows, go through the model together.
    """
    answers: dict[int, bytes | Refused] = {}
    alike: dict[Windows | None, dict[int, _Asked]] = defaultdict(dict)  # by the numbers of requests
    for number, request in enumerate(requests):
        try:
            windows, config = _read_parameters(scorer, request.parameters)
        except MultiLabelError as error:
            answers[number] = Refused(422, f"parameters: {error}")
        else:
            alike[windows][number] = request, config
    for windows, asked in alike.items():
        answers.update(zip(asked, _answer_alike(scorer, list(asked.values()), windows), strict=True))
    return [answers[number] for number in range(len(requests))]


def _read_parameters(scorer: Scorer, asked: Parameters) -> tuple[Windows | None, MultiLabelConfig]:
    windows = Windows.of(asked.stride, asked.pooling)
    if windows is not None and windows.stride > scorer.max_length // 2:
        # The number of windows would not be bounded by the size of the request.
        raise MultiLabelError(
            f"stride={windows.stride} is more than half of the {scorer.max_length} tokens of a window"
        )
    if asked.threshold is None and asked.min_labels is None:
        return windows, scorer.config  # a copy and its checks would cost more than the rest of this module
    return windows, scorer.config.with_decision(asked.threshold, asked.min_labels)


def _answer_alike(scorer: Scorer, asked: Sequence[_Asked], windows: Windows | None) -> list[bytes | Refused]:
    examples = [request.examples for request, _ in asked]
    rows = list(chain.from_iterable(examples))
    try:
        logits = score_rows(partial(scorer.logits, windows=windows), rows, len(scorer.config.label_names))  # (N, L)
    except MultiLabelError as error:  # windows without room for a text
        if len(asked) == 1:
            return [Refused(422, str(error))]
        return [result for one in asked for result in _answer_alike(scorer, [one], windows)]
    are_cut = [False] * len(rows) if windows else _find_cut(scorer, rows)
    sizes = [len(some) for some in examples]
    answers: list[bytes | Refused] = []
    for (request, config), own in zip(asked, torch.split(logits, sizes), strict=True):
        answers.append(_answer_one(request, config, own, are_cut[: len(own)]))
        del are_cut[: len(own)]
    return answers


def _find_cut(scorer: Scorer, rows: Sequence[tuple[str, str | None]]) -> list[bool]:
    def are_cut(texts: Sequence[str], pairs: Sequence[str] | None) -> torch.Tensor:
        return torch.tensor(scorer.are_cut(texts, pairs)).float()[:, None]  # (N, 1)

    return score_rows(are_cut, rows, 1)[:, 0].bool().tolist()


def _answer_one(
    request: PredictRequest, config: MultiLabelConfig, logits: torch.Tensor, are_cut: Sequence[bool]
) -> bytes:
    records = prediction_records(logits, config, top_scores=request.parameters.top_k, predicted_too=True)
    answers = [{**record, "truncated": is_cut} for record, is_cut in zip(records, are_cut, strict=True)]
    return json.dumps(answers if isinstance(request.inputs, list) else answers[0]).encode()
