"""The command line of an experiment, from its configuration's fields."""

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import jax

from jaxvae.training.compilation import use_compilation_cache


def command_line(main: Callable[[Any], Any], config: type) -> NoReturn:
    """Parse the arguments into a configuration, run the experiment, and leave the process.

    A ValueError is the user's to mend: it is printed without a traceback and the exit status is 2,
    as for an unknown option. A run that diverged and a file that cannot be written exit with 1,
    Ctrl-C and SIGTERM with 130. Compiled programs are kept between runs:
    ``use_compilation_cache``.

    Args:
        main: the experiment; its module's docstring is the help text.
        config: a frozen dataclass with a docstring for each field; fields that are dataclasses
            are groups of options, and one named ``devices`` says how many processes there are.
    """
    try:
        values = _parse(config, str(sys.modules[main.__module__].__doc__))
        use_compilation_cache()
        _join_processes(getattr(values, "devices", None))
        if getattr(getattr(values, "running", None), "seeds", 1) > 1:
            # Each processor of a CPU is a device then, and trains seeds of its own.
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
        # Everything is saved and closed; an orderly exit would wait for what still computes.
        os._exit(130)
    sys.exit(0)


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
    """What tyro says in its box before the first rule, in one line."""
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
