"""The registry's pages: what there is to start from, what came of it, and files in and out."""

import re
from typing import Any
from uuid import uuid4
from xml.etree import ElementTree

import httpx
from sqlalchemy import update

from core.bootstrap import Container
from core.db.result_tables import SearchRow
from core.domain.datasets import Dataset
from core.domain.searches import AtMost, Search
from core.domain.supernets import LineageKind, Supernet, lineage
from core.services import supernets
from core.zoo import shipped
from tests.unit.api import scenes
from tests.unit.data import bundle_files


def began(
    container: Container, target: Dataset, start: dict[str, Any], tested: float, **asked: Any
) -> Search:
    """A finished search whose start is kept."""
    retrained = {**scenes.METRICS["retrained"], "test_accuracy": tested}
    metrics = {**scenes.METRICS, "retrained": retrained}
    search, _ = scenes.finished(container, target, metrics=metrics, **asked)
    with container.sessions.begin() as session:
        session.execute(update(SearchRow).where(SearchRow.id == search.id).values(start=start))
    return search


def raced(supernet: Supernet, warm: float, cold: float) -> dict[str, Any]:
    def ran(name: str, supernet_id: Any, accuracy: float) -> dict[str, Any]:
        rung = {"valid_accuracy": accuracy, "epochs": 0}
        told = {"supernet_id": supernet_id and str(supernet_id), "distance": None}
        return {"name": name, "rungs": [rung], **told}

    contestants = [ran(supernet.name, supernet.id, warm), ran("cold", None, cold)]
    chosen = supernet if warm > cold else None
    return {
        "supernet_id": None if chosen is None else str(chosen.id),
        "race": {"contestants": contestants, "winner": "cold" if chosen is None else chosen.name},
    }


def contributed(
    container: Container, search: Search, parent: Supernet, target: Dataset
) -> Supernet:
    with container.sessions.begin() as session:
        made, _ = supernets.register(
            session,
            name="left behind",
            dataset_id=target.id,
            job_id=search.job_id,
            space={},
            resolution=16,
            key="left",
            sha256="a" * 64,
            metrics={},
            seconds=1.0,
            lineage=lineage([target], kind=LineageKind.SEARCH, parents=[parent.sha256]),
        )
    return made


def drawn(page: str, kind: str) -> ElementTree.Element:
    (found,) = re.findall(rf'<svg[^>]*class="picture {kind}".*?</svg>', page, re.DOTALL)
    return ElementTree.fromstring(found)


def links(picture: ElementTree.Element) -> list[str]:
    return [each.attrib["href"] for each in picture.iter() if each.tag.endswith("}a")]


def test_an_empty_registry_says_what_to_do(browser: httpx.Client) -> None:
    page = browser.get("/registry").text
    assert "None yet: open a dataset" in page
    assert "Nothing measured yet." in page
    (name,) = (each.name for each in shipped.bundles())
    assert f'action="/registry/zoo/{name}"' in page
    assert "public domain" in page
    assert '<a href="/registry" aria-current="page">Registry</a>' in page


def test_what_supernets_brought_is_told_with_its_number(
    browser: httpx.Client, container: Container
) -> None:
    source, target = scenes.dataset(container, "source"), scenes.dataset(container, "target")
    made = scenes.supernet(container, source)
    cold = {"supernet_id": None, "race": None}
    began(container, target, cold, 0.70)
    for warm in (0.30, 0.34, 0.44):
        began(container, target, raced(made, warm, 0.20), 0.72)
    lost = began(container, target, raced(made, 0.10, 0.20), 0.71)
    page = browser.get("/registry").text
    assert "+14.0 points (of 3)" in page
    trend = drawn(page, "trend")
    assert len(links(trend)) == 4
    assert any("+0.0 points on target" in (each.text or "") for each in trend.iter())
    shown = browser.get(f"/registry/{made.id}").text
    # The newest cold search is the one that lost its race: 71 %.
    assert "+1.0 points (of 3)" in shown
    assert shown.count("+1.0 points") == 4
    assert str(lost.id) not in shown
    assert len(links(drawn(shown, "trend"))) == 3
    assert f"/v1/supernets/{made.id}/bundle" in shown


