"""The server: where it listens, whom it answers, what it takes in, and which pages it links to."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from clew.config.agent import AgentSettings
from clew.config.declaring import MIB, HttpUrl, Secret

__all__ = ["ServerSettings"]


class ServerSettings(AgentSettings, frozen=True, kw_only=True):
    """The settings of the server, with those of everything that it shows.

    Attributes:
        host: Address the server listens at.
        port: Port the server listens at.
        token: Bearer token that the server asks for, one for everything; ``clew token create`` makes better ones.
        rate_limit: Requests a second that one token may send, twice as many at once; 0 for any number.
        receive_max_body_bytes: Largest body of a request that hands something in, as it comes and inflated.
        receive_max_records: Spans, span events, log records or runs that one request may hold.
        receive_in_flight_bytes: What bodies may take together that are being received.
        tls_cert: Certificate of the server and those above it, as PEM; with it the server speaks TLS.
        tls_key: Its private key, as PEM; None when it is in the file of the certificate.
        prometheus_url: The Prometheus that scrapes us, to look up exemplars; None for none.
        grafana_url: The Grafana that shows it, for links; None for none.
        public_url: How people reach the server, for links; None for its own address.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 4319
    token: Secret | None = None
    rate_limit: Annotated[float, Meta(ge=0, le=1_000_000)] = 100.0
    receive_max_body_bytes: Annotated[int, Meta(ge=64 * 1024, le=1024 * MIB)] = 64 * MIB
    receive_max_records: Annotated[int, Meta(ge=1, le=10_000_000)] = 100_000
    receive_in_flight_bytes: Annotated[int, Meta(ge=64 * 1024)] = 256 * MIB
    tls_cert: Path | None = None
    tls_key: Path | None = None
    prometheus_url: HttpUrl | None = None
    grafana_url: HttpUrl | None = None
    public_url: HttpUrl | None = None
