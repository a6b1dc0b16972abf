"""A process of ``test_devices.py``: trains over all devices that it sees, and prints what came out.

``python several_devices.py FOLDER STEPS CASES [COORDINATOR PROCESSES RANK]``; a case is one of the
names of ``CASES``, and several are joined by commas.
"""

import json
import os
import sys
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
import optax

folder, steps, cases, *processes = sys.argv[1:]
if processes:
    coordinator, count, rank = processes
    jax.distributed.initialize(coordinator, int(count), int(rank))

import jaxvae  # noqa: E402 - after the processes have met
from jaxvae import data, models, nn, objectives, training  # noqa: E402

CASES = {
    "plain": {"members": 0, "groups": 1, "stream": False},
    "stream": {"members": 0, "groups": 1, "stream": True},
    "members_apart": {"members": 4, "groups": 4, "stream": False},
    "members_together": {"members": 2, "groups": 1, "stream": False},
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


def train(out, num_steps, *, members, groups, stream):
    """One run, resumed if it is there already."""
    key = jax.random.key(1)
    resume = os.path.exists(os.path.join(out, "config.json"))
    with training.open_run(out, Config(), resume=resume, checkpoint_steps=5) as run:
        return jaxvae.fit(
            partial(objectives.elbo, model),
            model.init,
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
    whole = jax.jit(lambda tree: tree, out_shardings=everywhere)(result.params)
    line, leaves = result.history[-1], jax.tree.leaves(result.params)
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
    told[case] = describe(train(os.path.join(folder, case), int(steps), **CASES[case]))
if jax.process_index() == 0:
    print("RESULT", json.dumps(told), flush=True)
