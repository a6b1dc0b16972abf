"""Where the programs that tests compile are kept from one run of the suite to the next."""

import hashlib
import os
import platform
from importlib.metadata import version
from pathlib import Path

import pooch


def compiled_programs() -> Path:
    """The user's folder of programs that this processor, these versions and flags compiled.

    A program that was compiled for another processor may hold instructions that this one lacks.
    """
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else [platform.processor()]
    processor = sorted({line for line in lines if line.startswith(("model name", "flags"))})
    about = (version("jax"), version("jaxlib"), os.environ.get("XLA_FLAGS", ""), *processor)
    key = hashlib.sha256("\n".join(about).encode()).hexdigest()[:16]
    return Path(pooch.os_cache("jaxvae")) / "tests" / key
