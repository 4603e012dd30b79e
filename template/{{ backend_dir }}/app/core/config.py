"""Settings: from the environment, then from `.env` beside docker-compose.yml. Add your own fields.

The one place that builds a database URL, for the application and for migrations.
"""

from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlencode

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

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
                raise ValueError(f"POSTGRES_PASSWORD_FILE cannot be read: {error}") from None
            self.postgres_password = SecretStr(text.rstrip("\r\n"))
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
        return self._url(self.given_url, "DATABASE_URL", "postgresql+asyncpg")

    @cached_property
    def database_url_sync(self) -> URL:
        """For migrations: psycopg2, since Alembic is synchronous."""
        if self.given_migration_url:
            return self._url(
                self.given_migration_url, "MIGRATION_DATABASE_URL", "postgresql+psycopg2"
            )
        return self._url(self.given_url, "DATABASE_URL", "postgresql+psycopg2")

    def _url(self, given: SecretStr | None, name: str, driver: str) -> URL:
        if given:
            return for_driver(_parse(name, given), driver)
        # Never by concatenation: any character is legal in a password.
        return URL.create(
            driver,
            self.postgres_user,
            self.postgres_password.get_secret_value(),
            self.postgres_host,
            self.postgres_port,
            self.postgres_db,
        )


def for_driver(url: URL, driver: str) -> URL:
    """`url` for another driver: libpq says `sslmode` where asyncpg says `ssl`."""
    old, new, foreign = "ssl", "sslmode", "prepared_statement_cache_size"  # set behind a pooler
    if driver.endswith("asyncpg"):
        old, new, foreign = "sslmode", "ssl", "channel_binding"  # in the URLs of some hosts
    query = {new if key == old else key: value for key, value in url.query.items()}
    query.pop(foreign, None)  # only the other one knows it
    if driver.endswith("asyncpg"):
        # asyncpg takes what is for the server in a connection string, and not by these names.
        said = [(key, query.pop(key)) for key in ("application_name", "options") if key in query]
        query |= {"dsn": f"postgresql://?{urlencode(said)}"} if said else {}
    return url.set(drivername=driver, query=query)


@lru_cache(maxsize=2)
def _parse(name: str, given: SecretStr) -> URL:
    text = given.get_secret_value()
    try:
        url = make_url(text.strip())
        # An @ in the host is one of the password's, whose end no message may show.
        usable = url.database and "@" not in (url.host or "")
        usable = usable and url.get_backend_name() in {"postgres", "postgresql"}
    except (ArgumentError, ValueError):
        usable = False
    if not usable:
        raise ValueError(
            f"{name} is not of the form postgresql://user:password@host:5432/database, with % "
            "and two hexadecimal digits for each of : / ? # @ % in the user or the password"
        )
    return url


@lru_cache
def get_settings() -> Settings:
    """The settings of this process, read once.

    Raises:
        pydantic.ValidationError: a variable is missing or malformed.
    """
    return Settings()
