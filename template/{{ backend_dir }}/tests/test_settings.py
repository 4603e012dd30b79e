"""What the settings make of the environment. No test here needs a server."""

from pathlib import Path

import pytest
from sqlalchemy import make_url

from app.core.config import DEVELOPMENT_PASSWORD, Settings
from app.migrate import shortcut
from app.migrate.explain import explain

NASTY = "p%40ss:w/o?r#d@ [x]&+$=\\'\"ä€"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Only what a test sets; a developer's own variables and .env count for nothing."""
    for name in ("DATABASE_URL", "MIGRATION_DATABASE_URL", "ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOST", "PORT", "USER", "PASSWORD", "DB", "PASSWORD_FILE"):
        monkeypatch.delenv(f"POSTGRES_{name}", raising=False)
    return monkeypatch


@pytest.fixture
def five(environment: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The five variables of .env.example."""
    for name, value in [
        ("HOST", "db.example"),
        ("PORT", "6543"),
        ("USER", "me"),
        ("PASSWORD", NASTY),
        ("DB", "shop"),
    ]:
        environment.setenv(f"POSTGRES_{name}", value)
    return environment


def settings() -> Settings:
    return Settings(_env_file=None, _secrets_dir=None)


def sentence() -> str:
    """What a person reads when the settings are refused."""
    with pytest.raises(ValueError, match="validation error") as refusal:
        settings()
    return str(explain(refusal.value))


def test_the_two_urls_name_their_drivers(five: pytest.MonkeyPatch) -> None:
    assert settings().database_url.drivername == "postgresql+asyncpg"
    assert settings().database_url_sync.drivername == "postgresql+psycopg2"
    for url in (settings().database_url, settings().database_url_sync):
        assert (url.host, url.port, url.username, url.database) == (
            "db.example",
            6543,
            "me",
            "shop",
        )


def test_any_character_is_legal_in_a_password(five: pytest.MonkeyPatch) -> None:
    for url in (settings().database_url, settings().database_url_sync):
        assert url.password == NASTY
        assert make_url(url.render_as_string(hide_password=False)).password == NASTY


def test_no_password_is_shown(five: pytest.MonkeyPatch) -> None:
    five.setenv("MIGRATION_DATABASE_URL", "postgresql://owner:hidden@h/d")
    shown = (
        f"{settings()!r} {settings()} {settings().database_url} {settings().database_url_sync!r}"
    )
    assert NASTY not in shown
    assert "hidden" not in shown


@pytest.mark.parametrize(
    "scheme",
    ["postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg2", "postgresql+psycopg"],
)
def test_one_url_replaces_the_five(five: pytest.MonkeyPatch, scheme: str) -> None:
    five.setenv("DATABASE_URL", f"{scheme}://you:p%25%40@other:1234/another")
    assert settings().database_url == make_url(
        "postgresql+asyncpg://you:p%25%40@other:1234/another"
    )
    assert settings().database_url_sync.password == "p%@"
    assert settings().database_url_sync.drivername == "postgresql+psycopg2"


def test_migrations_may_have_a_url_of_their_own(five: pytest.MonkeyPatch) -> None:
    five.setenv("MIGRATION_DATABASE_URL", "postgresql://owner:secret@direct/shop")
    assert settings().database_url_sync.username == "owner"
    assert settings().database_url.username == "me"


@pytest.mark.parametrize("name", ["", "DATABASE_URL", "MIGRATION_DATABASE_URL"])
def test_a_migration_with_nothing_to_do_asks_the_same_database(
    five: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """It does so without these settings: whoever changes their URLs changes both."""
    five.setattr(shortcut, "BACKEND", str(tmp_path))  # where no .env is
    if name:
        five.setenv(name, "postgresql://you:secret@direct:1234/another")
    url = settings().database_url_sync.translate_connect_args(username="user", database="dbname")
    asked = shortcut.connection_parameters()
    assert asked
    assert {key: str(value) for key, value in url.items()}.items() <= asked.items()


def test_what_is_missing_is_named() -> None:
    assert "POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB not set" in sentence()


@pytest.mark.parametrize("url", ["nonsense", "mysql://u:hidden@h/d", "postgresql://u:hidden@h"])
def test_a_malformed_url_is_refused_without_showing_it(
    environment: pytest.MonkeyPatch, url: str
) -> None:
    environment.setenv("DATABASE_URL", url)
    assert "DATABASE_URL is not of the form postgresql://" in sentence()
    assert "hidden" not in sentence()


def test_a_malformed_port_is_named(five: pytest.MonkeyPatch) -> None:
    five.setenv("POSTGRES_PORT", "five")
    assert "POSTGRES_PORT: " in sentence()


def test_production_refuses_the_password_of_development(five: pytest.MonkeyPatch) -> None:
    five.setenv("POSTGRES_PASSWORD", DEVELOPMENT_PASSWORD)
    assert settings().environment == "development"
    five.setenv("ENVIRONMENT", "production")
    assert "POSTGRES_PASSWORD is the development default" in sentence()
