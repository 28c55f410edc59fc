"""What the options of the server do to its batches."""

import asyncio
from types import MappingProxyType

import pytest

from bert_multilabel.errors import MultiLabelError
from bert_multilabel.serve.batches import Batches
from bert_multilabel.serve.metrics import Metrics
from bert_multilabel.serve.refusal import Refused
from bert_multilabel.serve.request_form import PredictRequest


class Recorder:
    """A model that answers each request with its first text, and remembers which came together."""

    def __init__(self):
        self.batches = []

    def is_alive(self):
        return True

    def ask(self, requests):
        self.batches.append([request.examples[0][0] for request in requests])
        return [Refused(422, text) if text == "bad" else text.encode() for text in self.batches[-1]]


def run(asked, max_batch_size=32, batch_timeout=0.0, max_waiting=100, pauses=MappingProxyType({})):
    """Ask for the texts, some of them after a pause; return the batches, and the answers or refusals."""
    model = Recorder()

    async def ask():
        batches = Batches(model, max_batch_size, batch_timeout, max_waiting, Metrics([]))
        running = asyncio.create_task(batches.run())

        async def one(text, pause):
            await asyncio.sleep(pause)
            return await batches.answer(PredictRequest(inputs=text))

        answers = await asyncio.gather(
            *(one(text, pauses.get("".join(text), 0)) for text in asked), return_exceptions=True
        )
        running.cancel()
        assert batches.waiting == 0
        return answers

    return model.batches, asyncio.run(ask())


@pytest.mark.parametrize(
    ("max_batch_size", "expected"), [(1, [["a"], ["b"], ["c"]]), (2, [["a", "b"], ["c"]]), (32, [["a", "b", "c"]])]
)
def test_waiting_requests_go_together_up_to_the_batch_size(max_batch_size, expected):
    assert run("abc", max_batch_size) == (expected, [b"a", b"b", b"c"])


def test_a_request_waits_for_others_as_long_as_the_timeout():
    late = {"b": 0.2}
    assert run("ab", batch_timeout=0.0, pauses=late)[0] == [["a"], ["b"]]
    assert run("ab", max_batch_size=2, batch_timeout=600.0, pauses=late)[0] == [["a", "b"]]


def test_a_refused_request_leaves_the_others_of_its_batch_alone():
    batches, (first, refused, last) = run(["a", "bad", "c"])
    assert batches == [["a", "bad", "c"]] and (first, last) == (b"a", b"c")
    assert (refused.status, refused.message) == (422, "bad")


def test_what_is_too_much_is_refused_and_the_rest_is_answered():
    _, answers = run(["a", "b", ["c"] * 2, ["d"] * 4], max_waiting=3)
    assert answers[:2] == [b"a", b"b"]
    assert (answers[2].status, answers[2].headers) == (503, {"Retry-After": "1"})
    assert answers[3].status == 413 and answers[3].message.startswith("inputs has 4 texts, but at most 3 are accepted")


class Mortal(Recorder):
    """A model that answers one batch and dies, and cannot be started at first."""

    def __init__(self):
        super().__init__()
        self.lives, self.failures = True, 1

    def is_alive(self):
        return self.lives

    def start(self):
        if self.failures:
            self.failures -= 1
            raise MultiLabelError("no memory")
        self.lives = True

    def ask(self, requests):
        self.lives = False
        return super().ask(requests)


def test_while_the_model_cannot_be_started_again_what_waits_is_refused():
    async def ask():
        batches = Batches(Mortal(), 1, 0.0, 100, Metrics([]))
        running = asyncio.create_task(batches.run())
        first = [batches.answer(PredictRequest(inputs=text)) for text in "ab"]
        answers = await asyncio.gather(*first, return_exceptions=True)
        was_ready, last = batches.is_ready, await batches.answer(PredictRequest(inputs="c"))
        running.cancel()
        return *answers, was_ready, last

    first, refused, was_ready, last = asyncio.run(asyncio.wait_for(ask(), 60))
    assert (first, was_ready, last) == (b"a", False, b"c")
    assert refused.status == 503 and "cannot be started again" in refused.message
