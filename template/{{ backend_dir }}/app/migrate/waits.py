"""How long a migration waits, from the environment or `.env`; all in seconds."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.core.config import find_env_file


class MigrationSettings(BaseSettings):
    """A field `migration_lock_wait` is the variable MIGRATION_LOCK_WAIT."""

    model_config = SettingsConfigDict(
        env_file=find_env_file(),
        env_file_encoding="utf-8-sig",
        env_ignore_empty=True,
        extra="ignore",
        hide_input_in_errors=True,
    )

    migration_connect_wait: float = Field(default=30, ge=0)  # for the server to answer
    migration_lock_wait: float = Field(default=300, ge=0)  # for another migration to end
    migration_lock_timeout: float = Field(default=2, ge=0)  # of each statement, for its locks
    migration_retry_wait: float = Field(default=60, ge=0)  # for those locks, in all tries together
