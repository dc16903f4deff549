"""Remove a directory in which somebody is at work."""

from __future__ import annotations

import errno
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["remove_tree"]


def remove_tree(directory: Path) -> None:
    """Remove a directory whose process makes files in it meanwhile, as a person does: again if it is not empty."""
    for _ in range(100):
        try:
            shutil.rmtree(directory)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
        else:
            return
    raise AssertionError(directory)
