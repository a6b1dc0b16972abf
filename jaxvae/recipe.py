"""A model's recipe: factories with their arguments, as something that JSON can hold.

A recipe is a ``functools.partial`` of a public factory of jaxvae; its arguments are plain values,
public functions or further recipes. ``build`` makes the model, ``to_json`` and ``from_json`` carry
the recipe through a file.
"""

import importlib
import sys
from collections.abc import Callable
from functools import partial
from typing import Any


def build(recipe: Any) -> Any:
    """Call every factory in a recipe, the inner ones first; anything else comes back as it is.

    Example:
        >>> from functools import partial
        >>> from jaxvae import models, nn, recipe
        >>> vae = partial(
        ...     models.vae,
        ...     encoder=partial(nn.mlp, (8, 8), (4,)),
        ...     decoder=partial(nn.mlp, (2,), (8, 8)),
        ...     latent_dim=2,
        ... )
        >>> model = recipe.build(vae)
    """
    if not isinstance(recipe, partial):
        return recipe
    arguments = [build(argument) for argument in recipe.args]
    keywords = {name: build(argument) for name, argument in recipe.keywords.items()}
    return recipe.func(*arguments, **keywords)


def to_json(recipe: Any) -> Any:
    """The recipe as dictionaries, lists, strings and numbers.

    Raises:
        ValueError: if a function is not one that jaxvae exports, so that another machine could
            not find it by name.
    """
    if isinstance(recipe, partial):
        return {
            "factory": _public_name(recipe.func),
            "arguments": [to_json(argument) for argument in recipe.args],
            "keywords": {name: to_json(value) for name, value in recipe.keywords.items()},
        }
    if isinstance(recipe, tuple):
        return [to_json(item) for item in recipe]
    if recipe is None or isinstance(recipe, (bool, int, float, str)):
        return recipe
    if callable(recipe):
        return {"function": _public_name(recipe)}
    raise ValueError(
        f"a recipe expected numbers, strings, tuples, exported functions or recipes, got "
        f"{type(recipe).__name__}; pass model= to jaxvae.load for a model of your own"
    )


def from_json(value: Any) -> Any:
    """The inverse of ``to_json``; only names inside jaxvae are ever imported.

    Raises:
        ValueError: if a name lies outside jaxvae or does not exist in this version.
    """
    if isinstance(value, list):
        return tuple(from_json(item) for item in value)
    if not isinstance(value, dict):
        return value
    if "function" in value:
        return _find(value["function"])
    arguments = [from_json(argument) for argument in value["arguments"]]
    keywords = {name: from_json(argument) for name, argument in value["keywords"].items()}
    return partial(_find(value["factory"]), *arguments, **keywords)


def _public_name(function: Callable) -> str:
    name = getattr(function, "__name__", "")
    for package in _packages(getattr(function, "__module__", "")):
        if getattr(sys.modules.get(package), name, None) is function:
            return f"{package}.{name}"
    raise ValueError(
        f"a recipe expected functions that jaxvae exports, got {function!r}; pass model= to "
        "jaxvae.load for a model of your own"
    )


def _packages(module: str) -> list[str]:
    """Where a module's names may be exported: around it, or anywhere if it is not jaxvae's."""
    if module.split(".")[0] == "jaxvae":
        parts = module.split(".")[:-1]
        return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
    loaded = (name for name, found in sys.modules.items() if hasattr(found, "__path__"))
    return sorted(name for name in loaded if name.split(".")[0] == "jaxvae")


def _find(public_name: str) -> Callable:
    package, _, name = public_name.rpartition(".")
    if package.split(".")[0] == "jaxvae":
        try:
            return getattr(importlib.import_module(package), name)
        except (ImportError, AttributeError):
            pass
    raise ValueError(
        f"a saved recipe expected a function that jaxvae exports, got {public_name!r}; it was "
        "saved by another version, or the file was changed"
    )
