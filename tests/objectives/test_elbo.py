from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import ppca
import pytest

from jaxvae import objectives
from jaxvae.distributions import Bernoulli, Delta, Normal, kl_divergence
from jaxvae.model import Example, Params
from jaxvae.objectives import ElboSettings, elbo

THETA = ppca.generative(jax.random.key(0))
EXACT = Params(THETA, ppca.exact_inference(THETA))
INEXACT = Params(THETA, ppca.inexact_inference(THETA))
# One column is orthogonal whatever it is: the exact posterior stays diagonal as theta moves.
LINE = ppca.generative(jax.random.key(8), latent_dim=1)
X = jnp.array([0.3, -2.0, 1.1, 0.4, -0.9])
EXAMPLE = Example(X, X)
EVIDENCE = ppca.exact_log_evidence(THETA, X)
KLS = [
    objectives.analytic,
    objectives.monte_carlo,
    objectives.analytic_where_available,
    objectives.analytic_entropy,
]
every_kl = pytest.mark.parametrize("kl", KLS, ids=lambda kl: kl.__name__)


def estimates(params, size=20_000, *, seed=1, **options):
    """Independent estimates of the bound of one example."""

    @jax.jit
    @jax.vmap
    def estimate(key):
        return elbo(ppca.model, params, EXAMPLE, key=key, **options)

    return jax.tree.map(np.float64, estimate(jax.random.split(jax.random.key(seed), size)))


def assert_mean(samples, exact, message=""):
    error = np.mean(samples, axis=0) - exact
    tolerance = 4 * np.std(samples, axis=0) / np.sqrt(len(samples)) + 2e-6 * np.abs(exact) + 1e-7
    assert np.all(np.abs(error) < tolerance), f"{message}: {error} against {tolerance}"


def test_the_oracle_in_jax_is_that_in_scipy():
    np.testing.assert_allclose(ppca.log_evidence(THETA, X), EVIDENCE, rtol=1e-5)


def test_with_the_exact_posterior_every_sample_gives_the_evidence():
    bounds = estimates(EXACT, 1000, kl=objectives.monte_carlo).bound
    np.testing.assert_allclose(bounds, np.full(1000, EVIDENCE), rtol=3e-6)


def test_with_the_exact_posterior_the_evidence_is_gained_by_any_number_of_samples():
    bounds = estimates(EXACT, 10, kl=objectives.monte_carlo, num_samples=7).bound
    np.testing.assert_allclose(bounds, np.full(10, EVIDENCE), rtol=3e-6)


@every_kl
def test_with_the_exact_posterior_the_mean_is_the_evidence(kl):
    assert_mean(estimates(EXACT, kl=kl).bound, EVIDENCE)


@every_kl
def test_the_bound_falls_short_of_the_evidence_by_the_divergence_from_the_exact_posterior(kl):
    q, exact = (ppca.model.posterior(p, X, None) for p in (INEXACT, EXACT))
    gap = float(kl_divergence(q, exact))
    assert gap > 0.1
    assert_mean(estimates(INEXACT, kl=kl).bound, EVIDENCE - gap)


@every_kl
def test_many_samples_keep_the_mean_and_divide_the_variance(kl):
    single, many = (estimates(INEXACT, kl=kl, num_samples=n, seed=n).bound for n in (1, 10))
    difference = np.mean(single) - np.mean(many)
    assert abs(difference) < 4 * np.sqrt((np.var(single) + np.var(many)) / 20_000)
    np.testing.assert_allclose(np.var(single) / np.var(many), 10, rtol=0.1)


@every_kl
def test_the_parts_add_up_and_beta_weights_only_the_surrogate(kl):
    plain = estimates(INEXACT, 50, kl=kl)
    np.testing.assert_array_equal(plain.surrogate, plain.bound)
    assert set(plain.parts) == {"reconstruction", "kl"}
    for beta in (0.0, 0.25, 4.0):
        weighted = estimates(INEXACT, 50, kl=kl, settings=ElboSettings(beta=beta))
        reconstruction, divergence = weighted.parts["reconstruction"], weighted.parts["kl"]
        np.testing.assert_allclose(weighted.bound, reconstruction - divergence, rtol=1e-6)
        np.testing.assert_allclose(
            weighted.surrogate, reconstruction - beta * divergence, rtol=2e-6
        )
        np.testing.assert_allclose(weighted.bound, plain.bound, rtol=1e-6)


def test_the_analytic_divergence_is_the_same_for_every_sample():
    divergences = estimates(INEXACT, 100, kl=objectives.analytic).parts["kl"]
    q = ppca.model.posterior(INEXACT, X, None)
    np.testing.assert_allclose(divergences, kl_divergence(q, Normal.standard((2,))), rtol=1e-6)


def test_the_default_is_the_analytic_divergence_and_one_sample():
    chosen = estimates(INEXACT, 10, kl=objectives.analytic, num_samples=1)
    np.testing.assert_array_equal(estimates(INEXACT, 10).bound, chosen.bound)


def gradients(model, params, size=20_000, **options):
    @jax.jit
    @partial(jax.vmap, in_axes=(None, 0))
    @jax.grad
    def gradient(params, key):
        return elbo(model, params, EXAMPLE, key=key, **options).surrogate

    return gradient(params, jax.random.split(jax.random.key(2), size))


