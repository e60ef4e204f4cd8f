"""The manifests keep their rules and say what the compose file says."""

import asyncio
import re
import tomllib
from collections.abc import Callable
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from api.app import create_app
from api.service_commands import app
from core import bootstrap
from core.config import Settings
from core.db.sessions import Sessions
from core.domain.jobs import JobKind, QueueName
from core.services import jobs
from tests.unit.deployment import compose, kubernetes
from tests.unit.deployment.dockerfiles import PROJECT, exec_form, stages
from tests.unit.deployment.environment import interpolated
from tests.unit.deployment.kubernetes import container_of, of_kind, pod_of
from tests.unit.services.samples import queued

MANIFESTS = kubernetes.load()
SERVICES = compose.load()["services"]
DEPLOYMENTS, JOBS = of_kind("Deployment", MANIFESTS), of_kind("Job", MANIFESTS)
# Who is who: the workload of each service that we build.
WORKLOADS: dict[str, Any] = {
    "api": DEPLOYMENTS["headstart-api"],
    "prepare": JOBS["headstart-prepare"],
    "worker-cpu": DEPLOYMENTS["headstart-worker-cpu"],
    "worker-gpu": DEPLOYMENTS["headstart-worker-gpu"],
}
API = "headstart-api"
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


def broken(kind: str, name: str, change: Callable[[Any], object]) -> list[str]:
    """The faults of a copy of the manifests in which one was changed."""
    copy = deepcopy(MANIFESTS)
    change(of_kind(kind, copy)[name])
    return kubernetes.faults(copy)


def test_no_rule_is_broken() -> None:
    assert kubernetes.faults(MANIFESTS) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda m: m.update(apiVersion="apps/v1beta1"), "apps/v1beta1 is not the version"),
        (lambda m: m["metadata"].pop("labels"), "no label says"),
        (lambda m: m["spec"].pop("replicas"), "no number of replicas"),
        (
            lambda m: m["spec"]["selector"].update(matchLabels={"app.kubernetes.io/name": "x"}),
            "its selector chooses []",
        ),
        (
            lambda m: m["spec"]["selector"]["matchLabels"].pop("app.kubernetes.io/component"),
            "its selector chooses ['headstart-api', 'headstart-worker-cpu', 'headstart-worker-gp",
        ),
        (lambda m: pod_of(m)["securityContext"].pop("runAsNonRoot"), "may run as root"),
        (lambda m: pod_of(m)["securityContext"].update(runAsUser=0), "may run as root"),
        (lambda m: pod_of(m)["securityContext"].pop("seccompProfile"), "may make any system"),
        (lambda m: pod_of(m).pop("automountServiceAccountToken"), "holds a key to the cluster"),
        (lambda m: pod_of(m).pop("enableServiceLinks"), "is told HEADSTART_ variables"),
        (lambda m: pod_of(m).pop("terminationGracePeriodSeconds"), "no terminationGracePeriod"),
        (lambda m: container_of(m).update(image="headstart-api"), "headstart-api is not pinned"),
        (lambda m: container_of(m).pop("livenessProbe"), "no livenessProbe"),
        (
            lambda m: container_of(m)["securityContext"].pop("allowPrivilegeEscalation"),
            "may gain privileges",
        ),
        (
            lambda m: container_of(m)["securityContext"].pop("readOnlyRootFilesystem"),
            "its root can be written to",
        ),
        (
            lambda m: container_of(m)["securityContext"].update(capabilities={"add": ["ALL"]}),
            "keeps capabilities",
        ),
        (lambda m: container_of(m)["resources"]["limits"].pop("memory"), "its limits lack"),
        (lambda m: container_of(m)["volumeMounts"].pop(), "its mounts and volumes are not"),
        (lambda m: container_of(m)["volumeMounts"].pop(), "no /tmp to write to"),
        (lambda m: pod_of(m)["volumes"][0].update(emptyDir={}), "home may fill the node"),
        (
            lambda m: container_of(m)["env"].append({"name": "HEADSTART_SLOT", "value": "1"}),
            "HEADSTART_SLOT is no setting",
        ),
        (
            lambda m: container_of(m)["env"][0].update(valueFrom={}, value="postgresql://a:b@c"),
            "HEADSTART_DATABASE_URL does not come from the secret",
        ),
        (
            lambda m: container_of(m)["envFrom"][0]["configMapRef"].update(name="other"),
            "there is no ConfigMap other",
        ),
        (lambda m: container_of(m).update(args=["--queues", "tpu"]), "there is no queue tpu"),
    ],
)
def test_each_broken_rule_is_named(change: Callable[[Any], object], fault: str) -> None:
    found = broken("Deployment", API, change)
    assert any(each.startswith(f"Deployment {API}: ") and fault in each for each in found), found


