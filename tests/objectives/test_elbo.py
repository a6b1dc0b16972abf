from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import ppca
import pytest
from samplers import RUN_ONCE
from scipy import stats

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
SIZE = 20_000
every_kl = pytest.mark.parametrize("kl", KLS, ids=lambda kl: kl.__name__)
# For Normal variables the form that is available is the analytic one, as a test below says.
every_kl_of_its_own = pytest.mark.parametrize(
    "kl",
    [
        pytest.param(kl, marks=pytest.mark.exhaustive)
        if kl is objectives.analytic_where_available
        else kl
        for kl in KLS
    ],
    ids=lambda kl: kl.__name__,
)


@cache
def compiled(kl, num_samples):
    """``(params, settings, keys)`` to independent estimates of the bound of one example."""

    @partial(jax.jit, compiler_options=RUN_ONCE)
    @partial(jax.vmap, in_axes=(None, None, 0))
    def estimate(params, settings, key):
        options = {"kl": kl, "num_samples": num_samples, "settings": settings}
        return elbo(ppca.model, params, EXAMPLE, key=key, **options)

    return estimate


def estimates(params, *, kl=objectives.analytic, num_samples=1, seed=1, beta=1.0):
    """As many for every test, so that the tests share programs."""
    keys = jax.random.split(jax.random.key(seed), SIZE)
    got = compiled(kl, num_samples)(params, ElboSettings(beta=jnp.float32(beta)), keys)
    return jax.tree.map(np.float64, jax.device_get(got))


divergence_of = jax.jit(kl_divergence)


def assert_each(bounds, exact):
    """Every sample; the terms of a bound are at most some fifty nats, and cancel."""
    np.testing.assert_allclose(bounds, np.full(len(bounds), exact), atol=3e-5)


def assert_mean(samples, exact, message=""):
    error = np.mean(samples, axis=0) - exact
    tolerance = 4 * np.std(samples, axis=0) / np.sqrt(len(samples)) + 2e-6 * np.abs(exact) + 1e-7
    assert np.all(np.abs(error) < tolerance), f"{message}: {error} against {tolerance}"


def test_the_oracle_in_jax_is_that_in_scipy():
    np.testing.assert_allclose(jax.jit(ppca.log_evidence)(THETA, X), EVIDENCE, rtol=1e-5)


def test_with_the_exact_posterior_every_sample_gives_the_evidence():
    bounds = estimates(EXACT, kl=objectives.monte_carlo).bound
    assert_each(bounds, EVIDENCE)


def test_with_the_exact_posterior_the_evidence_is_gained_by_any_number_of_samples():
    bounds = estimates(EXACT, kl=objectives.monte_carlo, num_samples=10).bound
    assert_each(bounds, EVIDENCE)


@every_kl
def test_with_the_exact_posterior_the_mean_is_the_evidence(kl):
    assert_mean(estimates(EXACT, kl=kl).bound, EVIDENCE)


@every_kl
def test_the_bound_falls_short_of_the_evidence_by_the_divergence_from_the_exact_posterior(kl):
    q, exact = (ppca.model.posterior(p, X, None) for p in (INEXACT, EXACT))
    gap = float(divergence_of(q, exact))
    assert gap > 0.1
    assert_mean(estimates(INEXACT, kl=kl).bound, EVIDENCE - gap)


@every_kl_of_its_own
def test_many_samples_keep_the_mean_and_divide_the_variance(kl):
    single, many = (estimates(INEXACT, kl=kl, num_samples=n, seed=n).bound for n in (1, 10))
    difference = np.mean(single) - np.mean(many)
    assert abs(difference) < 4 * np.sqrt((np.var(single) + np.var(many)) / SIZE)
    np.testing.assert_allclose(np.var(single) / np.var(many), 10, rtol=0.1)


