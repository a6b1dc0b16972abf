"""A command with the options of ``experiments.vae`` that a benchmark of killed runs uses."""

import argparse
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxvae
from jaxvae import training


@dataclass(frozen=True)
class Config:
    epochs: int


def loss(params, example, *, key, settings=None):
    noise = jax.random.normal(key, params.shape)
    value = -jnp.sum((params - example.target + 0.1 * noise) ** 2)
    return jaxvae.Estimate(value, value, {})


def main():
    parser = argparse.ArgumentParser()
    for name in ("epochs", "checkpoint-steps", "nll-samples"):
        parser.add_argument(f"--{name}", type=int)
    for name in ("resume", "overwrite"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--out")
    given = parser.parse_args()
    rows = np.random.default_rng(0).random((230, 3), np.float32)
    open_run = partial(training.open_run, given.out, resume=given.resume)
    with open_run(
        Config(given.epochs), overwrite=given.overwrite, checkpoint_steps=given.checkpoint_steps
    ) as run:
        result = jaxvae.fit(
            loss,
            lambda key: jax.random.normal(key, (3,)),
            rows,
            key=jax.random.key(0),
            num_steps=23 * given.epochs,
            batch_size=10,
            optimiser=optax.adam(1e-3),
            held_out=rows[:10],
            run=run,
        )
        run.save_metrics(training.training_metrics(result, run.history()))


if __name__ == "__main__":
    main()
