"""Holds the requests that wait for the model, bounds their number, and sends them to the model together."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from bert_multilabel.errors import MultiLabelError

from .metrics import Metrics
from .model_process import Answer, ModelProcess, logger
from .refusal import Refused
from .request_form import PredictRequest

_SECONDS_BETWEEN_CHECKS = 0.5  # whether the process of the model runs, while nobody asks it


@dataclass(frozen=True)
class _Waiting:
    request: PredictRequest
    answer: "asyncio.Future[bytes]"


class Batches:
    """Answers requests in batches; `run` must run meanwhile.

    Args:
        model: Was started.
        max_batch_size: Maximum number of requests that go through the model together.
        batch_timeout: Seconds that a request waits for others.
        max_waiting: Maximum number of accepted texts without an answer.
        metrics: Gets the sizes of batches.
    """

    def __init__(
        self, model: ModelProcess, max_batch_size: int, batch_timeout: float, max_waiting: int, metrics: Metrics
    ) -> None:
        self.model, self.metrics = model, metrics
        self.max_batch_size, self.batch_timeout, self.max_waiting = max_batch_size, batch_timeout, max_waiting
        self.is_ready = True
        self.waiting = 0  # texts
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue()

    async def answer(self, request: PredictRequest) -> bytes:
        """Return the answer to a request, as JSON.

        Raises:
            Refused: 413 if it has more than `max_waiting` texts; 503 if too many texts are waiting now, or the process
                of the model ended or cannot be started again; 422 if its parameters do not fit the model.
        """
        count = len(request.examples)
        self._check_room(count)
        item = _Waiting(request, asyncio.get_running_loop().create_future())
        self._count(count)
        try:
            self._queue.put_nowait(item)
            return await item.answer
        finally:
            self._count(-count)

    def _check_room(self, count: int) -> None:
        if count > self.max_waiting:
            message = f"inputs has {count} texts, but at most {self.max_waiting} are accepted: split the request"
            raise Refused(413, message)
        if self.waiting + count > self.max_waiting:
            message = f"{self.waiting} texts are waiting, and at most {self.max_waiting} may: try again in a second"
            raise Refused(503, message, {"Retry-After": "1"})

    def _count(self, texts: int) -> None:
        self.waiting += texts
        self.metrics.waiting.set(self.waiting)

    async def run(self) -> None:
        """Send what waits to the model, and start its process again if it ends."""
        while True:
            await self._ensure_model([])
            taken = await self._take()
            await self._ensure_model(taken)  # it may have ended while nobody asked
            if batch := [item for item in taken if not item.answer.done()]:
                requests = [item.request for item in batch]
                self.metrics.observe_batch(requests)
                _pass_on(batch, await asyncio.to_thread(self.model.ask, requests))

    async def _take(self) -> list[_Waiting]:
        """Return the requests of the next batch; none if none comes for a while."""
        taken: list[_Waiting] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(_SECONDS_BETWEEN_CHECKS):
                taken.append(await self._queue.get())
            async with asyncio.timeout(self.batch_timeout):  # 0: what is waiting already
                while len(taken) < self.max_batch_size:
                    taken.append(await self._queue.get())
        return taken

    async def _ensure_model(self, taken: list[_Waiting]) -> None:
        """Start the process of the model again if it ended; while that fails, refuse what is taken, and what waits."""
        while not self.model.is_alive():
            self.is_ready = False
            logger.error("the process of the model is started again")
            self.metrics.restarts.inc()
            try:
                await asyncio.to_thread(self.model.start)
            except MultiLabelError as error:
                logger.error("%s", error)
                message = "the process of the model cannot be started again, see the log: try again in a second"
                waiting = [*taken, *(self._queue.get_nowait() for _ in range(self._queue.qsize()))]
                _pass_on(waiting, [Refused(503, message, {"Retry-After": "1"})] * len(waiting))
                await asyncio.sleep(1)
        self.is_ready = True


def _pass_on(batch: list[_Waiting], answers: list[Answer]) -> None:
    for item, answer in zip(batch, answers, strict=True):
        if item.answer.done():  # nobody waits for it
            continue
        if isinstance(answer, Refused):
            item.answer.set_exception(answer)
        else:
            item.answer.set_result(answer)
