"""The agent: who runs it, and which sinks it ships to beside the store."""

from pathlib import Path
from typing import Literal

from msgspec import field

from clew.config.declaring import HttpUrl, Secret, SecretTable
from clew.config.store import StoreSettings

__all__ = ["AgentSettings"]


class AgentSettings(StoreSettings, frozen=True, kw_only=True):
    """The settings of the agent, with those of what it ships and of the store that it ships to.

    Attributes:
        agent: Who ships: ``"auto"``, ``"external"`` or ``"in-process"``.
        sinks: Further sinks to ship to, by the name of their entry point.
        console: File that the sink ``console`` appends to; None or ``-`` for standard output.
        langsmith_api_key: Key of LangSmith; with it (or an endpoint) finished runs are shipped there.
        langsmith_endpoint: Base URL of LangSmith's API; None for ``https://api.smith.langchain.com``.
        langsmith_project: Project to ship to; None for one named after the service.
        langsmith_workspace: Workspace, for keys that are valid in several.
        otlp_endpoint: Base URL of an OTLP/HTTP receiver, without ``/v1/traces``; None for none.
        otlp_headers: Headers to send there, such as ``authorization``.
        pushgateway_url: Pushgateway that gets the metrics of short-lived agents; None for none.
        prices: A TOML file of prices that go before the built-in ones.
    """

    agent: Literal["auto", "external", "in-process"] = "auto"
    sinks: tuple[str, ...] = ()
    console: Path | None = None
    langsmith_api_key: Secret | None = None
    langsmith_endpoint: HttpUrl | None = None
    langsmith_project: str | None = None
    langsmith_workspace: str | None = None
    otlp_endpoint: HttpUrl | None = None
    otlp_headers: SecretTable = field(default_factory=dict[str, str])
    pushgateway_url: HttpUrl | None = None
    prices: Path | None = None

    def sink_names(self) -> tuple[str, ...]:
        """Name the sinks beside PostgreSQL: those that have an address to ship to, and those of ``sinks``."""
        has_address = {
            "langsmith": self.langsmith_api_key is not None or self.langsmith_endpoint is not None,
            "otlp": self.otlp_endpoint is not None,
            "prometheus": self.pushgateway_url is not None,
        }
        implied = [name for name, is_on in has_address.items() if is_on]
        return tuple(dict.fromkeys([*implied, *self.sinks]))
