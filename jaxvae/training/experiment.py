"""What an experiment needs around ``fit``: a command line, a compilation cache, its metrics."""

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import jax

from jaxvae.training.fit import Fit
from jaxvae.training.runs.saved import parameters_sha256

CACHE_VARIABLE = "JAXVAE_COMPILATION_CACHE"


def command_line(main: Callable[[Any], Any], config: type) -> NoReturn:
    """Parse the arguments into a configuration, run the experiment, and leave the process.

    The exit status is 2 after a ``ValueError`` or an unknown option, which the user can correct
    and whose message is printed without a traceback; 1 after a run that diverged or a file that
    could not be written; and 130 after Ctrl-C or SIGTERM. Compiled programs are kept between runs
    (``use_compilation_cache``).

    Args:
        main: the experiment; its module's docstring is the help text.
        config: a frozen dataclass with a docstring for each field. Fields that are dataclasses
            are groups of options; the one named ``devices`` says how many processes there are.
    """
    try:
        values = _parse(config, str(sys.modules[main.__module__].__doc__))
        use_compilation_cache()
        _join_processes(getattr(values, "devices", None))
        if getattr(getattr(values, "running", None), "seeds", 1) > 1:
            # Each processor of a CPU becomes a device, and trains seeds of its own.
            jax.config.update("jax_num_cpu_devices", os.cpu_count() or 1)
        main(values)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except (FloatingPointError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        # Everything is saved and closed; an orderly exit would wait for computations in progress.
        os._exit(130)
    sys.exit(0)


def use_compilation_cache(folder: str | Path | None = None) -> Path | None:
    """Keep compiled programs between runs of the same program on the same machine.

    Args:
        folder: where to keep them. By default this is the folder that the environment variable
            JAXVAE_COMPILATION_CACHE names, or else ``compiled`` in the user's cache folder; the
            value ``off`` of the variable switches the cache off.

    Returns:
        The folder, or None if the cache is switched off.
    """
    import pooch

    named = folder or os.environ.get(CACHE_VARIABLE) or Path(pooch.os_cache("jaxvae")) / "compiled"
    if str(named) == "off":
        return None
    jax.config.update("jax_compilation_cache_dir", str(named))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    return Path(named)


def training_metrics(result: Fit, history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Steps, times, rate, device, version and the digest of the parameters.

    Args:
        result: of ``fit``; the time to compile is that of the last part of a resumed run.
        history: all log records of the run, ``Run.history()``, those of its earlier parts included.
            Steps that a killed run took after its last record are counted at the mean rate.
    """
    steps = sum(record["chunk_steps"] for record in history)
    seconds = sum(record["chunk_steps"] / record["steps_per_second"] for record in history)
    rate = steps / seconds
    device = jax.devices()[0]
    return {
        "steps": int(result.state.step),
        "train_seconds": int(result.state.step) / rate,
        "compile_seconds": result.compile_seconds,
        "steps_per_second": rate,
        "device": f"{jax.device_count()} x {device.device_kind}",
        "jax_version": jax.__version__,
        "parameters_sha256": parameters_sha256(result.params),
    }


def format_memory(sizes: Mapping[str, int]) -> str:
    """The memory of a compiled chunk (``Fit.memory_bytes``) in MiB."""
    shown = ", ".join(f"{name} {size / 2**20:.1f}" for name, size in sizes.items())
    return f"memory of the compiled chunk in MiB: {shown}"


def format_metrics(metrics: Mapping[str, Any]) -> str:
    """A table of names and values, with the spread beside the mean where there is one."""
    rows = []
    for name, value in metrics.items():
        if name.endswith("_sd") and name.removesuffix("_sd") in metrics:
            continue
        text = f"{value:.6g}" if isinstance(value, float) else str(value)
        spread = metrics.get(f"{name}_sd")
        rows.append((name, text if spread is None else f"{text} ± {spread:.2g}"))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)


def _parse(config: type, description: str) -> Any:
    import tyro

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(config, description=description, config=(tyro.conf.OmitArgPrefixes,))
    except SystemExit as leaving:
        if not leaving.code:
            raise
        raise ValueError(f"{_first_paragraph(said.getvalue())}; see --help") from None


def _first_paragraph(box: str) -> str:
    """The first paragraph of the box in which tyro prints an error, as one line."""
    inside = [line.strip("│ ") for line in box.splitlines()[1:]]
    said = []
    for line in inside:
        if set(line) <= set("─╰╯ "):
            break
        said.append(line)
    return " ".join(said)


def _join_processes(devices: Any) -> None:
    given = [getattr(devices, name, None) for name in ("coordinator", "processes", "rank")]
    if all(value is None for value in given) and not getattr(devices, "distributed", False):
        return
    if any(value is None for value in given) and any(value is not None for value in given):
        raise ValueError("--coordinator, --processes and --rank expected all three or none")
    if given[0] is not None and not re.fullmatch(r"\S+:\d+", str(given[0])):
        raise ValueError(f"--coordinator expected HOST:PORT, got {given[0]}")
    jax.distributed.initialize(given[0], given[1], given[2])
