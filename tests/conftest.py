"""Strict settings for every test, in force before jaxvae is imported for the first time."""

import os
from pathlib import Path

from compiled import compiled_programs

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["MPLBACKEND"] = "Agg"
# Workers and the programs that tests start inherit the folder, and so none compiles what another
# has compiled; most of it are single operations, hence no threshold.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(compiled_programs()))
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import jax
import jaxtyping
import pytest

jaxtyping.install_import_hook("jaxvae", "beartype.beartype")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_debug_key_reuse", True)


def pytest_collection_modifyitems(items):
    """Training and experiments first: they take longest, and none of them may be last."""
    items.sort(key=lambda item: item.path.parent.name not in ("training", "experiments"))


@pytest.fixture
def without_type_checks():
    """What a user meets: the type checks of the tests would speak before the library's own."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def quick_compilation():
    """LLVM's optimisations are left out, which halves what programs of many networks take.

    For tests of what programs do, and of figures with statistical errors: what claims digits is
    compiled as a user's programs are.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # of processes that tests start
        jax.config.update("jax_disable_most_optimizations", True)
        yield
        jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data sets."""
    folder = os.environ.get("JAXVAE_DATA")
    if not folder:
        pytest.skip("JAXVAE_DATA is unset: it names the folder that holds the real data sets")
    return Path(folder)
