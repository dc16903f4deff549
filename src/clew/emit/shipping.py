"""See to it that somebody ships what this process emits.

In mode ``auto`` a process that finds no agent on its spool starts one: separate, in a session of
its own, adopted by init, so that it outlives the application and ships its last words. Two racing
processes may both start one; the agent itself holds a lock and the second ends at once.

Nothing is started when there is nowhere to ship to: events wait on the disk, and one line says what
ships them.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from clew.errors import SpoolError
from clew.spool.directory import AGENTS_DIRECTORY, list_entries, make_private_directory
from clew.spool.life.lock import is_held

if TYPE_CHECKING:
    from clew.config import Settings

__all__ = ["agent_is_alive", "ensure", "start_agent"]


_HANDED_ON: Final = (
    "data_dir",
    "spool_dir",
    "dsn",
    "sinks",
    "console",
    "langsmith_api_key",
    "langsmith_endpoint",
    "langsmith_project",
    "langsmith_workspace",
    "otlp_endpoint",
    "otlp_headers",
    "pushgateway_url",
    "prices",
    "spool_max_bytes",
    "spool_keep_free_bytes",
    "replay_window_s",
)
"""The settings that decide where and how to ship, whichever way the application got them."""


def ensure(settings: Settings) -> str | None:
    """Make sure that an agent ships this spool, as the setting ``agent`` asks for.

    Returns:
        A line for the user when nobody ships, else None.
    """
    if settings.agent == "external" or agent_is_alive(settings.spool_dir):
        return None
    waiting = f"no agent runs: events wait in {settings.spool_dir}"
    if settings.dsn is None and not settings.sink_names():
        return f"{waiting}; `clew up` ships and shows them, or set CLEW_DSN to a PostgreSQL"
    if settings.dsn is not None and find_spec("psycopg") is None:
        return f"{waiting}; the agent needs `pip install 'clew[agent]'`"
    try:
        start_agent(settings)
    except (OSError, SpoolError) as error:
        return f"{waiting}; the agent could not be started ({error}), run `clew agent`"
    return None


def agent_is_alive(spool: Path) -> bool:
    """Whether any agent works on *spool*; false as well where that cannot be seen. `clew doctor` says why it cannot."""
    try:
        locks = [entry.path for entry in list_entries(spool / AGENTS_DIRECTORY) if entry.name.endswith(".lock")]
    except OSError:  # nobody was here yet, a file is in its place, or it may not be read
        return False
    return any(is_held(Path(path)) for path in locks)


def start_agent(settings: Settings) -> None:
    """Start an agent of its own, which ends when all producers are gone and everything is shipped.

    The settings go by the environment: a DSN holds a password, and arguments are seen by all.

    Raises:
        OSError: It cannot be started.
        SpoolError: The data directory, where its log is kept, or the spool cannot be written to.
    """
    make_private_directory(settings.data_dir)
    make_private_directory(settings.spool_dir / AGENTS_DIRECTORY)  # its own complaint would go to its log, unseen
    log = settings.data_dir / "agent.log"
    variables = {f"CLEW_{name.upper()}": _as_text(getattr(settings, name)) for name in _HANDED_ON}
    environment = {**os.environ, **variables, "CLEW_SERVICE": "clew-agent"}
    # The shell puts the agent into the background and ends: init adopts the agent, and the
    # application is left with no child that it does not know.
    script = 'exec "$0" -m clew.agent --until-idle --auto >>"$1" 2>&1 </dev/null &'
    arguments = ["/bin/sh", "-c", script, _python(), str(log)]
    child = os.posix_spawn("/bin/sh", arguments, environment, setsid=True)
    os.waitpid(child, 0)


def _as_text(value: Any) -> str:
    """Write a setting as the environment holds it (see ``config``)."""
    if value is None:
        return ""
    if isinstance(value, Path):
        return str(value.absolute())
    if isinstance(value, dict):
        return "\n".join(f"{key}={text}" for key, text in cast("dict[str, str]", value).items())
    return ",".join(cast("tuple[str, ...]", value)) if isinstance(value, tuple) else str(value)


def _python() -> str:
    """Find the Python interpreter, also inside a server that embeds one (``sys.executable`` is then the server)."""
    if "python" in Path(sys.executable or "").name:
        return sys.executable
    return str(Path(sys.prefix) / "bin" / "python3")
