"""Integrators are records whose parts have to fit."""

import pytest

from jaxvae import ode


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ode.Integrator(max_steps=0), "positive integer"),
        (lambda: ode.Integrator(dt0=-0.1), "sign follows the times"),
        (lambda: ode.Integrator(adjoint="backsolve"), "Integrator.adjoint expected"),
        (lambda: ode.Integrator(controller=ode.ConstantStepSize()), "give a step"),
        (lambda: ode.adaptive(solver=ode.RK4()), "solver with an error estimate, got RK4"),
        (lambda: ode.adaptive(solver=ode.Euler()), "solver with an error estimate, got Euler"),
        (lambda: ode.adaptive(0.0), "positive rtol"),
        (lambda: ode.adaptive(1e-3, float("nan")), "positive atol"),
        (lambda: ode.adaptive(adjoint=ode.Reversible()), "use fixed_steps"),
        (
            lambda: ode.fixed_steps(0.1, solver=ode.Kvaerno3(), adjoint=ode.Reversible()),
            "explicit Runge-Kutta",
        ),
        (lambda: ode.fixed_steps(0.1, adjoint=ode.Backsolve(seminorm=True)), "seminorm"),
        (lambda: ode.Checkpointed(0), "positive integer"),
        (lambda: ode.adaptive(solver=ode.Tsit5), r"made by a call such as Tsit5\(\)"),
    ],
)
def test_parts_that_do_not_fit_are_refused(build, message, without_type_checks):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    "adjoint",
    [ode.Checkpointed(7), ode.Direct(), ode.Backsolve(seminorm=True), ode.ForwardMode()],
)
def test_integrators_are_equal_and_hash_alike_when_their_parts_do(adjoint):
    one, other = ode.adaptive(adjoint=adjoint), ode.adaptive(adjoint=adjoint)
    assert one == other
    assert len({one, other, ode.adaptive(1e-7, adjoint=adjoint)}) == 2
