"""`make screenshots`: every page in light, in dark and as wide as a phone.

A service of its own takes real uploads, pretrains, ranks and searches; then a browser looks at
every page in every form, into `var/screenshots`. Prints what axe-core calls serious, what the
browser complained of, and what is wider than the window; 1 where there is any.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, sync_playwright
from rich.console import Console

import headstart
from headstart.schema import SpaceBody, TrainingBody
from tests.e2e import shapes
from tests.e2e.conftest import serving
from tests.fixtures.accessibility import obstacles
from tests.fixtures.browser import ARGUMENTS, find_chromium
from tests.screenshots import datasets

Scheme = Literal["light", "dark"]
OUT = Path("var/screenshots")
# Name, width, colour scheme.
FORMS: tuple[tuple[str, int, Scheme], ...] = (
    ("light", 1200, "light"),
    ("dark", 1200, "dark"),
    ("phone", 390, "light"),
)
SHORT: TrainingBody = {"epochs": 3, "batch_size": 16}
SMALL: SpaceBody = {"channels": 4, "layers": 3}
TELLING = {
    "HEADSTART_WEBHOOKS__ENABLED": "true",
    "HEADSTART_SECRET_KEY": "shown-in-no-picture" * 3,
}
EAGER = "document.querySelectorAll('img').forEach(each => { each.loading = 'eager' })"
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def lived_in(client: headstart.Client, folder: Path) -> dict[str, str]:
    """The pages' names and paths, once datasets, a supernet, a ranking and a model are there."""
    sets, doubtful = uploaded(client, folder)
    target, source = sets["shapes"], sets["more shapes"]
    client.supernets.create(source, name="more shapes", training=SHORT, space=SMALL).wait()
    client.datasets.rank(target).wait()
    asked = {"retrain_epochs": 2, "training": SHORT, "space": SMALL}
    cold = client.searches.create(target, policy="cold", **asked)
    warm = client.searches.create(target, policy="race", contribute=True, **asked)
    smaller = client.prunings.create(
        target,
        source="more shapes",
        architecture="mobilenet_v3_small",
        controls=True,
        epochs=3,
        retrain_epochs=3,
    )
    for each in (cold, warm, smaller):
        each.wait()
    (made,) = client.supernets.list(dataset_id=source)
    hook = client.webhooks.create(url="https://hooks.invalid/in", events=["job.failed"])
    client.webhooks.test(hook["id"])
    return {
        "home": "/",
        "dataset": f"/datasets/{target}",
        "dataset-unranked": f"/datasets/{sets['other shapes']}",
        "dataset-doubtful": f"/datasets/{doubtful}",
        "report": f"/datasets/{doubtful}/report",
        "home-next-version": f"/?version_of={doubtful}",
        "job-search": f"/jobs/{warm.job['id']}",  # with its race, beside its control
        "job-control": f"/jobs/{cold.job['id']}",
        "search-again": f"/datasets/{target}/search?like={warm.job['id']}",
        "model": f"/models/{warm.result()['id']}",
        "jobs": "/jobs",
        "models": "/models",
        "job-prune": f"/jobs/{smaller.job['id']}",
        "pruning": f"/prunings/{smaller.id}",
        "prunings": "/prunings",
        "prunings-of-one": f"/prunings?dataset_id={target}",
        "registry": "/registry",
        "supernet": f"/registry/{made['id']}",
        "operations": "/operations",
        "keys": "/account/keys",
        "webhooks": "/account/webhooks",
        "webhook": f"/account/webhooks/{hook['id']}",
        "audit": "/account/audit",
        "not-found": "/datasets/00000000-0000-0000-0000-000000000000",
        "job-refused": f"/jobs/{refused(client, folder)}",
    }


def uploaded(client: headstart.Client, folder: Path) -> tuple[dict[str, str], str]:
    """Datasets by their names, and one of which much was told."""
    sets = {}
    for name, seed in (("shapes", 5), ("more shapes", 6), ("other shapes", 7)):
        path = shapes.archive(folder / f"{seed}.zip", images=20, seed=seed)
        sets[name] = client.datasets.upload(path, name=name)["id"]
    for turn in range(1, 9):
        path = datasets.turned(folder / f"turned {turn}", turn=turn)
        client.datasets.upload(path, name=path.name)
    path = datasets.doubtful(folder / "doubtful")
    doubtful = client.datasets.upload(path, licence="CC0-1.0", unreadable_share=0.1)
    return sets, doubtful["id"]


def refused(client: headstart.Client, folder: Path) -> str:
    """The job of an upload that was refused."""
    broken = shapes.unpacked(folder / "broken", images=12, seed=8)
    (broken / "ring" / "torn.png").write_bytes(b"no image")
    try:
        client.datasets.upload(broken, name="broken")
    except headstart.JobFailed as failed:
        return str(failed.job["id"])
    raise AssertionError("an image that cannot be read was let pass")


@contextmanager
def opened(
    browser: Browser, url: str, width: int, scheme: Scheme
) -> Iterator[tuple[Page, list[str]]]:
    """A page in that form, and what the browser complains of."""
    complaints: list[str] = []
    context = browser.new_context(
        base_url=url, viewport={"width": width, "height": 900}, color_scheme=scheme
    )
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
    page.on(
        "console",
        lambda said: (
            complaints.append(f"{page.url}: {said.text}") if said.type == "error" else None
        ),
    )
    yield page, complaints
    context.close()


def looked_at(browser: Browser, url: str, paths: dict[str, str], out: Path) -> list[str]:
    """Every page in every form, kept as a picture; what is wrong with them."""
    wrong = []
    for form, width, scheme in FORMS:
        with opened(browser, url, width, scheme) as (page, complaints):
            for name, path in paths.items():
                page.goto(path, wait_until="load")
                page.evaluate(EAGER)
                page.wait_for_load_state("networkidle")
                page.screenshot(path=out / f"{name}-{form}.png", full_page=True)
                wrong += [f"{form}: {each}" for each in obstacles(page)]
                if (wider := page.evaluate(WIDER)) > 0:
                    wrong.append(f"{form}: {page.url} is {wider} pixels wider than the window")
            wrong += [each for each in complaints if "404" not in each]
    return wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """Take them; how many faults were found, 1 at most."""
    parser = argparse.ArgumentParser(prog="make screenshots")
    parser.add_argument("--out", type=Path, default=OUT)
    out = parser.parse_args(arguments).out
    out.mkdir(parents=True, exist_ok=True)
    console = Console()
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory() as other,
        serving(Path(folder), **TELLING) as service,
        serving(Path(other), HEADSTART_AUTH="keys") as keyed,
    ):
        with headstart.Client(service.url) as client:
            paths = lived_in(client, Path(folder))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=find_chromium(), args=ARGUMENTS)
            wrong = looked_at(browser, service.url, paths, out)
            wrong += looked_at(browser, keyed.url, {"login": "/login"}, out)
            browser.close()
    for each in wrong:
        console.print(each, markup=False, soft_wrap=True)
    console.print(f"{(len(paths) + 1) * len(FORMS)} pictures in {out}, {len(wrong)} faults")
    return min(len(wrong), 1)


if __name__ == "__main__":
    sys.exit(main())
