"""How long a migration waits, from the environment or `.env`; all in seconds."""

from pydantic import Field
from pydantic_settings import BaseSettings

from app.core.config import Settings

LONGEST_TIMEOUT = 2_147_483  # seconds: PostgreSQL counts milliseconds in 31 bits


class MigrationSettings(BaseSettings):
    """A field `migration_lock_wait` is the variable MIGRATION_LOCK_WAIT."""

    model_config = Settings.model_config

    # For the server to answer.
    migration_connect_wait: float = Field(default=30, ge=0, allow_inf_nan=False)
    # For another migration to end.
    migration_lock_wait: float = Field(default=300, ge=0, allow_inf_nan=False)
    # Of each statement, for its locks; less than a millisecond would be no limit, as 0 is.
    migration_lock_timeout: float = Field(
        default=2, ge=0, le=LONGEST_TIMEOUT, multiple_of=0.001, allow_inf_nan=False
    )
    # For those locks, in all attempts together.
    migration_retry_wait: float = Field(default=60, ge=0, allow_inf_nan=False)
