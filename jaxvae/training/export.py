"""Parameters alone, in the format that other programs read: safetensors."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxvae._types import PyTree

FORMAT = "1"


def export_params(path: str | Path, params: PyTree) -> None:
    """Write parameters into one safetensors file: their paths in the tree are the names.

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
    save_file(arrays, path, metadata={"jaxvae": FORMAT})


def import_params(path: str | Path, like: PyTree) -> PyTree:
    """Read parameters that ``export_params`` wrote.

    Args:
        path: the file.
        like: a pytree of the same structure, shapes and dtypes, real or abstract, such as
            ``jax.eval_shape(model.init, jax.random.key(0))``.

    Raises:
        ValueError: if the file is none of these parameters; the message says what differs.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ValueError(f"expected a safetensors file, got {path}: {error}") from error
    if metadata.get("jaxvae") != FORMAT:
        raise ValueError(
            f"expected parameters of jaxvae's format {FORMAT} in {path}, got metadata "
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
