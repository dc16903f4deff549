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
from typing import Final

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
    try:
        import ctypes
    except ImportError:  # a Python that was built without: the number is then kept after all
        return mmap.mmap(fd, size_bytes)
    pages = mmap.mmap(-1, size_bytes)
    address = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    call = ctypes.CDLL(None, use_errno=True).mmap
    call.restype = ctypes.c_void_p
    call.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    if call(address, size_bytes, protection, _MAP_SHARED | _MAP_FIXED, fd, 0) != address:
        code = ctypes.get_errno()
        pages.close()
        raise OSError(code, os.strerror(code))
    return pages
