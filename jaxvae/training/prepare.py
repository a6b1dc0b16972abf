"""From a row of the data to an example."""

import jax
from jax import Array
from jaxtyping import Float

from jaxvae._types import PRNGKey, PyTree
from jaxvae.model import Example


def autoencode(row: PyTree, /, *, key: PRNGKey) -> Example:
    """The row is both what the encoder sees and what is scored; an example stays what it is."""
    del key
    return row if isinstance(row, Example) else Example(inputs=row, target=row)


def binarise_dynamically(row: Float[Array, "*event"], /, *, key: PRNGKey) -> Example:
    """Every visit draws each pixel anew, 1 with the probability of its grey value.

    Reference: Burda, Grosse and Salakhutdinov (2016), section 5.
    """
    binary = jax.random.bernoulli(key, row).astype(row.dtype)
    return Example(inputs=binary, target=binary)
