"""``jaxvae.fit`` chunk by chunk, so that others can run in between.

``fit`` owns its loop and calls back between chunks. Here it runs in a thread whose callback waits
for its turn, so what is measured is the function that users call, compiled once, and each chunk
goes on from the state of the one before.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from typing import Any, Self

from jaxvae.training import Fit, TrainState


class _StoppedError(Exception):
    pass


class FitInTurns:
    """A call of ``jaxvae.fit`` that takes a chunk whenever it is called.

    Entering compiles and takes the first chunk, as a warm-up; leaving ends the thread.

    Args:
        fit: ``jaxvae.fit`` with all its arguments (``functools.partial``) but ``num_steps``,
            ``log_every``, ``callbacks`` and ``progress``.
        steps: steps in a chunk.
        chunks: how often it will be called.
    """

    def __init__(self, fit: Callable[..., Fit], *, steps: int, chunks: int):
        self._fit = partial(
            fit,
            num_steps=steps * (chunks + 1),  # The warm-up comes on top.
            log_every=steps,
            callbacks=[self._after_chunk],
            progress=False,
        )
        self._turn: SimpleQueue[bool] = SimpleQueue()
        self._news: SimpleQueue[dict[str, Any] | Future[Fit]] = SimpleQueue()
        self._executor = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        self._future = self._executor.submit(self._fit)
        self._future.add_done_callback(self._news.put)
        self._seconds_of_chunk()
        return self

    def __call__(self) -> float:
        """Seconds for a chunk, by ``fit``'s own clock, which stops when its results are here."""
        self._turn.put(True)
        return self._seconds_of_chunk()

    def __exit__(self, *exception: object) -> None:
        self._turn.put(False)
        self._executor.shutdown()

    def result(self) -> Fit:
        """What ``fit`` returned, after the last chunk."""
        self._turn.put(True)
        return self._future.result()

    def _seconds_of_chunk(self) -> float:
        news = self._news.get()
        if isinstance(news, Future):
            news.result()
            raise RuntimeError("FitInTurns expected at most as many calls as it has chunks")
        return news["chunk_steps"] / news["steps_per_second"]

    def _after_chunk(self, state: TrainState, line: dict[str, Any], /) -> None:
        del state
        self._news.put(line)
        if not self._turn.get():
            raise _StoppedError
