"""A database URL as hosts hand it out, and what each of the two drivers takes of it."""

import os
import re
import ssl
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

# The parameters of each of its tables, and their values.
PARAMETERS: Any = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
IN_A_STRING, ASYNCPG_ONLY = PARAMETERS["both"].keys() - {"sslmode"}, PARAMETERS["asyncpg"]
REFUSED = PARAMETERS["neither"]
VALUES = {key: value for table in PARAMETERS.values() for key, value in table.items()}


def parse(name: str, text: str) -> URL:
    """The URL in the variable `name`, to be `completed`; a ValueError where it is malformed."""
    # libpq's list of hosts, where SQLAlchemy reads it; an @ after it would be a password's.
    user = r"(?:[^:/]*(?::[^@]*)?@)?"
    if several := re.fullmatch(rf"([\w+]+://{user})([^/@?]+,[^/@?]*)(/[^?@]*|)(\?.*)?", text):
        text = f"{several[1]}{several[3]}?host={several[2]}&{(several[4] or '?')[1:]}"
    try:
        url = make_url(text)
        query: dict[str, Any] = dict(url.query)
        # The name and the password may stand at the end: there, no message would hide them.
        moved = {"user": "username", "password": "password", "dbname": "database"}
        once = [key for key in moved if isinstance(query.get(key), str)]
        url = url.set(**{moved[key]: query.pop(key) for key in once})
        _list_hosts(query)
        if isinstance(host := query.get("host"), str):  # for asyncpg, a socket may be its file
            query["host"] = host.removesuffix("/.s.PGSQL.5432")
        # An @ elsewhere is one of the password's, whose end no message may show.
        usable = url.database and "@" not in f"{url.host}{url.database}" and "%00" not in text
        usable = usable and url.port != 0 and "," not in unquote(url.host or "")
        usable = usable and url.get_backend_name() in {"postgres", "postgresql"}
    except (ArgumentError, ValueError, TypeError):
        usable = False
    if not usable:
        raise ValueError(
            f"{name} is not of the form postgresql://user:password@host:5432/database, with % "
            "and two hexadecimal digits for each of : / ? # @ % in the user or the password"
        )
    if "ssl" in query:  # asyncpg's name for it
        query["sslmode"] = query.pop("ssl")
    url = url.set(host=unquote(url.host) if url.host else None, query=query)
    if query.keys() & {"host", "port"}:
        try:
            url.set(drivername="postgresql+asyncpg").get_dialect()().create_connect_args(url)
        except ArgumentError as error:
            raise ValueError(f"{name} has host and port that do not fit: {error}") from None
    return url


def _list_hosts(query: dict[str, Any]) -> None:
    """Several hosts, however they are listed, as both drivers take them: host=a,b and port=1,2."""
    given = [query.get("host", ""), query.get("port", "")]
    texts = [text if isinstance(text, str) else ",".join(text) for text in given]
    hosts, ports = (text.split(",") for text in texts)
    pattern = re.compile(r"(/.*|\[.*\]|.*:.*:.*|[^:]+)(?::(\d+))?")
    found = [match for match in map(pattern.fullmatch, hosts) if match]
    ports = ports if len(ports) > 1 else ports * len(hosts)
    if len(hosts) > 1 and len(found) == len(hosts) == len(ports):
        query["host"] = ",".join(host[1].strip("[]") for host in found)
        query["port"] = ",".join(
            host[2] or port or "5432" for host, port in zip(found, ports, strict=True)
        )


def completed(name: str, url: URL) -> URL:
    """`url`, of the variable `name`, with what libpq adds to it from the environment.

    Raises:
        ValueError: it has a parameter that one of the drivers cannot follow as the other does.
    """
    names = {key: f"PG{key.replace('_', '').upper()}" for key in VALUES.keys() - url.query.keys()}
    query: dict[str, Any] = {key: os.environ.get(variable) for key, variable in names.items()}
    query = {key: value for key, value in query.items() if value}
    has = f"{name} or the environment has" if query else f"{name} has"
    query |= url.query
    parameters = {key: value for key, value in query.items() if key not in {"host", "port"}}
    if unknown := [names.get(key, key) for key in parameters if not _is_known(key, query[key])]:
        raise ValueError(
            f"{has} {', '.join(unknown)}, which the drivers of this service cannot follow; "
            "take it out"
        )
    mode = query.get("sslmode", "verify-full" if query.get("sslrootcert") == "system" else "prefer")
    for key, value in parameters.items():
        if wrong := _wrong(key, value, mode):
            raise ValueError(f"{has} {names.get(key, key)}, {wrong}")
    return url.set(query=query)


def _is_known(key: str, value: object) -> bool:
    return key in VALUES and key not in REFUSED and isinstance(value, str)  # else it is there twice


def _wrong(key: str, value: str, mode: str) -> str | None:
    match VALUES[key]:
        case "number" if not re.fullmatch("[0-9]{1,9}", value):
            return "which is a whole number, 0 or more"
        case [*choices] if value not in choices:
            return f"which is one of: {', '.join(choices)}"
        case "file" if value == "system" and mode != "verify-full":
            return "which requires sslmode=verify-full"
        case [*_] if value in {"require", "direct"} and mode in {"disable", "allow", "prefer"}:
            return "which requires sslmode=require, verify-ca or verify-full"
        case "file" if mode in {"allow", "prefer"}:  # libpq would fall back to plain text
            return "which requires sslmode=require, verify-ca or verify-full"
        case "file" if mode != "disable" and value != "system" and not Path(value).is_file():
            return f"and there is no file {value}"
    return None


def for_driver(url: URL, driver: str) -> URL:
    """`url` for SQLAlchemy with another driver, such as postgresql+asyncpg."""
    query = dict(url.query)
    if "ssl" in query:
        query["sslmode"] = query.pop("ssl")
    if not driver.endswith("asyncpg"):
        query = {key: value for key, value in query.items() if key not in ASYNCPG_ONLY}
        return url.set(drivername=driver, query=query)
    of_asyncpg = {key: query[key] for key in ("host", "port", *ASYNCPG_ONLY) if key in query}
    if "sslmode" in query:
        of_asyncpg["ssl"] = query["sslmode"]
    if said := {key: value for key, value in query.items() if key in IN_A_STRING}:
        of_asyncpg["dsn"] = f"postgresql://?{urlencode(said)}"
    return url.set(drivername=driver, query=of_asyncpg)


def asyncpg_arguments(url: URL) -> dict[str, Any]:
    """What asyncpg needs of `url` beside `for_driver`'s: SQLAlchemy's `connect_args`."""
    # By default nothing stays prepared: where a migration changes what a statement returns, such as
    # the length of a varchar, those that were prepared before it would fail, in every process.
    size = int(str(url.query.get("prepared_statement_cache_size", 0)))
    arguments: dict[str, Any] = {"prepared_statement_cache_size": size}
    if (seconds := int(str(url.query.get("connect_timeout", 0)))) > 0:  # else without limit
        arguments["timeout"] = seconds
    if url.query.get("sslrootcert") == "system":
        arguments["ssl"] = ssl.create_default_context()
    if not size:  # nor has a name, which a pooler would give to another session
        arguments |= {"statement_cache_size": 0, "prepared_statement_name_func": lambda: ""}
    return arguments
