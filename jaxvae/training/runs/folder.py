"""The folder of a run: made, replaced, or opened again to resume."""

import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import jax
from filelock import FileLock, Timeout

from jaxvae._types import PyTree
from jaxvae.training.runs.checkpoint import Checkpoints
from jaxvae.training.runs.files import FAILURE_FOLDER, to_json, write_text
from jaxvae.training.runs.run import Run
from jaxvae.training.runs.saved import is_saved_model, read_model, save_model


@contextmanager
def open_run(
    directory: str | Path,
    config: Any,
    *,
    recipe: PyTree = None,
    members: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    may_change: tuple[str, ...] = (),
    checkpoint_steps: int | None = None,
    checkpoint_minutes: float = 1.0,
    keep: int = 2,
) -> Iterator[Run]:
    """Prepare a folder for a new run, or open that of an interrupted one.

    Args:
        directory: the folder; it must be empty or absent unless ``resume``.
        config: a dataclass, kept in config.json.
        recipe: the model's recipe, for ``jaxvae.load``; None for a model that has none.
        members: number of members of the run, None for a single one.
        resume: whether to continue the run that is in the folder.
        overwrite: whether to delete a run that is already in the folder.
        may_change: fields of the configuration that may differ when resuming.
        checkpoint_steps: steps between checkpoints, or None if only the minutes count.
        checkpoint_minutes: minutes between checkpoints; the last state is always saved.
        keep: how many of the newest checkpoints are kept.

    Raises:
        ValueError: if a new run's folder is not empty, another process works in it, or there is
            no run to resume or only one with another configuration.
    """
    folder = Path(directory).absolute()
    values = dataclasses.asdict(config)
    if resume:
        _check_same_config(folder, values, may_change)
        read_model(folder)
    text = to_json(values)
    with _alone(folder), ExitStack() as stack:
        if not resume and jax.process_index() == 0:
            _make_fresh(folder, overwrite)
            # model.json first: it marks the folder as ours, so that a process killed within these
            # lines leaves one that a new run may use.
            save_model(folder, recipe, members)
            write_text(folder / "config.json", text)
        checkpoints = stack.enter_context(Checkpoints(folder / "checkpoints", keep=keep))
        yield Run(
            folder, checkpoints, every_steps=checkpoint_steps, every_minutes=checkpoint_minutes
        )
        stack.close()
        # At the end of a resumed run, so that one that is refused leaves its folder as it was.
        if jax.process_index() == 0:
            write_text(folder / "config.json", text)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the operating system releases however the process ends."""
    if jax.process_index() != 0:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise ValueError(
            f"a run is in progress in {folder}; wait until it has ended, or choose another --out"
        ) from error
    try:
        yield
    finally:
        lock.release()
        (folder / LOCK).unlink(missing_ok=True)


LOCK = ".lock"
BEGUN = ("config.json", "model.json", "log.jsonl", "*.new", "checkpoints", FAILURE_FOLDER)
"""What a run that ended before its first checkpoint may leave behind."""
FINISHED = (*BEGUN, "metrics.json", "*.png", "tensorboard", "profile")


def _make_fresh(folder: Path, overwrite: bool) -> None:
    """Remove the files of a run that may be replaced, and refuse a folder with any other files."""
    found = {path for path in folder.iterdir() if path.name != LOCK}
    is_run = is_saved_model(folder / "model.json")
    began = is_run and not any((folder / "checkpoints").glob("[0-9]*"))
    ours = {path for pattern in (FINISHED if overwrite else BEGUN) for path in folder.glob(pattern)}
    if found and not (is_run and overwrite) and not (began and found <= ours):
        what = "a run" if is_run else "files that are no run of jaxvae"
        ways = "; continue it with --resume or replace it with --overwrite" if is_run else ""
        raise ValueError(
            f"expected an empty or new folder, got {folder} with {what} in it: "
            f"choose another --out{ways}"
        )
    for path in found & ours:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _check_same_config(folder: Path, values: dict[str, Any], may_change: tuple[str, ...]) -> None:
    path = folder / "config.json"
    if not path.exists():
        raise ValueError(f"expected a run to resume in {folder}, found no config.json there")
    try:
        saved = dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise ValueError(f"expected the configuration of a run in {path}: {error}") from error
    values = json.loads(json.dumps(values))
    saved, values = _flat(saved), _flat(values)
    changed = [
        f"{name} was {saved.get(name)!r} and is {values.get(name)!r}"
        for name in sorted(saved.keys() | values.keys())
        if saved.get(name) != values.get(name) and name not in may_change
    ]
    if changed:
        raise ValueError(
            f"expected the configuration of the run in {folder}, got other values: "
            f"{'; '.join(changed)}. Start a new run for them"
        )


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """All options in one dictionary without groups, as on the command line."""
    groups = [_flat(value) for value in values.values() if isinstance(value, dict)]
    plain = {name: value for name, value in values.items() if not isinstance(value, dict)}
    return {name: value for part in (plain, *groups) for name, value in part.items()}
