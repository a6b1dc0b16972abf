"""The command line of an experiment, from its configuration's fields."""

import sys
from collections.abc import Callable
from typing import Any, NoReturn


def command_line(main: Callable[[Any], Any], config: type) -> NoReturn:
    """Parse the arguments into a configuration, run the experiment, and leave the process.

    A ValueError is the user's to mend: it is printed without a traceback and the exit status is 2,
    as for an unknown option. A training run that diverged exits with 1, Ctrl-C with 130.

    Args:
        main: the experiment; its module's docstring is the help text.
        config: a frozen dataclass with a docstring for each field.
    """
    import tyro

    values = tyro.cli(config, description=sys.modules[main.__module__].__doc__)
    try:
        main(values)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except FloatingPointError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)
