"""How noisy an objective's gradients are."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxvae import _check
from jaxvae._types import PRNGKey, PyTree, Scalar
from jaxvae.model import Estimate, Example, map_examples


class GradientReport(NamedTuple):
    r"""Mean $\bar g_i$ and unbiased variance $s_i^2$ of each parameter's gradient, in one group.

    Attributes:
        norm: $\sqrt{\sum_i \bar g_i^2}$, of the mean gradient. Noise adds
            $\frac1n\sum_i s_i^2$ to its square.
        noise: $\sqrt{\sum_i s_i^2}$, the root of the total variance.
        signal_to_noise: mean of $|\bar g_i|/s_i$ over the parameters with $s_i > 0$; NaN where
            there are none. It shows about $0.8/\sqrt n$ where the true mean is zero.
        varying: share of the parameters with $s_i > 0$. The others have the same gradient for every
            key (unused inputs, dead units, terms without noise), and so no ratio.
    """

    norm: Scalar
    noise: Scalar
    signal_to_noise: Scalar
    varying: Scalar


class _Moments(NamedTuple):
    """Running mean, and sum of squared deviations from it (Welford)."""

    mean: PyTree
    deviations: PyTree


@partial(jax.jit, static_argnums=0, static_argnames=("num_keys",))
def gradient_report(
    loss: Callable[..., Estimate],
    params: PyTree,
    examples: Example,
    *,
    key: PRNGKey,
    num_keys: int,
) -> dict[str, GradientReport]:
    r"""Mean and spread of $g = \nabla\frac1B\sum_b \mathrm{surrogate}_b$ over the noise alone.

    The batch stays the same and n fresh keys draw the noise. All B examples are differentiated at
    once; memory does not grow with n.

    Args:
        loss: ``(params, example, *, key) -> Estimate`` of one example.
        params: its parameters.
        examples: one batch, examples along the first axis of every array.
        key: consumed once.
        num_keys: n, at least 2.

    Returns:
        A report for each group, which is a field of ``Params`` ("generative", "inference") or
        another top-level entry of the parameters; "params" where they are a single array.

    Raises:
        ValueError: if n is less than 2, as one gradient has no spread.

    Reference: Rainforth et al. (2018), section 3, for the signal-to-noise ratio of one parameter.
    """
    if num_keys < 2:
        raise ValueError(f"num_keys expected at least 2, as one has no spread, got {num_keys}")
    size = _check.examples("gradient_report", examples)

    def gradient(key: PRNGKey) -> PyTree:
        def mean_surrogate(params):
            keys = jax.random.split(key, size)
            estimates = map_examples(lambda e, k: loss(params, e, key=k), examples, keys)
            return jnp.mean(estimates.surrogate)

        return jax.tree.map(_full_precision, jax.grad(mean_surrogate)(params))

    def add(moments: _Moments, number: Array) -> tuple[_Moments, None]:
        new = gradient(jax.random.fold_in(key, number))
        count = number + 1
        mean = jax.tree.map(
            lambda mean, g: mean + (g - mean) / count.astype(g.dtype), moments.mean, new
        )
        deviations = jax.tree.map(
            lambda total, old, mean, g: total + (g - old) * (g - mean),
            moments.deviations,
            moments.mean,
            mean,
            new,
        )
        return _Moments(mean, deviations), None

    zeros = jax.tree.map(lambda leaf: _full_precision(jnp.zeros_like(leaf)), params)
    moments, _ = lax.scan(add, _Moments(zeros, zeros), jnp.arange(num_keys))
    variance = jax.tree.map(lambda total: total / (num_keys - 1), moments.deviations)
    means, variances = _by_group(moments.mean), _by_group(variance)
    return {name: _report(means[name], variances[name]) for name in means}


def _full_precision(leaf: Array) -> Array:
    """Sums over keys of half-precision gradients would lose the later ones."""
    return leaf if jnp.finfo(leaf.dtype).bits >= 32 else leaf.astype(jnp.float32)


def _by_group(tree: PyTree) -> dict[str, Array]:
    """The tree's entries at the top, each as one vector."""
    groups: dict[str, list[Array]] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(path[:1], simple=True) or "params"
        groups.setdefault(name, []).append(leaf.ravel())
    return {name: jnp.concatenate(leaves) for name, leaves in groups.items()}


def _report(mean: Array, variance: Array) -> GradientReport:
    varies = variance > 0.0
    ratio = jnp.abs(mean) / jnp.sqrt(jnp.where(varies, variance, 1.0))
    return GradientReport(
        norm=jnp.linalg.norm(mean),
        noise=jnp.sqrt(jnp.sum(variance)),
        signal_to_noise=jnp.mean(ratio, where=varies),
        varying=jnp.mean(varies.astype(mean.dtype)),
    )
