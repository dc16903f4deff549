r"""Values behind a name, in texts: ``DB_PASSWORD=…``, ``"api_key": "…"``, ``Authorization: Basic …``.

Each ``=`` and ``:`` of a text (and ``%3D``, as URLs write it) is looked at: the name before it is judged as the name
of a field would be (``names``), and what follows is taken out if the judgement says so. How far the value goes depends
on how it is written:

================================= ===========================================================================
written                           the value ends
================================= ===========================================================================
in quotes, escaped or not         at the same quote, as much escaped (``\"…\"`` within JSON within a string)
in a list or an object            at the bracket that closes it
a header (``Cookie: …``)          with the line, or at the quote around the whole
``?token=…&…`` of an address      at ``&``, ``#`` or a blank
``Password=…;…`` of a driver      at ``;``
a line of YAML or of ``.env``     with the line
else                              at a blank, or at ``,`` ``;`` ``&`` before the next name
================================= ===========================================================================

What is no secret stays: nothing, ``None``, a variable or a call (``password = get_password()``,
``os.environ["OPENAI_API_KEY"]``), a placeholder (``<token>``, ``***``, ``${TOKEN}``), and prose (``the token: a word``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from clew.emit.redact.names import (
    ADDRESS,
    MAX_NAME,
    NAME_CHARACTERS,
    PATH,
    SECRET,
    TOKENS,
    UNKNOWN,
    WEAK,
    is_plain_word,
    looks_random,
    taken_apart,
    words_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["find_assigned"]

MAX_BRACKETS: Final = 4096
MAX_DEPTH: Final = 16
MAX_HEADER: Final = 8192
MAX_BARE_HEADER: Final = 512  # a value without a scheme is one word, or none

_SEPARATOR = re.compile(r"[=:]|%3[DdAa]|\\u003[Dd]")
_NAME_BACKWARDS = re.compile(
    r"""[ \t]{0,8}(?P<quote>(?:\]?["'`]|22%|72%)\\{0,31})?(?P<name>[\w.\[\]-]{1,100})(?P<rest>.{0,2})""", re.DOTALL
)
_VALUE_BEGINS = re.compile(
    r"""[=>:]{0,2}(?:\*\*(?=[ \t]))?[ \t]{0,8}(?:!!?[a-z]{1,20}[ \t]{1,4})?(?P<prefix>[bBuUrRfFN]{0,2}(?=\\{0,31}["'`]))?(?P<quote>(?:\\{0,31}["'`]|%22|%27))?"""
)
_ENDS_OF_QUERY: Final = ("&", "#", "%26")
_COOKIE = re.compile(r"[^\s=;]{1,256}=\S")
_WORDS_BEFORE = re.compile(r"(?:[A-Za-z0-9]{2,16}[ ]){1,2}$")
_COMPARED = re.compile(r"[0-9]{1,6}(?:/[0-9]{1,6}|%)?[,;.]?(?!\S)")
_ITEM = re.compile(r"\n(?P<indent>[ \t]{0,40})-[ \t]{1,4}(?P<value>[^\r\n]{1,1024})")
_SCHEMA = re.compile(r"""\{\s{0,40}\\{0,15}["'](?:type|\$ref|title|description|anyOf|allOf|format)\\{0,15}["']""")
_BLOCK = re.compile(r"[|>][+-]?[0-9]?[ \t]*\n[ \t]+")
_DIGIT = re.compile(r"[0-9]")
_RUN = re.compile(r"""[^\s"'`<>\\]+|\\[^"'`nrt]|<""")
_LINE = re.compile(r"[^\r\n]{0,8192}")
_NEXT_NAME = re.compile(r"[,;&][ \t]{0,4}[\w.-]{1,64}[ \t]{0,2}[=:]")
_HARMLESS = re.compile(
    r"(?i)(?:none|null|nil|undefined|nan|true|false|yes|no|on|off|n/?a|unset|empty|required|optional|missing|invalid|"
    r"default|hidden|erforderlich|obligatoire|requis|obligatorio|expired|changed|string|str|int|bool|bytes|text|object|any|secretstr|redacted|masked|removed|x{3,}|\.{2,}|…+|-+|_+)?"
    r"[,;.)\]}]{0,3}$"
)
_TAKEN_OUT = re.compile(r"\[\w{1,40}:\w{1,40}\]|\[redacted\]")
_PLACEHOLDER = re.compile(
    r"(?:\*{2,}|<[^<>\n\"']{0,60}>|\$\{?[A-Za-z_]|\$\(|\{\{|\{[A-Za-z_][\w.]{0,40}\}|%s|%\(|%[A-Z_]{2,40}%|\$[0-9]|\?(?!\S)|:[a-z_]{1,40}(?!\S)|\.\.\.|\[[A-Z_]+\])"
)
_CODE = re.compile(
    r"(?:(?:await|not|new|lambda|input|self|cls|this|os|sys|env|process|settings|setting|config|cfg|conf|args|opts|options|"
    r"kwargs|params|request|req|secrets|vault|var|local|data|app|ctx|context|st|getpass|getattr|Optional|Field|str|"
    r"String)\b[.(\[]|[A-Za-z_][\w.]{0,80}(?:\([^()]{0,80}\)|\(|\[[\"'\w]))"
)
_WORDS_OF_PROSE: Final = (
    "a an and any are as at be because been but by can cannot change changed did do does expired field fields "
    "for from has have here how i if in incorrect instructions invalid is it its length link manager mandatory "
    "may message missing must my need new not of or our page please policy protected recovery required reset "
    "rules see set should so strength that the their then these they this to too type unknown use used uses "
    "using validation was we when where which why will with wrong you your"
)
_PROSE: Final = frozenset(_WORDS_OF_PROSE.split())
_SCHEME = re.compile(
    r"(?i)(?:basic|bearer|token|digest|apikey|api-key|key|negotiate|ntlm|hmac|aws4-hmac-sha256|splunk|ssws|dpop|"
    r"sharedkey|sharedaccesssignature|genie-?key|oauth)[ \t]+\S{4,}"
)
_HEADERS: Final = frozenset({"authorization", "proxyauthorization", "cookie", "setcookie", "cookies"})
_BARE_NAMES: Final = "bearer cookie cred credentials creds dsn iban jwt key otp pass pin pw secret ssn token totp"
_BARE: Final = frozenset(_BARE_NAMES.split())
_DIGITS: Final = frozenset({"cvv", "cvc", "cvv2", "cvc2", "otp", "pin", "totp", "ssn"})


class _Found:
    """A name with its separator, and what is around them."""

    __slots__ = (
        "is_line", "is_password", "is_query", "is_quoted", "is_spaced", "joined", "judgement", "name", "run", "separator", "words",
    )  # fmt: skip

    def __init__(self, name: str, judgement: str, separator: str, quote: str | None, rest: str, run: list[int]) -> None:
        self.name = name
        self.words, self.joined, self.is_password = taken_apart(name)
        self.judgement = judgement
        self.separator = separator
        self.is_quoted = bool(quote)
        self.is_query = rest[:1] in ("?", "&", ";") and not quote
        self.is_line = False
        self.is_spaced = False
        self.run = run


def find_assigned(text: str, judge: Callable[[str], str]) -> Iterator[tuple[int, int, str]]:
    """Find the values of *text* whose name says that they are secret.

    Args:
        text: Any text.
        judge: The judgement of a name, as ``names.classify``.
    """
    done = 0
    run = [0, 0]  # where the run of characters begins and ends that was looked at last: names within it share it
    for match in _SEPARATOR.finditer(text):
        start = match.start()
        if start < done or text.startswith("://", start):
            continue
        near = text[max(done, start - MAX_NAME) : start]
        name = near[len(near.rstrip(NAME_CHARACTERS)) :]
        if name and name.lower() not in ("key", "keys", "code") and not judge(name.strip("-.")):
            continue
        back = _NAME_BACKWARDS.match(text[max(done, start - MAX_NAME - 48) : start][::-1])
        if back is None:
            continue
        name = back["name"][::-1].strip("[].-")
        begin = start - back.end("name")
        name, judgement, is_spaced = _judged(text, max(done, begin - 40), begin, name, back["rest"], judge)
        if not judgement:
            continue
        if judgement == UNKNOWN:
            judgement = WEAK
        elif judgement not in (SECRET, PATH, WEAK, ADDRESS, TOKENS):
            continue
        separator = "=" if match[0][-1] in "=dD" else ":"
        if (
            separator == "="
            and text.startswith("==", start)
            and text[start + 2 : start + 5].lstrip(" ")[:1] not in ("'", '"')
        ):
            continue  # a comparison with a variable
        found = _Found(name, judgement, separator, back["quote"], back["rest"], run)
        found.is_spaced = is_spaced
        found.is_line = _begins_a_line(text, begin)
        span = _value_of(text, match.end(), found)
        if span is not None and span[0] < span[1]:
            span = _whole(text, span, found)
            done = span[1]
            yield *span, "password" if found.is_password else "secret"


def _judged(
    text: str, least: int, begin: int, name: str, rest: str, judge: Callable[[str], str]
) -> tuple[str, str, bool]:
    """Judge a name, where it needs them with the one or two words before it: ``API key``, ``second pass``."""
    judgement = judge(name)
    folded = name.lower()
    if not judgement and folded in ("key", "keys", "code"):
        before = _words_before(text, least, begin)
        name = "_".join([*before[0].split(), name]) if before is not None else name
        is_spaced = judge(name) == SECRET
        return name, WEAK if is_spaced or rest[:1] in ("?", "&") else "", is_spaced
    if judgement == SECRET and folded == "pass":
        before = _words_before(text, least, begin)
        judgement = judge(before[0].split()[-1] + "_pass") if before is not None else judgement
    return name, judgement, False


def _words_before(text: str, least: int, begin: int) -> re.Match[str] | None:
    return _WORDS_BEFORE.search(text, least, begin) if text[max(0, begin - 1) : begin] in (" ", "\n") else None


def _whole(text: str, span: tuple[int, int], found: _Found) -> tuple[int, int]:
    """Take what is behind a value along that was looked at no further than a part of it."""
    if found.judgement in (SECRET, PATH) or found.is_query or span[1] - span[0] < MAX_BARE_HEADER - 8:
        return span
    rest = _RUN.match(text, span[1])
    return span if rest is None else (span[0], rest.end())


def _begins_a_line(text: str, begin: int) -> bool:
    if begin and text[begin - 1] not in " \t-\"'\n":
        return False
    line = text[text.rfind("\n", max(0, begin - 40), begin) + 1 : begin] if begin else ""
    if begin > 40 and "\n" not in text[begin - 41 : begin]:
        return False
    return line.strip(" \t-\"'") in ("", "export", "set", "ENV", "ARG", "$env", "RUN export")


def _value_of(text: str, at: int, found: _Found) -> tuple[int, int] | None:
    """Return where the value begins and ends; None where there is none that has to go."""
    if found.separator == ":" and text.startswith("//", at):
        return None
    begins = _VALUE_BEGINS.match(text, at)
    assert begins is not None
    start, quote = begins.end(), begins["quote"]
    if found.is_quoted and not quote and text.startswith("\n", start):  # JSON that is printed over several lines
        begins = re.compile(r"""\s{0,80}(?P<quote>\\{0,31}["'])?""").match(text, start)
        assert begins is not None
        start, quote = begins.end(), begins["quote"]
    if quote:
        return _quoted(text, start, quote, found)
    if found.joined in _HEADERS:
        return _header(text, start, found)
    if (
        text[start : start + 1] in ("[", "{")
        and not _TAKEN_OUT.match(text, start)
        and found.judgement in (SECRET, PATH, TOKENS)
    ):
        return _bracketed(text, start, found)
    block = _BLOCK.match(text, start) if found.is_line else None
    if block is not None:
        return _line(text, block.end(), found)
    if found.is_line and text.startswith("\n", start):
        return _items(text, start, found)
    return _unquoted(text, start, found)


def _quoted(text: str, start: int, quote: str, found: _Found) -> tuple[int, int] | None:
    end = _closing_quote(text, start, quote)
    value = text[start:end]
    if found.judgement == TOKENS:
        return None
    if (
        found.joined in _HEADERS
        and not found.is_quoted
        and "=" not in value
        and " " not in value
        and is_plain_word(value)
    ):
        return None
    return (start, end) if _must_go(value, found, is_quoted=True) else None


def _closing_quote(text: str, start: int, quote: str) -> int:
    """Find where a quoted text ends: at the same quote with as many backslashes; else with the text."""
    if quote.startswith("%"):
        end = text.find(quote, start)
        return len(text) if end < 0 else end
    if text.startswith(quote * 2, start) and len(quote) == 1:  # triple quotes
        end = text.find(quote * 3, start + 2)
        return len(text) if end < 0 else end
    slashes, mark = len(quote) - 1, quote[-1]
    position = start
    while (end := text.find(mark, position)) >= 0:
        count = 0
        while count < 64 and end - count > start and text[end - count - 1] == "\\":
            count += 1
        if slashes == 0 and mark == "'" and end > start and re.compile(r"'(?=\w)").match(text, end + 1):
            position = end + 2  # a quote within, as SQL and YAML write it
            continue
        if (slashes == 0 and count % 2 == 0) or (slashes and count <= slashes):
            return end - (count if slashes else 0)
        position = end + 1
    return len(text)


def _header(text: str, start: int, found: _Found) -> tuple[int, int] | None:
    if "cookie" in found.joined and not _COOKIE.match(text, start):
        return None
    is_long = "cookie" in found.joined or _SCHEME.match(text, start) is not None
    line = _LINE.match(text, start, start + (MAX_HEADER if is_long else MAX_BARE_HEADER))
    assert line is not None
    end = line.end()
    for mark in ("\\n", "\\r"):
        position = text.find(mark, start, end)
        end = end if position < 0 else position
    before = text[max(0, start - 80) : start]
    for mark in ('"', "'"):
        # The quote that is around the whole header (curl -H "…") ends it; those of a cookie's value do not.
        if before.count(mark) % 2:
            quoted = re.compile(mark if before.endswith("\\" + mark, 0, before.rfind(mark) + 1) else rf"(?<!\\){mark}")
            around = quoted.search(text, start, end)
            end = end if around is None else around.start()
    while end > start and text[end - 1] in " \t\\":
        end -= 1
    value = text[start:end]
    if _TAKEN_OUT.match(value) or _PLACEHOLDER.match(value):
        return None
    if "cookie" in found.joined:
        return (start, end) if _COOKIE.match(value) else None
    if found.separator == "=" and (run := _RUN.match(value)) and not _SCHEME.match(value):
        value, end = run[0], start + len(run[0])
    if _SCHEME.match(value):
        scheme_end = start + (re.match(r"\S+\s+", value) or re.match("", value)).end()  # type: ignore[union-attr]
        return None if _is_no_value(text[scheme_end:end]) or _PLACEHOLDER.match(text, scheme_end) else (scheme_end, end)
    if " " in value.strip() or _is_no_value(value) or is_plain_word(value.rstrip(".,;)")) or _CODE.match(value):
        return None
    return start, end


def _bracketed(text: str, start: int, found: _Found) -> tuple[int, int] | None:
    """Take the texts in a list or an object out, all at once."""
    opening = text[start]
    if opening == "{" and (not found.is_quoted or found.separator == "="):
        return _braced(text, start) if found.separator == "=" else None
    if _SCHEMA.match(text, start):  # what a field of this name is to be
        return None
    depth = 0
    for match in re.compile(r"[\[\]{}]").finditer(text, start, start + MAX_BRACKETS):
        depth += 1 if match[0] in "[{" else -1
        if depth in (0, MAX_DEPTH):
            end = match.start()
            break
    else:
        end = min(len(text), start + MAX_BRACKETS)
    content = text[start + 1 : end]
    if not any(mark in content for mark in "\"'"):
        content = content[:MAX_BARE_HEADER]
        is_drawn = _DIGIT.search(content) is not None and any(
            looks_random(part, 6) for part in re.split(r"[,\s]+", content)
        )
        return (start + 1, end) if found.separator == ":" and is_drawn else None
    if found.judgement == TOKENS and not any(looks_random(part) for part in re.split(r"[\"'\\,\s]+", content)):
        return None
    return start + 1, end


def _braced(text: str, start: int) -> tuple[int, int] | None:
    """Return where a value in braces is, as drivers of ODBC take one with blanks or ``;``: ``PWD={a b}``."""
    end = text.find("}", start, start + MAX_BARE_HEADER)
    value = text[start + 1 : end]
    return (
        None
        if end < 0 or (re.fullmatch(r"[\w.\[\]'\"!:{]*", value) and not looks_random(value, 8))
        else (start + 1, end)
    )


def _items(text: str, start: int, found: _Found) -> tuple[int, int] | None:
    """Return where the items of a list of YAML are, from the first that has to go to the last."""
    first = last = None
    at = start
    while (item := _ITEM.match(text, at)) is not None and item.end() - start < MAX_HEADER:
        at = item.end()
        value = item["value"].strip(" \t\"'")
        if not _is_no_value(value) and (looks_random(value, 6) or (found.is_password and value.lower() not in _PROSE)):
            first, last = first or item.start("value"), item.end()
    return None if first is None or last is None else (first, last)


def _line(text: str, start: int, found: _Found) -> tuple[int, int] | None:
    line = _LINE.match(text, start)
    assert line is not None
    value = re.split(r" #", line[0], maxsplit=1)[0].rstrip()
    return (start, start + len(value)) if _must_go(value, found, is_quoted=False) else None


def _end_of_run(text: str, start: int, found: _Found) -> int:
    """Return where what has no blank ends; names that are seldom a secret's are looked at no further than they need."""
    most = start + (MAX_HEADER if found.judgement in (SECRET, PATH) else MAX_BARE_HEADER)
    if found.is_query:
        for mark in _ENDS_OF_QUERY:
            stop = text.find(mark, start, most)
            most = stop if stop >= 0 else most
    run = found.run
    if run[0] <= start < run[1]:  # a part of it is known: each character is looked at once, whatever is before it
        if run[1] >= most:
            return most
        end = run[1]
    else:
        run[0] = end = start
    while (following := _RUN.match(text, end, most)) is not None:
        end = following.end()
        if following[0] == "<" and end - start == 1:
            return end
    run[1] = end
    return end


def _unquoted(text: str, start: int, found: _Found) -> tuple[int, int] | None:
    if _PLACEHOLDER.match(text, start) or (found.joined == "pass" and _COMPARED.match(text, start)):
        return None
    end = _end_of_run(text, start, found)
    if end == start or (text[start] == "<" and found.judgement != SECRET):
        return None
    if not found.is_query:
        value = text[start:end]
        is_listed = "," in value or ";" in value or "&" in value
        following = _NEXT_NAME.search(text, start, end + 40) if is_listed else None
        if following is not None and following.start() < end:
            end = following.start()
        elif ";" in text[start:end] and re.search(
            r"(?i)(?:;|^|\b)(?:server|host|data source|user id|uid|database|endpoint|accountname|defaultendpointsprotocol)=",
            text[max(0, start - 300) : start],
        ):
            end = text.index(";", start, end)
    end = _without_closers(text, start, end)
    value = text[start:end]
    if found.is_line and found.separator == ":" and found.is_password and value.lower().strip(".,;:!?") not in _PROSE:
        line = _line(text, start, found)
        return line if line is None or line[1] >= end else (start, end)
    if found.is_line and found.separator == "=" and found.name == found.name.upper() and found.judgement == SECRET:
        line = _line(text, start, found)
        if line is not None and "=" not in text[end : line[1]] and ":" not in text[end : line[1]]:
            return line
    return (start, end) if _must_go(value, found, is_quoted=False) else None


def _without_closers(text: str, start: int, end: int) -> int:
    """Leave out what closes a sentence or a bracket that was opened before the value."""
    while end > start:
        last = text[end - 1]
        if last in ",;." or (last in ")]}" and not any(opening in text[start:end] for opening in "([{")):
            end -= 1
        else:
            break
    return end


def _is_no_value(value: str) -> bool:
    return bool(_HARMLESS.match(value) or (value[:1] == "[" and _TAKEN_OUT.match(value)) or _PLACEHOLDER.match(value))


def _must_go(value: str, found: _Found, *, is_quoted: bool) -> bool:  # noqa: PLR0911 - one reason a line
    """Whether *value* is a secret, by its name, by how it is written and by what it looks like."""
    if _is_no_value(value):
        return False
    if found.judgement == TOKENS:
        return looks_random(value)
    if found.judgement == ADDRESS:
        return "@" in value and "://" in value
    if found.judgement == PATH and re.match(r"(?:/|~|[A-Za-z]:\\)", value):
        return False
    if found.is_spaced:
        return _is_spaced_secret(value, found, is_quoted=is_quoted)
    if found.judgement == WEAK:
        return _is_weak_secret(value, found)
    if is_quoted:
        return not _names_itself(value, found)
    return _must_go_unquoted(value, found)


def _must_go_unquoted(value: str, found: _Found) -> bool:
    if _CODE.match(value) or _names_itself(value, found) or (found.joined == "pass" and value.isdigit()):
        return False
    if found.is_password or found.is_query:
        return value.lower().strip(".,;:!?") not in _PROSE
    if found.joined in _DIGITS and re.match(r"[0-9][0-9 -]{1,12}[0-9]$", value):
        return True
    if found.joined == "pin":  # of a chip, or of a drawing
        return False
    is_tight = found.separator == "="
    if is_tight and (found.joined not in _BARE or len(value) > 1):
        return value.lower().strip(".,;:!?") not in _PROSE and not _is_spaced_code(value, found)
    if found.joined in _BARE or len(found.words) == 1:
        return looks_random(value, 6) or len(value) >= 20
    return (len(value) >= 4 and not (is_plain_word(value) and len(value) < 12)) or looks_random(value, 4)


def _is_spaced_secret(value: str, found: _Found, *, is_quoted: bool) -> bool:
    """Whether the value of a name in words (``API key: …``) is one: what stands behind such words may be prose."""
    if found.words[-1] == "code":
        return re.fullmatch(r"[0-9]{3,10}", value) is not None or looks_random(value, 6)
    return looks_random(value, 6) or len(value) >= 20 or (is_quoted and any(mark in value for mark in "0123456789"))


def _is_spaced_code(value: str, found: _Found) -> bool:
    return found.joined in _BARE and is_plain_word(value) and len(value) < 6


def _is_weak_secret(value: str, found: _Found) -> bool:
    value = value.strip()
    if found.joined in ("sig", "signature", "key", "code") or found.words[-1] == "key":
        if found.is_query and looks_random(value.replace("%", ""), 12):
            return True
        return (not found.is_query or "%" in value) and looks_random(value)
    if _SCHEME.match(value):
        return True
    return looks_random(value, 8) or (":" in value and " " not in value and looks_random(value, 6))


def _names_itself(value: str, found: _Found) -> bool:
    """Whether the value is a variable of the same name (``api_key=api_key``, ``password: user_password``)."""
    if re.fullmatch(r"[A-Za-z_][A-Za-z_.]*", value) is None or (
        value.isupper() is False and "_" not in value and "." not in value
    ):
        return value == found.name.rpartition(".")[2].strip("_") and value != "secret" and found.separator == "="
    return bool(set(words_of(value)) & set(found.words))
