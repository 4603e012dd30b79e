"""scripts/release, and the life of a stranger's project from one release to the next."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import copier
import pytest
from copier import Settings

from tests.conftest import ROOT, WORKING_TREE, git
from tests.update.branch import MERGE, update_in_a_branch
from tests.update.edits import ANSWERS
from tests.update.releases import RECORDS, SHIPPED, repository
from tests.update.trial import Plan, Workshop, commit, tree


@pytest.fixture
def clone(template: Path, tmp_path: Path) -> Path:
    """This repository as it stands, without releases, and with something to release."""
    path = tmp_path / "clone"
    git(template, "clone", "--quiet", str(template), str(path))
    git(path, "checkout", "--quiet", "-B", "main", WORKING_TREE)
    for tag in git(path, "tag").split():
        git(path, "tag", "--delete", tag)
    shutil.rmtree(path / RECORDS.relative_to(ROOT), ignore_errors=True)
    news(path, "The first.")
    return path


def news(clone: Path, line: str) -> None:
    """Write a changelog's entry, and commit all."""
    changelog = clone / "CHANGELOG.md"
    text = changelog.read_text() if changelog.exists() else "# Changelog\n\n## [Unreleased]\n"
    text = text.replace("## [Unreleased]\n", f"## [Unreleased]\n\n### Added\n\n- {line}\n", 1)
    changelog.write_text(text)
    commit(clone)


def release(clone: Path, version: str, tests: str = "true") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "scripts/release", version],
        cwd=clone,
        env=os.environ | {"RELEASE_TESTS": tests},
        check=False,
        capture_output=True,
        text=True,
    )


