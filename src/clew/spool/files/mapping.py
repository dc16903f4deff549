"""Map a file into memory without keeping a descriptor of it.

``mmap.mmap`` duplicates the descriptor that it is given, and closes that number when the map goes: by then it may be a
file of the application's, which has closed all descriptors and opened its own. Python 3.13 can do without
(``trackfd``). Before that, an anonymous map, which has no descriptor, is made, and the file is mapped
over its pages: for Python it stays the same object, so a store is still one atomic call.

Source:
    mmap(2), ``MAP_FIXED``; https://github.com/python/cpython/issues/78502.
"""

from __future__ import annotations

import mmap
import os
import sys
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["map_file"]

_MAP_SHARED: Final = 0x01
_MAP_FIXED: Final = 0x10


def map_file(fd: int, size_bytes: int) -> mmap.mmap:
    """Map the first *size_bytes* of a file, writable and shared; *fd* may be closed afterwards.

    Raises:
        OSError: The kernel refuses, for want of memory for one.
    """
    if sys.version_info >= (3, 13):
        return mmap.mmap(fd, size_bytes, trackfd=False)
    remap = _remap()
    if remap is None:
        return mmap.mmap(fd, size_bytes)
    pages = mmap.mmap(-1, size_bytes)
    code = remap(pages, size_bytes, fd)
    if code:
        pages.close()
        raise OSError(code, os.strerror(code))
    return pages


@cache
def _remap() -> Callable[[mmap.mmap, int, int], int] | None:
    """Return what maps a file over the pages of an anonymous map, and returns 0 or an ``errno``.

    None in a Python that was built without ctypes: there the number is kept after all. Kept, since a log may be opened
    while the interpreter ends, when nothing can be imported any more.
    """
    try:
        from ctypes import CDLL, addressof, c_char, c_int, c_long, c_size_t, c_void_p, get_errno
    except ImportError:
        return None
    call = CDLL(None, use_errno=True).mmap
    call.restype = c_void_p
    call.argtypes = [c_void_p, c_size_t, c_int, c_int, c_int, c_long]
    protection, flags = mmap.PROT_READ | mmap.PROT_WRITE, _MAP_SHARED | _MAP_FIXED

    def remap(pages: mmap.mmap, size_bytes: int, fd: int) -> int:
        address = addressof(c_char.from_buffer(pages))
        return 0 if call(address, size_bytes, protection, flags, fd, 0) == address else get_errno()

    return remap
