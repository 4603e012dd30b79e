"""What `deploy: kubernetes` renders: kustomize builds it, Kubernetes' schemas know it."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from tests._kit.support import BIN, template_module
from tests.conftest import Render

VERSIONS = ("1.34", "1.37")  # the oldest that is supported today, and the newest
Documents = dict[tuple[str, str], dict[str, Any]]  # by kind and name


def build(folder: Path) -> Documents:
    """What `kubectl apply --kustomize` would send."""
    done = subprocess.run(
        [BIN / "kubectl", "kustomize", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = list(yaml.safe_load_all(done.stdout))
    return {(it["kind"], it["metadata"]["name"]): it for it in found}


def overlay(
    project: Path, folder: Path, *, has_init_container: bool = False, more: str = ""
) -> Documents:
    """A release, as DEPLOY.md writes it."""
    base = shutil.copytree(project / "kubernetes", folder / "kubernetes")
    guide = (project / "DEPLOY.md").read_text()
    path, text = re.findall(r"`(\S+\.yaml)`:\n\n```yaml\n(.*?)```", guide, re.DOTALL)[0]
    if has_init_container:
        component = (base / "init-container" / "kustomization.yaml").read_text()
        text += re.findall(r"(?m)^#   (components: .*)", component)[0]
    (folder / path).parent.mkdir(parents=True)
    (folder / path).write_text(text + more)
    return build((folder / path).parent)


@pytest.fixture(params=["job", "init container", "no application"])
def documents(request: pytest.FixtureRequest, rendered: Render, tmp_path: Path) -> Documents:
    """Each of what may be applied."""
    api = "none" if request.param == "no application" else "fastapi"
    project = rendered(api=api, deploy="kubernetes").path
    return overlay(project, tmp_path, has_init_container=request.param == "init container")


@pytest.mark.parametrize("slug", ["null", "true"])
def test_a_slug_that_yaml_reads_as_no_text_is_one(
    rendered: Render, tmp_path: Path, slug: str
) -> None:
    project = rendered(api="fastapi", deploy="kubernetes", project_slug=slug).path
    documents = overlay(project, tmp_path, has_init_container=True)
    assert ("Namespace", slug) in documents
    for spec in pods(documents).values():
        containers = [*spec["containers"], *spec.get("initContainers", [])]
        assert all(slug in container["image"] for container in containers)


def pods(documents: Documents) -> dict[str, dict[str, Any]]:
    """The pods' specifications."""
    return {
        kind: it["spec"]["template"]["spec"]
        for (kind, _), it in documents.items()
        if kind in {"Deployment", "Job"}
    }


def test_kubernetes_accepts_it(documents: Documents) -> None:
    for document in documents.values():
        for version in VERSIONS:
            kubernetes_validate.validate(document, version, strict=True)