def test_a_release_is_committed_tagged_and_recorded(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = release(clone, "0.1.0")
    assert first.returncode == 0, first.stderr
    assert git(clone, "status", "--porcelain") == ""
    assert git(clone, "cat-file", "-t", "v0.1.0") == "tag"
    assert git(clone, "rev-parse", "v0.1.0^{commit}") == git(clone, "rev-parse", "HEAD")
    changelog = (clone / "CHANGELOG.md").read_text()
    assert re.search(r"## \[Unreleased\]\n\n## \[0\.1\.0\] - \d{4}-\d\d-\d\d\n", changelog)
    assert "- The first.\n" in changelog.partition("## [0.1.0]")[2]

    (clone / "template" / "NEWS.md").write_text("New.\n")
    news(clone, "The second.")
    second = release(clone, "0.2.0")
    assert second.returncode == 0, second.stderr
    bundles = sorted((clone / "tests" / "releases").iterdir())
    assert [path.name for path in bundles] == ["v0.1.0.bundle", "v0.2.0.bundle"]
    assert bundles[1].stat().st_size < bundles[0].stat().st_size / 10, "only what changed"

    # A shallow clone has no tags, and yet every release.
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth=1", "--no-tags", f"file://{clone}", str(shallow))
    assert git(shallow, "tag") == ""
    git(shallow, "tag", "-a", WORKING_TREE, "-m", WORKING_TREE)
    monkeypatch.setattr("tests.update.releases.RECORDS", shallow / "tests" / "releases")
    made = tmp_path / "made"
    repository(made, shallow)
    for tag in ("v0.1.0", "v0.2.0"):
        for path in SHIPPED:
            assert git(made, "rev-parse", f"{tag}:{path}") == git(
                clone, "rev-parse", f"{tag}:{path}"
            )
    Workshop(made, tmp_path).trial(Plan(1, "v0.1.0", "v0.2.0"))


@pytest.mark.parametrize(
    ("version", "why"),
    [
        ("1.0", "is not of the form X.Y.Z"),
        ("v1.0.0", "is not of the form X.Y.Z"),
        ("01.0.0", "is not of the form X.Y.Z"),
        ("0.1.0", "is not above v0.1.0"),
        ("0.0.9", "is not above v0.1.0"),
        ("0.3.0", "there is a tag v0.3.0 already"),
        ("0.2.0", "CHANGELOG.md says nothing under [Unreleased]"),
        ("0.2.1", "the tests are not green"),
        ("0.2.2", "not everything is committed"),
        ("0.2.3", "tags that are not in the history of HEAD"),
        ("0.2.4", "braces"),
    ],
)
def test_what_cannot_be_a_release_changes_nothing(clone: Path, version: str, why: str) -> None:
    records = clone / "tests" / "releases"
    records.mkdir()
    (records / "v0.1.0.bundle").write_text("")
    git(clone, "tag", "v0.3.0")
    if version == "0.2.0":
        changelog = clone / "CHANGELOG.md"
        changelog.write_text("# Changelog\n\n## [Unreleased]\n\n## [0.1.0] - 2026-01-01\n\n- X.\n")
    if version == "0.2.3":
        orphan = git(clone, "commit-tree", "HEAD^{tree}", "-m", "as in a bundle")
        git(clone, "tag", "v0.1.0", orphan)
    if version == "0.2.4":
        changelog = clone / "CHANGELOG.md"
        changelog.write_text(changelog.read_text().replace("The first.", "The {{ first }}."))
    commit(clone)
    if version == "0.2.2":
        (clone / "README.md").write_text("changed\n")
    before = tree(clone), git(clone, "rev-parse", "HEAD"), git(clone, "tag")
    done = release(clone, version, tests="false" if version == "0.2.1" else "true")
    assert done.returncode != 0
    assert why in done.stderr
    assert "Traceback" not in done.stderr
    assert (tree(clone), git(clone, "rev-parse", "HEAD"), git(clone, "tag")) == before


# --- a stranger ----------------------------------------------------------------------------------


def copied(clone: Path, folder: Path) -> Path:
    """What `copier copy --defaults git+file://...` makes, committed, with an edit."""
    path = folder / "shop"
    source = f"git+file://{clone}"
    copier.run_copy(source, path, defaults=True, quiet=True, settings=Settings())
    git(path, "init", "--quiet", "-b", "main")
    commit(path)
    config = path / "backend" / "app" / "core" / "config.py"
    config.write_text(f"{config.read_text()}MINE = 1\n")
    commit(path)
    return path


def released(clone: Path, version: str) -> None:
    """The next release, with a file more."""
    (clone / "template" / f"{version}.md").write_text("New.\n")
    news(clone, f"What {version} brings.")
    assert release(clone, version).returncode == 0


@pytest.mark.in_turn(2)
@pytest.mark.parametrize("tagged", [False, True])
def test_a_strangers_project_goes_from_release_to_release(
    clone: Path, tmp_path: Path, *, tagged: bool
) -> None:
    """Copied where there was no release yet, or by one; from the URL of a repository."""
    if tagged:
        released(clone, "0.1.0")
    project = copied(clone, tmp_path)
    recorded = re.search("(?m)^_commit: (.*)$", (project / ANSWERS).read_text())
    assert recorded
    assert recorded[1] == ("v0.1.0" if tagged else git(clone, "describe", "--tags", "--always"))
    released(clone, "0.2.0")
    ended = update_in_a_branch(project, fresh=True)
    assert ended.code == 0, ended.said
    # What the changelog says since the release that the project had, where it had one.
    assert ("- What 0.2.0 brings." in ended.said) == tagged
    assert "- What 0.1.0 brings." not in ended.said
    git(project, *MERGE)
    fresh = tmp_path / "fresh"
    copier.run_copy(
        f"git+file://{clone}",
        fresh,
        data={"project_name": "Shop"},
        defaults=True,
        quiet=True,
        settings=Settings(),
    )
    mine, its = tree(project), tree(fresh)
    assert mine.keys() == its.keys()
    assert {path for path in its if mine[path] != its[path]} == {"backend/app/core/config.py"}
    assert mine["backend/app/core/config.py"].content.endswith(b"MINE = 1\n")


def test_a_copy_that_cannot_be_updated_says_so_at_once(
    template: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of a folder without git; test_render.py has a relative path, which is refused."""
    source, path = tmp_path / "unpacked", tmp_path / "shop"
    shutil.copytree(template, source, ignore=shutil.ignore_patterns(".git"))
    copier.run_copy(str(source), path, defaults=True, settings=Settings())
    said = capsys.readouterr().err
    assert "For updates, write two lines in .copier-answers.yml" in said
    # With those two lines it is a project as any other.
    answers = path / ANSWERS
    text = re.sub(r"(?m)^_(commit|src_path): .*\n", "", answers.read_text())
    answers.write_text(f"_commit: {WORKING_TREE}\n_src_path: {template}\n{text}")
    git(path, "init", "--quiet", "-b", "main")
    commit(path)
    ended = update_in_a_branch(path, fresh=True)
    assert ended.said.endswith("Nothing to merge: Copier changed no file.\n"), ended
