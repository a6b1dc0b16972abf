"""The classic Runge-Kutta method, which diffrax lacks, and evaluations per step of any method."""

from collections.abc import Callable
from typing import ClassVar

import diffrax
import numpy as np

_TABLEAU = diffrax.ButcherTableau(
    a_lower=(
        np.array([1 / 2]),
        np.array([0.0, 1 / 2]),
        np.array([0.0, 0.0, 1.0]),
        np.array([1 / 6, 1 / 3, 1 / 3, 1 / 6]),
    ),
    b_sol=np.array([1 / 6, 1 / 3, 1 / 3, 1 / 6, 0.0]),
    b_error=np.zeros(5),
    c=np.array([1 / 2, 1 / 2, 1.0, 1.0]),
)


class RK4(diffrax.AbstractERK):
    r"""The classic Runge-Kutta method of order 4.

    $$z_{n+1} = z_n + \tfrac h6(k_1 + 2k_2 + 2k_3 + k_4)$$

    with $k_1 = f(t_n, z_n)$, $k_2 = f(t_n + \frac h2, z_n + \frac h2 k_1)$,
    $k_3 = f(t_n + \frac h2, z_n + \frac h2 k_2)$ and $k_4 = f(t_n + h, z_n + h k_3)$. Between the
    steps stands the cubic Hermite polynomial of both ends and their slopes, whose error is
    $O(h^4)$ as well. The slope at the end is the next step's $k_1$: four evaluations a step. There
    is no error estimate, so that only fixed steps are possible.

    Reference: Kutta (1901); Bath report, section 5.1.1.

    Example:
        >>> from jaxvae import ode
        >>> integrator = ode.Integrator(ode.RK4(), ode.ConstantStepSize(), dt0=0.01)
    """

    tableau: ClassVar[diffrax.ButcherTableau] = _TABLEAU  # pyright: ignore[reportIncompatibleVariableOverride]
    interpolation_cls: ClassVar[Callable[..., diffrax.ThirdOrderHermitePolynomialInterpolation]] = (
        diffrax.ThirdOrderHermitePolynomialInterpolation.from_k
    )

    def order(self, terms) -> int:
        """The global error is $O(h^4)$."""
        del terms
        return 4


def tableau_of(solver: diffrax.AbstractSolver) -> diffrax.ButcherTableau | None:
    """The tableau of an explicit Runge-Kutta method; None for any other."""
    tableau = getattr(solver, "tableau", None)
    explicit = isinstance(tableau, diffrax.ButcherTableau) and not tableau.implicit
    return tableau if explicit else None


def estimates_error(solver: diffrax.AbstractSolver) -> bool:
    """Whether the method offers an error estimate to an adaptive controller."""
    tableau = tableau_of(solver)
    return tableau is None or bool(np.any(tableau.b_error))


def evaluations(solver: diffrax.AbstractSolver) -> tuple[int, int] | None:
    """Evaluations of the field (at the start, in a step); None where they depend on the values."""
    if isinstance(solver, diffrax.Euler):
        return 0, 1
    tableau = tableau_of(solver)
    if tableau is None:
        return None
    return (1, tableau.num_stages - 1) if tableau.fsal else (0, tableau.num_stages)