@every_kl
def test_the_parts_add_up_and_beta_weights_only_the_surrogate(kl):
    plain = estimates(INEXACT, kl=kl)
    np.testing.assert_array_equal(plain.surrogate, plain.bound)
    assert set(plain.parts) == {"reconstruction", "kl"}
    for beta in (0.0, 0.25, 4.0):
        weighted = estimates(INEXACT, kl=kl, beta=beta)
        reconstruction, divergence = weighted.parts["reconstruction"], weighted.parts["kl"]
        # Terms of both signs, of some dozens of nats.
        rounding = 2e-6 * np.max(np.abs(reconstruction) + beta * np.abs(divergence))
        for got, exact in (
            (weighted.bound, reconstruction - divergence),
            (weighted.surrogate, reconstruction - beta * divergence),
            (weighted.bound, plain.bound),
        ):
            np.testing.assert_allclose(got, exact, atol=rounding)


def test_the_analytic_divergence_is_the_same_for_every_sample():
    divergences = estimates(INEXACT, kl=objectives.analytic).parts["kl"]
    q = ppca.model.posterior(INEXACT, X, None)
    np.testing.assert_allclose(divergences, divergence_of(q, Normal.standard((2,))), atol=2e-6)


def test_the_default_is_the_analytic_divergence_and_one_sample():
    chosen = estimates(INEXACT, kl=objectives.analytic, num_samples=1)
    keys = jax.random.split(jax.random.key(1), SIZE)
    default = jax.jit(jax.vmap(lambda key: elbo(ppca.model, INEXACT, EXAMPLE, key=key).bound))
    rounding = 2e-6 * np.max(np.abs(chosen.parts["reconstruction"]))
    np.testing.assert_allclose(default(keys), chosen.bound, atol=rounding)


@cache
def compiled_gradient(model, kl):
    @partial(jax.jit, compiler_options=RUN_ONCE)
    @partial(jax.vmap, in_axes=(None, 0))
    @jax.grad
    def gradient(params, key):
        return elbo(model, params, EXAMPLE, key=key, kl=kl).surrogate

    return gradient


def gradients(model, params, size=SIZE, *, kl):
    keys = jax.random.split(jax.random.key(2), size)
    return jax.device_get(compiled_gradient(model, kl)(params, keys))


evidence_gradient = jax.jit(jax.grad(ppca.log_evidence))


@every_kl_of_its_own
def test_at_the_exact_posterior_the_gradient_is_that_of_the_evidence(kl):
    # Its divergence from q has a minimum there, so phi's gradient is 0 and theta's the evidence's.
    got = gradients(ppca.model, Params(LINE, ppca.exact_inference(LINE)), kl=kl)
    exact = jax.device_get(evidence_gradient(LINE, X))
    jax.tree.map(assert_mean, jax.tree.map(np.float64, got.generative), exact)
    for leaf in got.inference:
        assert_mean(np.float64(leaf), np.zeros(leaf.shape[1:]))


def test_a_posterior_that_stays_exact_gives_the_gradient_of_the_evidence_with_every_sample():
    params = Params(LINE, None)
    got = gradients(ppca.tied_model, params, 20, kl=objectives.monte_carlo)
    exact = jax.device_get(evidence_gradient(LINE, X))
    for name, leaf in got.generative._asdict().items():
        expected = np.broadcast_to(getattr(exact, name), leaf.shape)
        np.testing.assert_allclose(leaf, expected, rtol=1e-4, atol=1e-5, err_msg=name)


@jax.jit
@jax.grad
def exact_gradient(params):
    """Of log p(x) - KL(q || p(z | x))."""
    q = ppca.model.posterior(params, X, None)
    theta = params.generative
    exact = Params(theta, ppca.exact_inference(theta))
    gap = kl_divergence(q, ppca.model.posterior(exact, X, None))
    return ppca.log_evidence(theta, X) - gap


@every_kl_of_its_own
def test_the_gradient_is_that_of_the_bound_in_closed_form(kl):
    params = Params(LINE, ppca.inexact_inference(LINE))
    got = jax.tree.map(np.float64, gradients(ppca.model, params, kl=kl))
    jax.tree.map(assert_mean, got, jax.device_get(exact_gradient(params)))


