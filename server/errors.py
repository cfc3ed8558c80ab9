"""What can go wrong at the front door, and the one table from error class to HTTP status.

    ServerError
    ├── SettingsError (ValueError)        a configuration that cannot work
    ├── AlreadyRunning (RuntimeError)     another server holds the data directory
    └── ApiError                          an answer with a status, in OpenAI's shape
        └── NotFound (LookupError)        no such object of this owner: 404

Handlers hold no try/except: they raise, and `answer` turns what was raised into OpenAI's body
`{"error": {"message", "type", "param", "code"}}`. The packages' own errors are found in
`STATUSES` by their class, nearest first.
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec
from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException, SerializationException

from retrieval import errors as retrieval_errors
from tuning import errors as tuning_errors

logger = logging.getLogger(__name__)


class ServerError(Exception):
    """Any error of this package."""


class SettingsError(ServerError, ValueError):
    """The configuration cannot work; the message names the setting and the fix."""


class AlreadyRunning(ServerError, RuntimeError):
    """Another process holds the data directory; the message names its pid and URL."""


class ApiError(ServerError):
    """An answer other than success. `param` names the field at fault, `code` the case.

    `more` is what the error tells beside OpenAI's four fields.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str | None = None,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
        more: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type or error_type(status)
        self.param = param
        self.code = code
        self.headers = headers or {}
        self.more = more or {}


class NotFound(ApiError, LookupError):
    """No such object, or another owner's: the two look the same from outside."""

    def __init__(self, kind: str, id: str, *, code: str | None = None) -> None:
        super().__init__(404, f"No {kind} with id '{id}'.", param="id", code=code or "not_found")


# The nearest class in a raised error's ancestry decides.
STATUSES: dict[type[BaseException], tuple[int, str | None]] = {
    retrieval_errors.FilterError: (400, "invalid_filter"),
    retrieval_errors.InvalidAttributes: (400, "invalid_attributes"),
    retrieval_errors.UnsupportedFile: (400, "unsupported_file"),
    retrieval_errors.InvalidFile: (400, "invalid_file"),
    retrieval_errors.NotFound: (404, "not_found"),
    retrieval_errors.Conflict: (409, "conflict"),
    retrieval_errors.NotBuilt: (409, "not_built"),
    retrieval_errors.EmbedderError: (400, "invalid_model"),
    retrieval_errors.StorageFull: (507, "storage_full"),
    tuning_errors.PromptTooLong: (400, "context_length_exceeded"),
    tuning_errors.SchemaError: (400, "invalid_schema"),
    tuning_errors.ExamplesError: (400, "invalid_training_file"),
    tuning_errors.GeneratorError: (400, "invalid_model"),
    tuning_errors.AdapterError: (409, "adapter_mismatch"),
    RecursionError: (400, "too_deep"),
    UnicodeDecodeError: (400, "invalid_encoding"),
}

# The client repeats 408, 409, 429 and 5xx by itself; for these a repetition cannot help.
NEVER_RETRY = frozenset({409, 500, 507})

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    409: "conflict_error",
    429: "rate_limit_error",
    507: "storage_error",
}


def error_type(status: int) -> str:
    """OpenAI's `type` for a status."""
    return _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")


def answer(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    """Turn any exception into OpenAI's error body; the unforeseen is logged and told as 500."""
    found = translate(error)
    if found.status >= 500 and found.status != 507:
        # The path only: bodies and queries may hold documents and questions.
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    headers = dict(found.headers)
    if found.status in NEVER_RETRY:
        headers.setdefault("x-should-retry", "false")
    return Response(
        error_body(found), status_code=found.status, media_type=MediaType.JSON, headers=headers
    )


def error_body(error: ApiError) -> dict[str, Any]:
    """OpenAI's error object, as it stands in answers and in the error event of a stream."""
    return {
        "error": {
            "message": error.message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
            **error.more,
        }
    }


def translate(error: Exception) -> ApiError:
    """The `ApiError` that an exception means to the caller."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, HTTPException):
        return _from_litestar(error)
    if isinstance(error, SerializationException | msgspec.DecodeError):
        return ApiError(400, f"The body cannot be read: {error}", code="invalid_body")
    for kind in type(error).__mro__:
        if kind in STATUSES:
            status, code = STATUSES[kind]
            return ApiError(status, str(error), code=code)
    return ApiError(500, "The server failed; its log tells why.", code="internal_error")


def _from_litestar(error: HTTPException) -> ApiError:
    headers = {k: v for k, v in (error.headers or {}).items() if k.lower() != "content-length"}
    param = None
    message = error.detail
    if isinstance(error.extra, list) and error.extra and isinstance(error.extra[0], dict):
        param = str(error.extra[0].get("key") or "") or None
        message = str(error.extra[0].get("message") or message)
        message = f"{param}: {message}" if param else message
    if error.status_code >= 500:
        # Litestar's detail can quote internals; an early hang-up is nobody's fault.
        if "disconnected" in message:
            return ApiError(400, "The request ended early.", code="client_disconnected")
        return ApiError(error.status_code, "The server failed; its log tells why.")
    code = {404: "unknown_url", 405: "method_not_allowed", 413: "too_large"}.get(error.status_code)
    return ApiError(error.status_code, message, param=param, code=code, headers=headers)
