"""The matrix products of a training step: how many operations they are and how long they take.

They bound every implementation of the step: it cannot take less time than its products.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
from jax import Array, lax


class Product(NamedTuple):
    """One matrix product of two stored arrays.

    Attributes:
        left: shape of the first array.
        right: shape of the second one.
        contract: the axis of each that is summed over.
    """

    left: tuple[int, int]
    right: tuple[int, int]
    contract: tuple[int, int]

    @property
    def flops(self) -> int:
        """$2mnk$: a multiplication and an addition for each of k terms of m n sums."""
        rows, columns = self.left[1 - self.contract[0]], self.right[1 - self.contract[1]]
        return 2 * rows * columns * self.left[self.contract[0]]


def step_products(networks: Sequence[Sequence[int]], batch_size: int) -> list[Product]:
    """All products of one step's forward and backward pass, as XLA is given them.

    A layer of m inputs and n outputs has three: the output x W, the weight gradient x' g and the
    input gradient g W'. Only the first layer of all needs no input gradient, as nothing is learnt
    below it. Each has 2 B m n operations, B rows in the batch.

    Args:
        networks: widths of each multilayer perceptron, the one that sees the data first.
        batch_size: B.

    Returns:
        The products; 11 for an encoder and a decoder of two layers each.

    Example:
        >>> from benchmarks.products import step_products
        >>> products = step_products([(784, 256, 100), (50, 256, 784)], 64)
        >>> len(products), round(sum(product.flops for product in products) / 1e6, 1)
        (11, 143.2)
    """
    layers = [pair for widths in networks for pair in itertools.pairwise(widths)]
    products = []
    for index, (inputs, outputs) in enumerate(layers):
        x, weight, gradient = (batch_size, inputs), (inputs, outputs), (batch_size, outputs)
        products.append(Product(x, weight, (1, 0)))
        products.append(Product(x, gradient, (0, 0)))
        if index > 0:
            products.append(Product(gradient, weight, (1, 1)))
    return products


def compiled_product(product: Product, times: int) -> Callable[[], Array]:
    """A compiled loop that runs a product so many times.

    Every turn changes one element of the left array by the turn before, so that the product cannot
    be moved out of the loop, and the barrier keeps the compiler from computing that element alone.
    """
    left_key, right_key = jax.random.split(jax.random.key(0))
    left = jax.random.normal(left_key, product.left)
    right = jax.random.normal(right_key, product.right)
    dimensions = (([product.contract[0]], [product.contract[1]]), ([], []))

    def turn(_, left, right):
        out = lax.optimization_barrier(lax.dot_general(left, right, dimensions))
        return left.at[0, 0].set(1e-3 * out[0, 0])

    def loop(left, right):
        return lax.fori_loop(0, times, lambda i, left: turn(i, left, right), left)

    return partial(jax.jit(loop).lower(left, right).compile(), left, right)


class StepProducts:
    """The time that the products of some steps take alone: the sum over their compiled loops.

    Their operands stay in the cache, which is kinder than a step is, so this is a lower limit.
    """

    def __init__(self, products: Sequence[Product], steps: int):
        started = time.perf_counter()
        self._loops = [compiled_product(product, steps) for product in products]
        self.compile_seconds = time.perf_counter() - started
        self()

    def __call__(self) -> float:
        """Seconds for all products of all steps."""
        started = time.perf_counter()
        for loop in self._loops:
            jax.block_until_ready(loop())
        return time.perf_counter() - started


class SquareMatmul:
    """The machine's rate: products of two square float32 matrices, too large for overheads."""

    def __init__(self, size: int, times: int):
        self._times = times
        self._left, self._right = jax.random.normal(jax.random.key(0), (2, size, size))
        started = time.perf_counter()
        self._product = jax.jit(lambda a, b: a @ b).lower(self._left, self._right).compile()
        self.compile_seconds = time.perf_counter() - started
        self.flops = 2 * size**3 * times
        self()

    def __call__(self) -> float:
        """Seconds for all ``flops``."""
        started = time.perf_counter()
        for _ in range(self._times):
            jax.block_until_ready(self._product(self._left, self._right))
        return time.perf_counter() - started