@every_kl
def test_at_the_exact_posterior_the_gradient_is_that_of_the_evidence(kl):
    # Its divergence from q has a minimum there, so phi's gradient is 0 and theta's the evidence's.
    got = gradients(ppca.model, EXACT, kl=kl)
    exact = jax.grad(ppca.log_evidence)(THETA, X)
    jax.tree.map(assert_mean, jax.tree.map(np.float64, got.generative), exact)
    for leaf in got.inference:
        assert_mean(np.float64(leaf), np.zeros(leaf.shape[1:]))


def test_a_posterior_that_stays_exact_gives_the_gradient_of_the_evidence_with_every_sample():
    params = Params(LINE, None)
    got = gradients(ppca.tied_model, params, 20, kl=objectives.monte_carlo)
    exact = jax.grad(ppca.log_evidence)(LINE, X)
    for name, leaf in got.generative._asdict().items():
        expected = np.broadcast_to(getattr(exact, name), leaf.shape)
        np.testing.assert_allclose(leaf, expected, rtol=1e-4, atol=1e-5, err_msg=name)


@every_kl
def test_the_gradient_is_that_of_the_bound_in_closed_form(kl):
    def bound(params):  # log p(x) - KL(q || p(z | x))
        q = ppca.model.posterior(params, X, None)
        theta = params.generative
        exact = Params(theta, ppca.exact_inference(theta))
        gap = kl_divergence(q, ppca.model.posterior(exact, X, None))
        return ppca.log_evidence(theta, X) - gap

    params = Params(LINE, ppca.inexact_inference(LINE))
    got = jax.tree.map(np.float64, gradients(ppca.model, params, kl=kl))
    jax.tree.map(assert_mean, got, jax.grad(bound)(params))


def test_beta_weights_the_gradient_and_can_be_traced():
    def surrogate(params, beta):
        settings = ElboSettings(beta=beta)
        return elbo(ppca.model, params, EXAMPLE, key=jax.random.key(3), settings=settings).surrogate

    sweep = jax.jit(jax.vmap(jax.grad(surrogate), (None, 0)))
    at = sweep(INEXACT, jnp.array([0.0, 1.0, 3.0]))
    for leaf in jax.tree.leaves(at):  # linear in beta
        np.testing.assert_allclose(leaf[2], 3 * leaf[1] - 2 * leaf[0], rtol=1e-4, atol=1e-4)
    assert np.any(at.inference.log_scale[1] != at.inference.log_scale[0])


def test_batches_are_made_by_vmap():
    inputs = jax.random.normal(jax.random.key(4), (6, 5))
    evidence = [ppca.exact_log_evidence(THETA, x) for x in inputs]

    @jax.jit
    @jax.vmap
    def bound(x, key):
        example, kl = Example(x, x), objectives.monte_carlo
        return elbo(ppca.model, EXACT, example, key=key, kl=kl).bound

    got = bound(inputs, jax.random.split(jax.random.key(5), 6))
    np.testing.assert_allclose(got, evidence, rtol=3e-6)


def test_the_encoder_sees_the_inputs_and_the_target_is_scored():
    target = X + 1.0
    got = elbo(ppca.model, EXACT, Example(X, target), key=jax.random.key(6))
    z = ppca.model.posterior(EXACT, X, None).sample(jax.random.key(6))
    expected = ppca.model.likelihood(EXACT, z, None).log_prob(target)
    np.testing.assert_allclose(got.parts["reconstruction"], expected, rtol=1e-6)


def test_prior_likelihood_and_posterior_all_get_the_context():
    seen = []

    def spy(name):
        def function(params, *arguments):
            seen.append((name, arguments[-1]))
            return getattr(ppca.model, name)(params, *arguments)

        return function

    names = ("prior", "likelihood", "posterior")
    model = ppca.model._replace(**{name: spy(name) for name in names})
    elbo(model, EXACT, Example(X, X, "context"), key=jax.random.key(7))
    assert sorted(seen) == [(name, "context") for name in sorted(names)]


def with_posterior(distribution):
    return ppca.model._replace(posterior=lambda params, inputs, context: distribution)


def test_a_posterior_without_pathwise_gradients_is_refused():
    model = with_posterior(Bernoulli(jnp.zeros(2)))
    with pytest.raises(ValueError, match="reparameterised samples, got Bernoulli"):
        elbo(model, EXACT, EXAMPLE, key=jax.random.key(0), kl=objectives.monte_carlo)


def test_a_divergence_that_does_not_exist_is_refused_and_never_replaced():
    point = jnp.array([0.5, -1.0])
    bound = partial(elbo, with_posterior(Delta(point)), EXACT, EXAMPLE)
    with pytest.raises(ValueError, match="no closed form here"):
        bound(key=jax.random.key(0), kl=objectives.analytic)
    with pytest.raises(ValueError, match="closed-form entropy, got Delta; use kl=monte_carlo"):
        bound(key=jax.random.key(0), kl=objectives.analytic_entropy)
    joint = Normal.standard((2,)).log_prob(point)
    for kl in (objectives.monte_carlo, objectives.analytic_where_available):
        got = bound(key=jax.random.key(0), kl=kl)
        np.testing.assert_allclose(got.parts["kl"], -joint, rtol=1e-6)


def test_where_a_closed_form_is_available_it_is_used():
    analytic = estimates(INEXACT, 10, kl=objectives.analytic)
    chosen = estimates(INEXACT, 10, kl=objectives.analytic_where_available)
    np.testing.assert_array_equal(chosen.parts["kl"], analytic.parts["kl"])


def test_a_bound_needs_a_sample():
    with pytest.raises(ValueError, match="num_samples expected a positive integer, got 0"):
        elbo(ppca.model, EXACT, EXAMPLE, key=jax.random.key(0), num_samples=0)
