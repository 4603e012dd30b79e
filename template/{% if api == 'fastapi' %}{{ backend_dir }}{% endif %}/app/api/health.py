"""For whoever runs the application: is it alive, and can it serve?"""

import asyncio

from fastapi import APIRouter, Response

from app.api.logs import log
from app.core.database import get_session_factory
from app.migrate.explain import explain
from app.migrate.readiness import schema_problem

router = APIRouter(prefix="/health", tags=["health"])


@router.get("/live")
async def live() -> dict[str, str]:
    """200 while the process answers, whatever the database does."""
    return {"status": "ok"}


@router.get("/ready", responses={503: {"description": "The cause, and what to do next"}})
async def ready(response: Response) -> dict[str, str]:
    """200 when the database can be reached and its schema is at this code's head."""
    try:
        async with asyncio.timeout(2), get_session_factory()() as session:  # a probe waits longer
            problem = await schema_problem(session)
    except TimeoutError as error:
        problem = explain(error)
    if problem is None:
        return {"status": "ok"}
    log.warning("not ready: %s", problem.cause)
    response.status_code = 503
    return {"status": "unavailable", "cause": problem.cause, "next": problem.remedy}
