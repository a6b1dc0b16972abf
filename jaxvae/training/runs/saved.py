"""Models and parameters from files: the folder of a run, or a file that other programs read."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxvae import recipe as recipes
from jaxvae._types import PyTree
from jaxvae.model import LatentVariableModel
from jaxvae.training.runs.checkpoint import Checkpoints, digest
from jaxvae.training.runs.files import write_json
from jaxvae.training.state import Choice
from jaxvae.training.trained import Trained

RUN_FORMAT = 2
"""Version of the layout of a run's folder."""
PARAMS_FORMAT = "1"
"""Version of the names and metadata of a safetensors file."""


def save_model(folder: Path, recipe: Any, members: int | None) -> None:
    """Write model.json: how to build the model again, and how many members were trained."""
    described = None if recipe is None else recipes.to_json(recipe)
    about = {"format": RUN_FORMAT, "recipe": described, "members": members}
    write_json(folder / "model.json", about)


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
        parameters: ``last``; or, of a run that kept them, ``best`` (with the highest held-out
            bound) or ``average`` (the moving average).
        model: the model itself, for a run without a recipe; otherwise the recipe is followed.

    Returns:
        The model and its parameters, with batched ``encode``, ``reconstruct`` and ``sample``.

    Raises:
        ValueError: if the folder holds no run, one of another format, no such member, no
            checkpoint, or neither a recipe is found nor a model given.

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
                f"the run in {folder} was saved without a recipe of its model; build the model and "
                "pass it as model="
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
    if saved.get("format") != RUN_FORMAT:
        raise ValueError(
            f"expected a run of format {RUN_FORMAT} in {folder}, got {saved.get('format')!r}; "
            "load it with the version of jaxvae that saved it"
        )
    return saved


def export_params(path: str | Path, params: PyTree) -> None:
    """Write parameters into a safetensors file, named by their paths in the tree.

    Args:
        path: the file; it must not exist.
        params: pytree of arrays.

    Raises:
        ValueError: if the file exists.
    """
    from safetensors.numpy import save_file

    if Path(path).exists():
        raise ValueError(f"export_params expected a new file, got {path}, which exists")
    arrays = {name: np.array(leaf, order="C") for name, leaf in _named(params).items()}
    save_file(arrays, path, metadata={"jaxvae": PARAMS_FORMAT})


def import_params(path: str | Path, like: PyTree) -> PyTree:
    """Read parameters that ``export_params`` wrote.

    Args:
        path: the file.
        like: a pytree of the same structure, shapes and dtypes, real or abstract, such as
            ``jax.eval_shape(model.init, jax.random.key(0))``.

    Raises:
        ValueError: if the file holds other parameters; the message says what differs.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ValueError(f"expected a safetensors file, got {path}: {error}") from error
    if metadata.get("jaxvae") != PARAMS_FORMAT:
        raise ValueError(
            f"expected parameters of jaxvae's format {PARAMS_FORMAT} in {path}, got metadata "
            f"{json.dumps(metadata)}"
        )
    wanted = {name: _describe(leaf) for name, leaf in _named(like).items()}
    found = {name: _describe(leaf) for name, leaf in arrays.items()}
    differing = [
        f"{name}: expected {wanted.get(name, 'nothing')}, got {found.get(name, 'nothing')}"
        for name in sorted(wanted.keys() | found.keys())
        if wanted.get(name) != found.get(name)
    ]
    if differing:
        raise ValueError(f"the parameters in {path} are of another model: {'; '.join(differing)}")
    leaves = [jax.numpy.asarray(arrays[name]) for name in _named(like)]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _named(tree: PyTree) -> dict[str, Any]:
    paths = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in paths}


def _describe(leaf: Any) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}"
