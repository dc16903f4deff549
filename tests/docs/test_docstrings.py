"""The examples in docstrings are true."""

from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

import clew
from clew.emit import process

if TYPE_CHECKING:
    from pathlib import Path

MODULES = sorted(
    module.name for module in pkgutil.walk_packages(clew.__path__, "clew.") if not module.name.endswith("__main__")
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_hold(name: str, tmp_path: Path) -> None:
    """Every example in a docstring gives what it says it gives."""
    with process.isolated(data_dir=tmp_path, spool_dir=tmp_path / "spool", agent="external"):
        outcome = doctest.testmod(import_module(name), optionflags=doctest.ELLIPSIS)

    assert outcome.failed == 0
