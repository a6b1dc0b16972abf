import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from contract import assert_contract, configure, log_of

import jaxvae
from experiments import vae
from jaxvae import training

pytestmark = pytest.mark.usefixtures("quick_compilation")

ROOT = Path(vae.__file__).parents[1]
OWN = {"test_elbo_nats", "test_reconstruction_nats", "test_kl_nats", "test_nll_nats"}
OWN |= {"nll_samples", "active_units", "binarisation"}
PICTURES = {"elbo", "samples", "reconstructions", "latent", "traversals"}
tiny = partial(configure, vae.Config(), epochs=5, nll_samples=3, hidden=(8,), batch_size=300)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    out = tmp_path_factory.mktemp("vae") / "run"
    return out, vae.main(tiny(out=str(out)))


def assert_vae(out, report, pictures=PICTURES):
    assert_contract(out, report, keys=OWN, pictures=pictures)
    assert ("test_elbo_nats_sd" in report) == ("seeds" in report)
    expected = report["test_reconstruction_nats"] - report["test_kl_nats"]
    # The bound is a mean of float32 differences of about 50 nats.
    np.testing.assert_allclose(report["test_elbo_nats"], expected, atol=1e-3)


def test_the_experiment_keeps_its_contract(plain):
    out, report = plain
    assert_vae(out, report, PICTURES | {"manifold"})
    assert len(log_of(out)) == 5
    # The first moments of digits are learnt.
    assert -45 < report["test_elbo_nats"] < -25
    assert jaxvae.load(out).sample(2, key=jax.random.key(0)).shape == (2, 8, 8)


@pytest.mark.parametrize(
    "options",
    [
        {"network": "conv", "latent_dim": 3, "binarisation": "static", "likelihood": "normal"},
        pytest.param(
            {"latent_dim": 3, "binarisation": "dynamic", "compute": "bfloat16"},
            marks=pytest.mark.exhaustive,
        ),
        pytest.param(
            {"network": "conv", "seeds": 2, "binarisation": "static", "likelihood": "normal"},
            marks=pytest.mark.exhaustive,
        ),
    ],
    ids=str,
)
def test_the_experiment_keeps_its_contract_with_other_options(tmp_path, options):
    out = tmp_path / "run"
    report = vae.main(tiny(**options, epochs=2, validation=300, out=str(out)))
    assert_vae(out, report, PICTURES if "latent_dim" in options else PICTURES | {"manifold"})
    assert report["binarisation"].startswith(options["binarisation"])
    trained = jaxvae.load(out)
    assert trained.sample(2, key=jax.random.key(0)).shape == (2, 8, 8)
    # Networks compute in another precision, but parameters keep theirs.
    assert {leaf.dtype.name for leaf in jax.tree.leaves(trained.params)} == {"float32"}


def test_a_run_is_replaced_if_asked_for_the_same_by_the_same_seed_and_foreign_files_never(
    plain, tmp_path
):
    out, report = plain
    with pytest.raises(ValueError, match=r"with a run in it: .* --resume or replace it with --o"):
        vae.main(tiny(out=str(out)))
    digests = [
        vae.main(tiny(out=str(tmp_path / "run"), seed=seed, overwrite=True))["parameters_sha256"]
        for seed in (0, 3)
    ]
    assert digests[0] == report["parameters_sha256"] != digests[1]
    assert json.loads((tmp_path / "run" / "config.json").read_text())["running"]["seed"] == 3
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="with files that are no run of jaxvae in it"):
        vae.main(tiny(out=str(tmp_path), overwrite=True))
    assert (tmp_path / "thesis.tex").exists()


def test_a_user_s_own_array_trains_without_ceremony(tmp_path):
    rows = np.random.default_rng(0).normal(size=(500, 7)).astype(np.float32)
    np.save(tmp_path / "mine.npy", rows)
    options = {"dataset": str(tmp_path / "mine.npy"), "out": str(tmp_path / "run"), "epochs": 2}
    with pytest.raises(ValueError, match="pixels from 0 to 1"):
        vae.main(tiny(**options))
    report = vae.main(tiny(**options, likelihood="normal"))
    assert report["steps"] == 2


