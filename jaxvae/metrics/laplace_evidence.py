"""Laplace's method for the marginal likelihood."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from jaxvae import _check
from jaxvae.distributions import representative
from jaxvae.laplace import LaplaceApproximation, laplace
from jaxvae.metrics._flat_joint import flat_joint
from jaxvae.model import Example, LatentVariableModel, Params, map_examples


@partial(jax.jit, static_argnums=0, static_argnames=("solver", "max_steps", "batch"))
def laplace_log_evidence(
    model: LatentVariableModel,
    params: Params,
    examples: Example,
    *,
    solver: Any = None,
    max_steps: int = 256,
    batch: int = 64,
) -> LaplaceApproximation:
    r"""$\log p(x) \approx \log p(x, z^*) + \frac d2\log 2\pi - \frac12\log\det(-H)$, and q(z | x).

    The search for the mode $z^*$ of $p(z \mid x)$ begins at the ``representative`` of the model's
    posterior (its mean, for a flow the image of the base's), or at its mode where it has no mean,
    and H is the curvature of $\log p(x, z)$ at $z^*$. It is exact for a linear Gaussian model. A
    posterior with several modes or heavy tails has more mass than this sees, and a decoder with
    kinks, such as those of ReLU units, has a curvature that says little.

    Memory is that of ``batch`` Hessians of the decoder.

    Args:
        model: the record of functions; the latent is continuous and unbounded.
        params: its parameters.
        examples: examples along the first axis of every array.
        solver: of ``laplace``.
        max_steps: likewise.
        batch: examples at a time.

    Returns:
        One approximation for every example, NaN and flagged where there is none; ``log_integral``
        is the estimate of $\log p(x)$, in nats.

    Raises:
        ValueError: if the latent is discrete, or a size is not positive.

    Reference: exercise 12, task 1; Bishop (2006), section 4.4.
    """
    _check.positive("batch", batch)

    def one(example: Example) -> LaplaceApproximation:
        joint = flat_joint("laplace_log_evidence", model, params, example)
        q = model.posterior(params, example.inputs, example.context)
        start = _start(q)
        found = laplace(joint.log_density, start, solver=solver, max_steps=max_steps)
        return found._replace(mode=joint.unravel(found.mode))

    return map_examples(one, examples, batch_size=batch)


def _start(q: Any) -> Float[Array, " latent"]:
    centre, _ = ravel_pytree(representative(q))
    if not hasattr(q, "mode"):
        return centre
    mode, _ = ravel_pytree(q.mode)  # such as of a Cauchy, which has no mean
    return jnp.where(jnp.isfinite(centre), centre, mode)
