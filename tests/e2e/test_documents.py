"""What the documents tell people to type is typed: every block, against real services."""

import os
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from PIL import Image

import headstart
from api.demo import images
from tests.cluster import docker
from tests.e2e import shapes, snippets
from tests.e2e.conftest import Service, serving
from tests.e2e.snippets import PROJECT, Block, Reader
from tests.fixtures.servers import free_port

# In the order of somebody who begins with the guide; what one document made, later ones look at.
ON_ONE_MACHINE = (
    "docs/guide/upload.md",
    "docs/guide/rank.md",
    "docs/guide/search.md",
    "docs/guide/evidence.md",
    "docs/guide/use.md",
    "README.md",
    "docs/client.md",
    "docs/api.md",
    "docs/inference.md",
    "docs/integrations.md",
    "docs/webhooks.md",
    "docs/guide/operate.md",
)
ON_A_CLUSTER = ("docs/guide/deploy.md",)
# Blocks that are not run, by document and how they begin, and why. What they name has to exist.
NOT_RUN = {
    ("README.md", "make demo "): "CI runs `make test` itself, `make cluster` the demo's job",
    ("README.md", "make check "): "CI runs it; benchmarks are run by hand",
    ("README.md", ".venv/bin/headstart serve "): "the fixture runs it",
    ("README.md", "headstart pretrain "): "minutes; the guide searches with few epochs",
    ("README.md", "import headstart"): "minutes; docs/client.md does it with few epochs",
    ("docs/client.md", "weights = client"): "minutes, and weights of a ResNet18",
    ("docs/guide/README.md", "export PATH="): "the fixture runs it",
    ("docs/guide/deploy.md", "kubectl create secret "): "no Kubernetes; test_kubernetes reads it",
    ("docs/guide/operate.md", "git pull"): "the repository is what is tested",
    ("docs/integrations.md", "import mlflow"): "test_mlflow runs it where there is an MLflow",
    ("docs/operations.md", "pg_dump "): "test_backup does it, with PostgreSQL and S3",
    ("docs/zoo.md", "headstart zoo build "): "forty minutes",
}
# What the service of the documents is told beside its defaults, which tests change.
SERVICE = {
    "HEADSTART_ZOO": "on",
    "HEADSTART_WEBHOOKS__ENABLED": "true",
    "HEADSTART_SECRET_KEY": "0123456789abcdef" * 2,
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def runnable(document: str) -> list[Block]:
    """The document's blocks that somebody would run, without those that are left out."""
    found = [each for each in snippets.blocks(document) if each.language in snippets.RUN]
    return [each for each in found if not left_out(each)]


def left_out(block: Block) -> list[tuple[str, str]]:
    """What the list says of the block."""
    return [
        (document, begin)
        for document, begin in NOT_RUN
        if block.document == document and block.text.startswith(begin)
    ]


def test_no_block_escapes() -> None:
    """All documents with blocks to run are run; what is left out is there, and names what is."""
    documents = snippets.documents()
    assert {each for each in documents if runnable(each)} == {*ON_ONE_MACHINE, *ON_A_CLUSTER}
    every = [each for document in documents for each in snippets.blocks(document)]
    listed = [each for each in every if left_out(each) or each.language in {"json", "ini"}]
    assert sorted(name for each in listed for name in left_out(each)) == sorted(NOT_RUN)
    assert not [fault for each in listed for fault in snippets.unknown(each)]


def test_links_lead_somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not [link for each in snippets.documents() for link in snippets.dead_links(each)]
    (tmp_path / "x.md").write_text(
        "# One (or two)\n[a](#one-or-two) [b](#one) [c](y.md) [d](x.md)\n"
    )
    monkeypatch.setattr(snippets, "PROJECT", tmp_path)
    assert snippets.dead_links("x.md") == ["x.md: x.md#one", "x.md: y.md#"]


@pytest.mark.parametrize(
    ("shown", "heard", "same"),
    [
        ("10 classes\n", "12  classes \n\n", True),
        ("dataset …\n", "dataset 7c2f\n", True),
        ("a\n…\nb\n", "a\n1\n2\nb\n", True),
        ("a\n…\n", "a\n", True),
        ("took 1 min 3 s, 5 kB\n", "took 14.5 s, 312 bytes\n", True),
        ("took 1 min 3 s\n", "took 14 kB\n", False),
        ("a\n", "a\nb\n", False),
        ("a\nb\n", "b\na\n", False),
        ("done\n", "done.\n", False),
    ],
)
def test_outputs_are_compared(shown: str, heard: str, same: bool) -> None:
    assert snippets.alike(shown, heard) is same


def test_what_does_not_exist_is_found() -> None:
    wrong = (
        "headstart serch digits",
        "headstart search digits --epoch 3",
        "make everything",
        "kubectl apply -f deploy/nothing",
        "kubectl exec deployment/headstart -- ls",
        "kubectl create secret generic headstart --from-literal=HEADSTART_HOUSE=x",
        "docker compose exec web ls",
        "docker compose --profile tpu up --build --detach",
    )
    fine = "headstart datasets list --json\nmake test\nkubectl apply -f deploy/kubernetes\n"
    assert not snippets.unknown(Block("x.md", 1, "sh", fine))
    for line in wrong:
        assert len(snippets.unknown(Block("x.md", 1, "sh", f"{fine}{line}\n"))) == 1, line
    assert snippets.unknown(Block("x.md", 1, "python", "client.models.fetch(1)")) == [
        "models.fetch"
    ]
    assert snippets.unknown(Block("x.md", 1, "ini", "HEADSTART_HOUSE=x")) == ["HEADSTART_HOUSE"]


@pytest.mark.parametrize("text", ["```bash\nls\n```\n", "- ```sh\n  ls\n  ```\n", "```sh\nls\n"])
def test_a_fence_that_nobody_would_find_is_refused(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.md").write_text(text)
    monkeypatch.setattr(snippets, "PROJECT", tmp_path)
    with pytest.raises(ValueError, match=r"x\.md:1"):
        list(snippets.blocks("x.md"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader works, with the files that documents speak of."""
    place = tmp_path / "reader"
    place.mkdir()
    packed(place / "letters.zip", (each for each in images.latin() if each[1] in "abcdef"))
    packed(place / "textures.zip", images.textures())
    shapes.unpacked(place / "shapes", images=12, seed=12)
    with zipfile.ZipFile(place / "broken.zip", "w") as broken:
        broken.writestr("one/1.png", b"no image")
        broken.writestr("two/1.png", b"no image either")
    (place / "key.txt").write_text("hs_canary\n")
    for name in ("cat.jpg", "dog.png"):
        Image.linear_gradient("L").save(place / name)
    for name in ("deploy", "docker-compose.yml", ".env.example"):
        (place / name).symlink_to(PROJECT / name)
    monkeypatch.chdir(place)
    return place


def packed(path: Path, examples: Iterable[images.Example]) -> None:
    """An archive of the first 200 of the demo's examples of a kind, spread over them all."""
    with zipfile.ZipFile(path, "w") as archive:
        every = list(examples)
        for number, (split, label, pixels) in enumerate(every[:: max(1, len(every) // 200)]):
            image = path.with_suffix(".png")
            Image.fromarray(pixels).save(image)
            archive.write(image, f"{split}/{label}/{number}.png")


def cancel(service: Service) -> None:
    """End what a document asked for and did not wait for."""
    with headstart.Client(service.url) as client:
        for job in client.jobs.list(state=["queued", "running"]):
            client.jobs.cancel(job["id"])


def test_every_block_runs_on_one_machine(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with serving(tmp_path, **SERVICE) as service:
        told = {"HEADSTART_URL": service.url, "HEADSTART_HOME": str(service.home), **SERVICE}
        environment = snippets.reading(folder, **told)
        for name in ("HEADSTART_URL", "XDG_CONFIG_HOME"):
            monkeypatch.setenv(name, environment[name])
        for document in ON_ONE_MACHINE:
            reader = Reader(environment, "8765", service.url.removeprefix("http://"))
            for block in runnable(document):
                reader.runs(block)
            reader.leaves()
            cancel(service)
    assert {each.name for each in (folder / "model").iterdir()} >= {"model.onnx", "config.json"}
    heard = capfd.readouterr()
    assert "one/1.png: " in heard.out
    assert "not_found" in heard.out
    assert "canary" not in heard.out + heard.err


def test_every_block_runs_on_a_cluster(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = str(free_port())
    (folder / "bin").mkdir()
    program = folder / "bin" / "docker"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m {docker.__name__} "$@"\n')
    program.chmod(0o755)
    told = {"PYTHONPATH": str(PROJECT), docker.PORT: port, docker.OWNER: str(os.getpid())}
    environment = snippets.reading(folder, **told)
    try:
        for document in ON_A_CLUSTER:
            reader = Reader(environment, "8000", f"127.0.0.1:{port}")
            for block in runnable(document):
                reader.runs(block)
    finally:
        if docker.STATE.exists():
            docker.main(["compose", "down"])
