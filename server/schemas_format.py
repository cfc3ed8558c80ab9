"""The wire of structured answers: `response_format` of chat and `text.format` of responses.

Both name a JSON schema; chat wraps it once more. `json_object` asks for any JSON object.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.errors import ApiError

ANY_OBJECT: Mapping[str, Any] = {"type": "object"}


def chat_schema(format: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The schema that a chat's `response_format` asks for; None for plain text. Raises a 400."""
    if format and format.get("type") == "json_schema":
        inner = format.get("json_schema")
        if not isinstance(inner, dict):
            raise _refused("response_format", "response_format.json_schema must be an object.")
        return _schema({**inner, "type": "json_schema"}, "response_format")
    return _schema(format, "response_format")


def text_schema(format: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The schema that a response's `text.format` asks for; None for plain text. Raises a 400."""
    return _schema(format, "text.format")


def _schema(format: Mapping[str, Any] | None, param: str) -> Mapping[str, Any] | None:
    kind = format.get("type") if format else "text"
    if format is None or kind == "text":
        return None
    if kind == "json_object":
        return ANY_OBJECT
    if kind != "json_schema":
        raise _refused(param, f"{param}: the types are text, json_object and json_schema.")
    if not isinstance(format.get("name"), str):
        raise _refused(param, f"{param}: a schema has a name.")
    schema = format.get("schema")
    if not isinstance(schema, dict):
        raise _refused(param, f"{param}: the schema must be an object.")
    return schema


def _refused(param: str, message: str) -> ApiError:
    return ApiError(400, message, param=param, code="unsupported_value")
