"""The Kubernetes manifests, and the rules that every one of them keeps."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from core.domain.jobs import QueueName
from tests.unit.deployment.dockerfiles import PROJECT, SECRET, pinned
from tests.unit.deployment.environment import SERVERS, known_names

Manifest = Mapping[str, Any]
FOLDER = PROJECT / "deploy" / "kubernetes"
VERSIONS = {
    "ConfigMap": "v1",
    "CronJob": "batch/v1",
    "Deployment": "apps/v1",
    "Job": "batch/v1",
    "ScaledObject": "keda.sh/v1alpha1",
    "Service": "v1",
}


def load() -> list[dict[str, Any]]:
    """Every manifest, those of the examples too, in the order of their files."""
    texts = [path.read_text() for path in sorted(FOLDER.rglob("*.yaml"))]
    return [each for text in texts for each in yaml.safe_load_all(text)]


def of_kind(kind: str, manifests: Sequence[Manifest]) -> dict[str, Any]:
    """The manifests of one kind, by name."""
    return {each["metadata"]["name"]: each for each in manifests if each.get("kind") == kind}


def pod_of(manifest: Manifest) -> Any:
    """The pod that a Deployment, Job or CronJob makes."""
    spec = manifest["spec"].get("jobTemplate", manifest)["spec"]
    return spec["template"]["spec"]


def container_of(manifest: Manifest) -> Any:
    """Its one container."""
    (container,) = pod_of(manifest)["containers"]
    return container


def faults(manifests: Sequence[Manifest]) -> list[str]:
    """Every rule that the manifests break, in words that begin with the manifest."""
    found = []
    for each in manifests:
        name = f"{each.get('kind')} {each.get('metadata', {}).get('name')}"
        found += [f"{name}: {fault}" for fault in _faults(each, manifests)]
    return found


def _faults(manifest: Manifest, others: Sequence[Manifest]) -> Iterator[str]:
    kind = manifest.get("kind", "")
    if VERSIONS.get(kind) != manifest.get("apiVersion"):
        yield f"{manifest.get('apiVersion')} is not the version of its kind"
    if "app.kubernetes.io/name" not in manifest.get("metadata", {}).get("labels", {}):
        yield "no label says what it belongs to"
    match kind:
        case "ConfigMap":
            yield from _config_faults(manifest)
        case "Deployment":
            yield from _deployment_faults(manifest, others)
            yield from _pod_faults(pod_of(manifest), others, lasting=True)
        case "Job" | "CronJob":
            yield from _job_faults(manifest, others)
        case "Service":
            yield from _service_faults(manifest, others)
        case "ScaledObject":
            target = manifest["spec"]["scaleTargetRef"]["name"]
            if target not in of_kind("Deployment", others):
                yield f"there is no {target} to scale"


def _config_faults(manifest: Manifest) -> Iterator[str]:
    for name, value in manifest["data"].items():
        if name not in set(known_names()):
            yield f"{name} is no setting"
        if SECRET.search(name):
            yield f"{name} is a secret"
        if not isinstance(value, str):
            yield f"{name} is no string"


def _deployment_faults(manifest: Manifest, others: Sequence[Manifest]) -> Iterator[str]:
    wanted = manifest["spec"]["selector"]["matchLabels"].items()
    chosen = [
        name
        for name, each in of_kind("Deployment", others).items()
        if wanted <= each["spec"]["template"]["metadata"]["labels"].items()
    ]
    if chosen != [manifest["metadata"]["name"]]:
        yield f"its selector chooses {chosen}"
    if "replicas" not in manifest["spec"]:
        yield "no number of replicas"


def _job_faults(manifest: Manifest, others: Sequence[Manifest]) -> Iterator[str]:
    job = manifest["spec"].get("jobTemplate", manifest)
    if job is not manifest and manifest["spec"].get("concurrencyPolicy") != "Forbid":
        yield "it may run beside itself"
    if not job["spec"].keys() >= {"backoffLimit", "activeDeadlineSeconds"}:
        yield "it may try for ever"
    yield from _pod_faults(pod_of(manifest), others, lasting=False)


def _service_faults(manifest: Manifest, others: Sequence[Manifest]) -> Iterator[str]:
    wanted = manifest["spec"]["selector"].items()
    chosen = [
        each
        for each in of_kind("Deployment", others).values()
        if wanted <= each["spec"]["template"]["metadata"]["labels"].items()
    ]
    if len(chosen) != 1:
        yield f"its selector chooses {len(chosen)} deployments"
    if manifest["spec"].get("type", "ClusterIP") != "ClusterIP":
        yield "it is open to the network"
    offered = {port["name"] for each in chosen for port in container_of(each).get("ports", ())}
    for port in manifest["spec"]["ports"]:
        if port["targetPort"] not in offered:
            yield f"nothing listens to {port['targetPort']}"


def _pod_faults(pod: Manifest, others: Sequence[Manifest], *, lasting: bool) -> Iterator[str]:
    context = pod.get("securityContext", {})
    if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
        yield "may run as root"
    if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "may make any system call"
    if pod.get("automountServiceAccountToken") is not False:
        yield "holds a key to the cluster"
    if pod.get("enableServiceLinks") is not False:
        yield "is told HEADSTART_ variables that nobody wrote"
    if lasting and "terminationGracePeriodSeconds" not in pod:
        yield "no terminationGracePeriodSeconds"
    for container in pod["containers"]:
        yield from _container_faults(container, pod, lasting=lasting)
        yield from _environment_faults(container, others)


def _container_faults(container: Manifest, pod: Manifest, *, lasting: bool) -> Iterator[str]:
    if not pinned(container["image"]):
        yield f"the image {container['image']} is not pinned"
    if lasting and "livenessProbe" not in container:
        yield "no livenessProbe"
    context = container.get("securityContext", {})
    if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
        yield "may gain privileges"
    if context.get("readOnlyRootFilesystem") is not True:
        yield "its root can be written to"
    if context.get("capabilities") != {"drop": ["ALL"]}:
        yield "keeps capabilities"
    for kind in ("requests", "limits"):
        if not container.get("resources", {}).get(kind, {}).keys() >= {"cpu", "memory"}:
            yield f"its {kind} lack cpu or memory"
    yield from _volume_faults(container, pod)


def _volume_faults(container: Manifest, pod: Manifest) -> Iterator[str]:
    volumes = {volume["name"]: volume for volume in pod.get("volumes", ())}
    mounted = {mount["name"]: mount["mountPath"] for mount in container.get("volumeMounts", ())}
    if mounted.keys() != volumes.keys():
        yield "its mounts and volumes are not the same"
    if "/tmp" not in mounted.values():
        yield "no /tmp to write to"
    for name, volume in volumes.items():
        if "sizeLimit" not in volume.get("emptyDir", {}):
            yield f"its volume {name} may fill the node"


def _environment_faults(container: Manifest, others: Sequence[Manifest]) -> Iterator[str]:
    known = SERVERS.union(known_names())
    for each in container.get("env", ()):
        name = each["name"]
        if name not in known:
            yield f"{name} is no setting"
        secret = SECRET.search(name) or name.endswith("_URL")
        if secret and each.get("valueFrom", {}).get("secretKeyRef", {}).get("key") != name:
            yield f"{name} does not come from the secret of that name"
    for source in container.get("envFrom", ()):
        referred = source.get("configMapRef", {}).get("name")
        if referred not in of_kind("ConfigMap", others):
            yield f"there is no ConfigMap {referred}"
    words = list(container.get("args", ()))
    if "--queues" in words:
        for queue in words[words.index("--queues") + 1].split(","):
            if queue not in set(QueueName):
                yield f"there is no queue {queue}"
