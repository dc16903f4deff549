"""How a question comes in over HTTP: its parameters in the URL, and their description in the OpenAPI document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from fastapi import Depends, Request

from clew.errors import UsageError
from clew.questions.parameter import Parameter, Question, parameters, read_question

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["asked", "described", "read_url"]

Q = TypeVar("Q", bound=Question)

_DEFAULTS: Final[dict[str, Callable[[str], object]]] = {"integer": int, "number": float, "boolean": "true".__eq__}


def asked(question: type[Q]) -> Any:
    """Make the dependency that reads a question from the URL.

    Args:
        question: The question's class; its route is ``described`` by the same one.

    Example:
        ``async def list_costs(question: Annotated[CostsQuestion, asked(CostsQuestion)])``
    """

    async def read(request: Request) -> Q:
        return read_url(question, request)

    return Depends(read)


def read_url(question: type[Q], request: Request) -> Q:
    """Read a question from the URL of a request.

    Args:
        question: The question's class.
        request: What was asked.

    Raises:
        UsageError: A parameter is unknown, given twice, missing, malformed or out of range.
    """
    texts = dict(request.path_params)
    for name, text in request.query_params.multi_items():
        if name in texts:
            raise UsageError(f"{name[:40]} is given twice", hint=f"give {name[:40]} once")
        texts[name] = text
    return read_question(question, texts)


def described(question: type[Question]) -> dict[str, Any]:
    """Describe the parameters of a question, for the OpenAPI document: the ``openapi_extra`` of its route."""
    return {
        "parameters": [
            {
                "name": one.name,
                "in": "path" if one.is_path else "query",
                "required": one.is_required or one.is_path,
                "description": one.description,
                "schema": _schema(one),
                "example": one.example,
            }
            for one in parameters(question, "http")
        ]
    }


def _schema(one: Parameter) -> dict[str, Any]:
    schema = one.kind.schema
    if one.default is None:
        return schema
    return {**schema, "default": _DEFAULTS.get(schema["type"], str)(one.default)}
