"""House rules that a linter cannot say."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PYTHON_OF_TESTS = sorted((ROOT / "tests").rglob("*.py"))
TESTS = [path for path in PYTHON_OF_TESTS if path.name.startswith("test_")]
BROAD_EXCEPTS = {
    "clew/emit/process.py": "the emit guard",
    "clew/emit/failure.py": "foreign code: the parts of an exception",
    "clew/emit/safe/foreign.py": "foreign code: whatever the values, exceptions and hooks of the application bring along",
    "clew/emit/logger.py": "the emit guard, for what a logger does before it",
    "clew/emit/record.py": "foreign code: the names of fields",
    "clew/emit/sanitize.py": "foreign code: values, wherever that of theirs fails",
    "clew/emit/spans.py": "the emit guard, for what a span does before it",
    "clew/emit/state.py": "the emit guard, where a log is opened, an agent started, and a loss described",
    "clew/emit/tracing.py": "the user's functions process_inputs, process_outputs and reduce_fn; what a generator throws",
    "clew/emit/values.py": "foreign code: the keys of dicts",
    "clew/emit/redact/patterns.py": "the error type of re2, which exists only where it is installed",
    "clew/agent/sinks.py": "foreign code: the sinks of other packages, made and closed",
    "clew/agent/worker.py": "the worker loop",
    "clew/agent/maintenance.py": "the loop of the worker that looks after the store",
    "clew/alerts/runner.py": "the loop of a worker: it goes on whatever one evaluation meets",
    "clew/alerts/notify/apprise.py": "Apprise and its plugins raise just about anything",
    "clew/alerts/notify/outbox.py": "a receiver, which may be anybody's code: it must not stop the others",
    "clew/integrations/fastapi.py": "the user's function that names users; the host's exceptions are re-raised",
    "clew/cli/main.py": "the edge of the command line",
    "clew/demo/ingestion/parse.py": "a damaged PDF makes pypdf raise just about anything",
}
"""Where `except Exception` stands without handing the same exception on, and why."""

WAITS = {
    "support/filler.py": "between two attempts, until a full spool refuses; a program of its own",
    "e2e/test_flood.py": "between two looks at whether a real server has come up",
    "unit/integrations/test_fastapi.py": "an application that streams slowly, and one that never ends",
}
"""Where a test's file waits for a length of time, and for what."""

REPLACED_FUNCTIONS = {
    "unit/agent/test_supervisor.py": "a machine that starts no more threads; no limit of that binds root",
    "unit/spool/test_reader.py": "a read that overlaps a write, at the moment that matters",
    "unit/spool/test_writer.py": "a log that is closed at the moment that matters",
    "unit/store/postgres/test_following.py": "a clock that a minute without the store has passed on",
    "unit/store/postgres/server/test_binaries.py": "a machine without a wheel; a process without capabilities",
    "unit/store/postgres/server/test_embedded.py": "programs in a place that only root may enter",
}
"""Where a test replaces a function, and what cannot be brought about otherwise."""

CONSTANT_STATEMENTS = {
    "clew/store/postgres/server/embedded.py": "the name of our own database, where no parameter may stand"
}
"""Where a statement is put together from constants, and why."""

RENAMES = {
    "clew/spool/files/replace.py": "the one function that replaces a file",
    "clew/spool/home.py": "a lock that appears when it is held; a removed log, which appears whole",
    "clew/spool/kept.py": "segments and directories that are put aside, and come back; the target is never there",
    "clew/integrations/fastapi.py": "no file: a span gets the name of its route",
    "clew/store/postgres/server/embedded.py": "a new cluster, a directory; PostgreSQL's own log, set aside",
}
"""Where a file is renamed, and why; everybody else replaces one by ``clew.spool.files.replace``."""

LOOKS_LIKE_SQL = re.compile(
    r"\s*(SELECT\s|INSERT INTO\s|DELETE FROM\s|UPDATE \w+ SET\s|COPY \w|WITH \w+ AS\b|(CREATE|DROP|ALTER) [A-Z]+ )"
)
PATH_OF_A_PERSON = re.compile(r"(?<![\w.])/(?:home|Users|root|work)/(?!someone\b)[a-z]|/tmp/[a-z]*probe")
TEXT_SUFFIXES = {"", ".cfg", ".ini", ".md", ".py", ".sh", ".sql", ".toml", ".txt", ".yml"}


@cache
def parsed(path: Path) -> ast.Module:
    """Parse a module, once."""
    return ast.parse(path.read_text("utf-8"))


