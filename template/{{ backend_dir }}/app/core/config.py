"""Settings: from the environment, then `.env` beside docker-compose.yml, then /run/secrets.

Add your own fields. The database URL of the application and of migrations is made here alone.
"""

from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import URL

from app.core.urls import asyncpg_arguments, completed, for_driver, parse

DEVELOPMENT_PASSWORD = "development-only"  # noqa: S105 (docker-compose.yml's, refused in production)
SECRETS = Path("/run/secrets")  # where Docker and Kubernetes mount secrets, one file each


def find_env_file() -> Path | None:
    """The project's `.env`, which Compose reads too; None in an image, where there is none."""
    for folder in Path(__file__).resolve().parents:
        if (folder / "docker-compose.yml").is_file():
            return folder / ".env"
    return None


class Settings(BaseSettings):
    """What the service needs to know; a field `some_name` is the variable SOME_NAME."""

    model_config = SettingsConfigDict(
        env_file=find_env_file(),
        env_file_encoding="utf-8-sig",  # some editors on Windows begin a file with a BOM
        env_ignore_empty=True,  # `NAME=` means "not set", as in Compose's ${NAME:-default}
        secrets_dir=SECRETS if SECRETS.is_dir() else None,
        extra="ignore",
        hide_input_in_errors=True,  # an error never shows a password
    )

    environment: Literal["development", "production"] = "development"

    # Either these five, or one DATABASE_URL in their place.
    postgres_host: str = "localhost"
    postgres_port: int = Field(default=5432, ge=1, le=65535)
    postgres_user: str = ""
    postgres_password: SecretStr = SecretStr("")
    postgres_db: str = ""
    postgres_password_file: Path | None = None
    given_url: SecretStr | None = Field(default=None, validation_alias="DATABASE_URL")

    # For migrations, where they need another role, or the server itself behind a pooler.
    given_migration_url: SecretStr | None = Field(
        default=None, validation_alias="MIGRATION_DATABASE_URL"
    )

    # The application's connections: how many a process keeps, and for how many seconds one of
    # their statements may run (0: without limit).
    pool_size: int = Field(default=5, ge=1)
    statement_timeout: float = Field(default=0, ge=0, le=2_147_483, multiple_of=0.001)

    # Your own fields below this line.

    @model_validator(mode="after")
    def check(self) -> Self:
        """Read the password's file, and refuse what cannot connect.

        Raises:
            ValueError: a variable is missing, or may not have this value; it is named.
        """
        if self.postgres_password_file and not self.postgres_password.get_secret_value():
            try:
                text = self.postgres_password_file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                said = f"{self.postgres_password_file}: {getattr(error, 'strerror', error)}"
                raise ValueError(f"POSTGRES_PASSWORD_FILE cannot be read: {said}") from None
            self.postgres_password = SecretStr(text.rstrip("\r\n"))
            if not self.postgres_password:
                raise ValueError(f"POSTGRES_PASSWORD_FILE is empty: {self.postgres_password_file}")
        if not self.given_url:
            needed = {
                "POSTGRES_USER": self.postgres_user,
                "POSTGRES_PASSWORD": self.postgres_password.get_secret_value(),
                "POSTGRES_DB": self.postgres_db,
            }
            missing = [name for name, value in needed.items() if not value]
            if missing:
                raise ValueError(f"{', '.join(missing)} not set")
        passwords = {self.database_url.password, self.database_url_sync.password}
        if self.environment == "production" and DEVELOPMENT_PASSWORD in passwords:
            raise ValueError("POSTGRES_PASSWORD is the development default, and this is production")
        return self

    @cached_property
    def database_url(self) -> URL:
        """For the application: asyncpg."""
        return for_driver(self._url("DATABASE_URL", self.given_url), "postgresql+asyncpg")

    @cached_property
    def connect_args(self) -> dict[str, Any]:
        """asyncpg's arguments that a URL cannot carry."""
        return asyncpg_arguments(self._url("DATABASE_URL", self.given_url))

    @cached_property
    def database_url_sync(self) -> URL:
        """For migrations: psycopg2, since Alembic is synchronous."""
        name, given = "MIGRATION_DATABASE_URL", self.given_migration_url
        if not given:
            name, given = "DATABASE_URL", self.given_url
        return for_driver(self._url(name, given), "postgresql+psycopg2")

    def _url(self, name: str, given: SecretStr | None) -> URL:
        if given:
            return completed(name, parse(name, given.get_secret_value().strip()))
        # Never by concatenation: any character is legal in a password.
        url = URL.create(
            "postgresql",
            self.postgres_user,
            self.postgres_password.get_secret_value(),
            self.postgres_host,
            self.postgres_port,
            self.postgres_db,
        )
        return completed(name, url)


@lru_cache
def get_settings() -> Settings:
    """The settings of this process, read once.

    Raises:
        pydantic.ValidationError: a variable is missing or malformed.
    """
    return Settings()