@pytest.mark.parametrize(
    ("kind", "name", "change", "fault"),
    [
        ("ConfigMap", "headstart", lambda m: m["data"].update(HEADSTART_X="1"), "HEADSTART_X is"),
        (
            "ConfigMap",
            "headstart",
            lambda m: m["data"].update(HEADSTART_STORAGE__SECRET_KEY="1"),
            "HEADSTART_STORAGE__SECRET_KEY is a secret",
        ),
        ("ConfigMap", "headstart", lambda m: m["data"].update(HEADSTART_SLOTS=1), "no string"),
        ("Job", "headstart-prepare", lambda m: m["spec"].pop("backoffLimit"), "try for ever"),
        (
            "CronJob",
            "headstart-gc",
            lambda m: m["spec"].pop("concurrencyPolicy"),
            "it may run beside itself",
        ),
        (
            "CronJob",
            "headstart-gc",
            lambda m: m["spec"]["jobTemplate"]["spec"].pop("backoffLimit"),
            "try for ever",
        ),
        (
            "CronJob",
            "headstart-gc",
            lambda m: container_of(m)["securityContext"].pop("readOnlyRootFilesystem"),
            "its root can be written to",
        ),
        ("Service", API, lambda m: m["spec"].update(type="LoadBalancer"), "open to the network"),
        ("Service", API, lambda m: m["spec"].update(selector={"a": "b"}), "chooses 0 deployments"),
        (
            "Service",
            API,
            lambda m: m["spec"]["ports"][0].update(targetPort="web"),
            "nothing listens to web",
        ),
        (
            "ScaledObject",
            "headstart-worker-gpu",
            lambda m: m["spec"]["scaleTargetRef"].update(name="other"),
            "there is no other to scale",
        ),
    ],
)
def test_each_broken_rule_of_the_others_is_named(
    kind: str, name: str, change: Callable[[Any], object], fault: str
) -> None:
    found = broken(kind, name, change)
    assert any(each.startswith(f"{kind} {name}: ") and fault in each for each in found), found


@pytest.mark.parametrize("service", WORKLOADS)
def test_both_ways_to_deploy_run_the_same(service: str) -> None:
    container, other = container_of(WORKLOADS[service]), SERVICES[service]
    assert container["image"] == other["image"]
    told = {each["name"] for each in container["env"]}
    told |= of_kind("ConfigMap", MANIFESTS)["headstart"]["data"].keys()
    assert told == compose.environment(other).keys()
    # Of the image's ENTRYPOINT and CMD, `command` means the first here and the second there.
    said, there = container.get("command", container.get("args")), other.get("command")
    if service.startswith("worker-"):
        # One profile may run without the other; here both are applied, each for its own queue.
        (option, queues), (other_option, others) = said, interpolated(there, {})
        assert option == other_option == "--queues"
        assert queues == others.split(",")[0]
        return
    assert said == there


def test_garbage_is_collected_by_the_same_command_and_with_the_same_settings() -> None:
    cron = of_kind("CronJob", MANIFESTS)["headstart-gc"]
    container, prepare = container_of(cron), container_of(WORKLOADS["prepare"])
    same = ("image", "env", "envFrom", "securityContext", "volumeMounts")
    assert [container[key] for key in same] == [prepare[key] for key in same]
    program, command = container["command"]
    assert program == prepare["command"][0] == "headstart"
    assert command in {each.name or each.callback.__name__ for each in app.registered_commands}


@pytest.mark.parametrize("service", WORKLOADS)
def test_a_pod_is_the_user_and_has_the_home_of_its_image(service: str) -> None:
    dockerfile = SERVICES[service]["build"]["dockerfile"]
    image = stages((PROJECT / dockerfile).read_text())[-1]
    user, told = image.last("USER"), image.last("ENV")
    assert user is not None
    assert told is not None
    context = pod_of(WORKLOADS[service])["securityContext"]
    assert user.argument == f"{context['runAsUser']}:{context['runAsGroup']}"
    home = dict(word.split("=", 1) for word in told.argument.split())["HEADSTART_HOME"]
    mounts = container_of(WORKLOADS[service])["volumeMounts"]
    assert home in {mount["mountPath"] for mount in mounts}


