"""The harder ways in which settings arrive at a rendered project. No server."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

from tests._kit.report import cannot_run, seed_of
from tests._kit.support import SHAPES, environment, in_env_file
from tests.conftest import Project, Render

# Answers questions about the settings, each with an environment of its own, in one process.
ANSWER = """
import json, os, sys
from app.core.config import Settings
from app.migrate.explain import explain

for line in sys.stdin:
    question = json.loads(line)
    os.environ.clear()
    os.environ.update(question["environment"])
    os.chdir(question["cwd"])
    try:
        settings = Settings(**question["options"])
        urls = [settings.database_url, settings.database_url_sync]
        answer = {
            "urls": [url.render_as_string(hide_password=False) for url in urls],
            "passwords": [url.password for url in urls],
            "query": [dict(url.query) for url in urls],
            "shown": f"{settings!r} {settings} {urls!r} {urls[0]} {urls[1]}",
        }
    except Exception as error:
        answer = {"problem": str(explain(error)), "raw": f"{error} {error!r}"}
    print(json.dumps(answer), flush=True)
"""


class Reader:
    """The settings of a project, as its code reads them."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.env_file = project.path / ".env"
        self.process = subprocess.Popen(
            [sys.executable, "-c", ANSWER],
            cwd=project.backend,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(
        self,
        env: Mapping[str, str] | None = None,
        *,
        cwd: Path | None = None,
        options: Mapping[str, str] | None = None,
        **more: str,
    ) -> dict[str, Any]:
        """What they are with the environment `env`, or the problem."""
        assert self.process.stdin
        assert self.process.stdout
        question = {
            "environment": {**(env or {}), **more},
            "cwd": str(cwd or self.project.backend),
            "options": options or {},
        }
        print(json.dumps(question), file=self.process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def close(self) -> None:
        """End the process."""
        self.process.communicate()
        assert self.process.returncode == 0


@pytest.fixture(scope="module")
def reader(render: Render) -> Generator[Reader]:
    """One process for all questions."""
    reader = Reader(render())
    yield reader
    reader.close()


@pytest.fixture
def read(reader: Reader) -> Generator[Reader]:
    """The same, with no `.env` at the beginning of the test."""
    yield reader
    reader.env_file.unlink(missing_ok=True)


FIVE = {"POSTGRES_USER": "me", "POSTGRES_PASSWORD": "secret", "POSTGRES_DB": "shop"}
URL = "postgresql+psycopg2://me:secret@localhost:5432/shop"


def write(path: Path, **variables: str) -> None:
    path.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))


@pytest.mark.parametrize("backend_dir", SHAPES)
def test_the_projects_env_file_is_read_from_any_folder(
    render: Render, tmp_path: Path, backend_dir: str
) -> None:
    read = Reader(render(backend_dir=backend_dir))
    write(read.env_file, **FIVE)
    write(tmp_path / ".env", POSTGRES_DB="of_somebody_else")
    assert read()["urls"][1] == URL
    assert read(cwd=tmp_path)["urls"][1] == URL
    read.close()


def test_the_example_is_complete(read: Reader) -> None:
    read.env_file.write_text((read.project.path / ".env.example").read_text())
    assert read()["urls"] == [
        f"postgresql+{driver}://demo_shop_user:development-only@localhost:5432/demo_shop_db"
        for driver in ("asyncpg", "psycopg2")
    ]


def test_the_environment_wins_over_the_file(read: Reader) -> None:
    write(read.env_file, **FIVE)
    assert read(POSTGRES_DB="other")["urls"][1].endswith("/other")


def test_a_byte_order_mark_and_windows_line_endings_do_no_harm(read: Reader) -> None:
    text = "".join(f"{name}={value}\r\n" for name, value in FIVE.items())
    read.env_file.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read()["urls"][1] == URL


def test_an_empty_value_is_one_that_is_not_set(read: Reader) -> None:
    write(read.env_file, **FIVE, DATABASE_URL="", MIGRATION_DATABASE_URL="", POSTGRES_PORT="")
    assert read(POSTGRES_HOST="", ENVIRONMENT="")["urls"][1] == URL
    read.env_file.unlink()
    assert (
        "POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB not set"
        in read(dict.fromkeys(FIVE, ""))["problem"]
    )


def test_a_huge_file_and_unknown_variables_do_no_harm(read: Reader) -> None:
    lines = [f"UNKNOWN_{number}='{'x' * 80}'" for number in range(2_000)]
    lines[1000:1000] = [f"{name}={value}" for name, value in FIVE.items()]
    read.env_file.write_text("\n".join(lines))
    assert read(ANOTHER_UNKNOWN="x")["urls"][1] == URL


# As .env.example says: in single quotes, or in double quotes when there is a single one in it.
QUOTED = {
    "'p%40'": "p%40",
    "'@:/?#+&=[] x'": "@:/?#+&=[] x",
    "'$HOME $$ ${'": "$HOME $$ ${",
    "'a\\b'": "a\\b",
    "'a#b #c'": "a#b #c",
    "'ä€漢'": "ä€漢",
    "'say \"x\"'": 'say "x"',
    '"it\'s"': "it's",
    "plain-word_1": "plain-word_1",
}