def test_the_test_images_must_fit_the_likelihood_too(tmp_path):
    draw = np.random.default_rng(0).random
    np.savez(tmp_path / "mine.npz", train=draw((400, 6)), test=255 * draw((20, 6)))
    with pytest.raises(ValueError, match=r"pixels from 0 to 1, got .* to 2"):
        vae.main(tiny(dataset=str(tmp_path / "mine.npz"), out=str(tmp_path / "run")))


def test_all_options_at_once_keep_their_promises(tmp_path, capsys):
    """On images of two channels, of which there are no pictures."""
    np.save(tmp_path / "two.npy", np.random.default_rng(0).random((1000, 4, 4, 2)))
    out = tmp_path / "run"
    report = vae.main(
        tiny(
            dataset=str(tmp_path / "two.npy"), out=str(out), epochs=4, seeds=2, validation=300,
            parameters="best", patience=3, average=0.9, clip_norm=1.0, schedule="warmup_cosine",
            kl_warmup_epochs=2, free_bits=0.1, tensorboard=True, profile=True, on_failure="skip",
            checkpoint_steps=2, keep=1, binarisation="dynamic", compute="bfloat16",
        )
    )  # fmt: skip
    assert_vae(out, report, {"elbo", "latent"})
    assert report["binarisation"].startswith("dynamic")
    assert "memory of the compiled chunk in MiB: argument" in capsys.readouterr().out
    assert list((out / "tensorboard").glob("events.*"))
    assert list((out / "profile").rglob("*.xplane.pb"))
    assert len(list((out / "checkpoints").iterdir())) == 1
    assert all(record["skipped_updates"] == [0, 0] for record in log_of(out))
    loaded = [jaxvae.load(out, member=1, parameters=which) for which in ("last", "best", "average")]
    last, best, average = (training.parameters_sha256(trained.params) for trained in loaded)
    assert average not in (last, best)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(loaded[0].params)} == {"float32"}


COMMAND = [sys.executable, "-m", "experiments.vae", "--hidden", "8", "--epochs", "100000"]
COMMAND += ["--nll-samples", "3", "--batch-size", "300", "--checkpoint-minutes", "0.01"]


def interrupt(out, signals, *options):
    """Start the command, wait until it has logged something, and send signals until it ends."""
    log = out / "log.jsonl"
    before = log.stat().st_size if log.exists() else 0
    environment = os.environ | {"JAXVAE_COMPILATION_CACHE": str(out.parent / "cache")}
    with subprocess.Popen(
        [*COMMAND, "--out", str(out), *options], env=environment, cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        while process.poll() is None and not (log.exists() and log.stat().st_size > before):
            time.sleep(0.05)
        for number in signals:
            process.send_signal(number)
            time.sleep(0.02)
        said, errors = process.communicate(timeout=240)
    assert process.returncode == 130, errors[-2000:]
    assert "Traceback" not in errors
    return int(re.search(r"Interrupted; saved at step (\d+)", said).group(1))


@pytest.mark.parametrize(
    "signals",
    [
        [[signal.SIGINT, signal.SIGINT], [signal.SIGTERM]],
        pytest.param([[signal.SIGINT]], marks=pytest.mark.exhaustive),
    ],
    ids=["Ctrl-C twice and SIGTERM", "Ctrl-C"],
)
def test_signals_leave_a_run_that_resumes_to_the_same_parameters(tmp_path, signals):
    """Each is sent to the run that was resumed after the one before."""
    out = tmp_path / "run"
    saved = [interrupt(out, signals[0])]
    saved += [interrupt(out, each, "--resume") for each in signals[1:]]
    assert saved == sorted(set(saved))
    # Resumed for some epochs more, it is the run that never stopped.
    config = partial(tiny, checkpoint_minutes=0.01, epochs=saved[-1] // 5 + 3)
    resumed = vae.main(config(out=str(out), resume=True))
    whole = vae.main(config(out=str(tmp_path / "whole")))
    assert resumed["parameters_sha256"] == whole["parameters_sha256"]
