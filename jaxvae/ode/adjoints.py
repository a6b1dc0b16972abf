"""How the gradient of a solve is computed: plain records, translated for diffrax by ``solve``."""

from dataclasses import dataclass, replace
from typing import Any

import diffrax

from jaxvae import _check


@dataclass(frozen=True)
class Checkpointed:
    r"""Backpropagation through the steps; some states are kept, those between are recomputed.

    The gradient is that of the numbers computed, exact to rounding, with respect to initial state,
    parameters and times. Memory grows with the square root of ``max_steps``, so keep that small.

    Attributes:
        checkpoints: number of states kept; None for about $\sqrt{2\,\mathrm{max\_steps}}$. With
            ``max_steps`` of them nothing is recomputed.

    Reference: Stumm and Walther (2010), as diffrax's RecursiveCheckpointAdjoint.
    """

    checkpoints: int | None = None

    def __post_init__(self):
        if self.checkpoints is not None:
            _check.positive("Checkpointed.checkpoints", self.checkpoints)


@dataclass(frozen=True)
class Direct:
    """Automatic differentiation of the loop over steps, in forward or reverse mode.

    The gradient is that of ``Checkpointed``; time and memory grow with ``max_steps`` rather than
    with the steps taken.
    """


@dataclass(frozen=True)
class Backsolve:
    r"""The adjoint equations solved backwards in time, with the parameters' gradient.

    $$\dot a = -a^\top\frac{\partial f}{\partial z},\qquad
      \frac{dL}{d\theta} = -\int_{t_1}^{t_0}a^\top\frac{\partial f}{\partial\theta}\,dt$$

    Memory does not depend on the number of steps. The gradient is that of the differential
    equation, not of the numbers computed: it is as exact as the two solves, which
    ``gradient_check`` measures, and may be far off with coarse steps. There are no gradients of the
    times.

    Attributes:
        seminorm: leave the gradient of the parameters, on which no other quantity depends, out of
            the step-size control of the backward solve. Needs an adaptive controller.

    Reference: Bath report, eqs. 26 to 28 and appendix A.2; Kidger, Chen and Lyons (2021) for the
    seminorm.
    """

    seminorm: bool = False


@dataclass(frozen=True)
class ForwardMode:
    """Tangents carried along with the solution: for ``jax.jvp``, ``jacfwd`` and few parameters."""


def to_diffrax(
    adjoint: Checkpointed | Direct | Backsolve | ForwardMode,
    controller: diffrax.AbstractStepSizeController,
) -> diffrax.AbstractAdjoint:
    """Diffrax's adjoint; a backward solve has the step-size controller of the forward one."""
    match adjoint:
        case Checkpointed(checkpoints):
            return diffrax.RecursiveCheckpointAdjoint(checkpoints)
        case Direct():
            return diffrax.DirectAdjoint()
        case ForwardMode():
            return diffrax.ForwardMode()
        case Backsolve(seminorm=True):
            controller = with_norm(controller, diffrax.adjoint_rms_seminorm)
    return diffrax.BacksolveAdjoint(stepsize_controller=controller)


def with_norm(controller: diffrax.AbstractStepSizeController, norm: Any) -> Any:
    """The controller with ``norm`` for its errors; unchanged if it estimates no errors."""
    match controller:
        case diffrax.PIDController():
            return replace(controller, norm=norm)
        case diffrax.ClipStepSizeController():
            return replace(controller, controller=with_norm(controller.controller, norm))
    return controller