def test_every_pod_is_restricted(documents: Documents) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted, and more."""
    [namespace] = [it for (kind, _), it in documents.items() if kind == "Namespace"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert pods(documents)
    for spec in pods(documents).values():
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        # The image names the user. OpenShift's `restricted-v2` rejects a pod that wants a user or a
        # group of its own choice, and gives it one.
        seccomp = {"type": "RuntimeDefault"}
        assert spec["securityContext"] == {"runAsNonRoot": True, "seccompProfile": seccomp}
        assert all({"emptyDir", "secret"} & volume.keys() for volume in spec["volumes"])
        for container in spec["containers"] + spec.get("initContainers", []):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }
            assert container["image"] == "registry.example/demo-shop:1.0.0"
            assert container["resources"]["limits"]["memory"]
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}


def test_each_role_has_its_secret_and_the_application_never_the_owners(
    documents: Documents,
) -> None:
    for spec in pods(documents).values():
        for container in spec["containers"] + spec.get("initContainers", []):
            owner = container["name"] == "migrate"
            secret = "database-owner" if owner else "database-application"
            users = [it["valueFrom"] for it in container["env"] if it["name"] == "POSTGRES_USER"]
            assert users == [{"secretKeyRef": {"name": secret, "key": "username"}}]
            [mount] = [it for it in container["volumeMounts"] if "secrets" in it["mountPath"]]
            [volume] = [it for it in spec["volumes"] if it["name"] == mount["name"]]
            assert volume["secret"]["secretName"] == secret
            assert volume["secret"].get("defaultMode", 0o644) & 0o004, "of root: any user reads it"
            assert mount["readOnly"] is True
            # A password in the environment would be in every crash report.
            assert "POSTGRES_PASSWORD" not in [it["name"] for it in container["env"]]


def test_the_jobs_deadline_is_above_what_an_attempt_waits(documents: Documents) -> None:
    waits = template_module("app.migrate.settings").MigrationSettings
    names = ("migration_connect_wait", "migration_lock_wait", "migration_retry_wait")
    waited = sum(waits.model_fields[name].default for name in names)
    for (kind, _), it in documents.items():
        if kind == "Job":
            assert it["spec"]["activeDeadlineSeconds"] > (it["spec"]["backoffLimit"] + 1) * waited
        if kind == "Deployment" and "initContainers" in it["spec"]["template"]["spec"]:
            assert it["spec"]["progressDeadlineSeconds"] > waited


def test_a_rollout_leaves_no_gap(documents: Documents) -> None:
    for (kind, _), it in documents.items():
        if kind == "Deployment":
            assert it["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
            pod = it["spec"]["template"]["spec"]
            [container] = pod["containers"]
            assert container["readinessProbe"]["httpGet"]["path"] == "/health/ready"
            for probe in ("startupProbe", "livenessProbe"):  # no restart where the database is away
                assert container[probe]["httpGet"]["path"] == "/health/live"
            last = container["lifecycle"]["preStop"]["sleep"]["seconds"]
            assert pod["terminationGracePeriodSeconds"] > last + int(container["command"][-1])
            [budget] = [other for (kind, _), other in documents.items() if "Disruption" in kind]
            assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
            labels = it["spec"]["template"]["metadata"]["labels"].items()
            [spread] = pod["topologySpreadConstraints"]
            assert spread["labelSelector"]["matchLabels"].items() <= labels
            assert budget["spec"]["selector"]["matchLabels"].items() <= labels
            [service] = [other for (kind, _), other in documents.items() if kind == "Service"]
            assert service["spec"]["selector"].items() <= labels
    [policy] = [it for (kind, _), it in documents.items() if kind == "NetworkPolicy"]
    selected = policy["spec"]["podSelector"]["matchLabels"].items()
    for (kind, _), it in documents.items():
        if kind in {"Deployment", "Job"}:
            assert selected <= it["spec"]["template"]["metadata"]["labels"].items()


def test_argo_cd_applies_what_the_job_needs_before_it_and_its_release_after(
    documents: Documents,
) -> None:
    def position(document: dict[str, Any]) -> tuple[int, int]:
        notes = document["metadata"].get("annotations", {})
        phases = ["PreSync", "Sync", "PostSync"]
        phase = phases.index(notes.get("argocd.argoproj.io/hook", "Sync"))
        return phase, int(notes.get("argocd.argoproj.io/sync-wave", 0))

    for (kind, _), job in documents.items():
        if kind == "Job":
            for (other, _), document in documents.items():
                if other in {"Namespace", "ConfigMap", "NetworkPolicy"}:
                    assert position(document) < position(job)
                if other == "Deployment":
                    assert position(document) > position(job)


@pytest.fixture
def guide(rendered: Render) -> str:
    """DEPLOY.md."""
    return (rendered(api="fastapi", deploy="kubernetes").path / "DEPLOY.md").read_text()


def release(guide: str) -> str:
    """The commands of each release."""
    [commands] = re.findall(r"```sh\n(kubectl [^`]* delete job [^`]*)```", guide)
    return str(commands)


def test_a_release_applies_what_the_job_needs_then_the_job_then_all(
    documents: Documents, guide: str
) -> None:
    applied: list[set[str]] = []
    for selector in re.findall(r"apply --kustomize \S+(?: --selector '?([^' ]+))?", release(guide)):
        key, _, value = selector.lstrip("!").partition("=")
        chosen = set[str]()
        for (kind, _), it in documents.items():
            label = it["metadata"].get("labels", {}).get(key)
            if not selector or (label is None if selector[0] == "!" else label == value):
                chosen.add(kind)
        applied.append(chosen)
    first, second, third = applied
    assert {"ConfigMap", "Namespace", "NetworkPolicy"} <= first
    assert not pods(documents).keys() & first
    assert second == pods(documents).keys() - {"Deployment"}
    assert third == {kind for kind, _ in documents}


def test_each_pod_reaches_what_it_needs_and_the_guide_makes_its_secrets(
    documents: Documents, guide: str, rendered: Render
) -> None:
    [policy] = [it["spec"] for (kind, _), it in documents.items() if kind == "NetworkPolicy"]
    [config] = [it["data"] for (kind, _), it in documents.items() if kind == "ConfigMap"]
    out = [
        (it.get("protocol", "TCP"), it["port"]) for way in policy["egress"] for it in way["ports"]
    ]
    assert sorted(out) == [("TCP", 53), ("TCP", int(config["POSTGRES_PORT"])), ("UDP", 53)]
    roles = (rendered(deploy="kubernetes").path / "database" / "roles.sql").read_text()
    made = re.findall(r"create secret generic (\S+) .*\\\n.*username=(\S+)", guide)
    for name, role in made:
        assert f"\\set {name.removeprefix('database-')} {role}\n" in roles
    for spec in pods(documents).values():
        for container in spec["containers"]:
            for port in container.get("ports", []):
                assert {"port": port["containerPort"]} in policy["ingress"][0]["ports"]
        wanted = {it["secret"]["secretName"] for it in spec["volumes"] if "secret" in it}
        assert wanted <= {name for name, _ in made}


def test_no_pod_of_a_release_starts_after_a_step_that_failed(guide: str, tmp_path: Path) -> None:
    """Such as an old Job that is not deleted: complete, and of another release."""
    program = tmp_path / "kubectl"
    program.write_text('#!/bin/sh\necho "$@" >> calls\n[ "$(wc -l < calls)" != "$FAILS" ]\n')
    program.chmod(0o755)
    for fails in range(1, 8):
        (tmp_path / "calls").unlink(missing_ok=True)
        environment = {"PATH": f"{tmp_path}:{os.defpath}", "FAILS": str(fails)}
        done = subprocess.run(
            ["sh", "-c", release(guide)], cwd=tmp_path, env=environment, check=False
        )
        assert done.returncode == 1
        assert len((tmp_path / "calls").read_text().splitlines()) == fails


def test_the_job_runs_another_command_where_the_guide_says_so(
    guide: str, rendered: Render, tmp_path: Path
) -> None:
    """A message that ends with `python -m app.migrate ...` can be followed."""
    project = rendered(api="fastapi", deploy="kubernetes").path
    [more] = re.findall(r"```yaml\n(patches:.*?)```", guide, re.DOTALL)
    changed = overlay(project, tmp_path / "changed", more=more)
    usual = overlay(project, tmp_path / "usual")
    job = changed["Job", "migrate"]
    kubernetes_validate.validate(job, VERSIONS[0], strict=True)
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert container.pop("command") == ["python", "-m", "app.migrate", "current"]
    assert changed == usual


def test_the_migration_is_a_job_or_an_init_container(documents: Documents) -> None:
    specs = pods(documents)
    assert ("Job" in specs) != ("initContainers" in specs.get("Deployment", {}))
