"""What is said when a command line cannot be understood: one sentence, with what would be right.

The parser (typer's, which is click's) finds the mistakes; the sentences are ours, so that a misspelt option reads like
every other error. Its exceptions have no public names in every version of typer, so their parts are read by name.
"""

from __future__ import annotations

import re
from typing import Any, Final

import typer

from clew.errors import UsageError

__all__ = ["PARSER_ERROR", "explain", "help_of"]

PARSER_ERROR: Final[type[Exception]] = next(
    base for base in typer.BadParameter.__mro__ if base.__name__ == "UsageError"
)
"""What the parser raises."""

_QUOTED: Final = re.compile(r"No such command '(.*?)'", re.DOTALL)
_EXTRA: Final = re.compile(r"unexpected extra arguments? ?(?:\(s\) )?\((.*)\)", re.DOTALL)
_EXAMPLE: Final = re.compile(r"Example:\s+(\S.*?)\s*(?:\n\n|\Z)", re.DOTALL)


def help_of(error: Exception) -> str:
    """Return the help that the parser raises where a group is called without a command; empty for other errors."""
    return str(getattr(error, "message", "")) if type(error).__name__.startswith("NoArgsIsHelp") else ""


def explain(error: Exception) -> UsageError:
    """Turn a ``PARSER_ERROR`` into our sentence.

    Args:
        error: What the parser raised.

    Returns:
        What was wrong; its hint says what would be right.
    """
    from clew.questions.kinds import did_you_mean  # with the language of queries, which most commands do without

    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "clew"
    option = str(getattr(error, "option_name", ""))
    if type(error).__name__ == "NoSuchOption":
        options = _options(context)
        near = did_you_mean(option.lstrip("-"), [name[2:] for name in options]).replace("mean ", "mean --")
        known = f"the options are {', '.join(options)}" if options else ""
        return UsageError(f"{path} has no option {option[:40]}", hint=f"{near}{known}")
    if option:
        needs = "needs a value" if "require" in _message(error) else "takes no value"
        return UsageError(f"{option[:40]} {needs}", hint=_example(context))
    if command := _QUOTED.search(_message(error)):
        names: list[str] = context.command.list_commands(context) if context is not None else []
        hint = f"{did_you_mean(command[1], names)}the commands are {', '.join(names)}"
        return UsageError(f"{path} has no command {command[1][:40]!r}", hint=hint)
    if extra := _EXTRA.search(_message(error)):
        return UsageError(f"{path} does not take the argument {extra[1][:40]!r}", hint=_example(context))
    return _explain_value(error, context)


def _explain_value(error: Exception, context: Any) -> UsageError:
    """Say which argument is missing, or which value is none."""
    parameter = getattr(error, "param", None)
    if parameter is None:
        return UsageError(_message(error).rstrip("."), hint=_example(context))
    name = parameter.opts[0] if parameter.param_type_name == "option" else parameter.metavar or parameter.name.upper()
    if type(error).__name__ == "MissingParameter":
        return UsageError(f"{name} is missing", hint=_example(context))
    reason = _message(error).rstrip(".")
    return UsageError(f"the value of {name} is not valid: {reason[:1].lower()}{reason[1:]}", hint=_example(context))


def _message(error: Exception) -> str:
    return str(getattr(error, "message", error))


def _options(context: Any) -> list[str]:
    if context is None:
        return []
    options = [one for one in context.command.params if one.param_type_name == "option" and not one.hidden]
    return [*(name for one in options for name in one.opts if name.startswith("--")), "--help"]


def _example(context: Any) -> str:
    """Quote the example of the command's help."""
    found = _EXAMPLE.search((context.command.help or "") if context is not None else "")
    return f"for example: {' '.join(found[1].split())}" if found else ""
