import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxvae
from experiments import vae
from jaxvae import training

pytestmark = pytest.mark.usefixtures("quick_compilation")

ROOT = Path(vae.__file__).parents[1]
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


def configure(**values):
    """A configuration from the names of options, whatever their group."""
    given = TINY | values
    groups = {}
    for group in dataclasses.fields(vae.Config):
        kind = type(getattr(vae.Config(), group.name))
        names = {field.name for field in dataclasses.fields(kind)} & given.keys()
        groups[group.name] = kind(**{name: given.pop(name) for name in names})
    assert not given
    return vae.Config(**groups)


def test_the_names_of_options_are_unique_over_the_groups():
    groups = (getattr(vae.Config(), group.name) for group in dataclasses.fields(vae.Config))
    names = [field.name for group in groups for field in dataclasses.fields(group)]
    assert len(names) == len(set(names))


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
    report = vae.main(configure(**options, out=str(out)))
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
        vae.main(configure(seed=seed, out=str(tmp_path / name)))["parameters_sha256"]
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_a_user_s_own_array_trains_without_ceremony(tmp_path):
    rows = np.random.default_rng(0).normal(size=(500, 7)).astype(np.float32)
    np.save(tmp_path / "mine.npy", rows)
    options = {"dataset": str(tmp_path / "mine.npy"), "out": str(tmp_path / "run")}
    with pytest.raises(ValueError, match="pixels from 0 to 1"):
        vae.main(configure(**options))
    report = vae.main(configure(**options, likelihood="normal"))
    assert report["steps"] == 2


def test_the_test_images_must_fit_the_likelihood_too(tmp_path):
    draw = np.random.default_rng(0).random
    np.savez(tmp_path / "mine.npz", train=draw((400, 6)), test=255 * draw((20, 6)))
    with pytest.raises(ValueError, match=r"pixels from 0 to 1, got .* to 2"):
        vae.main(configure(dataset=str(tmp_path / "mine.npz"), out=str(tmp_path / "run")))


def test_images_of_two_channels_train_without_pictures_of_them(tmp_path):
    np.save(tmp_path / "two.npy", np.random.default_rng(0).random((400, 4, 4, 2)))
    out = tmp_path / "run"
    vae.main(configure(dataset=str(tmp_path / "two.npy"), out=str(out)))
    assert {path.stem for path in out.glob("*.png")} == {"elbo", "latent"}


WRONG = ["--epochs many", "--epochs 0", "--batch-size 0", "--batch-size 2000", "--seeds 0"]
WRONG += ["--nll-samples 0", "--dataset nonsense", "--resume", "--out .", "--learning-rate nan"]
WRONG += ["--learning-rate -1", "--clip-norm 0", "--schedule linear", "--latent-dim -2"]
WRONG += ["--patience 3", "--parameters best", "--parameters average", "--average 1.5"]
WRONG += ["--resume --overwrite --out x", "--rank 1", "--epoch 3", "--free-bits -1", "--keep 0"]
WRONG += ["--compute float64", "--seed -1", "--validation -3", "--member-groups 2 --devices all"]


@pytest.mark.parametrize("arguments", WRONG)
def test_wrong_values_are_refused_in_one_line_with_status_2(
    monkeypatch, capsys, tmp_path, arguments
):
    monkeypatch.setattr(sys, "argv", ["vae", *arguments.split()])
    monkeypatch.setenv("JAXVAE_COMPILATION_CACHE", "off")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "foreign.txt").write_text("years of work")
    with pytest.raises(SystemExit) as leaving:
        training.command_line(vae.main, vae.Config)
    assert leaving.value.code == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert shown.count("\n") == 1
    # Nothing is written, and nothing deleted.
    assert [path.name for path in tmp_path.rglob("*")] == ["foreign.txt"]
    assert any(word.removeprefix("--").split("-")[0] in shown for word in arguments.split())


