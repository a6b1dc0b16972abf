"""The benchmark of the latent ODE's training step: ratios, a tiny run, its peer's loss."""

import json
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import latent_ode_step
from jaxvae.model import map_examples

pytestmark = pytest.mark.usefixtures("quick_compilation")

STEP = latent_ode_step.Config(
    steps=2, repeats=2, threads=1, series=6, points=5, encoder_hidden=4, hidden=3, torch=False
)


def test_the_step_of_the_latent_ode_is_timed_without_torch(tmp_path, capsys):
    config = latent_ode_step.Config(**{**vars(STEP), "out": str(tmp_path)})
    results = latent_ode_step.main(config)
    assert json.loads((tmp_path / "results.json").read_text()) == results
    assert list(results["seconds"]) == [latent_ode_step.OURS]
    assert results["seconds_per_step"][latent_ode_step.OURS] > 0
    assert "speedup_over_torchdiffeq" not in results
    assert latent_ode_step.OURS in capsys.readouterr().out


def test_ratios_of_the_step():
    ratios = latent_ode_step.derive({latent_ode_step.OURS: 2.0, latent_ode_step.PEER: 5.0}, 10)
    assert ratios["speedup_over_torchdiffeq"] == 2.5
    assert ratios["seconds_per_step"] == {latent_ode_step.OURS: 0.2, latent_ode_step.PEER: 0.5}


def test_without_torchdiffeq_the_run_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    config = latent_ode_step.Config(**{**vars(STEP), "torch": True})
    contenders, missing = latent_ode_step.torch_contender(config, latent_ode_step.observed(STEP))
    assert contenders == {}
    assert 'pip install "jaxvae[peers]"' in missing[0]


def test_torchdiffeq_computes_the_same_loss_and_gradient():
    """With next to no posterior noise, minus the mean bound is the same number in both."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; jaxvae[peers] has it")
    pytest.importorskip("torchdiffeq", reason="torchdiffeq is not installed; jaxvae[peers] has it")
    config = latent_ode_step.Config(**{**vars(STEP), "torch": True, "rtol": 1e-6, "atol": 1e-8})
    series = latent_ode_step.observed(config)
    loss = latent_ode_step.torch_loss(config, series)
    with torch.no_grad():
        loss.head.bias[config.latent_dim :] = -20.0
        loss.recurrence.bias_hh_l0.zero_()
    expected = loss(torch.from_numpy(np.array(series.values)).flatten(1))
    expected.backward()

    def layers(modules, of):
        linear = [m for m in modules if isinstance(m, torch.nn.Linear)]
        named = [{"kernel": of(m.weight).T, "bias": of(m.bias)} for m in linear]
        return {"layers": dict(enumerate(named))}

    def pytree(of, like):
        recurrence = loss.recurrence
        encoder = {
            "recurrence": {
                "input": of(recurrence.weight_ih_l0).T,
                "recurrent": of(recurrence.weight_hh_l0).T,
                "bias": of(recurrence.bias_ih_l0),
            },
            "head": layers([loss.head], of),
        }
        generative = {"dynamics": layers(loss.dynamics, of), "decoder": layers(loss.decoder, of)}
        return like._replace(
            generative=generative, inference=like.inference._replace(encoder=encoder)
        )

    elbo, init = latent_ode_step.our_fit(config, series).args[:2]
    fresh = init(jax.random.key(0))
    params = pytree(lambda tensor: jnp.asarray(tensor.detach().numpy()), fresh)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, fresh)

    def mean_loss(params):
        keys = jax.random.split(jax.random.key(1), config.series)

        def one(row, key):
            return elbo(params, latent_ode_step.as_example(row, key=key), key=key).surrogate

        return -jnp.mean(map_examples(one, series, keys))

    value, gradient = jax.jit(jax.value_and_grad(mean_loss))(params)
    np.testing.assert_allclose(value, expected.item(), rtol=1e-5)
    wanted = pytree(lambda tensor: tensor.grad.numpy(), fresh)
    close = partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-3)
    jax.tree.map(close, gradient.generative, wanted.generative)
    jax.tree.map(close, gradient.inference.encoder, wanted.inference.encoder)
