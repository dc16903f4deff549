"""Read the fields of values that are records: pydantic models, dataclasses, attrs classes, msgspec structs.

Recorded is what such a value shows of itself, by its dump and by its ``repr``. What it keeps out of either stays
out of the event too: ``Field(exclude=True)``, ``repr=False``. Where a model writes a field in its own way (a
serializer that masks it, say), that is how it is recorded. What a model took beyond its fields (``extra="allow"``)
belongs to it: answers of OpenAI's and Anthropic's libraries carry half of what matters there.

None of the libraries is imported: whoever has such a value has its library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from clew.emit.safe.foreign import UNREADABLE, attempt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["fields_of"]

Fields: TypeAlias = "list[tuple[str, object]]"

_SERIALIZERS: Final = frozenset({"PlainSerializer", "WrapSerializer"})  # of pydantic, in a field's annotation
_EVERY_FIELD: Final = "*"


def fields_of(value: object, kind: type[object]) -> Fields | None:
    """List the fields of a record in their order, without those that it keeps to itself.

    Args:
        value: Anything.
        kind: Its type.

    Returns:
        (name, value) of each; ``emit.safe.foreign.UNREADABLE`` for one that cannot be read; None if *value* is no record.

    Example:
        >>> from dataclasses import dataclass, field
        >>> @dataclass
        ... class User:
        ...     name: str
        ...     pin: int = field(repr=False)
        >>> fields_of(User("jane", 1234), User)
        [('name', 'jane')]
    """
    for marker, read in _READERS:
        declared = getattr(kind, marker, None)
        if declared is not None:
            return read(value, kind, declared)
    return None


def _read(value: object, names: Iterable[str]) -> Fields:
    """Read attributes, each of which may be a property that fails; one that is missing is None."""
    return [(name, attempt(getattr, value, name, None)) for name in names]


def _read_pydantic(value: object, kind: type[object], declared: Mapping[str, Any]) -> Fields | None:
    """Read a model of pydantic 2, or a dataclass of it."""
    decorators = getattr(kind, "__pydantic_decorators__", None)
    computed = getattr(decorators, "computed_fields", {})
    infos = {**declared, **{name: found.info for name, found in computed.items()}}
    inner = getattr(kind, "__dataclass_fields__", {})
    hidden = {name for name, info in infos.items() if _is_hidden(info) or _is_hidden(inner.get(name))}
    if getattr(decorators, "model_serializers", None):
        dumped = _dump(value, kind)
        if not isinstance(dumped, dict):
            return [("dumped", dumped)]
        return [(name, item) for name, item in dumped.items() if name not in hidden]  # pyright: ignore[reportUnknownVariableType]
    own_way = _written_in_its_own_way(infos, decorators)
    fields = _read(value, (name for name in infos if name not in hidden and name not in own_way))
    for name in own_way - hidden:
        dumped = _dump(value, kind, include={name})
        if not isinstance(dumped, dict):
            fields.append((name, UNREADABLE))
        elif name in dumped:
            fields.append((name, dumped[name]))  # pyright: ignore[reportUnknownArgumentType]
    extra = attempt(getattr, value, "__pydantic_extra__", None)
    fields += list(dict[str, object].items(extra)) if isinstance(extra, dict) else []  # pyright: ignore[reportUnknownArgumentType]
    return [(name, item) for name, item in fields if not _is_left_out(infos.get(name), item)]


def _dump(value: object, kind: type[object], **options: Any) -> Any:
    """Have a model of pydantic dumped by its own code."""
    serializer: Any = getattr(kind, "__pydantic_serializer__", None)
    return attempt(lambda: serializer.to_python(value, warnings=False, **options))


def _written_in_its_own_way(infos: Mapping[str, Any], decorators: Any) -> set[str]:
    """Name the fields that have a serializer."""
    named: set[str] = set()
    for found in getattr(decorators, "field_serializers", {}).values():
        named.update(found.info.fields)
    if _EVERY_FIELD in named:
        return set(infos)
    for name, info in infos.items():
        if any(type(part).__name__ in _SERIALIZERS for part in getattr(info, "metadata", ())):
            named.add(name)
    return named & set(infos)


def _is_hidden(info: Any) -> bool:
    return getattr(info, "repr", True) is False or getattr(info, "exclude", None) in {True, ...}


def _is_left_out(info: Any, item: object) -> bool:
    """Whether a model leaves a field out for what it holds."""
    condition = getattr(info, "exclude_if", None)
    return condition is not None and attempt(condition, item) is not False


def _read_pydantic_1(value: object, kind: type[object], declared: Mapping[str, Any]) -> Fields | None:
    """Read a model of pydantic 1, also of the one that version 2 brings along."""
    infos = {name: getattr(found, "field_info", None) for name, found in declared.items()}
    if None in infos.values():
        return None  # something else that has fields
    excluded: dict[str, Any] = getattr(kind, "__exclude_fields__", None) or {}
    hidden = {name for name, info in infos.items() if _is_hidden(info) or excluded.get(name) in {True, ...}}
    items = dict[str, object].items(getattr(value, "__dict__", {}))  # fields, and what was taken beyond them
    return [(name, item) for name, item in items if name not in hidden]


def _read_dataclass(value: object, kind: type[object], _declared: Any) -> Fields:
    import dataclasses

    shown = [found.name for found in dataclasses.fields(kind) if found.repr]  # pyright: ignore[reportArgumentType]
    return _read(value, shown)


def _read_attrs(value: object, _kind: type[object], declared: Any) -> Fields:
    fields: Fields = []
    for found in declared:
        item, shown = attempt(getattr, value, found.name, None), getattr(found, "repr", True)
        if callable(shown) and item is not UNREADABLE:
            item = attempt(shown, item)
        if shown is not False:
            fields.append((str(found.name), item))
    return fields


def _read_struct(value: object, _kind: type[object], declared: Any) -> Fields:
    return _read(value, map(str, declared))


_READERS: Final[tuple[tuple[str, Callable[[Any, Any, Any], Fields | None]], ...]] = (
    ("__pydantic_fields__", _read_pydantic),
    ("__dataclass_fields__", _read_dataclass),
    ("__struct_fields__", _read_struct),
    ("__attrs_attrs__", _read_attrs),
    ("__fields__", _read_pydantic_1),
)
