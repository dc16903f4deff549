"""Who may import whom, and what an import costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import grimp

import clew

ROOT = Path(__file__).parents[2]
NEW_MODULES = """
import sys
before = set(sys.modules)
import clew
print(*(set(sys.modules) - before))
"""


def imported_by_clew() -> set[str]:
    """Name the modules that `import clew` adds to a fresh interpreter."""
    ran = subprocess.run([sys.executable, "-I", "-c", NEW_MODULES], capture_output=True, check=True, text=True)
    return set(ran.stdout.split())


def test_the_import_contracts_hold() -> None:
    """The arrows between packages point down, as pyproject.toml declares them."""
    # In a process of its own: it sets up logging, and thereby silences every logger that there is.
    program = str(Path(sys.executable).with_name("lint-imports"))
    ran = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, check=False, text=True)

    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_nobody_imports_the_root_from_inside() -> None:
    """The root re-exports; a module that needs something imports it from where it is."""
    importers = grimp.build_graph("clew", cache_dir=None).find_modules_that_directly_import("clew")

    # The demo is an application: it uses what users use.
    assert {name for name in importers if not name.startswith("clew.demo")} == set()


def test_importing_clew_is_cheap() -> None:
    """At most a hundred new modules, and none that brings an event loop or the network along."""
    new = imported_by_clew() - {"_tokenize"}  # the other half of tokenize, a module of its own since Python 3.12

    assert len(new) <= 100, sorted(new)
    assert not {"asyncio", "ssl", "http", "logging", "socket"} & new


def test_the_core_needs_msgspec_alone() -> None:
    """A fresh interpreter that imports clew has loaded nothing else from outside the standard library."""
    tops = {name.partition(".")[0] for name in imported_by_clew()}

    # msgspec takes typing_extensions where some other package brought it along, and does without elsewhere.
    assert tops - set(sys.stdlib_module_names) - {"typing_extensions"} == {"clew", "msgspec"}


def test_an_application_loads_the_catalogue_of_events_alone() -> None:
    """What is measured, and what costs are paid for, is needed where events arrive, not where they are made."""
    loaded = {name for name in imported_by_clew() if name.startswith("clew.catalog.")}

    assert loaded == {"clew.catalog.events"}


def test_importing_clew_has_no_effect() -> None:
    """No thread, no file, no environment read: nothing happens before something is asked for."""
    code = (
        "import os, sys, threading\n"
        "class Watched(dict):\n"
        "    def __getitem__(self, key): raise SystemExit(f'read {key}')\n"
        "    get = __getitem__\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, args: opened.append(args) if event == 'open' and 'w' in str(args[1]) else None)\n"
        "os.environ = Watched()\n"
        "import clew\n"
        "sys.exit(threading.active_count() - 1 or bool(opened))\n"
    )

    ran = subprocess.run([sys.executable, "-I", "-B", "-c", code], capture_output=True, check=False, text=True)

    assert (ran.returncode, ran.stderr) == (0, "")


def test_the_root_is_small_and_sorted() -> None:
    """At most fifteen names, in order, each of them there."""
    assert clew.__all__ == sorted(clew.__all__)
    assert len(clew.__all__) <= 15
    assert all(hasattr(clew, name) for name in clew.__all__)