def place(path: Path) -> str:
    """Name a file of the sources or the tests as the lists above do."""
    return str(path.relative_to(ROOT / ("src" if path.is_relative_to(ROOT / "src") else "tests")))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Give every function of a module."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_every_module_says_what_it_is_for(path: Path) -> None:
    """A module opens with a docstring."""
    assert ast.get_docstring(parsed(path))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT / "tests")))
def test_every_test_is_one_sentence(path: Path) -> None:
    """A test's docstring says the behaviour that it checks."""
    untold = [
        function.name
        for function in functions(path)
        if function.name.startswith("test_") and not ast.get_docstring(function)
    ]

    assert untold == []


def test_nothing_is_mocked() -> None:
    """Parts that run here are used, never imitated."""
    offences = [
        place(path)
        for path in PYTHON_OF_TESTS
        for node in ast.walk(parsed(path))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        and {"mock", "unittest.mock", "pytest_mock"}
        & {getattr(node, "module", ""), *(name.name for name in node.names)}
    ]

    assert offences == []


def test_tests_wait_on_conditions() -> None:
    """Nobody sleeps for a length of time, but where it is declared; `sleep(0)` only lets others run."""
    found = {
        place(path)
        for path in PYTHON_OF_TESTS
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"time.sleep", "asyncio.sleep", "anyio.sleep", "sleep"}
        and not (node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0)
    }

    assert found == set(WAITS)


def test_functions_are_replaced_where_it_is_declared() -> None:
    """A test may set a bound lower; it does not put a function of its own in the place of ours."""
    found = {
        place(path)
        for path in PYTHON_OF_TESTS
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "monkeypatch.setattr"
        and ast.unparse(node.args[0]) != "sys"
        and (name := _replaced(node)).upper() != name
        and name != "tempdir"
    }

    assert found == set(REPLACED_FUNCTIONS)


def _replaced(call: ast.Call) -> str:
    """Name the attribute that ``monkeypatch.setattr(owner, "name", …)`` or ``("owner.name", …)`` replaces."""
    literal = next(argument for argument in call.args if isinstance(argument, ast.Constant))
    return str(literal.value).rpartition(".")[2]


def test_broad_excepts_stand_where_they_are_declared() -> None:
    """Catching everything is allowed at the boundaries, each with its reason; a reason without its case goes."""
    found = {place(path) for path in SOURCES for node in ast.walk(parsed(path)) if _swallows_everything(node)}

    assert found == set(BROAD_EXCEPTS)


def _swallows_everything(node: ast.AST) -> bool:
    """Whether *node* catches every exception, and does not hand on the one it caught."""
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
        return any(_is_broad(argument) for argument in node.args)
    if not isinstance(node, ast.ExceptHandler) or not (node.type is None or _is_broad(node.type)):
        return False
    return not any(isinstance(inner, ast.Raise) and inner.exc is None for inner in ast.walk(node))


def _is_broad(caught: ast.expr) -> bool:
    kinds = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(isinstance(kind, ast.Name) and kind.id in {"Exception", "BaseException"} for kind in kinds)


