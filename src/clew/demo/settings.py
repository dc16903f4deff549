"""The settings of the demo service: one frozen object, and what of it the environment sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from clew.demo.generation.completions import DEFAULT_BASE_URL, Price
from clew.demo.generation.generate import RetryPolicy
from clew.demo.ingestion.chunk import ChunkerConfig
from clew.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DemoSettings", "Endpoint", "endpoint_from"]

DEFAULT_MODEL = "gpt-4o-mini"
MIB = 1024 * 1024


class Endpoint(Struct, frozen=True):
    """A model to ask.

    Attributes:
        base_url: Where.
        model: Which.
        api_key: With what; None for endpoints that want none.
        price: What it costs; None when that is unknown.
    """

    base_url: str
    model: str
    api_key: str | None = None
    price: Price | None = None

    def __repr__(self) -> str:
        """Show it without the key."""
        return f"Endpoint(base_url={self.base_url!r}, model={self.model!r}, api_key=…, price={self.price!r})"


class DemoSettings(Struct, frozen=True):
    """How the service works.

    Attributes:
        chunker: How documents are cut.
        max_upload_bytes: Largest document.
        top_k: How many hits a search gives.
        keep: How many of them reranking leaves.
        token_budget: Tokens that a prompt may take.
        cache_max_age_s: How long an answer may be served again, in seconds.
        retry: How often and how long a model is asked.
        endpoint: The model to ask; None for the extractive reader.
    """

    chunker: ChunkerConfig = field(default_factory=ChunkerConfig)
    max_upload_bytes: int = 20 * MIB
    top_k: int = 8
    keep: int = 5
    token_budget: int = 768
    cache_max_age_s: float = 3_600.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    endpoint: Endpoint | None = None


def endpoint_from(environment: Mapping[str, str]) -> Endpoint | None:
    """Read which model to ask.

    Args:
        environment: ``OPENAI_API_KEY`` or ``OPENAI_BASE_URL`` ask for a model; ``OPENAI_MODEL`` names
            it; ``CLEW_DEMO_PRICE`` says what it costs: US dollars for a million tokens read and
            written, such as ``0.15,0.60``.

    Returns:
        The endpoint; None when there is none, and the extractive reader answers.

    Raises:
        ConfigError: The price or the address is malformed.

    Example:
        >>> endpoint_from({"OPENAI_BASE_URL": "http://127.0.0.1:8000/v1", "OPENAI_MODEL": "tiny"}).model
        'tiny'
    """
    key, url = environment.get("OPENAI_API_KEY") or None, environment.get("OPENAI_BASE_URL") or None
    if key is None and url is None:
        return None
    url = url or DEFAULT_BASE_URL
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"OPENAI_BASE_URL is {url!r}", hint="it begins with http:// or https://")
    model = environment.get("OPENAI_MODEL") or DEFAULT_MODEL
    return Endpoint(url, model, key, _price(environment.get("CLEW_DEMO_PRICE", "")))


def _price(text: str) -> Price | None:
    if not text:
        return None
    try:
        input_usd, output_usd = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f"CLEW_DEMO_PRICE is {text!r}", hint="a right one looks like 0.15,0.60: US dollars per million tokens"
        ) from None
    return Price(input_usd, output_usd)
