"""A database URL as hosts hand it out, and what each of the two drivers takes of it."""

import re
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

# https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
# asyncpg knows these too, but only in a connection string.
IN_A_STRING = {
    *FILES, "application_name", "gsslib", "krbsrvname", "options", "passfile", "service",
    "ssl_max_protocol_version", "ssl_min_protocol_version", "sslnegotiation",
    "target_session_attrs",
}  # fmt: skip
# About the client's end of a connection: asyncpg takes none of these in a connection string.
PSYCOPG2_ONLY = {
    "channel_binding", "client_encoding", "connect_timeout", "fallback_application_name",
    "gssencmode", "keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval",
    "sslcompression", "sslsni", "tcp_user_timeout",
}  # fmt: skip
ASYNCPG_ONLY = {"prepared_statement_cache_size"}  # SQLAlchemy reads it
WHOLE_NUMBERS = {"connect_timeout": "seconds", "prepared_statement_cache_size": "statements"}
KNOWN = {"host", "port", "sslmode"} | IN_A_STRING | PSYCOPG2_ONLY | ASYNCPG_ONLY


def parse(name: str, text: str) -> URL:
    """The URL in the variable `name`.

    Raises:
        ValueError: it is malformed, or has a parameter that one of the drivers cannot follow.
    """
    # libpq's list of hosts, where SQLAlchemy reads it; an @ after it would be a password's.
    user = r"(?:[^:/]*(?::[^@]*)?@)?"
    if several := re.fullmatch(rf"([\w+]+://{user})([^/@?]+,[^/@?]*)(/[^?@]*|)(\?.*)?", text):
        text = f"{several[1]}{several[3]}?host={several[2]}&{(several[4] or '?')[1:]}"
    try:
        url = make_url(text)
        query: dict[str, Any] = dict(url.query)
        # The name and the password may stand at the end: there, no message would hide them.
        moved = {"user": "username", "password": "password", "dbname": "database"}
        url = url.set(**{new: query.pop(key) for key, new in moved.items() if key in query})
        _list_hosts(query)
        # An @ elsewhere is one of the password's, whose end no message may show.
        usable = url.database and "@" not in f"{url.host}{url.database}" and "%00" not in text
        usable = usable and url.port != 0 and url.get_backend_name() in {"postgres", "postgresql"}
    except (ArgumentError, ValueError, TypeError):
        usable = False
    if not usable:
        raise ValueError(
            f"{name} is not of the form postgresql://user:password@host:5432/database, with % "
            "and two hexadecimal digits for each of : / ? # @ % in the user or the password"
        )
    if "ssl" in query:  # asyncpg's name for it
        query["sslmode"] = query.pop("ssl")
    _refuse(name, query)
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


def _refuse(name: str, query: dict[str, Any]) -> None:
    unknown = [key for key, value in query.items() if key not in KNOWN or _is_refused(key, value)]
    if unknown:
        raise ValueError(
            f"{name} has {', '.join(unknown)}, which the drivers of this service cannot follow; "
            "take it out"
        )
    for key, of_what in WHOLE_NUMBERS.items():
        if not re.fullmatch(r"-?[0-9]{1,9}", query.get(key, "0")):
            raise ValueError(f"{name} has {key}, which is a whole number of {of_what}")
    if query.get("sslmode") != "disable":
        for key in FILES:
            if (file := query.get(key, "system")) != "system" and not Path(file).is_file():
                raise ValueError(f"{name} has {key}, and there is no file {file}")


def _is_refused(key: str, value: object) -> bool:
    is_twice = not isinstance(value, str) and key not in {"host", "port"}
    return is_twice or (key, value) == ("gssencmode", "require")


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
