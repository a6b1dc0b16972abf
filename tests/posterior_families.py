"""Every family of posteriors, in a small size."""

from jaxvae.models import (
    coupling,
    diagonal,
    full_covariance,
    inverse_autoregressive,
    low_rank,
    planar,
    radial,
)

FAMILIES = {
    "diagonal": diagonal(),
    "full covariance": full_covariance(),
    "low rank": low_rank(1),
    "planar": planar(2),
    "radial": radial(2),
    "inverse autoregressive": inverse_autoregressive(2, hidden=(16,), context=3),
    "coupling": coupling(3, hidden=(16,), context=3),
}