def test_no_path_of_a_developers_machine_is_in_the_repository() -> None:
    """What is checked in means the same everywhere."""
    folders = ("src", "tests", "docs", "examples", "tools", "benchmarks", "requirements", ".ci")
    texts = [path for path in ROOT.iterdir() if path.is_file()]
    texts += [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    named = [
        str(path.relative_to(ROOT))
        for path in sorted(texts)
        if path.suffix in TEXT_SUFFIXES and PATH_OF_A_PERSON.search(path.read_text("utf-8"))
    ]

    assert named == []


def test_files_are_replaced_by_one_function() -> None:
    """Nobody else renames a file over another one, or writes over one that is there; a reason without its case goes."""
    found = {place(path) for path in SOURCES for node in ast.walk(parsed(path)) if _replaces_a_file(node)}

    assert found == set(RENAMES)


def _replaces_a_file(node: ast.AST) -> bool:
    """Whether *node* is ``os.replace(…)`` or one like it, ``path.replace(other)``, or writes over a file."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    if ast.unparse(node.func) in {"os.replace", "os.rename", "os.renames", "os.link", "shutil.move"}:
        return True
    if node.func.attr in {"replace", "rename"}:  # of a text it has two arguments, of a time or a record named ones
        return len(node.args) == 1 and not node.keywords
    return node.func.attr in {"write_bytes", "write_text"}


def test_no_two_public_types_share_a_name() -> None:
    """One name is one type: a reader of ``Step`` need not ask which."""
    homes: dict[str, list[str]] = {}
    for path in SOURCES:
        for name in _public_types(parsed(path)):
            homes.setdefault(name, []).append(place(path))

    assert {name: places for name, places in homes.items() if len(places) > 1} == {}


def _public_types(module: ast.Module) -> list[str]:
    """Name the classes, and the aliases of types, that a module lists in ``__all__``."""
    public: set[str] = set()
    types: list[str] = []
    for node in module.body:
        match node:
            case ast.Assign(targets=[ast.Name("__all__")], value=ast.List(names)):
                public = {
                    name.value for name in names if isinstance(name, ast.Constant) and isinstance(name.value, str)
                }
            case ast.ClassDef(name=name) | ast.AnnAssign(target=ast.Name(name)) | ast.Assign(targets=[ast.Name(name)]):
                types.append(name)
            case _:
                pass
    return [name for name in types if name in public and name[0].isupper() and not name.isupper()]


def test_the_look_for_public_types_sees_classes_and_aliases() -> None:
    """A class, a plain alias and an annotated one are types; a constant, and what is not public, are none."""
    code = "__all__ = ['Span', 'Kind', 'Row', 'SIZE']\nclass Span: ...\nclass Other: ...\n"
    code += "Kind = str | int\nRow: TypeAlias = 'int'\nSIZE = 3\n"

    assert _public_types(ast.parse(code)) == ["Span", "Kind", "Row"]


def test_sql_is_never_put_together_from_values() -> None:
    """SQL stands in `.sql` files or in constants: it is in no f-string, and nothing is formatted into it."""
    found = {place(path) for path in SOURCES for node in ast.walk(parsed(path)) if _builds_sql(node)}

    assert found == set(CONSTANT_STATEMENTS)


def _builds_sql(node: ast.AST) -> bool:
    match node:
        case ast.JoinedStr(values=[ast.Constant(value=str(text)), _, *_]):
            return bool(LOOKS_LIKE_SQL.match(text))
        case ast.BinOp(left=ast.Constant(value=str(text)), op=ast.Add() | ast.Mod()):
            return bool(LOOKS_LIKE_SQL.match(text))
        case ast.Call(func=ast.Attribute(value=ast.Constant(value=str(text)), attr="format" | "format_map")):
            return bool(LOOKS_LIKE_SQL.match(text))
        case _:
            return False


@pytest.mark.parametrize(
    ("code", "builds"),
    [
        ("f'SELECT * FROM events WHERE id = {i}'", True),
        ("'DELETE FROM events WHERE id = ' + i", True),
        ("'SELECT %s' % i", True),
        ("'UPDATE events SET a = {}'.format(i)", True),
        ("f'{i} events'", False),
        ("'SELECT 1'", False),
        ("f'Select one of {names}'", False),
    ],
)
def test_the_look_for_built_sql_sees_it(code: str, builds: bool) -> None:
    """The rule above finds each way of putting a statement together."""
    assert _builds_sql(ast.parse(code, mode="eval").body) is builds


@pytest.mark.parametrize(
    ("code", "swallows"),
    [
        ("except Exception: pass", True),
        ("except: pass", True),
        ("except (OSError, Exception) as e: raise ValueError from e", True),
        ("except BaseException: raise", False),
        ("except OSError: pass", False),
    ],
)
def test_the_look_for_broad_excepts_sees_them(code: str, swallows: bool) -> None:
    """The rule above finds each way of catching everything."""
    (handler,) = (node for node in ast.walk(ast.parse(f"try: f()\n{code}")) if isinstance(node, ast.ExceptHandler))

    assert _swallows_everything(handler) is swallows


@pytest.mark.parametrize(
    ("code", "replaces"),
    [
        ("os.replace(temporary, path)", True),
        ("temporary.replace(path)", True),
        ("self._path.with_suffix('.tmp').rename(self._path)", True),
        ("path.write_bytes(raw)", True),
        ("text.replace('a', 'b')", False),
        ("now.replace(tzinfo=UTC)", False),
        ("replace(token, name='a')", False),
        ("replace_file(path, raw)", False),
    ],
)
def test_the_look_for_replaced_files_sees_them(code: str, replaces: bool) -> None:
    """The rule above finds each way of putting a file in the place of another."""
    assert _replaces_a_file(ast.parse(code, mode="eval").body) is replaces


def test_no_module_is_longer_than_a_reader_keeps_in_mind() -> None:
    """Five hundred lines at most, docstrings included; what grows beyond is cut by its ideas."""
    lines = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in SOURCES}

    assert {name: count for name, count in lines.items() if count > 500} == {}


def test_no_folder_is_a_drawer() -> None:
    """About fifteen modules a room, eighteen at most; the commands, one a file, are the exception."""
    modules = Counter(str(path.parent.relative_to(ROOT)) for path in SOURCES if path.name != "__init__.py")

    assert {name: count for name, count in modules.items() if count > 18} == {"src/clew/cli/commands": 24}
