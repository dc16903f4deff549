"""The fields of records, and what those keep to themselves."""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field
from typing import Annotated, Any, ClassVar, TypedDict

import msgspec
import pydantic
import pydantic.dataclasses
import pydantic.v1
import pytest

from clew.emit.safe.foreign import UNREADABLE
from clew.emit.safe.shapes import fields_of
from support.hostile import PanicException


def told(value: object) -> dict[str, Any] | None:
    """Read the fields of one value."""
    fields = fields_of(value, type(value))
    return None if fields is None else dict(fields)


class Answer(pydantic.BaseModel):
    """As the answers of OpenAI's and Anthropic's libraries are."""

    model_config = pydantic.ConfigDict(extra="allow")
    content: str


class Account(pydantic.BaseModel):
    """Keeps one field out of its dumps, one out of its texts, and masks others."""

    name: str
    pin: int = pydantic.Field(1234, exclude=True)
    seed: int = pydantic.Field(42, repr=False)
    key: str = "k-1"
    code: Annotated[str, pydantic.PlainSerializer(lambda _: "c-***")] = "c-1"
    secret: pydantic.SecretStr = pydantic.SecretStr("hunter2")

    @pydantic.field_serializer("key")
    def _mask(self, _: str) -> str:
        return "***"

    @pydantic.computed_field
    @property
    def initial(self) -> str:
        """Compute one more field."""
        return self.name[0]


class Whole(pydantic.BaseModel):
    """Writes itself in its own way."""

    name: str
    pin: int = 1234

    @pydantic.model_serializer
    def _write(self) -> dict[str, Any]:
        return {"who": self.name}


class Panics(pydantic.BaseModel):
    """One of its serializers fails."""

    name: str = "n"
    key: str = "k-1"

    @pydantic.field_serializer("key")
    def _mask(self, _: str) -> str:
        raise PanicException


@pydantic.dataclasses.dataclass
class Checked:
    """A dataclass of pydantic."""

    name: str
    pin: int = pydantic.Field(default=1, repr=False)
    seed: int = pydantic.Field(default=2, exclude=True)


class Old(pydantic.v1.BaseModel):
    """A model of pydantic 1."""

    name: str
    pin: int = pydantic.v1.Field(1234, exclude=True)
    seed: int = pydantic.v1.Field(42, repr=False)

    class Config:
        """As version 1 is configured."""

        extra = "allow"


@dataclass(slots=True)
class Slotted:
    """A dataclass without a ``__dict__``."""

    name: str
    pin: int = field(default=1, repr=False)
    shared: ClassVar[int] = 3
    early: InitVar[int] = 4


class Struct(msgspec.Struct):
    """A struct of msgspec."""

    name: str
    rank: int = 1


class Typed(TypedDict):
    """A dict with a type."""

    name: str


class _Attribute:
    def __init__(self, name: str, shown: Any) -> None:
        self.name, self.repr = name, shown


class Attrs:
    """What attrs makes of a class."""

    __attrs_attrs__ = (_Attribute("name", True), _Attribute("pin", False), _Attribute("key", lambda _: "***"))

    def __init__(self) -> None:
        self.name, self.pin, self.key = "n", 1, "k-1"


class Deep(pydantic.BaseModel):
    """Holds another model."""

    inner: Account


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        (
            Answer.model_validate({"content": "4", "reasoning_content": "2+2"}),
            {"content": "4", "reasoning_content": "2+2"},
        ),
        (Whole(name="n"), {"who": "n"}),
        (Panics(), {"name": "n", "key": UNREADABLE}),
        (Checked("n"), {"name": "n"}),
        (Old(name="n", more=1), {"name": "n", "more": 1}),  # pyright: ignore[reportCallIssue]
        (Slotted("n", early=1), {"name": "n"}),
        (Struct("n"), {"name": "n", "rank": 1}),
        (Attrs(), {"name": "n", "key": "***"}),
        (Typed(name="n"), None),
        (object(), None),
        (Answer.model_construct(), {"content": None}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_record_is_told_as_it_tells_itself(value: object, fields: dict[str, Any] | None) -> None:
    """Its own fields, what it took beyond them, and nothing that it keeps to itself."""
    assert told(value) == fields


def test_a_masked_field_is_told_masked() -> None:
    """However it is masked, also in a model inside another."""
    fields = told(Account(name="jane"))

    assert fields == {
        "name": "jane",
        "key": "***",
        "code": "c-***",
        "secret": pydantic.SecretStr("hunter2"),
        "initial": "j",
    }
    assert told(Deep(inner=Account(name="jane"))) == {"inner": Account(name="jane")}
