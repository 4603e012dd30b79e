"""The application: `uvicorn app.main:app`. Docker Compose runs it as `api`."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from app.api import health
from app.api.logs import RequestLog, configure_logs
from app.core.database import get_engine


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
    """What happens before the first request, and after the last one has its answer."""
    configure_logs()
    engine = get_engine()  # a setting that is missing or wrong ends it here
    yield
    await engine.dispose()


app = FastAPI(title="API", lifespan=lifespan)
app.add_middleware(RequestLog)
app.include_router(health.router)
