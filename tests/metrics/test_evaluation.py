from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import ppca

from jaxvae import Estimate, Example, metrics, objectives


def test_the_mean_and_its_standard_error_cover_every_example_of_a_partial_batch():
    values = jnp.arange(10.0)

    def loss(params, example, *, key):
        del key
        return Estimate(params * example.target, example.target, {"half": example.target / 2})

    found = metrics.evaluate(loss, 3.0, Example(values, values), key=jax.random.key(0), batch=4)
    assert found.mean.surrogate == 13.5
    assert found.mean.parts["half"] == 2.25
    np.testing.assert_allclose(
        found.standard_error.bound, np.std(values, ddof=1) / 10**0.5, rtol=1e-6
    )


def test_the_bound_of_the_exact_posterior_is_the_mean_evidence():
    params, examples = ppca.exact_params(), ppca.examples(300)
    loss = partial(objectives.elbo, ppca.model, kl=objectives.monte_carlo)
    found = metrics.evaluate(loss, params, examples, key=jax.random.key(0))
    evidence = ppca.exact_log_evidence(params.generative, examples.target)
    np.testing.assert_allclose(found.mean.bound, evidence.mean(), rtol=1e-5)
    np.testing.assert_allclose(
        found.standard_error.bound, evidence.std(ddof=1) / 300**0.5, rtol=1e-4
    )


def test_one_example_has_no_standard_error():
    loss = partial(objectives.elbo, ppca.model)
    found = metrics.evaluate(loss, ppca.exact_params(), ppca.examples(1), key=jax.random.key(0))
    assert np.isnan(found.standard_error.bound)
    assert np.isfinite(found.mean.bound)
    information = metrics.mutual_information(
        ppca.model, ppca.exact_params(), ppca.examples(1), key=jax.random.key(0)
    )
    assert np.isnan(information.standard_error)
