"""A loopback stand-in of Slack: an incoming webhook and ``chat.postMessage``, which refuse what Slack refuses.

Blocks are read by Slack's own models (``slack_sdk.models.blocks``). Where these are laxer than Slack, the rules are added
here: keys that a block does not have, 2,000 characters of a field, 50 blocks, 13,000 characters of a whole message, and
texts in which something is not escaped. It has no code of ours.
"""

from __future__ import annotations

import html
import json
import re
from typing import Any, Final
from urllib.parse import urlsplit

from slack_sdk.errors import SlackObjectFormationError
from slack_sdk.models.blocks import Block

from support.http_stand_in import HttpAnswer, HttpRequest, HttpStandIn

__all__ = ["SlackStandIn", "texts_of", "what_slack_refuses"]

WEBHOOK_PATH: Final = "/services/T0000/B0000/hunter2"
TOKEN: Final = "xoxb-hunter2"
CHANNEL: Final = "#rag-alerts"

_MESSAGE_KEYS: Final = {"text", "blocks", "unfurl_links", "unfurl_media", "channel", "thread_ts"}
_BLOCK_KEYS: Final = {
    "header": {"type", "text"},
    "section": {"type", "text", "fields"},
    "context": {"type", "elements"},
    "divider": {"type"},
    "actions": {"type", "elements"},
}
_TEXT_KEYS: Final = {"plain_text": {"type", "text", "emoji"}, "mrkdwn": {"type", "text", "verbatim"}}
_LINK: Final = re.compile(r"<(https?://[^<>|\s]+)\|([^<>|]+)>")
_ENTITY: Final = re.compile(r"&(?!(?:amp|lt|gt);)")


class SlackStandIn:
    """A Slack with one webhook, one app and one channel.

    Attributes:
        webhook_url: The webhook.
        api_url: Base URL of the API.
        messages: Messages that it has taken, in order; those of the API with their ``ts``.
        server: What serves it, for answers by a script.
    """

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.server = HttpStandIn(self._judge)
        self.webhook_url = self.server.url + WEBHOOK_PATH
        self.api_url = f"{self.server.url}/api"

    def close(self) -> None:
        """Stop serving."""
        self.server.close()

    def _judge(self, request: HttpRequest) -> HttpAnswer:
        if request.path.startswith("/services/"):
            return self._webhook(request)
        return HttpAnswer(200, json.dumps(self._api(request)).encode(), (("Content-Type", "application/json"),))

    def _webhook(self, request: HttpRequest) -> HttpAnswer:
        if request.path != WEBHOOK_PATH:
            return HttpAnswer(404, b"no_service")
        try:
            message = json.loads(request.body)
        except ValueError:
            return HttpAnswer(400, b"invalid_payload")
        if what_slack_refuses(message, len(request.body.decode())) or message.keys() & {"channel", "thread_ts"}:
            return HttpAnswer(400, b"invalid_blocks")
        self.messages.append(message)
        return HttpAnswer(200, b"ok")

    def _api(self, request: HttpRequest) -> dict[str, Any]:
        if request.path != "/api/chat.postMessage":
            return {"ok": False, "error": "unknown_method"}
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return {"ok": False, "error": "invalid_auth"}
        message = json.loads(request.body)
        if message.get("channel") != CHANNEL:
            return {"ok": False, "error": "channel_not_found"}
        if what_slack_refuses(message, len(request.body.decode())):
            return {"ok": False, "error": "invalid_blocks"}
        if "thread_ts" in message and message["thread_ts"] not in {earlier["ts"] for earlier in self.messages}:
            return {"ok": False, "error": "thread_not_found"}
        self.messages.append({**message, "ts": f"1764538380.{len(self.messages):06}"})
        return {"ok": True, "ts": self.messages[-1]["ts"], "channel": "C0000"}


def what_slack_refuses(message: Any, characters: int) -> list[str]:
    """Return what is wrong with a message.

    Args:
        message: The message, decoded.
        characters: How long its JSON is.
    """
    wrong: list[str] = []
    if not isinstance(message, dict) or not message.get("text"):
        return ["no_text"]
    if unknown := message.keys() - _MESSAGE_KEYS:
        wrong.append(f"unknown keys {unknown}")
    blocks = message.get("blocks", [])
    if len(blocks) > 50:
        wrong.append(f"{len(blocks)} blocks")
    if characters > 13_000:
        wrong.append(f"msg_blocks_too_long: {characters}")
    wrong += _unescaped(message["text"])
    for block in blocks:
        wrong += _wrong_in_block(block)
    return wrong


def texts_of(message: Any) -> str:
    """Return all that a reader of the message sees, one text a line, as Slack shows it."""
    shown = [message["text"], *(text["text"] for block in message["blocks"] for text in _text_objects(block))]
    return "\n".join(html.unescape(_LINK.sub(r"\2", text)) for text in shown)


def _text_objects(block: dict[str, Any]) -> list[dict[str, Any]]:
    single = [block["text"]] if "text" in block else []
    return [*single, *block.get("fields", ()), *block.get("elements", ())]


def _wrong_in_block(block: dict[str, Any]) -> list[str]:
    wrong: list[str] = []
    kind = block.get("type", "")
    if kind not in _BLOCK_KEYS or block.keys() - _BLOCK_KEYS[kind]:
        return [f"a block {kind} with {sorted(block)}"]
    try:
        parsed = Block.parse(block)
        assert parsed is not None
        parsed.validate_json()
    except SlackObjectFormationError as error:
        wrong.append(str(error))
    for text in _text_objects(block):
        if text["type"] not in _TEXT_KEYS or text.keys() - _TEXT_KEYS[text["type"]]:
            wrong.append(f"a text with {sorted(text)}")
        if not 1 <= len(text["text"]) <= 3000:
            wrong.append(f"a text of {len(text['text'])} characters")
        wrong += _unescaped(text["text"])
    if kind == "header" and (len(block["text"]["text"]) > 150 or block["text"]["type"] != "plain_text"):
        wrong.append("a header that is too long, or no plain text")
    if kind == "context" and not 1 <= len(block["elements"]) <= 10:
        wrong.append(f"{len(block['elements'])} elements")
    fields = block.get("fields", [])
    wrong += [f"a field of {len(field['text'])}" for field in fields if len(field["text"]) > 2000]
    has_wrong_number = "fields" in block and not 1 <= len(fields) <= 10
    return [*wrong, f"{len(fields)} fields"] if has_wrong_number else wrong


def _unescaped(text: str) -> list[str]:
    """Find what Slack would read as its own: a mention, a command, half an entity, a link to elsewhere than the web."""
    bare = _LINK.sub("", text)
    links = [urlsplit(html.unescape(match[1])) for match in _LINK.finditer(text)]
    wrong = [f"{mark!r} is not escaped" for mark in "<>" if mark in bare]
    wrong += ["& is not escaped"] if _ENTITY.search(text) else []
    return wrong + [f"a link to {link}" for link in links if link.scheme not in {"http", "https"} or not link.netloc]
