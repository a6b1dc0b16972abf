"""The training step of exercise 12 against PyTorch and against the machine's matrix products.

A 784-256-50 Bernoulli VAE, batches of 64, Adam, float32, on random pixels:

    python -m benchmarks.train_step --out benchmark-results

``jaxvae.fit`` runs against the same network in PyTorch, eager and compiled by ``torch.compile``,
each with Adam's default and its fused kernel, all in one process and in turns (A B C A B C), every
turn the same number of steps. What is compiled is compiled before, and its time is reported apart
(the second variant of torch.compile reuses the code of the first). With t the median seconds of a
contender's turns:

    speedup_over_torch_eager    min(t of both eager variants) / t_jaxvae
    speedup_over_torch_compile  min(t of both compiled variants) / t_jaxvae
    matmul_gflops               2 n^3 / t of an n x n product / 1e9
    share_of_matmul_limit       flops of a turn's products / t_jaxvae / (matmul_gflops 1e9)
    share_of_own_products       t of a turn's products alone / t_jaxvae

PyTorch is told its number of threads; XLA takes as many as the process may use processors, so the
process is confined to that many (Linux only; ``taskset`` chooses which ones).
"""

import itertools
import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array, lax

from benchmarks.shared import machine
from benchmarks.shared.fits import exercise_12
from benchmarks.shared.timing import FitInTurns, in_turns
from jaxvae import training

PIXELS = (28, 28)
OURS, PRODUCTS, SQUARE = "jaxvae", "products of the step", "square product"


@dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    steps: int = 400
    """Steps in a turn, the same for all; an epoch is 937."""
    repeats: int = 7
    """Turns of each contender."""
    threads: int = 2
    """Threads of PyTorch and processors of the process."""
    batch_size: int = 64
    """Images in a step."""
    rows: int = 60_000
    """Images in the data."""
    hidden: int = 256
    """Width of the hidden layers."""
    latent_dim: int = 50
    """Number of latent dimensions."""
    learning_rate: float = 1e-3
    """Of Adam."""
    matmul_size: int = 2048
    """Rows and columns of the square product."""
    torch: bool = True
    """Whether to run PyTorch too."""
    torch_compile: bool = True
    """Whether to run torch.compile too, which needs a C++ compiler."""
    seed: int = 0
    """Of data, parameters and noise."""
    out: str | None = None
    """Folder for results.json; none by default."""


def our_fit(config: Config, images: np.ndarray) -> Callable[..., training.Fit]:
    """The call of ``jaxvae.fit`` that is measured, without its number of steps."""
    names = ("batch_size", "hidden", "latent_dim", "seed", "learning_rate")
    return exercise_12(images, **{name: getattr(config, name) for name in names})


def torch_contenders(config: Config, images: np.ndarray) -> tuple[dict[str, Any], list[str]]:
    """PyTorch's variants, warmed up, and what could not be had of them."""
    if not config.torch:
        return {}, []
    try:
        import torch  # pyright: ignore[reportMissingImports]

        from benchmarks.shared.torch_peers import TorchTraining, VaeLoss
    except ImportError:
        return {}, ['PyTorch is not installed, so it was not run: pip install "jaxvae[peers]"']
    torch.set_num_threads(config.threads)
    # As ours, it compiles anew in every run.
    torch.compiler.config.force_disable_caches = True

    def contender(compiled: bool, fused: bool) -> TorchTraining:
        torch.manual_seed(config.seed)
        return TorchTraining(
            images,
            VaeLoss(PIXELS[0] * PIXELS[1], config.hidden, config.latent_dim),
            compiled=compiled,
            fused=fused,
            batch_size=config.batch_size,
            steps=config.steps,
            learning_rate=config.learning_rate,
        )

    names = {False: "default Adam", True: "fused Adam"}
    ran = {f"torch eager, {name}": contender(False, fused) for fused, name in names.items()}
    if not config.torch_compile:
        return ran, []
    try:
        with warnings.catch_warnings():
            # It warns that no profile is kept either, for want of a cache.
            warnings.filterwarnings("ignore", message="dynamo_pgo")
            for fused, name in names.items():
                ran[f"torch compile, {name}"] = contender(True, fused)
    except Exception as error:  # Whatever a missing or broken C++ compiler leads to.
        return ran, [f"torch.compile failed, so it was not run: {type(error).__name__}: {error}"]
    return ran, []


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
        >>> from benchmarks.train_step import step_products
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


