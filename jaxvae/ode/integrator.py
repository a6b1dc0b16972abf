"""How an ordinary differential equation is solved and differentiated, as a frozen record."""

from dataclasses import dataclass, field

import diffrax

from jaxvae import _check
from jaxvae.ode.adjoints import Backsolve, Checkpointed, Direct, ForwardMode
from jaxvae.ode.reversible import Reversible
from jaxvae.ode.runge_kutta import RK4, estimates_error, tableau_of

Adjoint = Checkpointed | Direct | Backsolve | ForwardMode | Reversible


def _default_controller() -> diffrax.PIDController:
    return diffrax.PIDController(rtol=1e-4, atol=1e-6)


@dataclass(frozen=True)
class Integrator:
    """Solver, step-size controller, adjoint and limits of ``solve``.

    An integrator is hashable, so it can be a static argument of ``jax.jit``.

    Attributes:
        solver: a solver of diffrax, or ``RK4``.
        controller: ``PIDController(rtol, atol)``, ``ConstantStepSize()``, or ``StepTo(ts)``.
        adjoint: ``Checkpointed``, ``Direct``, ``Backsolve``, ``ForwardMode`` or ``Reversible``.
        dt0: the fixed step, or the first step of an adaptive solve, in units of time; positive also
            for a solve backwards in time. None leaves the first step to diffrax, which tries 0.01
            (version 0.7.2).
        max_steps: number of steps after which a solve has failed.

    Raises:
        ValueError: if the parts do not fit together.

    Example:
        >>> from jaxvae import ode
        >>> ode.Integrator(ode.Tsit5(), ode.PIDController(rtol=1e-6, atol=1e-8)).max_steps
        4096
    """

    solver: diffrax.AbstractSolver = field(default_factory=diffrax.Tsit5)
    controller: diffrax.AbstractStepSizeController = field(default_factory=_default_controller)
    adjoint: Adjoint = Checkpointed()  # noqa: RUF009 - an immutable record
    dt0: float | None = None
    max_steps: int = 4096

    def __post_init__(self):
        _check.positive("Integrator.max_steps", self.max_steps)
        for name, kind in (
            ("solver", diffrax.AbstractSolver),
            ("controller", diffrax.AbstractStepSizeController),
        ):
            if not isinstance(getattr(self, name), kind):
                raise ValueError(
                    f"Integrator.{name} expected a {kind.__name__} of diffrax, made by a call such "
                    f"as Tsit5(), got {getattr(self, name)!r}"
                )
        if not isinstance(self.adjoint, Adjoint):
            raise ValueError(
                "Integrator.adjoint expected Checkpointed, Direct, Backsolve, ForwardMode or "
                f"Reversible of jaxvae.ode, got {self.adjoint!r}"
            )
        if self.dt0 is not None and not self.dt0 > 0:
            raise ValueError(
                f"Integrator.dt0 expected a positive step, got {self.dt0}; its sign follows the "
                "times, and None lets an adaptive controller choose"
            )
        fixed = isinstance(self.controller, diffrax.ConstantStepSize)
        if fixed and self.dt0 is None:
            raise ValueError("Integrator expected dt0 with ConstantStepSize, got None; give a step")
        if not fixed and not isinstance(self.controller, diffrax.StepTo):
            self._check_adaptive()
        if fixed and self.adjoint == Backsolve(seminorm=True):
            raise ValueError(
                "Backsolve(seminorm=True) expected a controller that measures errors, got "
                "ConstantStepSize; use Backsolve(), or adaptive steps"
            )
        if isinstance(self.adjoint, Reversible) and not (fixed and tableau_of(self.solver)):
            raise ValueError(
                "Reversible expected an explicit Runge-Kutta solver with ConstantStepSize, got "
                f"{type(self.solver).__name__} with {type(self.controller).__name__}; use "
                "fixed_steps, or Checkpointed"
            )

    def _check_adaptive(self) -> None:
        # Diffrax accepts every step of a tableau whose error weights are all zero.
        if not (
            isinstance(self.solver, diffrax.AbstractAdaptiveSolver) and estimates_error(self.solver)
        ):
            raise ValueError(
                f"{type(self.controller).__name__} expected a solver with an error estimate, got "
                f"{type(self.solver).__name__}; use ConstantStepSize with dt0, or Tsit5"
            )


def adaptive(
    rtol: float = 1e-4,
    atol: float = 1e-6,
    *,
    solver: diffrax.AbstractSolver | None = None,
    adjoint: Adjoint = Checkpointed(),  # noqa: B008 - an immutable record
    max_steps: int = 4096,
) -> Integrator:
    """Steps as long as their estimated error allows: |error| below ``atol + rtol |z|``.

    Args:
        rtol: relative tolerance of a step.
        atol: absolute tolerance, in units of the state.
        solver: one with an error estimate; None for ``Tsit5()``.
        adjoint: how gradients are computed.
        max_steps: after which a solve has failed.

    Example:
        >>> from jaxvae import ode
        >>> integrator = ode.adaptive(1e-6, 1e-8, adjoint=ode.Backsolve(seminorm=True))
    """
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not value > 0:
            raise ValueError(f"adaptive expected a positive {name}, got {value}")
    return Integrator(
        solver=solver or diffrax.Tsit5(),
        controller=diffrax.PIDController(rtol=rtol, atol=atol),
        adjoint=adjoint,
        max_steps=max_steps,
    )


def fixed_steps(
    dt0: float,
    *,
    solver: diffrax.AbstractSolver | None = None,
    adjoint: Adjoint = Checkpointed(),  # noqa: B008 - an immutable record
    max_steps: int = 4096,
) -> Integrator:
    """Steps of length ``dt0``; the last one is shorter where they do not fit.

    Observation times between two steps are interpolated, except by ``Reversible``, which divides
    each interval between observations into equal steps of at most ``dt0``.

    Args:
        dt0: the step.
        solver: any; None for ``RK4()``.
        adjoint: how gradients are computed.
        max_steps: after which a solve has failed.

    Example:
        >>> from jaxvae import ode
        >>> integrator = ode.fixed_steps(0.01, adjoint=ode.Reversible())
    """
    return Integrator(
        solver=solver or RK4(),
        controller=diffrax.ConstantStepSize(),
        adjoint=adjoint,
        dt0=dt0,
        max_steps=max_steps,
    )
