"""A process of ``test_devices.py``: trains over all devices that it sees, and prints what came out.

``python several_devices.py FOLDER STEPS CASES [COORDINATOR PROCESSES RANK]``; a case is one of the
names of ``CASES``, or "failing", and several are joined by commas.
"""

import json
import os
import sys
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

folder, steps, cases, *processes = sys.argv[1:]
if processes:
    coordinator, count, rank = processes
    jax.distributed.initialize(coordinator, int(count), int(rank))

import jaxvae  # noqa: E402 - after the processes have met
from jaxvae import data, models, nn, objectives, ode, training  # noqa: E402
from jaxvae.model import Estimate  # noqa: E402

CASES = {
    "plain": {"members": 0, "groups": 1},
    "stream": {"members": 0, "groups": 1, "stream": True},
    "members_apart": {"members": 4, "groups": 4},
    "members_together": {"members": 2, "groups": 1},
    "solves": {"members": 2, "groups": 2, "solves": True},
}


@dataclass(frozen=True)
class Config:
    """Nothing is configured."""


rows = np.random.default_rng(0).random((80, 6)).astype(np.float32)
model = models.vae(
    encoder=nn.mlp((6,), (4,), hidden=(8,)),
    decoder=nn.mlp((2,), (6,), hidden=(8,)),
    latent_dim=2,
)


STEPS = ode.adaptive(1e-5, 1e-7, max_steps=64)


def any_state(key):
    """Where a solution begins."""
    return jax.random.normal(key, (2,))


def decays(params, example, *, key, settings=1.0, power=2):
    """How near a state that decays at the rate of the first number gets to the second."""
    del key
    rate, end, *_ = example.target
    times = jnp.linspace(0.0, 1.0, 5)
    z = ode.solve(lambda t, z, k: -k * z, settings * rate, params, times, integrator=STEPS).values
    value = -jnp.sum((z[-1] - end) ** power)
    return Estimate(value, value, {})


def failing():
    """What is told when one solve fails on one of the devices, and what the other members do."""
    fast = rows.copy()
    fast[5, 0] = 1e5
    options = {
        "batch_size": 16,
        "optimiser": optax.sgd(1e-2),
        "mesh": training.device_mesh(),
        "progress": False,
    }
    halted = jaxvae.fit(
        decays,
        any_state,
        rows,
        key=jax.random.split(jax.random.key(0), 3),
        num_steps=3,
        settings=lambda step, rate: jnp.where(step == 2, rate, 1.0),
        hyperparameters=jnp.array([1.0, 1e5, 1.0]),
        on_failure="halt",
        **options,
    )
    skipped = jaxvae.fit(
        partial(decays, power=1),
        any_state,
        fast,
        key=jax.random.key(0),
        num_steps=5,
        on_failure="skip",
        **options,
    )
    found = {
        "failed_at": halted.state.watch.failed_at.tolist(),
        "skipped": int(skipped.history[-1]["skipped_updates"]),
    }
    try:
        jaxvae.fit(decays, any_state, fast, key=jax.random.key(0), num_steps=10, **options)
    except training.NonFiniteError as error:
        seen = training.replay(error.failure, decays, any_state, optimiser=options["optimiser"])
        bad = seen.failure.rows[np.array(seen.bad_rows), 0]
        found |= {"error": str(error), "rates": bad.tolist(), "trace": seen.trace}
    return found


def train(out, num_steps, *, members, groups, stream=False, solves=False):
    """One run, resumed if it is there already."""
    key = jax.random.key(1)
    resume = os.path.exists(os.path.join(out, "config.json"))
    with training.open_run(out, Config(), resume=resume, checkpoint_steps=5) as run:
        return jaxvae.fit(
            decays if solves else partial(objectives.elbo, model),
            any_state if solves else model.init,
            data.stream(data.Rows(rows)) if stream else rows,
            key=jax.random.split(key, members) if members else key,
            num_steps=num_steps,
            optimiser=optax.adam(1e-2),
            batch_size=16,
            held_out=rows[:10],
            mesh=training.device_mesh(members=groups) if jax.device_count() > 1 else None,
            run=run,
            progress=False,
        )


def describe(result):
    """What the tests compare, which every process must help to collect."""
    mesh = jax.make_mesh((jax.device_count(),), ("d",))
    everywhere = jax.sharding.NamedSharding(mesh, jax.P())
    whole = jax.jit(lambda tree: tree, out_shardings=everywhere)(result.state.params)
    line, leaves = result.history[-1], jax.tree.leaves(result.state.params)
    return {
        "params": np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(whole)]).tolist(),
        "bound": np.asarray(line["bound"]).tolist(),
        "held_out": np.asarray(line["held_out_bound"]).tolist(),
        "spread": sorted({str(tuple(getattr(x.sharding, "spec", ("one",)))) for x in leaves}),
        "devices": jax.device_count(),
        "first_step": result.history[0]["step"],
    }


told = {}
for case in cases.split(","):
    if case == "failing":
        told[case] = failing()
    else:
        told[case] = describe(train(os.path.join(folder, case), int(steps), **CASES[case]))
if jax.process_index() == 0:
    print("RESULT", json.dumps(told), flush=True)
