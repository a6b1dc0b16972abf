"""Two small models of images, with Normal latents and with bits, and their estimators."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxvae import LatentVariableModel, Params, models, nn, objectives
from jaxvae.distributions import Bernoulli


class Estimator(NamedTuple):
    """A bound and how it is differentiated.

    Attributes:
        label: of the estimator in pictures.
        objective: ``(model, params, example, *, key) -> Estimate``.
        learns: whether it has a baseline with parameters of its own.
        is_biased: whether it is a biased estimator of the gradient of its bound.
    """

    label: str
    objective: Callable[..., Any]
    learns: bool = False
    is_biased: bool = False


class Family(NamedTuple):
    """A model and the estimators of its gradient.

    Attributes:
        title: of the model in pictures.
        model: with auxiliary parameters for a learnt baseline.
        estimators: by name.
        reference: name of the estimator at whose parameters all are compared.
        is_exact: whether the gradient of the reference is exact.
        learning: the estimator with a learnt baseline.
        test_objective: the ELBO with many samples, or the exact one.
    """

    title: str
    model: LatentVariableModel
    estimators: dict[str, Estimator]
    reference: str
    is_exact: bool
    learning: Estimator
    test_objective: Callable[..., Any]


def normal_model(shape: tuple[int, ...], latents: int, hidden: int) -> LatentVariableModel:
    """A vanilla variational autoencoder."""
    return models.vae(
        encoder=nn.mlp(shape, (2 * latents,), hidden=(hidden,)),
        decoder=nn.mlp((latents,), shape, hidden=(hidden,)),
        latent_dim=latents,
    )


def bits_model(shape: tuple[int, ...], latents: int, hidden: int) -> LatentVariableModel:
    """The same model with independent bits as latents."""
    encoder = nn.mlp(shape, (latents,), hidden=(hidden,))
    decoder = nn.mlp((latents,), shape, hidden=(hidden,))

    def init(key):
        generative, inference = jax.random.split(key)
        return Params(decoder.init(generative), encoder.init(inference))

    return LatentVariableModel(
        init,
        prior=lambda params, context: Bernoulli(jnp.zeros(latents)),
        likelihood=lambda params, z, context: Bernoulli(decoder.apply(params.generative, z)),
        posterior=lambda params, x, context: Bernoulli(encoder.apply(params.inference, x)),
    )


def _scores(sampled: partial, learnt: objectives.Baseline) -> dict[str, Estimator]:
    score = partial(sampled, gradient=objectives.score_function)
    return {
        "score": Estimator("score function", score),
        "score_leave_one_out": Estimator(
            "score, leave one out", partial(score, baseline=objectives.leave_one_out)
        ),
        "score_learnt_baseline": Estimator(
            "score, learnt baseline", partial(score, baseline=learnt), learns=True
        ),
    }


def normal_estimators(number: int, learnt: objectives.Baseline) -> dict[str, Estimator]:
    """Estimators for Normal latents, all with the same number of samples."""
    elbo = partial(objectives.elbo, num_samples=number)
    sampled = partial(elbo, kl=objectives.monte_carlo)
    iwae = partial(objectives.iwae, num_samples=number)
    landing, double = objectives.sticking_the_landing, objectives.doubly_reparameterised
    return {
        "pathwise": Estimator("pathwise, closed-form KL", elbo),
        "pathwise_sampled_kl": Estimator("pathwise, sampled KL", sampled),
        "sticking_the_landing": Estimator(
            "sticking the landing", partial(sampled, gradient=landing)
        ),
        **_scores(sampled, learnt),
        "iwae": Estimator("IWAE, pathwise", iwae),
        "iwae_doubly_reparameterised": Estimator(
            "IWAE, doubly reparameterised", partial(iwae, gradient=double)
        ),
        "iwae_sticking_the_landing": Estimator(
            "IWAE, sticking the landing (biased)",
            partial(iwae, gradient=landing),
            is_biased=True,
        ),
        "renyi": Estimator(
            r"Rényi, $\alpha = 0.5$",
            partial(objectives.renyi, num_samples=number, alpha=0.5),
        ),
    }


def bits_estimators(
    number: int, learnt: objectives.Baseline, temperatures: tuple[float, ...]
) -> dict[str, Estimator]:
    """Estimators for latent bits: a sum over all events, and others with one number of samples."""
    elbo = partial(objectives.elbo, num_samples=number)
    sampled = partial(elbo, kl=objectives.monte_carlo)
    vimco = partial(
        objectives.iwae,
        num_samples=number,
        gradient=objectives.score_function,
        baseline=objectives.leave_one_out,
    )
    relaxed = {
        f"gumbel_softmax_{t:g}": Estimator(
            rf"Gumbel-softmax, $\tau = {t:g}$",
            partial(
                elbo,
                gradient=objectives.gumbel_softmax,
                settings=objectives.ElboSettings(temperature=t),
            ),
            is_biased=True,
        )
        for t in temperatures
    }
    straight = {
        "straight_through": ("straight-through", objectives.straight_through),
        "straight_through_gumbel": (
            r"straight-through Gumbel, $\tau = 0.5$",
            objectives.straight_through_gumbel,
        ),
    }
    return {
        "enumerated": Estimator(
            "enumerated (exact)", partial(elbo, gradient=objectives.enumerated)
        ),
        **_scores(sampled, learnt),
        "vimco": Estimator("IWAE, leave one out (VIMCO)", vimco),
        **relaxed,
        **{
            name: Estimator(label, partial(elbo, gradient=gradient), is_biased=True)
            for name, (label, gradient) in straight.items()
        },
    }


def families(
    shape: tuple[int, ...],
    *,
    latents: int,
    bits: int,
    hidden: int,
    samples: int,
    temperatures: tuple[float, ...],
    test_samples: int,
    only: tuple[str, ...] = (),
) -> dict[str, Family]:
    """Both models of images of a shape, with their estimators.

    Args:
        shape: of an image.
        latents: number of Normal latents.
        bits: number of bits.
        hidden: units of each perceptron.
        samples: number of samples in each estimate.
        temperatures: of the Gumbel-softmax estimators.
        test_samples: number of samples for the test bound, where it is not exact.
        only: names of estimators besides the references; all if it is empty.

    Raises:
        ValueError: if there is no estimator of a name.
    """
    network = nn.mlp(shape, (), hidden=(hidden,))
    learnt = objectives.learnt_baseline(network)
    normal, binary = normal_model(shape, latents, hidden), bits_model(shape, bits, hidden)
    many = partial(objectives.elbo, normal, num_samples=test_samples)
    exact = partial(objectives.elbo, binary, gradient=objectives.enumerated)
    tables = {
        "normal": (f"{latents} Normal latents", normal, normal_estimators(samples, learnt), many),
        "bits": (f"{bits} bits", binary, bits_estimators(samples, learnt, temperatures), exact),
    }
    known = {name for _, _, table, _ in tables.values() for name in table}
    if not known >= set(only):
        raise ValueError(f"--only expected names among {sorted(known)}, got {only}")
    found = {}
    for kind, (title, model, table, test) in tables.items():
        reference = next(iter(table))
        chosen = {k: v for k, v in table.items() if not only or k in (reference, *only)}
        found[kind] = Family(
            title=title,
            model=objectives.with_baseline(model, network),
            estimators=chosen,
            reference=reference,
            is_exact=kind == "bits",
            learning=table["score_learnt_baseline"],
            test_objective=test,
        )
    return found
