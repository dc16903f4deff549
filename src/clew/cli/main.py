"""The ``clew`` command: where it begins, and where every error ends as one line.

Exit codes: 0 done, 1 failed or nothing found, 2 bad usage, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback

from clew.errors import ClewError

__all__ = ["main", "run"]


def main() -> None:
    """Run the command line of this process, and end the process."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line.

    Args:
        arguments: What stands after ``clew``.

    Returns:
        The exit code.
    """
    try:
        from clew.cli.commands import root
    except ModuleNotFoundError as error:
        return _fail(f"the command line needs the package {error.name}; pip install 'clew[server]'", 1)
    try:
        root().main(args=arguments, prog_name="clew")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except ClewError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (`head`) has seen enough. The interpreter flushes stdout once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the edge: people get a line, not a traceback
        if os.environ.get("CLEW_DEBUG"):
            traceback.print_exc()
        return _fail(f"a fault in clew: {type(error).__name__}: {error}; CLEW_DEBUG=1 shows where", 1)
    return 0


def _fail(message: str, code: int) -> int:
    line = "".join(letter if letter.isprintable() else " " for letter in message)
    print(f"clew: {line}", file=sys.stderr)
    return code