@pytest.mark.parametrize(("quoted", "password"), QUOTED.items())
def test_a_quoted_password_arrives_as_it_is(read: Reader, quoted: str, password: str) -> None:
    write(read.env_file, **FIVE | {"POSTGRES_PASSWORD": quoted})
    assert read()["passwords"] == [password, password]


def random_passwords(seed: int) -> list[str]:
    """Of any characters; those that .env.example sends to DATABASE_URL are left out."""
    chance = random.Random(seed)  # noqa: S311 (no secret)
    characters = "ab1Z-_ '\"\\$`#{}()=:/@!%&*;,.|<>?[]~^+äé漢\t"
    made = ["".join(chance.choices(characters, k=chance.randint(1, 12))) for _ in range(700)]
    return [it for it in made if "${" not in it and not ("\\" in it and "$" in it)]


def test_compose_reads_the_same_from_the_file(read: Reader) -> None:
    if not shutil.which("docker"):
        cannot_run("no docker command line", "scripts/lab up")
    seed = seed_of("SEED")
    values = dict(enumerate(random_passwords(seed)))
    assert len(values) > 500
    folder = read.project.path
    read.env_file.write_text("".join(f"P{n}={in_env_file(v)}\n" for n, v in values.items()))
    handed_on = "".join(f"      P{n}:\n" for n in values)
    compose = folder / "only-variables.yml"
    compose.write_text(f"services:\n  any:\n    image: any\n    environment:\n{handed_on}")
    done = subprocess.run(
        ["docker", "compose", "-f", compose, "config", "--format", "json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    compose_reads = json.loads(done.stdout)["services"]["any"]["environment"]
    settings_read = dotenv_values(read.env_file, encoding="utf-8-sig")  # as pydantic-settings does
    for number, value in values.items():
        # `config` writes what Compose could read again: with $$ for a $.
        answers = [compose_reads[f"P{number}"].replace("$$", "$"), settings_read[f"P{number}"]]
        assert answers == [value, value], f"seed {seed}"


def test_compose_hands_a_migrations_waits_on(read: Reader) -> None:
    if not shutil.which("docker"):
        cannot_run("no docker command line", "scripts/lab up")
    example = (read.project.path / ".env.example").read_text()
    waits = dict(re.findall(r"^#(MIGRATION_(?!DATABASE)\w+)=([\d.]+)$", example, re.MULTILINE))
    assert len(waits) == 4
    done = subprocess.run(
        ["docker", "compose", "config", "--format=json", "migrate"],
        cwd=read.project.path,
        env=os.environ | waits,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert waits.items() <= json.loads(done.stdout)["services"]["migrate"]["environment"].items()


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_password_may_be_in_a_file(read: Reader, tmp_path: Path, ending: str) -> None:
    secret = tmp_path / "password"
    secret.write_bytes(f" p%@ä $x {ending}".encode())
    variables = {
        "POSTGRES_USER": "me",
        "POSTGRES_DB": "shop",
        "POSTGRES_PASSWORD_FILE": str(secret),
    }
    assert read(variables)["passwords"] == [" p%@ä $x ", " p%@ä $x "]
    assert "$x" not in read(variables)["shown"]


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (None, "POSTGRES_PASSWORD_FILE cannot be read"),
        (b"", "POSTGRES_PASSWORD_FILE is empty: "),
        (b"\n", "POSTGRES_PASSWORD_FILE is empty: "),
        (b"\xff\xfe\x00", "POSTGRES_PASSWORD_FILE"),
    ],
)
def test_a_password_file_that_holds_none_is_named(
    read: Reader, tmp_path: Path, content: bytes | None, cause: str
) -> None:
    secret = tmp_path / "password"
    if content is not None:
        secret.write_bytes(content)
    variables = {
        "POSTGRES_USER": "me",
        "POSTGRES_DB": "shop",
        "POSTGRES_PASSWORD_FILE": str(secret),
    }
    problem = read(variables)["problem"]
    assert cause in problem
    assert problem.count("\n") == 1


def test_docker_secrets_are_read(read: Reader, tmp_path: Path) -> None:
    """/run/secrets, one file for each variable; here in another folder."""
    for name, value in FIVE.items():
        (tmp_path / name.lower()).write_text(f"{value}\n")
    assert read(options={"_secrets_dir": str(tmp_path)})["urls"][1] == URL
    (tmp_path / "database_url").write_text("postgresql://you:x@other/db\n")
    assert read(options={"_secrets_dir": str(tmp_path)})["urls"][1] == (
        "postgresql+psycopg2://you:x@other/db"
    )


@pytest.mark.parametrize("url", ["u:pa,ss/w@h/d", "u:pa/ss@h1,h2/d", "u:pa/ss@h1:1,h2:2/d"])
def test_a_comma_or_a_slash_in_a_password_is_no_hosts(read: Reader, url: str) -> None:
    password = url[2:].partition("@")[0]
    assert read(DATABASE_URL=f"postgresql://{url}")["passwords"] == [password] * 2


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
@pytest.mark.parametrize(
    ("query", "asyncpg", "psycopg2"),
    [
        ("sslmode=require", {"ssl": "require"}, {"sslmode": "require"}),
        ("ssl=require", {"ssl": "require"}, {"sslmode": "require"}),
        (
            "sslmode=require&channel_binding=require",
            {"ssl": "require"},
            {"sslmode": "require", "channel_binding": "require"},
        ),
        (
            "prepared_statement_cache_size=0",
            {"prepared_statement_cache_size": "0"},
            {},
        ),
        ("", {}, {}),
    ],
)
def test_a_url_of_any_host_fits_both_drivers(
    read: Reader, scheme: str, query: str, asyncpg: dict[str, str], psycopg2: dict[str, str]
) -> None:
    found = read(DATABASE_URL=f"{scheme}://u:p@h:1/d?{query}")
    assert found["query"] == [asyncpg, psycopg2]


@pytest.mark.parametrize(
    ("variables", "cause"),
    [
        ({}, "POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB not set"),
        ({**FIVE, "POSTGRES_PORT": "0"}, "POSTGRES_PORT: "),
        ({**FIVE, "POSTGRES_PORT": "65536"}, "POSTGRES_PORT: "),
        ({**FIVE, "POSTGRES_PORT": "abc"}, "POSTGRES_PORT: "),
        ({**FIVE, "ENVIRONMENT": "staging"}, "ENVIRONMENT: "),
        ({**FIVE, "STATEMENT_TIMEOUT": "inf"}, "STATEMENT_TIMEOUT: "),
        ({**FIVE, "STATEMENT_TIMEOUT": "0.0004"}, "STATEMENT_TIMEOUT: "),  # 0 is without limit
        ({"DATABASE_URL": "hidden"}, "DATABASE_URL is not of the form"),
        ({"DATABASE_URL": "postgresql://u:hidden@h"}, "DATABASE_URL is not of the form"),
        ({"DATABASE_URL": "postgresql://u:hidden@h:port/d"}, "DATABASE_URL is not of the form"),
        ({"DATABASE_URL": "postgresql://u:hidden@h:0/d"}, "DATABASE_URL is not of the form"),
        ({"DATABASE_URL": "postgresql://u:x@hidden@h/d"}, "DATABASE_URL is not of the form"),
        (
            {"DATABASE_URL": "postgresql://u:hidden@h,i/d@e?dbname=d"},
            "DATABASE_URL is not of the f",
        ),
        ({"DATABASE_URL": "mysql://u:hidden@h/d"}, "DATABASE_URL is not of the form"),
        # A driver would end a text there: another password, another host.
        ({"DATABASE_URL": "postgresql://u:hidden%00x@h/d"}, "DATABASE_URL is not of the form"),
        ({"DATABASE_URL": "postgresql://u/v:hidden@h/d"}, "DATABASE_URL is not of the form"),
        ({"DATABASE_URL": "postgresql://u:hid,den/hidden@h"}, "DATABASE_URL is not of the form"),
        ({"DATABASE_URL": "postgresql://u:hidden@h1:1,:2/d"}, "host and port that do not fit"),
        (
            {"DATABASE_URL": "postgresql://u:hidden@h1,h2/d?port=1,2,3"},
            "host and port that do not fit",
        ),
        ({"DATABASE_URL": "postgresql://u:hidden@h/d?port=x"}, "host and port that do not fit"),
        (
            {**FIVE, "MIGRATION_DATABASE_URL": "sqlite:///hidden"},
            "MIGRATION_DATABASE_URL is not of the form",
        ),
        (
            {**FIVE, "POSTGRES_PASSWORD": "development-only", "ENVIRONMENT": "production"},
            "POSTGRES_PASSWORD is the development default",
        ),
        (
            {"DATABASE_URL": "postgresql://u:development-only@h/d", "ENVIRONMENT": "production"},
            "is the development default",
        ),
        (
            {
                "DATABASE_URL": "postgresql://u:fine@h/d",
                "MIGRATION_DATABASE_URL": "postgresql://u:development-only@h/d",
                "ENVIRONMENT": "production",
            },
            "is the development default",
        ),
    ],
)
def test_what_is_wrong_is_named_in_one_sentence(
    read: Reader, variables: dict[str, str], cause: str
) -> None:
    found = read(variables)
    problem = found["problem"]
    assert cause in problem
    for secret in ("hidden", "secret"):
        assert secret not in problem
        assert secret not in found["raw"], "what a log or a traceback would show"
    assert [line[:7] for line in problem.splitlines()] == ["Error: ", "Next:  "]


def test_nothing_shows_a_password(read: Reader) -> None:
    found = read(
        POSTGRES_USER="me",
        POSTGRES_DB="shop",
        POSTGRES_PASSWORD="one-secret",  # noqa: S106
        MIGRATION_DATABASE_URL="postgresql://owner:another-secret@h/d",
    )
    assert found["passwords"] == ["one-secret", "another-secret"]
    assert "secret" not in found["shown"]
