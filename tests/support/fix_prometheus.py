"""A real Prometheus, Alertmanager and Pushgateway: Debian's programs, started on loopback for one test.

They are packages (``tools/debian_packages.sh``), which ``make test`` installs as root.

Fixtures:
    ``prometheus``: Starts Prometheus on a list of targets, with exemplars and our rules, or others.
    ``alertmanager``: Starts Alertmanager with a configuration.
    ``pushgateway``: URL of a Pushgateway.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode

import pytest
from msgspec import json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "clew-rules.yml"
PATIENCE_S = 30.0
CONFIG = """
global: {{scrape_interval: 200ms, evaluation_interval: {interval}}}
storage: {{exemplars: {{max_exemplars: 1000}}}}
rule_files: [{rules}]
alerting: {{alertmanagers: [{{static_configs: [{{targets: {alertmanagers}}}]}}]}}
scrape_configs:
  - job_name: clew
    honor_labels: true
    static_configs: [{{targets: {targets}}}]
"""


class Prometheus:
    """A Prometheus that runs.

    Args:
        url: Where it answers.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expression: str) -> dict[tuple[tuple[str, str], ...], float]:
        """Return the values of an instant query by their labels, those of the scrape left out."""
        left_out = {"__name__", "job", "instance"}
        found = self._ask("query", query=expression)["result"]
        return {
            tuple(sorted((name, text) for name, text in one["metric"].items() if name not in left_out)): float(
                one["value"][1]
            )
            for one in found
        }

    def exemplars(self, expression: str) -> list[dict[str, Any]]:
        """Return the exemplars of the last ten minutes of all series that an expression names."""
        now = time.time()
        found = self._ask("query_exemplars", query=expression, start=now - 600, end=now + 600)
        return [exemplar for series in found for exemplar in series["exemplars"]]

    def wait_for(self, expression: str, is_so: Callable[[dict[Any, float]], bool]) -> dict[Any, float]:
        """Ask until the answer is as wanted."""
        return _wait(lambda: self.query(expression), is_so, expression)

    def _ask(self, what: str, **parameters: Any) -> Any:
        with urllib.request.urlopen(f"{self.url}/api/v1/{what}?{urlencode(parameters)}", timeout=10) as answer:
            return json.decode(answer.read())["data"]


class StartPrometheus(Protocol):
    """Start a Prometheus that scrapes *targets*, each ``host:port``."""

    def __call__(self, *targets: str, rules: Path = RULES, alertmanager: str = "") -> Prometheus:
        """Return it once it is ready; *alertmanager* is the ``host:port`` that gets its alerts."""
        ...


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[StartPrometheus]:
    """Return a function that starts a Prometheus, which ends with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*targets: str, rules: Path = RULES, alertmanager: str = "") -> Prometheus:
        address = f"127.0.0.1:{free_port()}"
        config = tmp_path / "prometheus.yml"
        alertmanagers = json.encode([alertmanager] if alertmanager else []).decode()
        interval = "1s" if rules == RULES else "500ms"  # ours are many
        values = {"rules": rules, "alertmanagers": alertmanagers, "interval": interval}
        config.write_text(CONFIG.format(targets=json.encode(targets).decode(), **values))
        command = [program("prometheus", "prometheus"), f"--config.file={config}", f"--web.listen-address={address}"]
        command += [f"--storage.tsdb.path={tmp_path / 'tsdb'}", "--enable-feature=exemplar-storage", "--log.level=warn"]
        started.append(subprocess.Popen(command))
        _wait_until_ready(f"http://{address}/-/ready")
        return Prometheus(f"http://{address}")

    yield start
    for process in started:
        process.terminate()
        process.wait()


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[Callable[[Path], str]]:
    """Return a function that starts an Alertmanager, which ends with the test, and returns its ``host:port``."""
    started: list[subprocess.Popen[bytes]] = []

    def start(config: Path) -> str:
        address = f"127.0.0.1:{free_port()}"
        command = [program("prometheus-alertmanager", "prometheus-alertmanager"), f"--config.file={config}"]
        command += [f"--storage.path={tmp_path / 'alertmanager'}", f"--web.listen-address={address}"]
        started.append(subprocess.Popen([*command, "--cluster.listen-address=", "--log.level=warn"]))
        _wait_until_ready(f"http://{address}/-/ready")
        return address

    yield start
    for process in started:
        process.terminate()
        process.wait()


@pytest.fixture
def pushgateway() -> Iterator[str]:
    """Start a Pushgateway, which ends with the test."""
    address = f"127.0.0.1:{free_port()}"
    command = [program("prometheus-pushgateway", "prometheus-pushgateway"), f"--web.listen-address={address}"]
    process = subprocess.Popen([*command, "--persistence.file=", "--log.level=error"])
    _wait_until_ready(f"http://{address}/-/ready")
    yield f"http://{address}"
    process.terminate()
    process.wait()


def program(name: str, package: str) -> str:
    """Find a program; without it the test fails, and says what to install."""
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"this test needs {name}: apt-get install {package}", pytrace=False)
    return path


def free_port() -> int:
    """Return a port that nobody listens at now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _wait_until_ready(url: str) -> None:
    def ask() -> int:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status
        except (urllib.error.URLError, ConnectionError):
            return 0

    _wait(ask, lambda status: status == 200, url)


def _wait(ask: Callable[[], Any], is_so: Callable[[Any], bool], what: str) -> Any:
    waited = threading.Event()
    for _ in range(int(PATIENCE_S / 0.05)):
        answer = ask()
        if is_so(answer):
            return answer
        waited.wait(0.05)
    raise AssertionError(what, answer)
