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


@pytest.fixture(scope="session", autouse=True)
def compile_each_program_once(tmp_path_factory):
    """Runs of the same program compile it once in a session."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("compiled")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


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
