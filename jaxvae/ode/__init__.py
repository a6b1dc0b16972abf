"""Ordinary differential equations, solved and differentiated by diffrax."""

from diffrax import Bosh3 as Bosh3
from diffrax import ConstantStepSize as ConstantStepSize
from diffrax import Dopri5 as Dopri5
from diffrax import Dopri8 as Dopri8
from diffrax import Euler as Euler
from diffrax import Heun as Heun
from diffrax import Kvaerno3 as Kvaerno3
from diffrax import Kvaerno5 as Kvaerno5
from diffrax import Midpoint as Midpoint
from diffrax import PIDController as PIDController
from diffrax import Ralston as Ralston
from diffrax import StepTo as StepTo
from diffrax import Tsit5 as Tsit5

from jaxvae.ode.adjoints import Backsolve as Backsolve
from jaxvae.ode.adjoints import Checkpointed as Checkpointed
from jaxvae.ode.adjoints import Direct as Direct
from jaxvae.ode.adjoints import ForwardMode as ForwardMode
from jaxvae.ode.gradient_check import GradientCheck as GradientCheck
from jaxvae.ode.gradient_check import gradient_check as gradient_check
from jaxvae.ode.integrator import Integrator as Integrator
from jaxvae.ode.integrator import adaptive as adaptive
from jaxvae.ode.integrator import fixed_steps as fixed_steps
from jaxvae.ode.reversible import Reversible as Reversible
from jaxvae.ode.reversible import reversible_solve as reversible_solve
from jaxvae.ode.runge_kutta import RK4 as RK4
from jaxvae.ode.solve import Field as Field
from jaxvae.ode.solve import Solution as Solution
from jaxvae.ode.solve import Stats as Stats
from jaxvae.ode.solve import solve as solve
from jaxvae.ode.solve import solve_batch as solve_batch
from jaxvae.ode.solve import solve_together as solve_together
