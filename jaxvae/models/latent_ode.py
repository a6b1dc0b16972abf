"""The latent ODE: a series as the decoded path of a latent state that follows a learnt flow."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxvae import _check, ode
from jaxvae._types import PRNGKey, PyTree, Scalar
from jaxvae.distributions import Distribution, Masked, Timed
from jaxvae.model import EXAMPLES, LatentVariableModel, Params
from jaxvae.models.likelihoods import LikelihoodFamily, likelihood_family, normal
from jaxvae.models.posteriors import Inference, PosteriorFamily, diagonal, posterior_of
from jaxvae.models.priors import PriorFamily, standard_normal
from jaxvae.nn import Network
from jaxvae.series import Grid


def latent_ode(
    *,
    encoder: Network,
    dynamics: Network,
    decoder: Network,
    latent_dim: int,
    channels: int,
    integrator: ode.Integrator = ode.Integrator(),  # noqa: B008 - an immutable record
    likelihood: LikelihoodFamily | Callable[[Array], Distribution] | None = None,
    start: float = 0.0,
    common_times: tuple[float, ...] | None = None,
    posterior: PosteriorFamily = diagonal(),  # noqa: B008 - an immutable tuple
    prior: PriorFamily = standard_normal(),  # noqa: B008 - an immutable tuple
    rate: Network | None = None,
    throw: bool = True,
) -> LatentVariableModel:
    r"""A series with one latent state, at the start, that determines the rest.

    $$z_{t_0} \sim p(z),\quad \dot z = f_\theta(z),\quad
      x_{t_i} \sim p(x \mid g_\theta(z_{t_i})),\quad q(z_{t_0} \mid x) = q(z; h_\phi(x, t))$$

    By default $p(z) = N(0, I)$ and $p(x \mid g) = N(g, \sigma^2)$ with a learnt $\sigma$ for each
    channel.

    An example has a ``TimeSeries`` as inputs, values (time, channel) as target and a ``Grid`` as
    context, so that what is encoded and what is predicted may lie at different times.

    Args:
        encoder: ``apply(params, times, values, mask, start)`` to
            ``posterior.num_outputs(latent_dim)`` numbers, as ``nn.recurrent_encoder`` makes it.
        dynamics: f, from a latent state to its derivative.
        decoder: g, from a latent state to the raw parameters of the likelihood of the channels,
            such as their means.
        latent_dim: size of z.
        channels: of a series.
        integrator: solver, controller, adjoint and limits.
        likelihood: a family of independent coordinates, such as ``normal(0.1)`` with a fixed scale,
            or a function of the decoder's output, such as ``Bernoulli``; None is
            ``normal(shape=(channels,))``. Its parameters are shared by all times.
        start: $t_0$, on the clock of the series; a start within it asks for
            ``nn.two_sided_encoder``, as others read the rows as if all lay on one side of it.
        common_times: times at which all series are scored when ``Grid.times`` is None. The series
            that ``map_examples`` maps over, in training, evaluation or a loop of one's own, are
            then solved together, with common steps; outside of it the likelihood is an error.
            They rise, or fall from the start on; rising ones may lie on both sides of the start,
            and are then reached from it forwards and backwards.
        posterior: the family of q.
        prior: that of p(z); one that reads the context is given the ``Grid``.
        rate: from a latent state to $\log\lambda$, one number. The times of observation are then
            modelled too, as a Poisson process of rate $\lambda(z_t)$ between the outermost of
            the start and the times, and a bound is one on $\log p(x, t)$; None takes the times as
            given.
        throw: raise when a solve fails; False leaves the rows that it did not reach out of the
            likelihood, which is no bound any more where that happens, and decodes a state of 0
            there: evaluate and forecast with True, as importance sampling prefers latents whose
            rows go missing.

    Returns:
        The model. ``Params.generative`` has "dynamics", "decoder", "rate" if there is one, and
        "likelihood" and "prior" where these have parameters.

    Raises:
        ValueError: if a size is not positive; when called, if the encoder's output has
            not the size that the posterior needs, or there are no times.

    Reference: Bath report, eqs. 29 to 31 and section 6.2; Chen et al. (2018), section 5.

    Example:
        >>> from jaxvae import models, nn
        >>> model = models.latent_ode(
        ...     encoder=nn.recurrent_encoder(nn.recurrent(2, 25), 8),
        ...     dynamics=nn.mlp((4,), (4,), hidden=(20,), activation=nn.tanh),
        ...     decoder=nn.mlp((4,), (2,), hidden=(20,)),
        ...     latent_dim=4,
        ...     channels=2,
        ... )
    """
    for name, size in (("latent_dim", latent_dim), ("channels", channels)):
        _check.positive(name, size)
    family = normal(shape=(channels,)) if likelihood is None else likelihood_family(likelihood)
    path = _path_of(_field_of(dynamics, rate), integrator, start, common_times, throw)
    parts = {"dynamics": dynamics, "decoder": decoder} | ({} if rate is None else {"rate": rate})

    def init(key: PRNGKey) -> Params:
        keys = jax.random.split(key, 4 + len(parts))
        inference = Inference(encoder.init(keys[0]), posterior.init(keys[1], latent_dim))
        generative = {
            name: part.init(own)
            for (name, part), own in zip(parts.items(), keys[2:-2], strict=True)
        }
        others = {"likelihood": family.init(keys[-2]), "prior": prior.init(keys[-1], latent_dim)}
        generative |= {name: own for name, own in others.items() if own is not None}
        return Params(generative, inference)

    def prior_of(params, context):
        return prior.build(params.generative.get("prior"), context, latent_dim)

    def likelihood_of(params, latent, context):
        learnt = params.generative
        timed = rate is not None
        state = (latent, jnp.zeros((), latent.dtype)) if timed else latent
        solution = path(learnt, state, context)
        states, expected = solution.values if timed else (solution.values, jnp.zeros(1))
        outputs = jax.vmap(decoder.apply, in_axes=(None, 0))(learnt["decoder"], states)
        rows = family.build(learnt.get("likelihood"), outputs, context)
        _check.event_shape("the likelihood of latent_ode", context.mask.shape, rows.event_shape)
        mask = context.mask & solution.reached[:, None]
        values = Masked(rows, mask)
        if rate is None:
            return values
        log_rates = jax.vmap(rate.apply, in_axes=(None, 0))(learnt["rate"], states)
        # The count is 0 at the start and negative before it.
        counts = jnp.append(expected, 0.0)
        total = jnp.max(counts) - jnp.min(counts)
        return Timed(values, log_rates.reshape(-1), jnp.any(mask, axis=1), total)

    def q(params, inputs, context):
        del context
        outputs = encoder.apply(params.inference.encoder, *inputs, start)
        return posterior_of(
            "latent_ode", posterior, params.inference.posterior, outputs, latent_dim
        )

    return LatentVariableModel(init, prior_of, likelihood_of, q)


def _field_of(dynamics: Network, rate: Network | None) -> ode.Field:
    """The flow of the latent state; with a rate, and of the number of observations expected."""

    def flow(t: Scalar, z: Array, params: PyTree) -> Array:
        del t
        return dynamics.apply(params["dynamics"], z)

    def flow_and_count(t: Scalar, state: tuple[Array, Scalar], params: PyTree):
        z, _ = state
        intensity = jnp.exp(rate.apply(params["rate"], z)).reshape(())  # pyright: ignore[reportOptionalMemberAccess]
        return flow(t, z, params), intensity

    return flow if rate is None else flow_and_count


def _path_of(
    field: ode.Field,
    integrator: ode.Integrator,
    start: float,
    common_times: tuple[float, ...] | None,
    throw: bool,
) -> Callable[[PyTree, PyTree, Any], ode.Solution]:
    """The solution of one series at its own times, or at the common ones together with all."""

    def path(params: PyTree, state: PyTree, grid: Grid) -> ode.Solution:
        options: Any = {"integrator": integrator, "t0": start, "throw": throw}
        if grid.times is not None:
            return ode.solve(field, params, state, grid.times, **options)
        if common_times is None:
            raise ValueError(
                "latent_ode expected times, got a Grid without them; give Grid.times, or "
                "common_times to the factory"
            )
        solve = partial(ode.solve_together, field, params, state, axis_name=EXAMPLES, **options)
        dtype = jax.tree.leaves(state)[0].dtype
        return _both_ways(lambda times: solve(jnp.asarray(times, dtype)), common_times, start)

    return path


def _both_ways(
    solve: Callable[[tuple[float, ...]], ode.Solution], times: tuple[float, ...], start: float
) -> ode.Solution:
    """One solution at times that may lie on both sides of the start, if they rise."""
    if times[0] >= start or times[-1] < times[0]:
        return solve(times)
    number = sum(time < start for time in times)
    sides = [solve(times[:number][::-1])]
    rows = [jax.tree.map(lambda x: x[::-1], sides[0][:2])]
    if number < len(times):
        sides.append(solve(times[number:]))
        rows.append(sides[1][:2])
    values, reached = jax.tree.map(lambda *parts: jnp.concatenate(parts), *rows)
    stats = jax.tree.map(lambda *counts: sum(counts), *(side.stats for side in sides))
    return ode.Solution(values, reached, stats)
