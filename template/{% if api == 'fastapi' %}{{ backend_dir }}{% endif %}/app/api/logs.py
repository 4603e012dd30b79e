"""Logs: one JSON object a line, with the id of the request that it is about."""

import json
import logging
import re
import time
from contextvars import ContextVar
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


class JsonFormatter(logging.Formatter):
    """A record as a line of JSON; `extra={"fields": {...}}` of a call adds fields."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": request_id.get(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)


def configure_logs() -> None:
    """All logs go to the standard error in this form, uvicorn's too."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in ("uvicorn", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
    logging.getLogger("uvicorn").propagate = True  # not uvicorn.access: RequestLog says more
    # An endpoint's error is in the log already, with the id of its request.
    logging.getLogger("uvicorn.error").addFilter(lambda it: "in ASGI application" not in it.msg)


class RequestLog:
    """Gives each request an id, or keeps the caller's; logs its end; returns the id as a header."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        given = Headers(scope=scope).get("x-request-id", "")
        token = request_id.set(given if re.fullmatch(r"[\w.-]{1,64}", given) else uuid4().hex)
        fields = {"method": scope["method"], "path": scope["path"], "status": 500}
        began = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                fields["status"] = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = request_id.get() or ""
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except Exception:
            log.exception("unhandled error")
            raise
        finally:
            fields["milliseconds"] = round((time.perf_counter() - began) * 1000)
            log.info("request", extra={"fields": fields})
            request_id.reset(token)