def test_a_network_with_a_limit_is_not_set_beside_one_without(
    browser: httpx.Client, container: Container
) -> None:
    source, target = scenes.dataset(container, "source"), scenes.dataset(container, "target")
    made, small = scenes.supernet(container, source), AtMost(parameters=5_000)
    cold = {"supernet_id": None, "race": None}
    began(container, target, cold, 0.70)
    began(container, target, cold, 0.30, at_most=small)
    for tested in (0.72, 0.73, 0.74):
        began(container, target, raced(made, 0.40, 0.20), tested)
    assert "+3.0 points (of 3)" in browser.get(f"/registry/{made.id}").text


def test_the_lineage_leads_on(browser: httpx.Client, container: Container) -> None:
    source, target = scenes.dataset(container, "source"), scenes.dataset(container, "<target>")
    made = scenes.supernet(container, source)
    search = began(container, target, raced(made, 0.5, 0.2), 0.7)
    left = contributed(container, search, made, target)
    for number in range(6):
        began(container, scenes.dataset(container, f"other {number}"), raced(made, 0.5, 0.2), 0.7)
    for page in ("/registry", f"/registry/{made.id}", f"/registry/{left.id}"):
        picture = drawn(browser.get(page).text, "lineage")
        found = links(picture)
        assert f"/datasets/{source.id}" in found
        assert {f"/registry/{made.id}", f"/registry/{left.id}"} <= set(found)
        said = "".join(picture.itertext())
        assert "search on <target>" in said
        assert "6 searches" in said
        assert picture.attrib["role"] == "figure"
    assert browser.get(f"/registry/{uuid4()}").status_code == 404


def test_a_supernet_of_the_package_is_installed_by_a_button(
    browser: httpx.Client, container: Container
) -> None:
    (name,) = (each.name for each in shipped.bundles())
    answer = browser.post(f"/registry/zoo/{name}")
    assert answer.status_code == 303
    page = browser.get(answer.headers["location"]).text
    assert "22 datasets" in page
    assert "Debian&#39;s openclipart-png" in page
    weighs = f"{answer.headers['location']}/alphas"
    assert f'hx-get="{weighs}"' in page
    alone = browser.get(weighs, headers={"HX-Request": "true"}).text
    assert "<html" not in alone
    assert alone.count('class="picture matrix"') == 2
    assert "<nav" in browser.get(weighs).text
    assert "Installed" in browser.get("/registry").text
    assert browser.post("/registry/zoo/no-such-net").status_code == 404
    exported = browser.get(f"/v1/supernets/{answer.headers['location'][-36:]}/bundle").content
    again = browser.post("/registry/import", files={"archive": ("it.safetensors", exported)})
    assert (again.status_code, again.headers["location"]) == (303, answer.headers["location"])


def test_a_file_that_is_no_supernet_is_refused(browser: httpx.Client) -> None:
    for data, code in ((b"nothing of the kind", "bad_bundle"), (b"", "empty_body")):
        refused = browser.post("/registry/import", files={"archive": ("it.safetensors", data)})
        assert refused.status_code == 422
        assert f"<code>{code}</code>" in refused.text


def test_what_a_strange_file_tells_breaks_no_page(browser: httpx.Client) -> None:
    training = {"continued": {"not_replayed": 3}, "settings": {"epochs": ["<i>"]}}
    data = bundle_files.encoded(
        lineage={**bundle_files.LINEAGE, "training": training},
        training={"seconds": 1e12, "metrics": {"valid_accuracy": 10**400}},
    )
    made = browser.post("/registry/import", files={"archive": ("it.safetensors", data)})
    assert made.status_code == 303
    for page in ("/registry", made.headers["location"], f"{made.headers['location']}/alphas"):
        answer = browser.get(page)
        assert answer.status_code == 200, page
        assert "<i>" not in answer.text