@pytest.mark.parametrize("service", WORKLOADS)
def test_our_images_have_the_packages_version(service: str) -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert SERVICES[service]["image"].partition(":")[2] == project["version"]


@pytest.mark.parametrize("service", ["worker-cpu", "worker-gpu"])
def test_a_worker_has_as_long_to_end_in_both(service: str) -> None:
    pod = pod_of(WORKLOADS[service])
    seconds = compose.seconds(SERVICES[service]["stop_grace_period"])
    assert pod["terminationGracePeriodSeconds"] == seconds


@pytest.mark.parametrize("service", ["worker-cpu", "worker-gpu"])
def test_a_worker_is_asked_the_same_in_both(service: str) -> None:
    dockerfile = SERVICES[service]["build"]["dockerfile"]
    check = stages((PROJECT / dockerfile).read_text())[-1].last("HEALTHCHECK")
    assert check is not None
    asked = container_of(WORKLOADS[service])["livenessProbe"]["exec"]["command"]
    assert asked == exec_form(check)
    python, option, module = asked
    assert (python, option) == ("python", "-m")
    assert find_spec(module) is not None


def test_the_api_has_time_to_be_forgotten_and_to_finish() -> None:
    command = stages((PROJECT / "Dockerfile.api").read_text())[-1].last("CMD")
    assert command is not None
    words = exec_form(command)
    graceful = float(words[words.index("--timeout-graceful-shutdown") + 1])
    container = container_of(WORKLOADS["api"])
    _, pause = container["lifecycle"]["preStop"]["exec"]["command"]
    assert pod_of(WORKLOADS["api"])["terminationGracePeriodSeconds"] > float(pause) + graceful
    assert int(words[words.index("--port") + 1]) == container["ports"][0]["containerPort"]


@pytest.mark.parametrize("probe", PROBES)
def test_the_api_answers_the_probe(probe: str, migrated_sqlite: Path, tmp_path: Path) -> None:
    asked = container_of(WORKLOADS["api"])[probe]["httpGet"]
    url = f"sqlite:///{migrated_sqlite}"

    async def ask(auth: str) -> int:
        settings = Settings.model_validate({"home": tmp_path, "database_url": url, "auth": auth})
        container = bootstrap.build(settings)
        transport = httpx.ASGITransport(app=create_app(container))
        async with httpx.AsyncClient(transport=transport, base_url="http://10.0.0.7:8000") as http:
            status = (await http.get(asked["path"])).status_code
        container.close()
        return status

    told = of_kind("ConfigMap", MANIFESTS)["headstart"]["data"]
    assert asyncio.run(ask(told["HEADSTART_AUTH"])) == 200
    assert asyncio.run(ask("none")) == 400  # whoever lets everybody in has to say so


def test_the_scaler_counts_the_jobs_that_need_a_gpu(sessions: Sessions) -> None:
    scaled = of_kind("ScaledObject", MANIFESTS)["headstart-worker-gpu"]["spec"]
    (trigger,) = scaled["triggers"]
    told = {each["name"] for each in container_of(WORKLOADS["worker-gpu"])["env"]}
    assert trigger["metadata"]["connectionFromEnv"] in told
    query = text(trigger["metadata"]["query"])

    def count() -> Any:
        with sessions.read() as session:
            return session.scalar(query)

    assert count() == 0
    with sessions.begin() as session:
        queued(session, kind=JobKind.EMBED)
        for _ in range(3):
            queued(session, kind=JobKind.SEARCH)
    assert count() == 3
    with sessions.begin() as session:
        claim = {"queue": QueueName.GPU, "owner": "worker", "lease_seconds": 60.0}
        taken = [jobs.claim(session, **claim) for _ in range(2)]  # type: ignore[arg-type]
    assert count() == 3
    assert taken[0] is not None
    with sessions.begin() as session:
        jobs.finish(session, taken[0].id, taken[0].fence, {})
    assert count() == 2


def test_the_instructions_name_every_secret() -> None:
    said = (kubernetes.FOLDER / "config.yaml").read_text()
    named = set(re.findall(r"--from-literal=(\w+)=", said))
    wanted = {
        each["valueFrom"]["secretKeyRef"]["key"]
        for workload in WORKLOADS.values()
        for each in container_of(workload)["env"]
        if "secretKeyRef" in each.get("valueFrom", {})
    }
    assert named == wanted
