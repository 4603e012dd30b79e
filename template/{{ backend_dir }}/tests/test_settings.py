"""What the settings make of the environment. No test here needs a server."""

import pytest
from sqlalchemy import make_url

from app.core.config import DEVELOPMENT_PASSWORD, Settings

NASTY = "p%40ss:w/o?r#d@ [x]&+$=\\'\"ä€"
FIVE = {"HOST": "db.example", "PORT": "6543", "USER": "me", "PASSWORD": NASTY, "DB": "shop"}


@pytest.fixture(autouse=True)
def five(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The five variables of .env.example, and no other."""
    for name in ("DATABASE_URL", "MIGRATION_DATABASE_URL", "ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in FIVE.items():
        monkeypatch.setenv(f"POSTGRES_{name}", value)
    return monkeypatch


def settings() -> Settings:
    """As this environment says; a developer's .env counts for nothing."""
    return Settings(_env_file=None, _secrets_dir=None)


def test_the_two_urls_name_their_drivers() -> None:
    for url, driver in [
        (settings().database_url, "postgresql+asyncpg"),
        (settings().database_url_sync, "postgresql+psycopg2"),
    ]:
        assert url.drivername == driver
        assert (url.host, url.port) == ("db.example", 6543)
        assert (url.username, url.database) == ("me", "shop")


def test_any_character_is_legal_in_a_password() -> None:
    for url in (settings().database_url, settings().database_url_sync):
        assert url.password == NASTY
        assert make_url(url.render_as_string(hide_password=False)).password == NASTY


def test_no_password_is_shown() -> None:
    assert NASTY not in f"{settings()!r} {settings()} {settings().database_url_sync!r}"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
def test_one_url_replaces_the_five(five: pytest.MonkeyPatch, scheme: str) -> None:
    five.setenv("DATABASE_URL", f"{scheme}://you:p%25%40@other:1234/another")
    url = make_url("postgresql+asyncpg://you:p%25%40@other:1234/another")
    assert settings().database_url == url
    assert settings().database_url_sync == url.set(drivername="postgresql+psycopg2")


def test_migrations_may_have_a_url_of_their_own(five: pytest.MonkeyPatch) -> None:
    five.setenv("MIGRATION_DATABASE_URL", "postgresql://owner:secret@direct/shop")
    assert settings().database_url_sync.username == "owner"
    assert settings().database_url.username == "me"


@pytest.mark.parametrize("url", ["nonsense", "mysql://u:hidden@h/d", "postgresql://u:hidden@h"])
def test_a_malformed_url_is_refused_without_showing_it(five: pytest.MonkeyPatch, url: str) -> None:
    five.setenv("DATABASE_URL", url)
    with pytest.raises(ValueError, match="DATABASE_URL is not of the form") as refusal:
        settings()
    assert "hidden" not in str(refusal.value)


def test_what_is_missing_is_named(five: pytest.MonkeyPatch) -> None:
    five.setenv("POSTGRES_USER", "")
    with pytest.raises(ValueError, match="POSTGRES_USER not set"):
        settings()


def test_production_refuses_the_password_of_development(five: pytest.MonkeyPatch) -> None:
    five.setenv("POSTGRES_PASSWORD", DEVELOPMENT_PASSWORD)
    assert settings().environment == "development"
    five.setenv("ENVIRONMENT", "production")
    with pytest.raises(ValueError, match="POSTGRES_PASSWORD is the development default"):
        settings()
