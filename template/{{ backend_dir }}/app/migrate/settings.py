"""How long a migration waits, from the environment or `.env`; all in seconds."""

from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings

from app.core.config import Settings

LONGEST_TIMEOUT = 2_147_483  # seconds: PostgreSQL counts milliseconds in 31 bits
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class MigrationSettings(BaseSettings):
    """A field `migration_lock_wait` is the variable MIGRATION_LOCK_WAIT."""

    model_config = Settings.model_config

    migration_connect_wait: Seconds = 30  # for the server to answer
    migration_lock_wait: Seconds = 300  # for another migration to end
    # Of each statement, for its locks, which makes every later query wait as long; less than a
    # millisecond would be no limit, as 0 is.
    migration_lock_timeout: Seconds = Field(default=0.75, le=LONGEST_TIMEOUT, multiple_of=0.001)
    migration_retry_wait: Seconds = 60  # for those locks, in all attempts together
