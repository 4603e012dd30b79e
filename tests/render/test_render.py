"""Answers -> files: what is refused, what lands, and that Copier alone is enough. No server."""

import fcntl
import json
import os
import pty
import random
import re
import select
import shutil
import struct
import subprocess
import sys
import termios
import tomllib
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import copier
import pytest
import yaml
from copier import Settings
from copier.errors import UserMessageError

from tests._kit.quick import quickened
from tests._kit.report import cannot_run
from tests._kit.support import BACKEND, BIN, SHAPES, environment, run, succeed
from tests.conftest import ROOT, WORKING_TREE, Project, Render, git

CONFIG: dict[str, Any] = yaml.safe_load((ROOT / "copier.yml").read_text())
QUESTIONS = {
    name: q for name, q in CONFIG.items() if not name.startswith("_") and q.get("when") is not False
}
OLDEST_COPIER = CONFIG["_min_copier_version"]

AT_THE_TOP = {
    ".devcontainer/devcontainer.json",
    ".copier-answers.yml",
    ".env.example",
    ".gitattributes",
    ".gitignore",
    "AGENTS.md",
    "CLAUDE.md",
    "README.md",
    "docker-compose.yml",
}
WORKFLOW = {".github/dependabot.yml", ".github/workflows/ci.yml"}
IN_THE_BACKEND = {
    path.relative_to(BACKEND).as_posix().removesuffix(".jinja")
    for path in map(ROOT.__truediv__, git(ROOT, "ls-files", "-z", str(BACKEND)).split("\0"))
    if path.is_relative_to(BACKEND) and "{" not in path.name  # stubs, in updates alone
}


def only_with(condition: str) -> set[str]:
    """The files of the backend that an answer adds: it is a condition in their folder's name."""
    found = re.compile(rf"template/\{{% if [^/]*{re.escape(condition)}[^/]*/(.+)")
    paths = git(ROOT, "ls-files", "-z", "template").split("\0")
    return {match[1] for path in paths if (match := found.fullmatch(path))}


OF_THE_API = only_with("api == 'fastapi'")


def values(question: str) -> list[str]:
    """The answers to a question with choices."""
    choices = QUESTIONS[question]["choices"]
    return list(choices.values() if isinstance(choices, dict) else choices)


# An answer to a question with several is a text here too, as it is typed: [history, pictures].
ALL = f"[{', '.join(values('extras'))}]"
CHOICES = {name: values(name) for name in QUESTIONS if "choices" in QUESTIONS[name]} | {
    "extras": ["[]", ALL]
}


def copy(template: Path, to: Path, answers: dict[str, Any]) -> None:
    """As a stranger does, untrusted, with Copier's API."""
    with quickened():
        copier.run_copy(
            str(template), to, data=answers, defaults=True, quiet=True, settings=Settings()
        )


