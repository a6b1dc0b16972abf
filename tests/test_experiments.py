import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxvae
from experiments import vae
from jaxvae import training

CONTRACT = {
    "experiment",
    "dataset",
    "steps",
    "train_seconds",
    "compile_seconds",
    "steps_per_second",
    "device",
    "jax_version",
    "parameters_sha256",
}
OWN = {
    "test_elbo_nats",
    "test_reconstruction_nats",
    "test_kl_nats",
    "test_nll_nats",
    "nll_samples",
    "active_units",
    "binarisation",
}
TINY = {"epochs": 2, "nll_samples": 3, "hidden": (8,), "batch_size": 300}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"seeds": 2, "latent_dim": 3, "binarisation": "dynamic"},
        {"network": "conv", "likelihood": "normal", "validation": 300},
        {"network": "conv", "seeds": 2, "binarisation": "static"},
    ],
    ids=str,
)
def test_the_vae_experiment_keeps_its_contract(tmp_path, options):
    out = tmp_path / "run"
    report = vae.main(vae.Config(**TINY, **options, out=str(out)))
    assert json.loads((out / "metrics.json").read_text()) == report
    assert report.keys() >= CONTRACT | OWN
    assert ("seeds" in report) == ("seeds" in options)
    assert ("test_elbo_nats_sd" in report) == ("seeds" in options)
    expected = report["test_reconstruction_nats"] - report["test_kl_nats"]
    np.testing.assert_allclose(report["test_elbo_nats"], expected, rtol=1e-4)
    pictures = {path.stem for path in out.glob("*.png")}
    drawn = {"elbo", "samples", "reconstructions", "latent", "traversals"}
    assert pictures == (drawn | {"manifold"} if options.get("latent_dim", 2) == 2 else drawn)
    assert len((out / "log.jsonl").read_text().splitlines()) == 2
    trained = jaxvae.load(out)
    assert trained.sample(2, key=jax.random.key(0)).shape == (2, 8, 8)


def test_the_same_seed_gives_the_same_parameters_and_another_seed_others(tmp_path):
    digests = [
        vae.main(vae.Config(**TINY, seed=seed, out=str(tmp_path / name)))["parameters_sha256"]
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_a_user_s_own_array_trains_without_ceremony(tmp_path):
    rows = np.random.default_rng(0).normal(size=(500, 7)).astype(np.float32)
    np.save(tmp_path / "mine.npy", rows)
    options = {"dataset": str(tmp_path / "mine.npy"), "out": str(tmp_path / "run")}
    with pytest.raises(ValueError, match="pixels from 0 to 1"):
        vae.main(vae.Config(**TINY, **options))
    report = vae.main(vae.Config(**TINY, **options, likelihood="normal"))
    assert report["steps"] == 2


def test_the_test_images_must_fit_the_likelihood_too(tmp_path):
    draw = np.random.default_rng(0).random
    np.savez(tmp_path / "mine.npz", train=draw((400, 6)), test=255 * draw((20, 6)))
    with pytest.raises(ValueError, match=r"pixels from 0 to 1, got .* to 2"):
        vae.main(vae.Config(**TINY, dataset=str(tmp_path / "mine.npz"), out=str(tmp_path / "run")))


def test_images_of_two_channels_train_without_pictures_of_them(tmp_path):
    np.save(tmp_path / "two.npy", np.random.default_rng(0).random((400, 4, 4, 2)))
    out = tmp_path / "run"
    vae.main(vae.Config(**TINY, dataset=str(tmp_path / "two.npy"), out=str(out)))
    assert {path.stem for path in out.glob("*.png")} == {"elbo", "latent"}


WRONG = ["--epochs many", "--epochs 0", "--batch-size 0", "--batch-size 2000", "--seeds 0"]
WRONG += ["--nll-samples 0", "--dataset nonsense", "--resume", "--out ."]


@pytest.mark.parametrize("arguments", WRONG)
def test_wrong_values_are_refused_in_one_line_with_status_2(monkeypatch, capsys, arguments):
    monkeypatch.setattr(sys, "argv", ["vae", *arguments.split()])
    with pytest.raises(SystemExit) as leaving:
        training.command_line(vae.main, vae.Config)
    assert leaving.value.code == 2
    shown = capsys.readouterr().err
    assert any(word.removeprefix("--").split("-")[0] in shown for word in arguments.split())


def test_the_module_is_a_command():
    root = Path(vae.__file__).parents[1]
    command = [sys.executable, "-m", "experiments.vae", "--help"]
    shown = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    assert "exercise 12" in shown
    assert "--learning-rate" in shown
