"""The persistent cache of compiled programs."""

import os
from pathlib import Path

import jax

VARIABLE = "JAXVAE_COMPILATION_CACHE"


def use_compilation_cache(folder: str | Path | None = None) -> Path | None:
    """Keep compiled programs between runs of the same program on the same machine.

    Args:
        folder: where; by default that which the variable JAXVAE_COMPILATION_CACHE names, or
            ``compiled`` in the user's cache folder. The variable's value ``off`` switches it off.

    Returns:
        The folder, or None if it is switched off.
    """
    import pooch

    named = folder or os.environ.get(VARIABLE) or Path(pooch.os_cache("jaxvae")) / "compiled"
    if str(named) == "off":
        return None
    jax.config.update("jax_compilation_cache_dir", str(named))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    return Path(named)
