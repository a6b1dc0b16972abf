"""Strict settings for every test, in force before jaxvae is imported for the first time."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["MPLBACKEND"] = "Agg"

from pathlib import Path

import jax
import jaxtyping
import pytest

jaxtyping.install_import_hook("jaxvae", "beartype.beartype")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_debug_key_reuse", True)


@pytest.fixture
def without_type_checks():
    """What a user meets: the type checks of the tests would speak before the library's own."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data sets."""
    folder = os.environ.get("JAXVAE_DATA")
    if not folder:
        pytest.skip("JAXVAE_DATA is unset: it names the folder that holds the real data sets")
    return Path(folder)
