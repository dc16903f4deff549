"""``python -m clew.agent``: the agent alone, as applications start it.

Options: ``--until-idle`` ends when everything is shipped and no producer lives; ``--auto`` ends at
once when another agent that was started this way runs. Settings come from the environment.
"""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from clew import config
from clew.agent.supervisor import Supervisor, prepare_process
from clew.errors import ClewError

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Run the agent until a signal asks it to end; return the exit code."""
    try:
        supervisor = Supervisor(config.load())
    except ClewError as error:
        print(f"clew agent: {error}", file=sys.stderr)
        return error.exit_code

    def stop(_signal: int, _frame: FrameType | None) -> None:
        supervisor.stop(timeout_s=0)

    prepare_process()
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    supervisor.run(until_idle="--until-idle" in arguments, is_auto="--auto" in arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
