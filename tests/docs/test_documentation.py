"""What the documentation shows works: code runs, commands and settings exist, links lead somewhere."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
from tools.fix_docs import PAGES, REFERENCE

from clew import config
from clew.agent.pricing.price_file import read_prices
from clew.cli.registry import root
from clew.config import Settings
from clew.config.alerts import AlertSettings

ROOT = Path(__file__).parents[2]
TEXTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
WRITTEN = [path for path in TEXTS if not (path.parent == REFERENCE and path.name in PAGES)]
"""The pages that people wrote; the others are compared with the code elsewhere."""

OTHER_VARIABLES = {"CLEW_CONFIG", "CLEW_DEBUG", "CLEW_TEST_DSN"}


class Block(NamedTuple):
    """One block of code of a page."""

    path: Path
    number: int
    language: str
    code: str

    def __str__(self) -> str:
        """Name it in test ids."""
        return f"{self.path.relative_to(ROOT)}-{self.number}"


def blocks(language: str) -> list[Block]:
    """Find every block of a language in the pages that people wrote."""
    return [
        Block(path, number, found[1], found[2])
        for path in WRITTEN
        for number, found in enumerate(
            re.finditer(r"^```(\w*)\n(.*?)^```$", path.read_text("utf-8"), re.MULTILINE | re.DOTALL)
        )
        if found[1] == language
    ]


PROGRAMS = [block for block in blocks("python") if re.match(r"import |from ", block.code)]
"""The blocks of Python that stand on their own: those that begin with their imports."""

COMMANDS = [
    (str(block), found[1].partition(" #")[0].rstrip("& "))
    for block in blocks("console")
    for found in re.finditer(r"^\$ (?:[A-Z_]+=\S+ )*clew (.+)$", block.code, re.MULTILINE)
]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Give the environment of a user who has set nothing but the data directory, and runs agents himself."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CLEW_")}
    return {**kept, "CLEW_DATA_DIR": str(tmp_path), "CLEW_AGENT": "external"}


def run(environment: dict[str, str], *arguments: str) -> str:
    """Run Python to its end; return what it printed."""
    ran = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, check=False, text=True)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout
    return ran.stdout


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_a_documented_program_runs(program: Block, environment: dict[str, str]) -> None:
    """Every block of Python that stands on its own runs, and so do the tests in it."""
    tests = re.findall(r"^def (test_\w+)\(\)", program.code, re.MULTILINE)

    run(environment, "-W", "error", "-c", "\n".join([program.code, *(f"{test}()" for test in tests)]))


def test_the_quick_start_does_what_the_readme_says(environment: dict[str, str], postgres: str) -> None:
    """Its events reach the store, and `clew trace` shows the README's tree, but for ids, times and lengths."""
    program = next(block for block in PROGRAMS if block.path.name == "README.md")
    shown = next(
        block.code for block in blocks("console") if block.path.name == "README.md" and "clew trace" in block.code
    )
    tree_shown = re.split(r"^\$ clew (?:trace|logs) .*$", shown, flags=re.MULTILINE)[1]

    *_, trace_id = run(environment, "-c", program.code).split()
    shipped = {**environment, "CLEW_DSN": postgres, "CLEW_SINKS": "prometheus", "COLUMNS": "120"}  # as `clew up` ships
    subprocess.run(
        [sys.executable, "-m", "clew", "agent", "--until-idle"],
        env=shipped,
        capture_output=True,
        check=True,
        timeout=60,
    )

    assert _form(run(shipped, "-m", "clew", "trace", trace_id)) == _form(tree_shown)
    assert "generation_complete" in run(shipped, "-m", "clew", "logs", "--user", "user-123")


def _form(text: str) -> list[str]:
    """Give the lines of a trace without what differs from run to run."""
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z|\d\d:\d\d:\d\d\.\d{3}", "TIME", text)
    text = re.sub(r"\b[\d.]+ (?:ms|s)\b", "LENGTH", text)
    text = re.sub(r"[\u2580-\u259f]+", "", text)
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def test_the_bytes_of_the_spool_are_drawn_as_in_the_code() -> None:
    """Every diagram of bytes on the page of the spool stands in the module that writes those bytes."""
    page = (ROOT / "docs/explanation/spool.md").read_text("utf-8")
    diagrams = [found for found in re.findall(r"^```\n(.*?)^```$", page, re.MULTILINE | re.DOTALL) if "┌" in found]
    code = "".join(path.read_text("utf-8") for path in sorted((ROOT / "src/clew/spool").glob("*.py")))

    assert diagrams
    assert [diagram for diagram in diagrams if textwrap.indent(diagram, "    ") not in code] == []


@pytest.mark.parametrize("block", blocks("sql"), ids=str)
def test_documented_sql_runs(block: Block, postgres: str) -> None:
    """Every documented query is one that the store understands."""
    with psycopg.connect(postgres) as connection:
        for statement in filter(str.strip, block.code.split(";\n")):
            connection.execute(statement.encode())


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_documented_settings_load(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every documented `clew.toml` is one; what is for other files is not ours to judge."""
    if block.code.startswith("[project"):
        return
    if "[[price]]" in block.code:
        (tmp_path / "prices.toml").write_text(block.code, "utf-8")
        assert read_prices(tmp_path / "prices.toml")
        return
    (tmp_path / "clew.toml").write_text(block.code, "utf-8")
    monkeypatch.setenv("CLEW_CONFIG", str(tmp_path / "clew.toml"))

    assert config.load().service


@pytest.mark.parametrize(("where", "line"), COMMANDS, ids=[f"{where}:{line}" for where, line in COMMANDS])
def test_documented_commands_exist(where: str, line: str) -> None:
    """Every `clew …` in a console block names a command, and options that it has."""
    words = shlex.split(line)
    command = root().get_command(None, words.pop(0))
    assert command is not None, where
    if hasattr(command, "commands"):
        command = command.commands[words.pop(0)]

    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    assert {word for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_documented_variables_and_metrics_exist(path: Path) -> None:
    """Every `CLEW_…` is a setting, and every `clew_agent_…` and `clew_server_…` a metric."""
    text = path.read_text("utf-8")
    settings = {
        config.PREFIX + name.upper() for name in (*Settings.__struct_fields__, *AlertSettings.__struct_fields__)
    }
    metrics = (REFERENCE / "metrics.md").read_text("utf-8")

    assert set(re.findall(r"\bCLEW_[A-Z_]+\b", text)) <= settings | OTHER_VARIABLES
    assert [name for name in re.findall(r"\bclew_(?:agent|server)_[a-z_]+", text) if f"`{name}`" not in metrics] == []


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    """Every link to a file of the repository leads to one."""
    prose = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", prose)

    assert [target for target in targets if not (path.parent / target).exists()] == []
