"""A process of ``test_devices.py``: trains over all devices that it sees, and prints what came out.

``python several_devices.py FOLDER STEPS [COORDINATOR PROCESSES RANK]``; the variables MEMBERS,
GROUPS and STREAM choose the run.
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

folder, steps, *processes = sys.argv[1:]
if processes:
    coordinator, count, rank = processes
    jax.distributed.initialize(coordinator, int(count), int(rank))

import jaxvae  # noqa: E402 - after the processes have met
from jaxvae import data, models, nn, objectives, training  # noqa: E402

MEMBERS, GROUPS = int(os.environ.get("MEMBERS", "0")), int(os.environ.get("GROUPS", "1"))


@dataclass(frozen=True)
class Config:
    """Nothing is configured."""


rows = np.random.default_rng(0).random((80, 6)).astype(np.float32)
model = models.vae(
    encoder=nn.mlp((6,), (4,), hidden=(8,)),
    decoder=nn.mlp((2,), (6,), hidden=(8,)),
    latent_dim=2,
)
key = jax.random.key(1)
resume = os.path.exists(os.path.join(folder, "config.json"))
with training.open_run(folder, Config(), resume=resume, checkpoint_steps=5) as run:
    result = jaxvae.fit(
        partial(objectives.elbo, model),
        model.init,
        data.stream(data.Rows(rows)) if "STREAM" in os.environ else rows,
        key=jax.random.split(key, MEMBERS) if MEMBERS else key,
        num_steps=int(steps),
        optimiser=optax.adam(1e-2),
        batch_size=16,
        held_out=rows[:10],
        mesh=training.device_mesh(members=GROUPS) if jax.device_count() > 1 else None,
        run=run,
        progress=False,
    )
whole = jax.jit(
    lambda tree: tree,
    out_shardings=jax.sharding.NamedSharding(jax.make_mesh((jax.device_count(),), ("d",)), jax.P()),
)(result.params)
if jax.process_index() == 0:
    flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(whole)])
    line = result.history[-1]
    spread = {
        str(tuple(getattr(leaf.sharding, "spec", ("one device",))))
        for leaf in jax.tree.leaves(result.params)
    }
    told = {
        "params": flat.tolist(),
        "bound": np.asarray(line["bound"]).tolist(),
        "held_out": np.asarray(line["held_out_bound"]).tolist(),
        "spread": sorted(spread),
        "devices": jax.device_count(),
        "first_step": result.history[0]["step"],
    }
    print("RESULT", json.dumps(told), jnp.__name__, flush=True)
