"""A segment that nobody writes to any more gives its room back, and no record with it."""

from __future__ import annotations

import mmap
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.spool.files.disk import allocated_bytes
from clew.spool.format import HEADER_BYTES, MAGIC, RECORD_HEADER_BYTES, SegmentHeader, pack_record
from clew.spool.segment import TRIM_STEP_BYTES, trim

HEADER = SegmentHeader(1, b"p" * 16, 1, 1, 4 * TRIM_STEP_BYTES).pack()


def _trimmed(written: bytes, zeros: int) -> bytes:
    """Trim a segment; return what it holds, once it is certain that it takes no more room than that."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "segment"
        path.write_bytes(written + b"\0" * zeros)
        trim(path)
        assert allocated_bytes(path.stat()) <= len(written) + mmap.PAGESIZE
        return path.read_bytes()


@given(
    beyond_step=st.integers(-RECORD_HEADER_BYTES - 4, RECORD_HEADER_BYTES + 4),
    last=st.sampled_from([b"", b"{}", b"\0", b"\0" * (TRIM_STEP_BYTES + 5), b"x" * TRIM_STEP_BYTES]),
    zeros=st.sampled_from([0, 1, TRIM_STEP_BYTES - 1, TRIM_STEP_BYTES, 2 * TRIM_STEP_BYTES + 3]),
)
def test_trimming_keeps_every_record_wherever_its_steps_fall(beyond_step: int, last: bytes, zeros: int) -> None:
    """The last record begins at any place around the border of a step."""
    first = b"x" * (TRIM_STEP_BYTES - HEADER_BYTES - RECORD_HEADER_BYTES + beyond_step)
    written = HEADER + b"".join(pack_record(MAGIC, len(payload), 0) + payload for payload in (first, last))

    assert _trimmed(written, zeros) == written + bytes(zeros)


@pytest.mark.parametrize("zeros", [0, 1, 3 * TRIM_STEP_BYTES])
def test_a_segment_without_records_keeps_its_header(zeros: int) -> None:
    """Zeros behind the header are no record."""
    assert _trimmed(HEADER, zeros) == HEADER + bytes(zeros)


def test_a_process_that_has_a_trimmed_segment_mapped_lives_on(tmp_path: Path) -> None:
    """A store behind the end of the records is no SIGBUS, and is read; so is what was there before."""
    path = tmp_path / "segment"
    path.write_bytes(HEADER + b"record" + bytes(4 * TRIM_STEP_BYTES))
    program = f"""
import mmap, sys
from pathlib import Path
from clew.spool.segment import trim
with open({str(path)!r}, "r+b") as file:
    pages = mmap.mmap(file.fileno(), 0)
trim(Path({str(path)!r}))
pages[2 * {TRIM_STEP_BYTES}] = 7
print(pages[{HEADER_BYTES}:{HEADER_BYTES} + 6].decode(), Path({str(path)!r}).read_bytes()[2 * {TRIM_STEP_BYTES}])
"""

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, text=True)

    assert (ran.returncode, ran.stdout) == (0, "record 7\n")