def test_the_module_is_a_command():
    root = Path(vae.__file__).parents[1]
    command = [sys.executable, "-m", "experiments.vae", "--help"]
    shown = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    assert "exercise 12" in shown
    assert "--learning-rate" in shown


def test_all_options_at_once_keep_their_promises(tmp_path, capsys):
    out = tmp_path / "run"
    report = vae.main(
        configure(
            out=str(out), epochs=4, seeds=2, validation=300, parameters="best", patience=3,
            average=0.9, clip_norm=1.0, schedule="warmup_cosine", kl_warmup_epochs=2, free_bits=0.1,
            tensorboard=True, profile=True, on_failure="skip", checkpoint_steps=2, keep=1,
        )
    )  # fmt: skip
    assert report["seeds"] == 2
    assert "memory of the compiled chunk in MiB: argument" in capsys.readouterr().out
    assert list((out / "tensorboard").glob("events.*"))
    assert list((out / "profile").rglob("*.xplane.pb"))
    assert len(list((out / "checkpoints").iterdir())) == 1
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert all(line["skipped_updates"] == [0, 0] for line in lines)
    loaded = [jaxvae.load(out, member=1, parameters=which) for which in ("last", "best", "average")]
    last, best, average = (training.parameters_sha256(trained.params) for trained in loaded)
    assert average not in (last, best)


def test_a_run_can_be_replaced_but_foreign_files_never(tmp_path):
    out = tmp_path / "run"
    vae.main(configure(out=str(out)))
    with pytest.raises(ValueError, match=r"with a run in it: .* --resume or replace it with --o"):
        vae.main(configure(out=str(out)))
    vae.main(configure(out=str(out), seed=3, overwrite=True))
    assert json.loads((out / "config.json").read_text())["running"]["seed"] == 3
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="with files that are no run of jaxvae in it"):
        vae.main(configure(out=str(tmp_path), overwrite=True))
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.parametrize("compute", ["bfloat16", "float32"])
def test_networks_compute_in_the_precision_that_is_asked_for(tmp_path, compute):
    report = vae.main(configure(out=str(tmp_path / "run"), compute=compute, epochs=5))
    # The first moments of digits are learnt in either.
    assert -45 < report["test_elbo_nats"] < -25
    leaves = jax.tree.leaves(jaxvae.load(tmp_path / "run").params)
    assert {leaf.dtype.name for leaf in leaves} == {"float32"}


COMMAND = [sys.executable, "-m", "experiments.vae", "--hidden", "16", "--nll-samples", "3"]


@pytest.mark.parametrize(
    ("number", "times", "gap"),
    [(signal.SIGINT, 1, 0.0), (signal.SIGINT, 2, 0.02), (signal.SIGTERM, 1, 0.0)],
    ids=str,
)
def test_signals_leave_a_run_that_resumes_to_the_same_parameters(tmp_path, number, times, gap):
    out = tmp_path / "run"
    environment = os.environ | {"JAXVAE_COMPILATION_CACHE": str(tmp_path / "cache")}
    command = [*COMMAND, "--out", str(out), "--epochs", "4000", "--checkpoint-minutes", "0.01"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=ROOT,
    ) as process:  # fmt: skip
        log = out / "log.jsonl"
        while process.poll() is None and not (log.exists() and log.stat().st_size):
            time.sleep(0.05)
        for _ in range(times):
            process.send_signal(number)
            time.sleep(gap)
        said, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors[-2000:]
    assert "Traceback" not in errors
    step = int(re.search(r"Interrupted; saved at step (\d+)", said).group(1))
    # Resumed for some epochs more, it is the run that never stopped.
    epochs = step // 23 + 3
    config = {"hidden": (16,), "batch_size": 64, "checkpoint_minutes": 0.01}
    resumed = vae.main(configure(**config, epochs=epochs, out=str(out), resume=True))
    whole = vae.main(configure(**config, epochs=epochs, out=str(tmp_path / "whole")))
    assert resumed["parameters_sha256"] == whole["parameters_sha256"]
