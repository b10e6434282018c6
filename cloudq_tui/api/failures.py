"""How an error becomes an answer: {"error": {"code", "message", "field"?}} under the status of its branch."""

from __future__ import annotations

import logging
import re
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from cloudq_tui.errors import (
    CloudqError,
    Conflict,
    Invalid,
    InvalidOptions,
    InvalidPayload,
    NotFound,
    QueueUnavailable,
    ReadOnly,
)

log = logging.getLogger(__name__)

_STATUSES: tuple[tuple[type[CloudqError], int], ...] = (
    (NotFound, 404),
    (Conflict, 409),
    (Invalid, 422),
    (QueueUnavailable, 503),
    (ReadOnly, 403),
)
_HTTP_CODES = {400: "unreadable_body", 404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}


def install(app: FastAPI) -> None:
    """Answer every error of the tree, and every fault of a request, in the one shape."""
    app.add_exception_handler(CloudqError, _project_error)
    app.add_exception_handler(RequestValidationError, _bad_request)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _fault)


def answer(status: int, code: str, message: str, field: str = "", **headers: str) -> JSONResponse:
    error = {"code": code, "message": message}
    if field:
        error["field"] = field
    return JSONResponse({"error": error}, status_code=status, headers=headers or None)


async def _project_error(_: Request, error: Exception) -> JSONResponse:
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    headers = {"Retry-After": "2"} if status == 503 else {}
    return answer(status, _code(error), str(error), _field(error), **headers)


async def _bad_request(_: Request, error: Exception) -> JSONResponse:
    first: dict[str, Any] = error.errors()[0] if isinstance(error, RequestValidationError) else {}
    # "body" and "query" say where it stood, not what it is called.
    place = [str(part) for part in first.get("loc", ()) if part not in ("body", "query", "path")]
    kind = first.get("type")
    field = "" if kind == "json_invalid" else ".".join(place)
    message = str(first.get("msg", "the request cannot be read"))
    if kind == "json_invalid":
        message = f"the body is not JSON: {first['ctx']['error']} at character {place[0]}"
    elif kind == "extra_forbidden":
        message = "there is no such field or parameter"
    elif first.get("loc", ())[:1] == ("body",) and not field:
        message = "the body must be a JSON object, sent with content-type: application/json"
    return answer(422, "invalid", f"{field}: {message}" if field else message, field)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = str(error.detail) if isinstance(error, HTTPException) else "unknown"
    path = request.url.path
    messages = {
        400: "the body cannot be read: send JSON in UTF-8, not compressed, nested less than 1,000 deep",
        404: f"no such address: {path}",
        405: f"{request.method} is not allowed on {path}",
    }
    headers = (error.headers if isinstance(error, HTTPException) else None) or {}
    return answer(status, _HTTP_CODES.get(status, "http_error"), messages.get(status, detail), **headers)


async def _fault(request: Request, error: Exception) -> JSONResponse:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return answer(500, "internal", "the request failed inside the server; its log says why")


def _code(error: Exception) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__).lower()


def _field(error: Exception) -> str:
    if isinstance(error, InvalidPayload):
        return error.field
    if isinstance(error, InvalidOptions):
        return str(error).partition(":")[0] if str(error).startswith("options") else "options"
    return ""
