"""House rules that a linter cannot say."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
BROAD_EXCEPTS = {
    "clew/process.py": "the emit guard",
    "clew/sanitize.py": "foreign code: the repr and the message of any object, inside the emit guard",
    "clew/record.py": "foreign code, inside the emit guard",
    "clew/tracing.py": "the user's functions process_inputs, process_outputs and reduce_fn; what a generator throws",
    "clew/redact.py": "the error type of re2, which exists only where it is installed",
    "clew/agent/worker.py": "the worker loop",
    "clew/integrations/fastapi.py": "the user's function that names users; the host's exceptions are re-raised",
    "clew/cli/main.py": "the edge of the command line",
    "clew/server/errors.py": "the edge of the server",
}
"""Where `except Exception` may stand, and why."""


CONSTANT_STATEMENTS = {"embedded.py": "the name of our own database, a constant, where no parameter may stand"}
"""Modules that build a statement from a constant, and why."""


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Give every function of a module."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_every_module_says_what_it_is_for(path: Path) -> None:
    """A module opens with a docstring."""
    assert ast.get_docstring(ast.parse(path.read_text("utf-8")))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT / "tests")))
def test_every_test_is_one_sentence(path: Path) -> None:
    """A test's docstring says the behaviour that it checks."""
    untold = [
        function.name
        for function in functions(path)
        if function.name.startswith("test_") and not ast.get_docstring(function)
    ]

    assert untold == []


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT / "tests")))
def test_tests_wait_on_conditions_and_use_real_parts(path: Path) -> None:
    """No sleep in a test, and no mock of a part that runs here."""
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    imported = {
        name
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
    }

    calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert "time.sleep" not in calls
    assert not {"unittest.mock", "mock"} & imported


def test_broad_excepts_stand_where_they_are_declared() -> None:
    """Catching everything is allowed at the boundaries, each with its reason."""
    found = {
        str(path.relative_to(ROOT / "src"))
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"}))
        and not any(isinstance(inner, ast.Raise) and inner.exc is None for inner in ast.walk(node))
    }

    assert {name for name in found if not name.startswith("clew/demo/")} <= set(BROAD_EXCEPTS)


def test_no_path_of_a_developers_machine_is_in_the_repository() -> None:
    """What is checked in means the same everywhere."""
    suspicious = re.compile(r"/(?:home|Users|root)/[a-z]|/tmp/[a-z]*probe")
    named = [
        str(path.relative_to(ROOT))
        for folder in ("src", "docs", "examples", "tools", "benchmarks", "requirements")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in {".py", ".md", ".txt", ".toml", ".sh", ".sql"} and suspicious.search(path.read_text("utf-8"))
    ]

    assert named == []


def test_sql_is_never_put_together_from_values() -> None:
    """No f-string and no formatting in an argument of `execute`; values are parameters."""
    offences = [
        f"{path.name}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"execute", "executemany"}
        and node.args
        and isinstance(node.args[0], (ast.JoinedStr, ast.BinOp))
        and path.name not in CONSTANT_STATEMENTS
    ]

    assert offences == []
