"""A mark tells the process that set it from those forked off it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from clew import forks

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("make", [forks.new_mark, forks.PidMark])
def test_a_mark_is_not_set_in_a_forked_child(make: Callable[[], forks.ForkMark]) -> None:
    """What a process has set is 1 there and 0 in its child, which may set it for itself."""
    mark = make()
    before = mark[0]
    mark[0] = 1

    child = os.fork()
    if child == 0:
        inherited = mark[0]
        mark[0] = 1
        os._exit(2 * inherited + mark[0])
    _, status = os.waitpid(child, 0)

    assert before == 0
    assert mark[0] == 1
    assert os.waitstatus_to_exitcode(status) == 1