def test_beta_weights_the_gradient_and_can_be_traced():
    def surrogate(params, beta):
        settings = ElboSettings(beta=beta)
        return elbo(ppca.model, params, EXAMPLE, key=jax.random.key(3), settings=settings).surrogate

    sweep = jax.jit(jax.vmap(jax.grad(surrogate), (None, 0)))
    at = jax.device_get(sweep(INEXACT, jnp.array([0.0, 1.0, 3.0])))
    for leaf in jax.tree.leaves(at):  # linear in beta
        np.testing.assert_allclose(leaf[2], 3 * leaf[1] - 2 * leaf[0], rtol=1e-4, atol=1e-4)
    assert np.any(at.inference.log_scale[1] != at.inference.log_scale[0])


def test_batches_are_made_by_vmap():
    inputs = np.asarray(jax.random.normal(jax.random.key(4), (6, 5)))
    evidence = [ppca.exact_log_evidence(THETA, x) for x in inputs]

    @jax.jit
    @jax.vmap
    def bound(x, key):
        example, kl = Example(x, x), objectives.monte_carlo
        return elbo(ppca.model, EXACT, example, key=key, kl=kl).bound

    got = bound(inputs, jax.random.split(jax.random.key(5), 6))
    np.testing.assert_allclose(got, evidence, rtol=3e-6)


def test_the_encoder_sees_the_inputs_and_the_target_is_scored():
    @jax.jit
    def both(target):
        got = elbo(ppca.model, EXACT, Example(X, target), key=jax.random.key(6))
        z = ppca.model.posterior(EXACT, X, None).sample(jax.random.key(6))
        expected = ppca.model.likelihood(EXACT, z, None).log_prob(target)
        return got.parts["reconstruction"], expected

    np.testing.assert_allclose(*both(np.asarray(X) + np.float32(1.0)), rtol=1e-6)


def test_prior_likelihood_and_posterior_all_get_the_context():
    seen = []

    def spy(name):
        def function(params, *arguments):
            seen.append((name, arguments[-1]))
            return getattr(ppca.model, name)(params, *arguments)

        return function

    names = ("prior", "likelihood", "posterior")
    model = ppca.model._replace(**{name: spy(name) for name in names})
    example = Example(X, X, "context")
    jax.eval_shape(lambda key: elbo(model, EXACT, example, key=key), jax.random.key(7))
    assert sorted(seen) == [(name, "context") for name in sorted(names)]


def with_posterior(distribution):
    return ppca.model._replace(posterior=lambda params, inputs, context: distribution)


def test_a_posterior_without_pathwise_gradients_is_refused():
    model = with_posterior(Bernoulli(jnp.zeros(2)))
    with pytest.raises(ValueError, match="reparameterised samples, got Bernoulli"):
        elbo(model, EXACT, EXAMPLE, key=jax.random.key(0), kl=objectives.monte_carlo)


def test_a_divergence_that_does_not_exist_is_refused_and_never_replaced():
    point = jnp.array([0.5, -1.0])

    @partial(jax.jit, static_argnames="kl")
    def bound(kl):
        model = with_posterior(Delta(point))
        return elbo(model, EXACT, EXAMPLE, key=jax.random.key(0), kl=kl)

    with pytest.raises(ValueError, match="no closed form here"):
        bound(kl=objectives.analytic)
    with pytest.raises(ValueError, match="closed-form entropy, got Delta; use kl=monte_carlo"):
        bound(kl=objectives.analytic_entropy)
    exact = -stats.norm.logpdf(point).sum()
    for kl in (objectives.monte_carlo, objectives.analytic_where_available):
        np.testing.assert_allclose(bound(kl=kl).parts["kl"], exact, rtol=1e-6)


def test_where_a_closed_form_is_available_it_is_used():
    analytic = estimates(INEXACT, kl=objectives.analytic)
    chosen = estimates(INEXACT, kl=objectives.analytic_where_available)
    np.testing.assert_array_equal(chosen.parts["kl"], analytic.parts["kl"])


def test_a_bound_needs_a_sample():
    with pytest.raises(ValueError, match="num_samples expected a positive integer, got 0"):
        elbo(ppca.model, EXACT, EXAMPLE, key=jax.random.key(0), num_samples=0)
