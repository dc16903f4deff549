"""Become another user, then become another program.

PostgreSQL refuses to run as root, and rightly so. When clew runs as root this file is run as a
program of its own, in front of PostgreSQL's::

    python unprivileged.py UID GID CAPABILITY PROGRAM [ARGUMENT...]

It gives up root for ``UID`` and ``GID`` and executes ``PROGRAM``. ``CAPABILITY`` is ``-``, or the
name of the one Linux capability that is kept: with it the server may pass through directories
which only root may enter (``/root``, mode 0700, is where a container's data and virtual
environment usually are). The alternative would be to open those directories to everybody.

A process of its own, because ids and capabilities belong to threads: changing them inside a
running program, or between its fork and exec, is not safe. Imports the standard library only
and needs no installed package: it is executed by path.

Source:
    capabilities(7), "Ambient capabilities"; prctl(2).
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CAPABILITIES", "become"]

CAPABILITIES: Final = {"dac_override": 1, "dac_read_search": 2}
"""Linux capabilities that let a process pass directories it has no permission for, by number."""

_PR_SET_SECUREBITS = 28
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAPABILITY_VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def become(uid: int, gid: int, capability: str | None = None) -> None:
    """Give up root for good, keeping at most one capability across the next ``exec``.

    Args:
        uid: The user to become.
        gid: The group to become; there are no other groups.
        capability: A name of ``CAPABILITIES``, or None.

    Raises:
        OSError: The system does not allow it.

    Threads:
        Only for a process with one thread.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if capability is not None:
        # Keeps capabilities over the change of the user, and has access(2) count them: initdb asks
        # with it whether the other programs are there.
        _call(libc.prctl, _PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if capability is None:
        return
    number = CAPABILITIES[capability]
    low = _Sets(1 << number, 1 << number, 1 << number)
    header, sets = _Header(_CAPABILITY_VERSION_3, 0), (_Sets * 2)(low, _Sets(0, 0, 0))
    _call(libc.capset, ctypes.byref(header), ctypes.byref(sets))
    _call(libc.prctl, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number, 0, 0)


def _call(function: Callable[..., int], *arguments: object) -> None:
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _main(arguments: list[str]) -> None:
    uid, gid, capability, program = arguments[:4]
    try:
        become(int(uid), int(gid), None if capability == "-" else capability)
        os.execv(program, arguments[3:])  # noqa: S606 - the caller names the program by its full path
    except OSError as error:
        sys.exit(f"cannot run {program} as user {uid}: {error.strerror}")


if __name__ == "__main__":
    _main(sys.argv[1:])
