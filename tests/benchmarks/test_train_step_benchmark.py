"""The benchmark of the training step: ratios, contenders that train the same, a tiny run."""

import json
import re
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvae
from benchmarks import train_step
from benchmarks.train_step import Product, compiled_product, step_products
from jaxvae import models, objectives
from jaxvae.model import Example

pytestmark = pytest.mark.usefixtures("quick_compilation")

EXERCISE_12 = [(784, 256, 100), (50, 256, 784)]


def test_flops_of_a_step_are_six_per_weight_and_row_but_for_the_first_layer():
    products = step_products(EXERCISE_12, 64)
    weights = 784 * 256 + 256 * 100 + 50 * 256 + 256 * 784
    assert len(products) == 11
    assert sum(product.flops for product in products) == 64 * (6 * weights - 2 * 784 * 256)
    assert sum(product.flops for product in products) == 143_196_160


def test_flops_do_not_depend_on_what_is_transposed():
    shapes = [((3, 5), (5, 7), (1, 0)), ((5, 3), (5, 7), (0, 0)), ((3, 5), (7, 5), (1, 1))]
    assert {Product(*shape).flops for shape in shapes} == {2 * 3 * 5 * 7}


BY_CONTRACTION = {product.contract: product for product in step_products([(6, 5, 4)], 8)}


@pytest.mark.parametrize("product", BY_CONTRACTION.values(), ids=str)
def test_the_measured_loop_keeps_its_product(product):
    """Neither moved out of the loop nor computed for the one element that is read."""
    program = compiled_product(product, 3)
    loop = program.func.as_text().split("ENTRY")[0]
    rows = product.left[1 - product.contract[0]]
    columns = product.right[1 - product.contract[1]]
    assert re.search(rf"f32\[{rows},{columns}\]\S* (dot|custom-call)\(", loop)
    assert program().shape == product.left


def test_ratios_of_the_training_step():
    results = train_step.derive(
        {
            train_step.OURS: 2.0,
            "torch eager, default Adam": 9.0,
            "torch eager, fused Adam": 5.0,
            train_step.PRODUCTS: 1.0,
            train_step.SQUARE: 4.0,
        },
        step_flops=10,
        steps=100,
        square_flops=8000,
    )
    assert results["speedup_over_torch_eager"] == 2.5
    assert results["fastest_torch_eager"] == "torch eager, fused Adam"
    assert "speedup_over_torch_compile" not in results
    assert results["matmul_gflops"] == 2000 / 1e9
    assert results["share_of_matmul_limit"] == 500 / 2000
    assert results["share_of_own_products"] == 0.5


def tiny(**options):
    return train_step.Config(
        steps=3,
        repeats=2,
        threads=1,
        batch_size=4,
        rows=16,
        hidden=8,
        latent_dim=2,
        matmul_size=16,
        torch_compile=False,
        **options,
    )


def test_tiny_run_without_torch(tmp_path, capsys):
    results = train_step.main(tiny(torch=False, out=str(tmp_path)))
    assert json.loads((tmp_path / "results.json").read_text()) == results
    assert not any("torch" in key for key in results)
    assert {key: len(times) for key, times in results["seconds"].items()} == {
        train_step.OURS: 2,
        train_step.PRODUCTS: 2,
        train_step.SQUARE: 2,
    }
    assert train_step.OURS in capsys.readouterr().out


def test_tiny_run_with_torch():
    pytest.importorskip("torch", reason="PyTorch is not installed; jaxvae[peers] has it")
    results = train_step.main(tiny())
    assert results["speedup_over_torch_eager"] > 0
    assert "speedup_over_torch_compile" not in results
    assert len(results["seconds"]) == 5


def test_without_torch_the_run_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    contenders, missing = train_step.torch_contenders(tiny(), np.zeros((16, 28, 28), np.float32))
    assert contenders == {}
    assert 'pip install "jaxvae[peers]"' in missing[0]


def test_pytorch_computes_the_same_loss_and_gradient():
    """With next to no posterior noise, minus the mean bound is the same number in both."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; jaxvae[peers] has it")
    from benchmarks.shared.torch_peers import VaeLoss

    images = np.random.default_rng(0).random((4, 28, 28), np.float32)
    loss = VaeLoss(784, 8, 2)
    with torch.no_grad():
        loss.encoder[2].bias[2:] = -20.0
    expected = loss(torch.from_numpy(images).flatten(1))
    expected.backward()

    fit = train_step.our_fit(tiny(), images)
    elbo, init = fit.args[:2]
    assert elbo.func is objectives.elbo

    def layers(network, of):
        linear = [network[0], network[2]]
        return {
            "layers": {
                i: {"kernel": jnp.asarray(of(m.weight).T), "bias": jnp.asarray(of(m.bias))}
                for i, m in enumerate(linear)
            }
        }

    def pytree(of):
        inference = models.Inference(layers(loss.encoder, of))
        return jaxvae.Params(layers(loss.decoder, of), inference)

    params = pytree(lambda tensor: tensor.detach().numpy().copy())
    shapes = partial(jax.tree.map, jnp.shape)
    assert shapes(params) == shapes(init(jax.random.key(0)))

    def mean_loss(params):
        keys = jax.random.split(jax.random.key(1), len(images))
        one = lambda image, key: elbo(params, Example(image, image), key=key).surrogate  # noqa: E731
        return -jnp.mean(jax.vmap(one)(jnp.asarray(images), keys))

    value, gradient = jax.value_and_grad(mean_loss)(params)
    np.testing.assert_allclose(value, expected.item(), rtol=1e-5)
    wanted = pytree(lambda tensor: tensor.grad.numpy())
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4), gradient, wanted)
