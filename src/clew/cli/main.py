"""The ``clew`` command: where it begins, and where every error ends as one line.

Exit codes: 0 done, 1 failed or nothing found, 2 bad usage, 130 interrupted.
"""

from __future__ import annotations

import errno
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
        from clew.cli.registry import root
        from clew.cli.usage import PARSER_ERROR
    except ModuleNotFoundError as error:
        return _fail(f"the command line needs the package {error.name}; pip install 'clew[server]'", 1)
    try:
        code = root().main(args=arguments, prog_name="clew", standalone_mode=False)
    except SystemExit as end:
        return _code_of(end)
    except ClewError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        return _refused(error)
    except Exception as error:  # noqa: BLE001 - the edge: people get a line, not a traceback
        return _misused(error) if isinstance(error, PARSER_ERROR) else _fault(error)
    return code if isinstance(code, int) else 0


def _misused(error: Exception) -> int:
    """End what the parser of the command line could not understand; a group without a command shows its help."""
    from clew.cli.usage import explain, help_of

    if text := help_of(error):
        print(text, file=sys.stderr)
        return 2
    misuse = explain(error)
    return _fail(str(misuse), misuse.exit_code)


def _code_of(end: SystemExit) -> int:
    if isinstance(end.__context__, BrokenPipeError):  # which click and rich turn into an end of their own
        return _refused(end.__context__)
    return end.code if isinstance(end.code, int) else int(end.code is not None)


def _fault(error: Exception) -> int:
    if os.environ.get("CLEW_DEBUG"):
        traceback.print_exception(error)
    return _fail(f"a fault in clew: {type(error).__name__}: {error}; CLEW_DEBUG=1 shows where", 1)


def _refused(error: OSError) -> int:
    """End what the system refused; the reader of our output (`head`) may have seen enough, which is no failure."""
    is_enough = isinstance(error, BrokenPipeError)
    if isinstance(error, (PermissionError, NotADirectoryError)) and error.filename is not None:
        return _fail(f"{error.filename}: {error.strerror}; `clew doctor` looks for the cause", 1)
    if not is_enough and error.errno != errno.ENOSPC:
        return _fault(error)
    # The interpreter flushes stdout once more at its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0 if is_enough else _fail(f"cannot write all of it: {error.strerror}", 1)


def _fail(message: str, code: int) -> int:
    line = "".join(letter if letter.isprintable() else " " for letter in message)
    print(f"clew: {line}", file=sys.stderr)
    return code
