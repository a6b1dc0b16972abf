"""Training over several devices or processes, for ``test_devices.py`` to compare with one device.

``python several_devices.py FOLDER CASES [COORDINATOR RANK]`` trains the cases, names of ``CASES``
joined by commas, and prints what came out. With a coordinator it is one of two processes.
"""

import json
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import ppca

import jaxvae
from jaxvae import _run_time, data, objectives, ode, training
from jaxvae.model import EXAMPLES, Estimate

BATCH, HELD_OUT, STEPS = 8, 5, 4
ROWS = np.random.default_rng(0).random((20, 5)).astype(np.float32)  # two steps an epoch
FAST = ROWS.copy()
FAST[5, 0] = 1e5
INTEGRATORS = {
    "fixed": ode.fixed_steps(0.25, max_steps=16, adjoint=ode.Reversible()),
    "adaptive": ode.adaptive(1e-3, 1e-5, max_steps=16, adjoint=ode.Direct()),
}


@dataclass(frozen=True)
class Config:
    """Nothing is configured."""


def with_share(estimate):
    """The estimate, with the number of examples that are mapped over together among its parts."""
    share = jnp.float32(jax.lax.axis_size(EXAMPLES))
    return estimate._replace(parts=estimate.parts | {"share": share})


def elbo(params, example, *, key):
    return with_share(objectives.elbo(ppca.model, params, example, key=key))


def any_state(key):
    """Where a solution begins."""
    return jax.random.normal(key, (2,))


def decays(params, example, *, key, settings, integrator):
    """How near a state that decays at the rate of the first number gets to the second.

    Rates above one are multiplied by the setting.
    """
    del key
    rate, end, *_ = example.target
    rate = jnp.where(rate > 1, settings * rate, rate)
    times = jnp.linspace(0.0, 1.0, 2)
    z = ode.solve(lambda t, z, k: -k * z, rate, params, times, integrator=integrator).values
    value = -jnp.sum((z[-1] - end) ** 2)
    return with_share(Estimate(value, value, {}))


def refuses(params, example, *, key):
    """An error for the fast row."""
    del key
    value = jnp.sum(params) * example.target[1]
    value = _run_time.error_if(value, example.target[0] > 1, "refused")
    return Estimate(value, value, {})


def fit(loss, init, rows, *, num_steps=STEPS, groups=1, members=None, **options):
    """Train, over all devices if there are several."""
    key = jax.random.key(1)
    return jaxvae.fit(
        loss,
        init,
        rows,
        key=jax.random.split(key, members) if members else key,
        num_steps=num_steps,
        optimiser=optax.sgd(1e-2),
        batch_size=BATCH,
        mesh=training.device_mesh(members=groups) if jax.device_count() > 1 else None,
        progress=False,
        **options,
    )


def plain(**options):
    return fit(elbo, ppca.model.init, ROWS, held_out=ROWS[:HELD_OUT], **options)


def stream(**options):
    rows = data.stream(data.Rows(ROWS))
    return fit(elbo, ppca.model.init, rows, held_out=ROWS[:HELD_OUT], members=2, **options)


def members_apart():
    return plain(members=4, groups=4)


def decays_by(integrator):
    return partial(decays, integrator=INTEGRATORS[integrator])


def solves(scales, integrator, run=None):
    """Two members in two groups of devices; with a scale of one the fast row cannot be solved."""
    return fit(
        decays_by(integrator), any_state, FAST, held_out=ROWS[:HELD_OUT], groups=2,
        on_failure="halt", run=run, settings=lambda step, scale: scale,
        hyperparameters=jnp.float32(scales),
    )  # fmt: skip


def kept(train, folder, num_steps, *, resume):
    """Train with a folder, resuming the run that is there if asked to."""
    with training.open_run(Path(folder) / train.__name__, Config(), resume=resume) as run:
        return train(num_steps=num_steps, run=run)


def describe(result):
    """What the tests compare; every process must help to collect it."""
    mesh = jax.make_mesh((jax.device_count(),), ("d",))
    everywhere = jax.sharding.NamedSharding(mesh, jax.P())
    whole = jax.jit(lambda tree: tree, out_shardings=everywhere)(result.state.params)
    record, leaves = result.history[-1], jax.tree.leaves(result.state.params)
    return {
        "params": [np.asarray(leaf).tolist() for leaf in jax.tree.leaves(whole)],
        "bound": np.asarray(record["bound"]).tolist(),
        "held_out": np.asarray(record["held_out_bound"]).tolist(),
        "shares": [np.nanmean(record["share"]).item(), np.mean(record["held_out_share"]).item()],
        "spread": sorted({str(tuple(getattr(x.sharding, "spec", ("one",)))) for x in leaves}),
        "devices": jax.device_count(),
        "first_step": result.history[0]["step"],
    }


def failing(folder, integrator):
    """A solve that fails for one row of the second of two members, and the step replayed."""
    with training.open_run(folder, Config()) as run:
        result = solves([1e-5, 1.0], integrator, run)
    seen = training.replay(
        folder, decays_by(integrator), any_state, FAST, optimiser=optax.sgd(1e-2), member=1,
        settings=lambda step: 1.0,
    )  # fmt: skip
    return describe(result) | {
        "failed_at": result.state.watch.failed_at.tolist(),
        "failure": seen.failure.describe(),
        "rates": seen.failure.rows[np.array(seen.bad_rows), 0].tolist(),
        "trace": seen.trace,
    }


def skipping():
    result = fit(refuses, any_state, FAST, num_steps=2, on_failure="skip")
    return {
        "skipped": int(result.history[-1]["skipped_updates"]),
        "finite": bool(np.isfinite(result.params).all()),
    }


CASES = {
    "plain": lambda folder: describe(kept(plain, folder, 2, resume=False)),
    "stream": lambda folder: describe(kept(stream, folder, 2, resume=False)),
    "members_apart": lambda folder: describe(members_apart()),
    "failing": partial(failing, integrator="fixed"),
    "failing_adaptive": partial(failing, integrator="adaptive"),
    "skipping": lambda folder: skipping(),
}


def main(folder, cases, *processes):
    if processes:
        coordinator, rank = processes
        jax.distributed.initialize(coordinator, 2, int(rank))
    found = {case: CASES[case](folder) for case in cases.split(",")}
    if jax.process_index() == 0:
        print("RESULT", json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
