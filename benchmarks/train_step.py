"""The training step of exercise 12 against PyTorch and against the machine's matrix products.

A 784-256-50 Bernoulli VAE, batches of 64, Adam, float32, on random pixels:

    python -m benchmarks.train_step --out benchmark-results

``jaxvae.fit`` runs against the same network in PyTorch, eager and compiled by ``torch.compile``,
each with Adam's default and its fused kernel. All run in one process in interleaved repeats
(A B C A B C) of the same number of steps. Programs are compiled before the first repeat, and their
compilation is timed apart (the second variant of torch.compile reuses the code of the first). With
t the median seconds of a contender's repeats:

    speedup_over_torch_eager    min(t of both eager variants) / t_jaxvae
    speedup_over_torch_compile  min(t of both compiled variants) / t_jaxvae
    matmul_gflops               2 n^3 / t of an n x n product / 1e9
    share_of_matmul_limit       flops of a repeat's products / t_jaxvae / (matmul_gflops 1e9)
    share_of_own_products       t of a repeat's products alone / t_jaxvae

PyTorch has an option for its number of threads. XLA takes a thread for each processor that the
process may use, so the process is confined to as many (on Linux only; ``taskset`` chooses them).
"""

import itertools
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array, lax

from benchmarks.shared import machine
from benchmarks.shared.fits import exercise_12
from benchmarks.shared.results import ranges, save, table
from benchmarks.shared.timing import SteppedFit, interleave
from jaxvae import training

PIXELS = (28, 28)
OURS, PRODUCTS, SQUARE = "jaxvae", "products of the step", "square product"


@dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    steps: int = 400
    """Steps in a repeat, the same for all; an epoch is 937."""
    repeats: int = 7
    """Repeats of each contender."""
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
    """Learning rate of Adam."""
    matmul_size: int = 2048
    """Rows and columns of the square product."""
    torch: bool = True
    """Whether to run PyTorch."""
    torch_compile: bool = True
    """Whether to run torch.compile, which needs a C++ compiler."""
    seed: int = 0
    """Seed of data, parameters and noise."""
    out: str | None = None
    """Folder for results.json; none by default."""


def our_fit(config: Config, images: np.ndarray) -> Callable[..., training.Fit]:
    """The measured call of ``jaxvae.fit``, without its number of steps."""
    names = ("batch_size", "hidden", "latent_dim", "seed", "learning_rate")
    return exercise_12(images, **{name: getattr(config, name) for name in names})


def torch_contenders(config: Config, images: np.ndarray) -> tuple[dict[str, Any], list[str]]:
    """The variants of PyTorch, warmed up, and sentences that say which are missing."""
    if not config.torch:
        return {}, []
    try:
        import torch  # pyright: ignore[reportMissingImports]

        from benchmarks.shared.torch_peers import TorchTraining, VaeLoss
    except ImportError:
        return {}, ['PyTorch is not installed, so it was not run: pip install "jaxvae[peers]"']
    torch.set_num_threads(config.threads)
    # Like ours, its programs are compiled anew in every run.
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
            # Without a cache it warns that it keeps no profile.
            warnings.filterwarnings("ignore", message="dynamo_pgo")
            for fused, name in names.items():
                ran[f"torch compile, {name}"] = contender(True, fused)
    except Exception as error:  # A missing or broken C++ compiler can cause any of them.
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

    Each iteration changes one element of the left array by the result of the previous one, so that
    the product cannot be moved out of the loop, and the barrier keeps the compiler from computing
    that element alone.
    """
    left_key, right_key = jax.random.split(jax.random.key(0))
    left = jax.random.normal(left_key, product.left)
    right = jax.random.normal(right_key, product.right)
    dimensions = (([product.contract[0]], [product.contract[1]]), ([], []))

    def iteration(_, left, right):
        out = lax.optimization_barrier(lax.dot_general(left, right, dimensions))
        return left.at[0, 0].set(1e-3 * out[0, 0])

    def loop(left, right):
        return lax.fori_loop(0, times, lambda i, left: iteration(i, left, right), left)

    return partial(jax.jit(loop).lower(left, right).compile(), left, right)


class StepProducts:
    """The time that the products of several steps take alone, the sum over their compiled loops.

    It is a lower limit, as their operands stay in the cache, unlike those of a step.
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
    """The machine's rate: products of float32 matrices so large that overheads do not count."""

    def __init__(self, size: int, times: int):
        self._times = times
        self._left, self._right = jax.random.normal(jax.random.key(0), (2, size, size))
        started = time.perf_counter()
        self._product = jax.jit(lambda a, b: a @ b).lower(self._left, self._right).compile()
        self.compile_seconds = time.perf_counter() - started
        self.flops = 2 * size**3 * times
        self()

    def __call__(self) -> float:
        """Seconds for all products."""
        started = time.perf_counter()
        for _ in range(self._times):
            jax.block_until_ready(self._product(self._left, self._right))
        return time.perf_counter() - started


def derive(
    medians: Mapping[str, float], *, step_flops: int, steps: int, square_flops: int
) -> dict[str, Any]:
    """The ratios of the module's docstring from median seconds, without absent contenders."""
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
    """All times and the ratios that follow from them."""
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
    with SteppedFit(fit, steps=config.steps, chunks=config.repeats) as ours:
        seconds = interleave({OURS: ours, **peers, **limits}, config.repeats)
        trained = ours.result()
    times = ranges(seconds)
    compiled = {name: run.compile_seconds for name, run in (peers | limits).items()}
    losses = {name: float(run.last_loss) for name, run in peers.items()}
    return {
        **derive(
            times["median_seconds"],
            step_flops=sum(product.flops for product in products),
            steps=config.steps,
            square_flops=limits[SQUARE].flops,
        ),
        **times,
        "compile_seconds": {OURS: trained.compile_seconds, **compiled},
        "last_loss_nats": {OURS: -float(trained.history[-1]["bound"]), **losses},
        "missing": missing,
    }


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
    print(table(results, results["milliseconds_per_step"]))
    save(results, config.out)
    return results


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Config, description=__doc__))
