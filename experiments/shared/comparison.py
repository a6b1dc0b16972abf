"""Several methods compared: a folder for each inside the run's, and one table of all."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.figure import Figure

import jaxvae
from experiments.shared.runs import MAY_CHANGE, Session, folder_of
from jaxvae import metrics, plotting, training

# After other numbers of epochs, methods that are finished would not compare with the rest.
_MAY_CHANGE = tuple(name for name in MAY_CHANGE if name != "epochs")
TABLE = ("test_nll_nats", "test_elbo_nats", "test_kl_nats")


def check_names(option: str, names: Sequence[str]) -> None:
    """Refuse a list of methods that is empty or names one twice."""
    if not names or len(set(names)) < len(names):
        got = " ".join(names) or "none"
        raise ValueError(f"{option} expected one or more names, each once, got {got}")


def evaluate(
    loss: training.Loss, trained: jaxvae.Trained, images: Array, key: Array, nll_samples: int
) -> dict[str, Array]:
    """Test bound, which is that of ``loss``, and importance-sampled likelihood of one seed."""
    examples = jaxvae.Example(inputs=images, target=images)
    model, params = trained
    bound_key, likelihood_key = jax.random.split(key)
    bound = metrics.evaluate(loss, params, examples, key=bound_key)
    weights = metrics.importance_log_likelihood(
        model, params, examples, key=likelihood_key, num_samples=nll_samples
    )
    return {
        "test_elbo_nats": bound.mean.bound,
        "test_kl_nats": bound.mean.parts["kl"],
        "test_nll_nats": -jnp.mean(weights.log_likelihood),
        "median_effective_sample_size": jnp.median(weights.effective_sample_size),
    }


def finish(
    session: Session,
    result: training.Fit,
    evaluate: Callable[[Any, Array], dict[str, Array]],
    beginning: dict[str, Any],
) -> dict[str, Any]:
    """Evaluate all seeds of a method and save its metrics, which are returned.

    Args:
        session: the method's, in its own folder.
        result: of the session's fit.
        evaluate: parameters and key of one seed to its metrics.
        beginning: the first entries of metrics.json.
    """
    parameters = training.members_of(session.chosen(result), session.members)
    found = [
        evaluate(params, jax.random.key(seed))
        for seed, params in enumerate(parameters, session.config.running.seed)
    ]
    return session.run.save_metrics(
        {
            **beginning,
            **{key: np.asarray([own[key] for own in found]) for key in found[0]},
            **training.training_metrics(result, session.run.history()),
        }
    )


def compare(
    experiment: str,
    config: Any,
    names: Sequence[str],
    beginning: dict[str, Any],
    train: Callable[[Any, Any], dict[str, Any]],
    measures: Sequence[str] = TABLE,
    pictures: Callable[[Path, dict[str, Any]], dict[str, Figure]] | None = None,
) -> dict[str, Any]:
    """Train each method and save the table and its pictures; returns the metrics.

    Args:
        experiment: its name, for the folder.
        config: with the field running.
        names: of the methods.
        beginning: the first entries of metrics.json.
        train: name and running options, those of a folder of its own, to the method's metrics.
            With ``--resume`` a method that is finished is not trained again.
        measures: keys of the methods' metrics that the table shows.
        pictures: folder and the metrics of all methods to figures by name; by default the
            likelihoods.
    """
    running = config.running
    out = Path(folder_of(experiment, running))
    with training.open_run(
        out, config, resume=running.resume, overwrite=running.overwrite, may_change=_MAY_CHANGE
    ) as run:
        done = {name: _one(name, out / name, running, train) for name in names}
        report = run.save_metrics({**beginning, **_table(done, measures)})
        for label, figure in (pictures or _likelihoods)(out, done).items():
            run.save_figure(label, figure)
    print(training.format_metrics(report))
    print(f"\nPictures, metrics and a folder for each method: {run.directory}")
    return report


def _one(
    name: str, folder: Path, running: Any, train: Callable[[Any, Any], dict[str, Any]]
) -> dict[str, Any]:
    finished = folder / "metrics.json"
    if running.resume and finished.exists():
        return json.loads(finished.read_text())
    resume = running.resume and folder.exists()
    print(f"{name}:")
    return train(name, dataclasses.replace(running, out=str(folder), resume=resume))


def _table(done: dict[str, dict[str, Any]], measures: Sequence[str]) -> dict[str, Any]:
    """Each method's metrics under its name, and what all have in common."""
    first = next(iter(done.values()))
    table: dict[str, Any] = {key: first[key] for key in ("steps", "device", "jax_version")}
    for key in ("train_seconds", "compile_seconds"):
        table[key] = sum(own[key] for own in done.values())
    seconds = sum(own["steps"] / own["steps_per_second"] for own in done.values())
    table["steps_per_second"] = sum(own["steps"] for own in done.values()) / seconds
    hashes = "".join(own["parameters_sha256"] for own in done.values())
    table["parameters_sha256"] = hashlib.sha256(hashes.encode()).hexdigest()
    for key in (*measures, "steps_per_second", "parameters_sha256"):
        for name, own in done.items():
            for end in ("", "_sd"):
                if key + end in own:
                    table[f"{key}_{name}{end}"] = own[key + end]
    return table


def _likelihoods(folder: Path, done: dict[str, dict[str, Any]]) -> dict[str, Figure]:
    del folder
    scores = {
        name: (own["test_nll_nats"], own.get("test_nll_nats_sd")) for name, own in done.items()
    }
    label = "negative log-likelihood of the test images (nats)"
    return {"comparison": plotting.score_comparison(scores, label=label)}
