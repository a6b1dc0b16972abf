"""Training with all estimators at once, and their noise at the same parameters."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from tqdm.auto import tqdm

import jaxvae
from experiments.gradient_estimators.estimators import Family
from jaxvae import metrics

STAGES = ("at_start", "trained")
_FITTED = "baseline_of_the_reference"


class Noise(NamedTuple):
    """Noise and bias of one estimator; arrays have the axes (stage, seed).

    Attributes:
        reports: the report of the gradient of each group of parameters.
        bias: the norm of the mean error of the inference gradient, and the root mean square that
            this norm would have without bias, both relative to the norm of the exact gradient.
            None if the estimator is unbiased or the exact gradient is unknown.
    """

    reports: dict[str, metrics.GradientReport]
    bias: tuple[np.ndarray, np.ndarray] | None


def fresh(families: dict[str, Family], key: Array) -> dict[str, jaxvae.Params]:
    """Initial parameters for every estimator, the same for all estimators of a model."""
    everything = {}
    keys = jax.random.split(key, len(families))
    for (kind, family), each in zip(families.items(), keys, strict=True):
        params = family.model.init(each)
        for name, estimator in family.estimators.items():
            mine = params if estimator.learns else params._replace(auxiliary=None)
            everything[f"{kind}_{name}"] = mine
        everything[f"{kind}_{_FITTED}"] = params.auxiliary
    return everything


def loss(
    families: dict[str, Family],
    params: dict[str, Any],
    example: jaxvae.Example,
    *,
    key: Array,
    settings: None = None,
) -> jaxvae.Estimate:
    """The sum of the surrogates of all estimators, each a function of its own parameters.

    A baseline is also fitted to the terms of the reference's bound; it does not affect the
    reference.
    """
    del settings
    surrogates, bounds = [], {}
    for number, (kind, family) in enumerate(families.items()):
        *keys, last = jax.random.split(jax.random.fold_in(key, number), len(family.estimators) + 1)
        for each, (name, estimator) in zip(keys, family.estimators.items(), strict=True):
            mine = params[f"{kind}_{name}"]
            estimate = estimator.objective(family.model, mine, example, key=each)
            surrogates.append(estimate.surrogate)
            # For bounds on several weights the ELBO is the mean of the log-weights.
            bounds[f"{kind}_{name}"] = estimate.parts.get("elbo", estimate.bound)
        fitting = family.learning.objective(
            family.model, with_fitted(kind, family, params, stop=True), example, key=last
        )
        surrogates.append(fitting.surrogate)
    total = jnp.sum(jnp.stack(list(bounds.values())))
    return jaxvae.Estimate(jnp.sum(jnp.stack(surrogates)), total, bounds)


def with_fitted(
    kind: str, family: Family, params: dict[str, Any], *, stop: bool = False
) -> jaxvae.Params:
    """The reference's parameters with the baseline that was fitted for them."""
    reference = params[f"{kind}_{family.reference}"]
    reference = lax.stop_gradient(reference) if stop else reference
    return reference._replace(auxiliary=params[f"{kind}_{_FITTED}"])


def compare(
    family: Family, params: jaxvae.Params, examples: jaxvae.Example, key: Array, num_keys: int
) -> dict[str, Noise]:
    """Noise of the gradient of one batch, for every estimator at the same parameters.

    Args:
        family: model and estimators.
        params: with leading axes (stage, seed).
        examples: the batch.
        key: of the noise, the same at all parameters.
        num_keys: number of gradients for each.
    """
    count = jax.tree.leaves(params)[0].shape[:2]
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), params)

    def report(objective, params):
        one = partial(metrics.gradient_report, objective, num_keys=num_keys)
        found = jax.vmap(lambda params: one(params, examples, key=key))(params)
        return jax.tree.map(lambda leaf: np.asarray(leaf, float).reshape(count), found)

    exact = _exact_gradients(family, flat, examples) if family.is_exact else None
    noise = {}
    for name, estimator in tqdm(family.estimators.items(), desc=f"noise, {family.title}"):
        bias = None
        if exact is not None and estimator.is_biased:
            pairs = {"exact": exact, **flat._asdict()}
            error = report(partial(_error, estimator.objective, family.model), pairs)["inference"]
            of_mean = error.noise / num_keys**0.5
            square = np.maximum(error.norm**2 - of_mean**2, 0.0)
            length = np.asarray(jax.vmap(optax.tree.norm)(exact.inference)).reshape(count)
            bias = (np.sqrt(square) / length, of_mean / length)
        noise[name] = Noise(report(partial(estimator.objective, family.model), flat), bias)
    return noise


def _exact_gradients(
    family: Family, params: jaxvae.Params, examples: jaxvae.Example
) -> jaxvae.Params:
    """Gradient of the batch's mean bound, summed over all values of the latent."""
    exact = partial(family.estimators[family.reference].objective, family.model)

    def mean(params):
        keys = jax.random.split(jax.random.key(0), len(examples.inputs))
        estimates = jax.vmap(lambda example, key: exact(params, example, key=key))(examples, keys)
        return jnp.mean(estimates.surrogate)

    return jax.jit(lambda params: lax.map(jax.grad(mean), params))(params)


def _error(
    objective, model, pair: dict[str, Any], example: jaxvae.Example, *, key: Array
) -> jaxvae.Estimate:
    """An estimate whose gradient is the error of the estimated gradient."""
    exact = lax.stop_gradient(pair["exact"])
    params = jaxvae.Params(pair["generative"], pair["inference"], pair["auxiliary"])
    estimate = objective(model, params, example, key=key)
    return estimate._replace(surrogate=estimate.surrogate - optax.tree.vdot(exact, params))


def noise_metrics(noise: dict[str, dict[str, Noise]]) -> dict[str, Any]:
    """Signal-to-noise ratios, noise in nats and relative biases, one entry for each seed.

    Ratios of gradients without noise are left out.
    """
    values: dict[str, Any] = {}
    every = ((kind, name, found) for kind, each in noise.items() for name, found in each.items())
    for kind, name, found in every:
        for number, stage in enumerate(STAGES):
            for group in ("inference", "generative"):
                report, words = found.reports[group], f"{group}_{stage}_{kind}_{name}"
                values[f"gradient_noise_nats_{words}"] = report.noise[number]
                if np.all(report.noise > 0):
                    values[f"snr_{words}"] = report.signal_to_noise[number]
            if found.bias is not None:
                bias, resolved = found.bias
                words = f"inference_{stage}_{kind}_{name}"
                values[f"relative_bias_{words}"] = bias[number]
                values[f"relative_bias_resolution_{words}"] = resolved[number]
    return values
