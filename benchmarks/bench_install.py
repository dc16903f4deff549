"""How light clew is to install and to start.

    python -m benchmarks.bench_install [--start-only]

Installs ``clew[agent,server]`` from the checkout into a fresh venv, without pip's cache (so the
network is in the figure), then starts ``clew up`` from that venv twice on one data directory: the first
start creates the database. Ready means that ``GET /readyz`` answers 200. Memory is read a little later,
idle: resident for clew, proportional (shared pages counted once) for PostgreSQL.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv
from pathlib import Path
from typing import Any

import psutil

from benchmarks.machine import ROOT, SCRATCH, describe
from benchmarks.report import install_page

__all__ = ["main", "run"]

EXTRAS = "agent,server"
READY_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0
SETTLE_S = 2.0
POLL_S = 0.01


def run(*, with_install: bool = True) -> dict[str, Any]:
    """Measure.

    Args:
        with_install: Install into a fresh venv; else ``clew`` of this interpreter is started.

    Returns:
        ``machine``, and in seconds and MB (10⁶ bytes): ``install_s``, ``size_mb``,
        ``first_start_s``, ``second_start_s``, ``clew_mb``, ``postgres_mb``; what could not be measured
        is missing.
    """
    SCRATCH.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(dir=SCRATCH))
    found: dict[str, Any] = {"machine": describe()}
    try:
        python = Path(sys.executable)
        if with_install:
            python = _create_venv(place / "venv")
            found |= _install(python, place / "venv")
        first = _start(python, place / "data")
        second = _start(python, place / "data")
        found["first_start_s"], found["second_start_s"] = first["ready_s"], second["ready_s"]
        found["clew_mb"], found["postgres_mb"] = second["clew_mb"], second["postgres_mb"]
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return found


def _create_venv(directory: Path) -> Path:
    venv.create(directory, with_pip=True)
    return directory / "bin" / "python"


def _install(python: Path, directory: Path) -> dict[str, float]:
    before = _size_mb(directory)
    began = time.perf_counter()
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-cache-dir", f"{ROOT}[{EXTRAS}]"], cwd=directory, check=True
    )
    return {"install_s": time.perf_counter() - began, "size_mb": _size_mb(directory) - before}


def _start(python: Path, data: Path) -> dict[str, float]:
    """Start ``clew up`` until it is ready, read its memory, stop it."""
    port = _free_port()
    began = time.perf_counter()
    up = subprocess.Popen(
        [python, "-m", "clew", "up", "--data", str(data), "--port", str(port)],
        cwd=data.parent,
        stdout=subprocess.DEVNULL,
    )
    try:
        _wait_until_ready(f"http://127.0.0.1:{port}/readyz", up, began + READY_TIMEOUT_S)
        ready_s = time.perf_counter() - began
        time.sleep(SETTLE_S)
        return {"ready_s": ready_s, **_memory(up.pid, data)}
    finally:
        up.send_signal(signal.SIGINT)
        try:
            up.wait(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            up.kill()
            up.wait()


def _wait_until_ready(url: str, up: subprocess.Popen[bytes], deadline: float) -> None:
    while time.perf_counter() < deadline:
        if up.poll() is not None:
            raise SystemExit(f"clew up ended with {up.returncode} before it was ready")
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(POLL_S)
    raise SystemExit(f"clew up was not ready after {READY_TIMEOUT_S:.0f} s")


def _memory(pid: int, data: Path) -> dict[str, float]:
    """Read the memory of clew's processes and of PostgreSQL's, in MB."""
    postmaster = int((data / "postgres" / "postmaster.pid").read_text("utf-8").splitlines()[0])
    postgres = _family(postmaster)
    ours = [process for process in _family(pid) if process not in postgres]
    return {
        "clew_mb": sum(process.memory_info().rss for process in ours) / 1e6,
        "postgres_mb": sum(process.memory_full_info().pss for process in postgres) / 1e6,
    }


def _family(pid: int) -> list[psutil.Process]:
    head = psutil.Process(pid)
    return [head, *head.children(recursive=True)]


def _size_mb(directory: Path) -> float:
    return sum(path.lstat().st_size for path in directory.rglob("*") if not path.is_dir()) / 1e6


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main(arguments: list[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bench_install", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--start-only", action="store_true", help="do not install; start what is installed here")
    parser.add_argument("--json", type=Path, help="keep the raw figures in this file as well")
    told = parser.parse_args(arguments)
    found = run(with_install=not told.start_only)
    if told.json:
        told.json.write_text(json.dumps(found, indent=1) + "\n")
    print(install_page(found))


if __name__ == "__main__":
    main()
