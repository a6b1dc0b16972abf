"""From a run's folder back to the model."""

import json
from pathlib import Path
from typing import Any

import jax

from jaxvae import recipe as recipes
from jaxvae._types import PyTree
from jaxvae.model import LatentVariableModel
from jaxvae.training.average import Choice
from jaxvae.training.checkpoint import Checkpoints, digest
from jaxvae.training.metrics_file import write_json
from jaxvae.training.trained import Trained

FORMAT = 2
"""Version of the layout of a run's folder."""


def save_model(folder: Path, recipe: Any, members: int | None) -> None:
    """Write model.json: how to build the model again, and how many members were trained."""
    described = None if recipe is None else recipes.to_json(recipe)
    write_json(folder / "model.json", {"format": FORMAT, "recipe": described, "members": members})


def is_saved_model(path: Path) -> bool:
    """Whether a file is one that ``save_model`` wrote, in whatever format."""
    try:
        saved = json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    return isinstance(saved, dict) and {"format", "recipe", "members"} <= saved.keys()


def load(
    directory: str | Path,
    *,
    member: int = 0,
    parameters: Choice = "last",
    model: LatentVariableModel | None = None,
) -> Trained:
    """The model of a run with the parameters of its newest checkpoint.

    Args:
        directory: the run's folder.
        member: which of several seeds.
        parameters: ``last``; ``best``, with the highest held-out bound, or ``average``, the moving
            one, of a run that kept them.
        model: the model itself, for a run of one's own factory; otherwise the recipe is followed.

    Returns:
        The model and its parameters, with batched ``encode``, ``reconstruct`` and ``sample``.

    Raises:
        ValueError: if the folder holds no run, none of this format, no such member, no recipe and
            no model was given, or no checkpoint.

    Example:
        >>> import jaxvae
        >>> trained = jaxvae.load("runs/vae/digits")  # doctest: +SKIP
        >>> images = trained.sample(64, key=jax.random.key(0))  # doctest: +SKIP
    """
    folder = Path(directory)
    saved = read_model(folder)
    members = saved["members"]
    if not 0 <= member < (members or 1):
        raise ValueError(f"expected a member below {members or 1} in {folder}, got {member}")
    if model is None:
        if saved["recipe"] is None:
            raise ValueError(
                f"expected a recipe in {folder}, found a run of a model of your own; "
                "build it and pass it as model="
            )
        model = recipes.build(recipes.from_json(saved["recipe"]))
    like = jax.eval_shape(model.init, jax.random.key(0))  # pyright: ignore[reportOptionalMemberAccess]
    if members is not None:
        like = jax.tree.map(lambda x: jax.ShapeDtypeStruct((members, *x.shape), x.dtype), like)
    with Checkpoints(folder / "checkpoints") as checkpoints:
        params = checkpoints.restore_params(like, parameters)
    if members is not None:
        params = jax.tree.map(lambda leaf: leaf[member], params)
    return Trained(model, params)  # pyright: ignore[reportArgumentType]


def parameters_sha256(params: PyTree) -> str:
    """A digest of names, shapes, dtypes and bytes of all parameters: equal only for equal ones."""
    return digest(params)


def read_model(folder: Path) -> dict[str, Any]:
    """What ``save_model`` wrote.

    Raises:
        ValueError: if there is nothing, or something of another format.
    """
    path = folder / "model.json"
    try:
        saved = dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(
            f"expected the folder of a run with a model.json, got {folder}: {error}"
        ) from error
    if saved.get("format") != FORMAT:
        raise ValueError(
            f"expected a run of format {FORMAT} in {folder}, got {saved.get('format')!r}; "
            "load it with the version of jaxvae that saved it"
        )
    return saved
