"""The steps between two logged lines."""

import time
from typing import Any

import jax
import numpy as np

from jaxvae.model import Estimate
from jaxvae.training.chunk import Report
from jaxvae.training.feeds import ArrayFeed, StreamFeed


class Window:
    """Adds up the chunks between two lines.

    Args:
        step: the first step.
        waited: seconds waited for data so far.
    """

    def __init__(self, step: int, waited: float):
        self._first, self._waited = step, waited
        self._started = time.perf_counter()
        self._total: Any = None

    def steps_to(self, step: int) -> int:
        """Steps in the window up to ``step``; none if the first of them failed."""
        return step - self._first

    def add(self, report: Report, alive: np.ndarray) -> None:
        """Take in a chunk; members that no longer train count for nothing."""
        count = np.where(alive, report.num_finite, 0)
        part = jax.tree.map(lambda x: np.where(count > 0, count * np.float64(x), 0.0), report.mean)
        if self._total is None:
            self._total, self._count = part, count
        else:
            self._total = jax.tree.map(np.add, self._total, part)
            self._count = self._count + count

    def line(
        self, step: int, feed: ArrayFeed | StreamFeed, held_out: Estimate | None
    ) -> dict[str, Any]:
        """The means over the window; NaN for a member that took no step with a finite surrogate."""
        seconds, steps = time.perf_counter() - self._started, step - self._first
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = jax.tree.map(lambda x: x / self._count, self._total)
        line = {"step": step, "epoch": step / feed.steps_per_epoch, "bound": mean.bound}
        line |= mean.parts
        if held_out is not None:
            line |= {"held_out_bound": held_out.bound}
            line |= {f"held_out_{name}": value for name, value in held_out.parts.items()}
        rate = steps / seconds
        line |= {"chunk_steps": steps, "steps_per_second": rate}
        line |= {"examples_per_second": rate * feed.batch_size}
        if isinstance(feed, StreamFeed):
            line |= {"waiting_share": (feed.waited - self._waited) / seconds}
        return line