def derive(
    medians: Mapping[str, float], *, step_flops: int, steps: int, square_flops: int
) -> dict[str, Any]:
    """The figures of the module's docstring, from median seconds; absent contenders left out."""
    ours = medians[OURS]
    results: dict[str, Any] = {}
    for kind in ("eager", "compile"):
        variants = {name: t for name, t in medians.items() if name.startswith(f"torch {kind}")}
        if variants:
            fastest = min(variants, key=lambda name: variants[name])
            results[f"speedup_over_torch_{kind}"] = variants[fastest] / ours
            results[f"fastest_torch_{kind}"] = fastest
    rate = square_flops / medians[SQUARE]
    return results | {
        "share_of_matmul_limit": step_flops * steps / ours / rate,
        "share_of_own_products": medians[PRODUCTS] / ours,
        "matmul_gflops": rate / 1e9,
        "step_megaflops": step_flops / 1e6,
        "milliseconds_per_step": {
            name: 1e3 * t / steps for name, t in medians.items() if name != SQUARE
        },
    }


def measure(config: Config) -> dict[str, Any]:
    """All times and the figures that follow from them."""
    images = np.random.default_rng(config.seed).random((config.rows, *PIXELS), np.float32)
    peers, missing = torch_contenders(config, images)
    widths = [
        (PIXELS[0] * PIXELS[1], config.hidden, 2 * config.latent_dim),
        (config.latent_dim, config.hidden, PIXELS[0] * PIXELS[1]),
    ]
    products = step_products(widths, config.batch_size)
    limits = {
        PRODUCTS: StepProducts(products, config.steps),
        SQUARE: SquareMatmul(config.matmul_size, times=4),
    }
    fit = our_fit(config, images)
    with FitInTurns(fit, steps=config.steps, chunks=config.repeats) as ours:
        seconds = in_turns({OURS: ours, **peers, **limits}, config.repeats)
        trained = ours.result()
    medians = {name: float(np.median(times)) for name, times in seconds.items()}
    compiled = {name: run.compile_seconds for name, run in (peers | limits).items()}
    losses = {name: float(run.last_loss) for name, run in peers.items()}
    return {
        **derive(
            medians,
            step_flops=sum(product.flops for product in products),
            steps=config.steps,
            square_flops=limits[SQUARE].flops,
        ),
        "median_seconds": medians,
        "range_seconds": {name: [min(times), max(times)] for name, times in seconds.items()},
        "seconds": seconds,
        "compile_seconds": {OURS: trained.compile_seconds, **compiled},
        "last_loss_nats": {OURS: -float(trained.history[-1]["bound"]), **losses},
        "missing": missing,
    }


def table(results: Mapping[str, Any]) -> str:
    """A line per contender, then the figures."""
    lines = [f"{'':<28}{'ms per step':>12}{'fastest':>10}{'slowest':>10}{'compile s':>11}"]
    for name, median in results["milliseconds_per_step"].items():
        low, high = (1e3 * t / results["steps"] for t in results["range_seconds"][name])
        compile_seconds = results["compile_seconds"][name]
        lines.append(f"{name:<28}{median:>12.3f}{low:>10.3f}{high:>10.3f}{compile_seconds:>11.2f}")
    figures = {name: value for name, value in results.items() if isinstance(value, float | str)}
    return "\n".join([*lines, "", training.format_metrics(figures), *results["missing"]])


def main(config: Config) -> dict[str, Any]:
    """Measure, print and save; returns the results."""
    with machine.processors(config.threads) as chosen:
        if jax.default_backend() != "cpu":
            raise ValueError(
                f"train_step expected the CPU, got {jax.default_backend()}; set JAX_PLATFORMS=cpu"
            )
        results = {
            "benchmark": "train_step",
            "steps": config.steps,
            "repeats": config.repeats,
            "batch_size": config.batch_size,
            "threads": config.threads,
            "processors": chosen,
            **measure(config),
            **machine.describe(),
        }
    print(table(results))
    if config.out is not None:
        folder = Path(config.out)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results.json").write_text(json.dumps(results, indent=2, allow_nan=False) + "\n")
        print(f"\nResults: {folder / 'results.json'}")
    return results


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Config, description=__doc__))