@pytest.fixture(scope="session")
def folder(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template without its history: Copier does not clone it, which takes most of its time."""
    copy = tmp_path_factory.mktemp("folder") / "copier-postgres"
    return shutil.copytree(template, copy, ignore=shutil.ignore_patterns(".git"))


def names(project: Project) -> set[str]:
    """Every file on disk, in git or not."""
    found = (path for path in project.path.rglob("*") if not path.is_dir() or path.is_symlink())
    paths = (path.relative_to(project.path).as_posix() for path in found)
    return {path for path in paths if not path.startswith(".git/")}


def within(backend_dir: str, paths: set[str]) -> set[str]:
    """The paths of the backend folder, seen from the top."""
    return paths if backend_dir == "." else {f"{backend_dir}/{path}" for path in paths}


def from_backend(project: Project) -> dict[str, bytes]:
    """The files of the backend folder that hold no answer: path in it -> content."""
    with_answers = {"Dockerfile", ".python-version"}
    return {
        path: (project.backend / path).read_bytes()
        for path in sorted(IN_THE_BACKEND - with_answers)
    }


# --- what is refused ---------------------------------------------------------------------------

NO_NAME = "The project name needs at least one letter from A to Z, such as My Service."
NOT_ONE_LINE = "The project name is one line of up to 80 characters."
NO_SLUG = "The slug has up to 40 lowercase letters, digits and single dashes, and starts with a"
RESERVED_SLUG = "The slug may not begin with pg-"
NO_FOLDER = 'The backend folder is "." or a relative path of'
NO_DATABASE = "The database name has up to 63 lowercase letters, digits and underscores"
OWN_DATABASE = "is one of PostgreSQL's own databases: choose another name, such as"

BAD = [
    *(
        ("project_name", value, NO_NAME)
        for value in ["", "   ", "...", "?!-_", "\t", "123", "日本"]
    ),
    *(
        ("project_name", value, NOT_ONE_LINE)
        for value in ["Two\nLines", "Shop\n", "a\r", "a\x00b", "a\x1b[2J", "a\u2028b", "a" * 81]
    ),
    *(
        ("project_slug", value, NO_SLUG)
        for value in ["", "-x", "x-", "a--b", "Shop", "my_shop", "1x", "a b", "x\n", "é", "a" * 41]
    ),
    *(("project_slug", value, RESERVED_SLUG) for value in ["pg", "pg-tools"]),
    *(
        ("backend_dir", value, NO_FOLDER)
        for value in [
            *["", " ", "..", "../x", "x/../y", "a/../b", "./x", "/x", "a//b", "a/", "-x", "a/-b"],
            *["x\n", "\nx", "a b", "A", "a\\b", "C:", "~", ".hidden", "{{ x }}", "$HOME", "é"],
            "/".join(["abc"] * 26),
        ]
    ),
    *(
        ("db_name", value, NO_DATABASE)
        for value in ["", "a" * 64, "'", 'a"b', "a;b", "1a", "A", "a-b", "a b", "a\n", "ä", "$x"]
    ),
    *(("db_name", value, OWN_DATABASE) for value in ["postgres", "template0", "template1"]),
    ("python_version", "3.10", "Invalid choice"),
    ("postgres_version", "16", "Invalid choice"),
    ("ci", "gitlab", "Invalid choice"),
    ("api", "flask", "Invalid choice"),
    ("deploy", "swarm", "Invalid choice"),
    ("extras", "[diagrams]", "Invalid choice"),
]


@pytest.mark.parametrize(("question", "value", "sentence"), BAD)
def test_a_bad_answer_is_refused_in_one_sentence_and_nothing_is_written(
    folder: Path, tmp_path: Path, question: str, value: str, sentence: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)) as refusal:
        copy(folder, tmp_path / "demo", {question: value})
    assert str(refusal.value).count("\n") == 0
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_refuses_a_bad_answer_and_writes_nothing(
    template: Path, tmp_path: Path
) -> None:
    """Copier shows its own traceback for a bad `--data`; the sentence is the last line of it."""
    first = {question: (value, sentence) for question, value, sentence in reversed(BAD)}
    runs = {
        question: subprocess.Popen(
            [BIN / "copier", "copy", "--defaults", f"--data={question}={value}", template, "demo"],
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        for question, (value, _) in first.items()
    }
    assert runs.keys() == QUESTIONS.keys()
    for question, process in runs.items():
        errors = process.communicate()[1].strip().splitlines()
        assert process.returncode == 1, errors
        assert first[question][1] in errors[-1]
    assert list(tmp_path.iterdir()) == []


def test_a_person_who_answers_badly_reads_the_sentence_and_is_asked_again(
    template: Path, tmp_path: Path
) -> None:
    terminal, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 300, 0, 0))  # one line is one
    process = subprocess.Popen(
        [BIN / "copier", "copy", str(template), str(tmp_path / "demo")],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(TERM="xterm", PROMPT_TOOLKIT_NO_CPR="1"),
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""

    def wait_for(text: bytes) -> None:
        nonlocal shown
        while text not in shown:
            assert select.select([terminal], [], [], 60)[0], f"no {text!r} in {shown!r}"
            shown += os.read(terminal, 4096)

    try:
        wait_for(b"What is the service called?")
        os.write(terminal, b"\x15...\r")  # ^U clears the default
        wait_for(b"needs at least one letter")
        os.write(terminal, b"\x15My Shop\r")
        wait_for(b"Its short name")
        wait_for(b"my-shop")  # the default of the next question follows from the answer
        os.write(terminal, b"\x03")
        wait_for(b"Execution stopped by user")
        assert process.wait(60) == 1
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
    assert b"Traceback" not in shown
    assert list(tmp_path.iterdir()) == []


# --- what is legal -----------------------------------------------------------------------------

ODD_NAMES = [
    "yes",
    "null",
    "a: b",
    "# a",
    "@home",
    "- a",
    "%a",
    "{a}",
    "{{ a }}",
    "{% a %}",
    "O'Neill's",
    'The "Shop"',
    "back\\slash",
    "  spaces  ",
    "Zażółć gęślą",
    "日本 shop",
    "PG tools",
    "a" * 80,
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_odd_name_is_kept_and_every_file_still_parses(
    folder: Path, name: str, tmp_path: Path
) -> None:
    project = tmp_path / "demo"
    copy(folder, project, {"project_name": name})
    answers = yaml.safe_load((project / ".copier-answers.yml").read_text("utf-8"))
    assert answers["project_name"] == name
    assert name.strip() in (project / "README.md").read_text("utf-8").partition("\n")[0]
    slug = answers["project_slug"]
    assert re.fullmatch("[a-z][a-z0-9]*(-[a-z0-9]+)*", slug)
    compose = yaml.safe_load((project / "docker-compose.yml").read_text("utf-8"))
    user = f"{slug.replace('-', '_')}_user"
    assert compose["services"]["postgres"]["environment"]["POSTGRES_USER"] == (
        f"${{POSTGRES_USER:-{user}}}"
    )
    assert not user.startswith("pg_"), "PostgreSQL keeps such names for itself"
    for path in project.rglob("*"):
        if path.suffix in {".yml", ".yaml"}:
            yaml.safe_load(path.read_text("utf-8"))
        elif path.suffix == ".toml":
            tomllib.loads(path.read_text("utf-8"))


@pytest.mark.parametrize(
    ("name_of_folder", "name"),
    [
        ("my-service", "My Service"),
        ("shop.example.com", "Shop Example Com"),
        ("UPPER_case", "Upper Case"),
        ("2024-shop", "2024 Shop"),
        ("with space", "With Space"),
        ("pg", "Pg"),
        ("123", "My Service"),
        ("___", "My Service"),
        ("店", "My Service"),
        ("a" * 200, "A" + "a" * 79),
        ("-" * 100 + "a", "My Service"),
    ],
)
def test_defaults_alone_are_enough_for_a_folder_of_any_name(
    folder: Path, tmp_path: Path, name_of_folder: str, name: str
) -> None:
    copy(folder, tmp_path / name_of_folder, {})
    answers = yaml.safe_load((tmp_path / name_of_folder / ".copier-answers.yml").read_text())
    assert answers["project_name"] == name


@pytest.mark.parametrize("slug", ["no", "null", "true", "a" * 40])
def test_a_slug_that_is_a_word_of_yaml_stays_a_text(
    folder: Path, tmp_path: Path, slug: str
) -> None:
    copy(folder, tmp_path / "demo", {"project_slug": slug})
    answers = yaml.safe_load((tmp_path / "demo" / ".copier-answers.yml").read_text())
    assert answers["project_slug"] == slug


# --- what lands --------------------------------------------------------------------------------


def test_two_renders_are_equal(render: Render, rendered: Render) -> None:
    assert render().files() == rendered().files()


@pytest.mark.parametrize("backend_dir", SHAPES)
def test_exactly_the_expected_files_land(rendered: Render, backend_dir: str) -> None:
    project = rendered(backend_dir=backend_dir)
    assert names(project) == AT_THE_TOP | WORKFLOW | within(backend_dir, IN_THE_BACKEND)


@pytest.mark.parametrize("backend_dir", SHAPES)
def test_the_code_is_the_same_wherever_it_stands(rendered: Render, backend_dir: str) -> None:
    assert from_backend(rendered(backend_dir=backend_dir)) == from_backend(rendered())


@pytest.mark.parametrize("backend_dir", SHAPES)
def test_an_application_adds_files_and_changes_no_python(
    rendered: Render, backend_dir: str
) -> None:
    project = rendered(backend_dir=backend_dir, api="fastapi")
    plain = rendered(backend_dir=backend_dir)
    assert names(project) == names(plain) | within(backend_dir, OF_THE_API)
    assert {"app/main.py", "requirements-api.txt", "tests/api/conftest.py"} <= OF_THE_API
    assert from_backend(project) == from_backend(plain)


@pytest.mark.parametrize("extra", values("extras"))
def test_an_extra_adds_files_and_changes_none(rendered: Render, extra: str) -> None:
    own = only_with(f"'{extra}' in extras")
    project, plain = rendered(extras=f"[{extra}]"), rendered()
    assert own
    assert all(path.startswith(("testing/", "tests/")) for path in own)
    assert names(project) == names(plain) | within("backend", own)
    assert from_backend(project) == from_backend(plain)


def lines(project: Project, pattern: str) -> int:
    """How many the files of a project have, without locks."""
    files = {path: text for path, text in project.files().items() if "requirements" not in path}
    return sum(text.count(b"\n") for path, text in files.items() if re.search(pattern, path))


def test_what_each_option_costs_is_printed(
    rendered: Render, record_property: Callable[[str, object], None]
) -> None:
    least = rendered(ci="none")
    kinds = ("", r"\.py$", "/app/")
    said = "lines: {} with all options off, {} of Python".format(*(lines(least, k) for k in kinds))
    options = {f"{name}={value}" for name in ("ci", "api", "deploy") for value in CHOICES[name]}
    options = {option for option in options if not option.endswith("=none")}
    options |= {f"extras=[{value}]" for value in values("extras")}
    for name, value in (option.split("=") for option in sorted(options)):
        project = rendered(**{"ci": "none", name: value})
        cost = [lines(project, kind) - lines(least, kind) for kind in kinds]
        said += f"; {name}={value}: {cost[0]} more, {cost[1]} of Python"
        assert cost[0] > 0
        assert cost[2] <= 152, "an application is the user's: it is to be read in one go"
    record_property("line", said)


def test_without_ci_there_is_no_workflow(rendered: Render) -> None:
    assert names(rendered(ci="none")) == names(rendered()) - WORKFLOW


@pytest.mark.parametrize("backend_dir", SHAPES)
def test_nothing_that_lands_is_ignored_by_git(rendered: Render, backend_dir: str) -> None:
    """An update would overwrite such a file without a word."""
    project = rendered(backend_dir=backend_dir)
    assert names(project) == set(project.files())
    assert git(project.path, "ls-files", "--cached", "--ignored", "--exclude-standard") == ""


def test_no_file_of_the_template_is_ignored_by_git() -> None:
    listed = git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z", "template")
    paths = [path for path in listed.split("\0") if path]
    for rules in (ROOT, ROOT / "template"):
        relative = [str((ROOT / path).relative_to(rules)) for path in paths]
        done = subprocess.run(
            ["git", "check-ignore", "--no-index", "--stdin"],
            cwd=rules,
            input="\n".join(relative),
            text=True,
            capture_output=True,
            check=False,
        )
        assert done.stdout == ""
    on_disk = {path for path in (ROOT / "template").rglob("*") if path.is_file()}
    caches = {".mypy_cache", ".pytest_cache", ".ruff_cache", "__pycache__"}
    assert {path for path in on_disk if not caches.intersection(path.parts)} == {
        ROOT / path for path in paths if (ROOT / path).exists()
    }


# What only a project with a deployment has, but for what git ignores after a change of mind.
DEPLOYMENT = re.compile(rb"\bbackups/|DEPLOY|roles\.sql|distroless|\bsecrets:|compose\.production")


@pytest.mark.parametrize("api", ["none", "fastapi"])
def test_without_a_deployment_a_project_has_nothing_of_one(rendered: Render, api: str) -> None:
    """Not a file, a service, a stage of an image, or a line."""
    plain = rendered(api=api).files()
    told = [
        f"{path}: {line.decode()}"
        for path, text in plain.items()
        for line in text.splitlines()
        if DEPLOYMENT.search(line) and path != ".gitignore"
    ]
    assert told == []
    compose = plain["docker-compose.yml"].decode()
    services = {"postgres", "test-postgres", "migrate", "test", "dev"}
    services |= {"api"} if api == "fastapi" else set()
    assert set(yaml.safe_load(compose)["services"]) == services
    stages = re.findall(r"(?m)^FROM .* AS (.*)$", plain["backend/Dockerfile"].decode())
    assert stages == [
        "base",
        *("dependencies", "development-dependencies", "development", "runtime"),
    ]
    # With one, each file has what it has without, and at most the two mounts of roles.sql more.
    for deploy in ("compose", "kubernetes"):
        more = rendered(api=api, deploy=deploy).files()
        changed = {path for path, text in plain.items() if more.get(path) != text}
        assert changed == {".copier-answers.yml", "docker-compose.yml"}
        added = set(more["docker-compose.yml"].splitlines()) - set(compose.encode().splitlines())
        assert len(added) == 2
        assert all(b"/database" in line for line in added)
        assert len(more) > len(plain)


def test_no_jinja_is_left_over(rendered: Render) -> None:
    options = [{}, {"api": "fastapi", "deploy": "compose"}, {"deploy": "kubernetes", "extras": ALL}]
    for backend_dir, more in product(SHAPES, options):
        for path, content in rendered(backend_dir=backend_dir, **more).files().items():
            assert not re.search(r"\{[{%#]|\.jinja$", path)
            asked = "|".join([*QUESTIONS, "_copier"])
            assert not re.search(rf"\{{%-? |\{{\{{-? *({asked})".encode(), content), path


def test_no_python_file_is_a_template() -> None:
    assert not list((ROOT / "template").rglob("*.py.jinja"))


def test_every_file_is_plain_text_with_unix_line_endings(rendered: Render) -> None:
    project = rendered()
    for path, content in project.files().items():
        assert b"\0" not in content, path
        assert b"\r" not in content, path
        content.decode("utf-8")
        assert content == b"" or content.endswith(b"\n"), path
        assert not (project.path / path).is_symlink(), path
        assert not (project.path / path).stat().st_mode & 0o111, f"{path}: executable"


ALL_MIXES = [
    dict(zip(["backend_dir", *CHOICES], mix, strict=True))
    for mix in product(SHAPES, *CHOICES.values())
]
# Others with each commit, and the same in all workers of a run.
MIXES = random.Random(git(ROOT, "rev-parse", "HEAD")).sample(ALL_MIXES, 20)  # noqa: S311


@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: "-".join(mix.values()))
def test_any_mix_of_choices_renders(rendered: Render, mix: dict[str, str]) -> None:
    project = rendered(**mix)
    python_version, postgres_version = mix["python_version"], mix["postgres_version"]
    for path in (name for name in project.files() if name.endswith(".py")):
        compile((project.path / path).read_bytes(), path, "exec", dont_inherit=True)
    for path in (name for name in project.files() if name.endswith(".yml")):
        yaml.safe_load((project.path / path).read_text())
    dockerfile = (project.backend / "Dockerfile").read_text()
    assert f"\nARG PYTHON_IMAGE=python:{python_version}-slim\n" in dockerfile
    compose = yaml.safe_load((project.path / "docker-compose.yml").read_text())
    postgres = compose["services"]["postgres"]
    assert postgres["image"] == f"${{POSTGRES_IMAGE:-postgres:{postgres_version}}}"
    # The image of 18 keeps its data one level higher; no volume there is no data kept.
    data = {"17": "/var/lib/postgresql/data", "18": "/var/lib/postgresql"}[postgres_version]
    volume = f"postgres-{postgres_version}"
    assert postgres["volumes"] == [f"{volume}:{data}"]
    assert list(compose["volumes"]) == [volume]
    answers = yaml.safe_load((project.path / ".copier-answers.yml").read_text())
    assert answers["python_version"] == python_version
    assert answers["postgres_version"] == postgres_version


def test_the_answers_reach_the_files_that_need_them(rendered: Render) -> None:
    project = rendered(project_slug="the-shop", db_name="orders", backend_dir="services/api")
    compose = yaml.safe_load((project.path / "docker-compose.yml").read_text())
    assert compose["services"]["migrate"]["image"] == "the-shop-backend"
    environment = compose["services"]["postgres"]["environment"]
    assert environment["POSTGRES_USER"] == "${POSTGRES_USER:-the_shop_user}"
    assert environment["POSTGRES_DB"] == "${POSTGRES_DB:-orders}"
    migrate = compose["services"]["migrate"]
    assert migrate["build"]["context"] == "./services/api"
    assert "./services/api:/srv" in migrate["volumes"]
    example = (project.path / ".env.example").read_text()
    assert "\nPOSTGRES_USER=the_shop_user\n" in example
    assert "\nPOSTGRES_DB=orders\n" in example


def test_an_editor_opens_the_container_to_work_in_as_the_owner(rendered: Render) -> None:
    """What the reference implementation (@devcontainers/cli) was seen to follow."""
    project = rendered(backend_dir="services/api")
    file = project.path / ".devcontainer" / "devcontainer.json"
    editor = json.loads(file.read_text())
    compose = yaml.safe_load((file.parent / editor["dockerComposeFile"]).read_text())
    service = compose["services"][editor["service"]]
    assert service["user"] == editor["remoteUser"]
    assert f"./services/api:{editor['workspaceFolder']}" in service["volumes"]
    assert not editor["overrideCommand"]
    assert not editor["updateRemoteUserUID"], "the entrypoint does it"


def test_no_managed_file_has_two_places_that_look_the_same(rendered: Render) -> None:
    """`copier update` could put a user's edit into the wrong one of them."""
    kept = ("requirements.txt", "requirements-dev.txt", "requirements-api.txt")  # generated
    for path, content in rendered(api="fastapi").files().items():
        if path.endswith(kept):
            continue
        lines = content.decode().splitlines()
        windows: dict[tuple[str, ...], int] = {}
        for number in range(len(lines) - 6):
            window = tuple(lines[number : number + 7])
            first = windows.setdefault(window, number)
            assert first == number, f"{path}: lines {first + 1} and {number + 1}"


# --- the rules of Copier -----------------------------------------------------------------------


def test_the_template_needs_no_trust_in_any_release() -> None:
    for key in (
        "_tasks",
        "_jinja_extensions",
        "_migrations",
        "_external_data",
        "_secret_questions",
    ):
        assert key not in CONFIG
    assert not any(question.get("secret") for question in QUESTIONS.values())


def test_only_settings_that_copier_reads_are_set() -> None:
    """Copier ignores the others in silence: `_context_lines`, `_conflict`, ..."""
    assert {key for key in CONFIG if key.startswith("_")} <= {
        "_envops",
        "_exclude",
        "_message_after_copy",
        "_message_after_update",
        "_message_before_copy",
        "_message_before_update",
        "_min_copier_version",
        "_skip_if_exists",
        "_subdirectory",
    }
    assert CONFIG["_envops"] == {"undefined": "jinja2.StrictUndefined"}


def test_patterns_hold_no_answer_and_match_in_any_folder() -> None:
    when = r"_copier_operation == 'update' or rendered is defined"
    only_update = re.compile(rf"\{{% if {when} %\}}(.*)\{{% endif %\}}")
    exclude = [only_update.sub(r"\1", pattern) for pattern in CONFIG["_exclude"]]
    for pattern in [*exclude, *CONFIG["_skip_if_exists"]]:
        assert re.match(r"!?\*\*/", pattern), pattern
        assert not re.search(r"\{\{|\{%", pattern), pattern
    assert "**/.env" in CONFIG["_exclude"]
    theirs = [only_update.sub(r"\1", p) for p in CONFIG["_exclude"] if only_update.match(p)]
    assert theirs == CONFIG["_skip_if_exists"], "both lists, with the same exceptions"


def test_every_question_can_be_answered_by_a_beginner() -> None:
    assert set(QUESTIONS) == {
        "project_name",
        "project_slug",
        "backend_dir",
        "python_version",
        "postgres_version",
        "db_name",
        "ci",
        "api",
        "deploy",
        "extras",
    }
    for name, question in QUESTIONS.items():
        assert question["help"], name
        assert len(question["help"]) <= 76, f"{name}: with Copier's mark, more than 80 columns"
        assert "default" in question, name
        assert bool(question.get("validator")) != bool(question.get("choices")), name


def test_copier_can_update_what_it_rendered(template: Path, rendered: Render) -> None:
    answers = yaml.safe_load((rendered().path / ".copier-answers.yml").read_text())
    assert answers.keys() >= {"_commit", "_src_path", *QUESTIONS}
    assert answers["_commit"] == WORKING_TREE
    assert answers["_src_path"] == str(template)


@pytest.mark.parametrize("source", [".", "../copier-postgres", "../../copier-postgres"])
def test_a_source_that_no_update_would_find_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """Copier shows a UserMessageError as one line, and exits 1."""
    monkeypatch.chdir(folder / "docs" if source.startswith("../..") else folder)
    with pytest.raises(UserMessageError) as refusal:
        copier.run_copy(source, tmp_path / "demo", defaults=True, quiet=True, settings=Settings())
    assert f'no update finds the template by "{source}". Next: copier copy' in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


# --- Copier alone is enough --------------------------------------------------------------------


def plain_copy(command: list[str], template: Path, to: Path) -> dict[str, bytes]:
    """What a stranger's `copier copy --defaults` makes, no `--trust`."""
    done = subprocess.run(
        [*command, "copy", "--defaults", str(template), str(to)],
        check=False,
        capture_output=True,
        text=True,
        env=environment(COPIER_SETTINGS_PATH=os.devnull),
    )
    assert done.returncode == 0, done.stderr
    return {
        path.relative_to(to).as_posix(): path.read_bytes()
        for path in to.rglob("*")
        if path.is_file()
    }


def test_plain_copier_renders_the_same(template: Path, rendered: Render, tmp_path: Path) -> None:
    found = plain_copy([str(BIN / "copier")], template, tmp_path / "demo-shop")
    assert found == rendered().files()


def test_the_oldest_copier_renders_the_same(
    template: Path, rendered: Render, tmp_path: Path
) -> None:
    old = [str(BIN / "uv"), "tool", "run", "--quiet", "--python", sys.executable]
    old += ["--from", f"copier=={OLDEST_COPIER}", "copier"]
    version = subprocess.run([*old, "--version"], check=False, capture_output=True, text=True)
    if version.returncode:
        cannot_run(f"copier {OLDEST_COPIER} cannot be installed here", " ".join(old))
    assert version.stdout.strip().endswith(OLDEST_COPIER)
    assert plain_copy(old, template, tmp_path / "demo-shop") == rendered().files()


# --- what git keeps out of alembic/versions ------------------------------------------------------


def test_git_keeps_out_a_revision_made_for_a_try_and_no_other(render: Render) -> None:
    project = render()
    messages = {
        "test": True,
        "test something": True,
        "Test it": True,
        "add test_models": False,
        "latest test": False,
        "testing": False,
        "attest": False,
        "users": False,
    }
    succeed(
        run(
            project.backend,
            "-c",
            "import sys; from alembic.config import main\n"
            "for words in sys.argv[1:]: main(['revision', '-m', words])",
            *messages,
            program="python",
        )
    )
    ignored = {}
    versions = project.backend / "alembic" / "versions"
    for file in sorted(versions.glob("*.py")):
        message = file.read_text().partition('"""')[2].partition("\n")[0]
        ignored[message] = (
            subprocess.run(
                ["git", "check-ignore", "--quiet", file], cwd=project.path, check=False
            ).returncode
            == 0
        )
    ignored.pop("Empty schema: where every database of this service begins.")
    assert ignored == messages
    for name, kept_out in {
        "test_x.py": True,
        "x.pyc": True,
        "__pycache__/x.py": True,
        "x.py": False,
    }.items():
        done = subprocess.run(
            ["git", "check-ignore", "--quiet", versions / name], cwd=project.path, check=False
        )
        assert (done.returncode == 0) == kept_out, name
