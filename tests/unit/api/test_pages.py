"""Pages: complete with good data, whole with odd data, and deaf to what is in it."""

import re
from html import unescape
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest

from core.bootstrap import Container
from core.domain.datasets import Dataset, Embedding
from core.services import datasets, jobs
from tests.unit.api import scenes

HOSTILE = "<script>alert(1)</script>{{7*7}}"


def test_an_empty_house(browser: httpx.Client) -> None:
    for path in ("/", "/jobs", "/models"):
        answer = browser.get(path)
        assert answer.status_code == 200
        assert "None yet" in answer.text


def test_home_lists_everything(browser: httpx.Client, container: Container) -> None:
    target = scenes.dataset(container)
    supernet = scenes.supernet(container, target)
    _, model = scenes.finished(container, target)
    page = browser.get("/").text
    assert f"/datasets/{target.id}" in page
    assert supernet.name in page
    assert f"/models/{model.id}" in page
    assert "95.0 %" in page


def test_a_dataset_page(browser: httpx.Client, container: Container) -> None:
    target, source = scenes.dataset(container), scenes.dataset(container, "source")
    bare = browser.get(f"/datasets/{target.id}").text
    assert "Not ranked yet" in bare
    assert f'href="/datasets/{target.id}/report">40 of 41 images kept' in bare
    supernet = scenes.supernet(container, source)
    scenes.ranking(container, target, source, supernet.id)
    page = browser.get(f"/datasets/{target.id}").text
    assert "The nearest source is <b>source</b>" in page
    assert page.count("<svg") >= 3
    assert f'value="supernet:{supernet.id}"' in page
    assert f"/v1/datasets/{target.id}/examples/1.png" in page


def test_what_was_made_of_a_deleted_dataset_stays(
    browser: httpx.Client, container: Container
) -> None:
    target = scenes.dataset(container)
    search, model = scenes.finished(container, target)
    with container.sessions.begin() as session:
        datasets.delete(session, target.id)
    gone = browser.get(f"/datasets/{target.id}")
    assert gone.status_code == 410
    assert f'href="/models/{model.id}"' in gone.text
    assert "Upload the same images again" in gone.text
    for path in ("/", "/models", f"/models/{model.id}", f"/jobs/{search.job_id}"):
        page = browser.get(path)
        assert page.status_code == 200
        assert target.name in page.text


def ranked(container: Container, **about: Any) -> tuple[Dataset, list[Dataset]]:
    target = scenes.dataset(container)
    names = ("first", "second", "third", "fourth")
    sources = [scenes.dataset(container, name, classes=4) for name in names]
    scenes.evidence(container, target, sources, **about)
    return target, sources


def test_neighbours_with_their_evidence(browser: httpx.Client, container: Container) -> None:
    target, sources = ranked(container)
    page = browser.get(f"/datasets/{target.id}").text
    for said in (
        "The first 3 are certain; the order of the other is the best that was found.",
        "The nearest is near: 62.5 % of 40 registered datasets",
        "is the nearest of 31 % of registered datasets: a common neighbour",
        "tied with the nearest",
        "75 % features, 25 % labels",
        "class statistics only",
        "estimated",
        "30 and 30 images",
        "14 sources considered in less than 0.1 s",
        "Why first",
        "3.1 % of the mass",
    ):
        assert said in page, said
    assert page.count("place certain") == 3
    assert "of its mass is shown" not in page
    assert page.count('class="picture shares"') == 4
    assert page.count('class="picture scatter"') == 1
    points = re.findall(r'<a href="([^"]+)" data-of="([^"]+)" aria-label="([^"]+)"', page)
    assert [(href, of) for href, of, _ in points] == [
        (f"/datasets/{each.id}", str(each.id)) for each in (*sources[1:], sources[0])
    ]
    assert points[-1][2] == "first: distance 2, 95 % interval 1.5 to 2.6"
    for each in (target, *sources):
        card = page.split(f'data-card="{each.id}"')[1].split("</article>")[0]
        assert card.count(f"/v1/datasets/{each.id}/examples/") == min(3, len(each.classes))
    assert '<script src="/static/map.js" defer>' in page
    for source in sources:  # beside its name
        assert f'<img class="strip" src="/v1/datasets/{source.id}/examples/0.png" alt=""' in page
    assert f'src="/v1/datasets/{target.id}/images/0.png"' in page
    assert f'src="/v1/datasets/{sources[0].id}/images/3.png"' in page
    for piece in page.split("<svg")[1:]:
        ElementTree.fromstring("<svg" + piece.split("</svg>")[0] + "</svg>")


def test_any_neighbour_can_be_looked_at_closely(
    browser: httpx.Client, container: Container
) -> None:
    target, sources = ranked(container)
    page = browser.get(f"/datasets/{target.id}?source={sources[2].id}").text
    assert "Why third" in page
    assert "Images that are matched" not in page  # measured without images
    assert browser.get(f"/datasets/{target.id}?source={target.id}").status_code == 404
    # A cell of the coupling leads to the matched images of its two classes.
    page = browser.get(f"/datasets/{target.id}").text
    (matched,) = re.findall(r'<a href="(\?source=[^"]+)#matched" aria-label="([^"]+)">', page)
    assert matched[1] == "class 0 → class 3: 0.0625 of the mass"
    page = browser.get(f"/datasets/{target.id}{unescape(matched[0])}").text
    assert "class 0 → class 3: images that are matched" in page
    assert page.count("<figcaption>class 0 → class 3") == 1
    page = browser.get(f"/datasets/{target.id}?row=class 1&column=class 1").text
    assert "No two images of these classes are matched." in page
    assert browser.get(f"/datasets/{target.id}?source=x").status_code == 422


@pytest.mark.parametrize(
    ("about", "said", "unsaid"),
    [
        ({"verdict": scenes.FAR}, "Nothing registered is near: 97.5 %", "The nearest is near"),
        ({"verdict": None}, "The first 3 are certain", "registered datasets"),
        ({"drawn": False}, "Why first", "The map"),
        ({"proven": 0}, "No place is certain", "place certain"),
        ({"verdict": scenes.UNKNOWN}, "Too few registered datasets (4)", "a common neighbour"),
    ],
)
def test_nothing_is_said_that_is_not_known(
    browser: httpx.Client, container: Container, about: dict[str, Any], said: str, unsaid: str
) -> None:
    target, _ = ranked(container, **about)
    page = browser.get(f"/datasets/{target.id}").text
    assert said in page
    assert unsaid not in page


def test_a_ranking_of_nothing_is_not_a_failure(
    browser: httpx.Client, container: Container
) -> None:
    target = scenes.dataset(container)
    made = scenes.evidence(container, target, [], proven=0, verdict=None, drawn=False)
    assert "nothing to compare it with" in browser.get(f"/datasets/{target.id}").text
    _, model = scenes.finished(container, target, ranking=made)
    assert browser.get(f"/models/{model.id}").status_code == 200


def test_a_dataset_without_its_images_offers_nothing_that_needs_them(
    browser: httpx.Client, container: Container
) -> None:
    kept = scenes.dataset(container, "kept at home", statistics_only=True)
    page = browser.get(f"/datasets/{kept.id}").text
    assert "The images stayed with their owner" in page
    for absent in ("<img class", "/search", "/pretrain", "/rank", "Intake report", "0 test"):
        assert absent not in page, absent
    home = browser.get("/").text
    assert "class statistics only" in home
    assert f"/v1/datasets/{kept.id}/examples" not in home
    with container.sessions.begin() as session:
        seen = Embedding(kept.id, container.settings.embedder, "key", "0" * 64, 115, 30, 0.1)
        datasets.record_embedding(session, seen)
    assert f'action="/datasets/{kept.id}/rank"' in browser.get(f"/datasets/{kept.id}").text


def test_a_job_page_lives_until_the_job_ends(browser: httpx.Client, container: Container) -> None:
    job = scenes.running(container, scenes.dataset(container))
    scenes.recorded(container, job)
    page = browser.get(f"/jobs/{job.id}").text
    (again,) = re.findall(rf'hx-get="(/jobs/{job.id}/live\?seen=[^"]+)"', page)
    assert browser.get(again).status_code == 204  # nothing new
    assert 'http-equiv="refresh"' in page
    assert "Validation accuracy" in page
    live = browser.get(f"/jobs/{job.id}/live")
    assert "<html" not in live.text
    assert "hx-refresh" not in live.headers
    with container.sessions.begin() as session:
        jobs.fail(session, job.id, job.fence, "diverged", "The loss stopped being a number.")
    ended = browser.get(again)
    assert ended.headers["hx-refresh"] == "true"
    assert "hx-get" not in ended.text
    assert "The loss stopped being a number." in ended.text
    whole = browser.get(f"/jobs/{job.id}").text
    assert 'http-equiv="refresh"' not in whole


def test_a_resumed_job_says_so(browser: httpx.Client, container: Container) -> None:
    job = scenes.running(container, scenes.dataset(container))
    with container.sessions.begin() as session:
        jobs.release(
            session, job.id, job.fence, reason="worker_lost", delay_seconds=0, charge=True
        )
    scenes_job = browser.get(f"/jobs/{job.id}").text
    assert "worker lost" in scenes_job


def test_hostile_names_stay_text(browser: httpx.Client, container: Container) -> None:
    target, source = scenes.dataset(container, HOSTILE), scenes.dataset(container, HOSTILE + "2")
    supernet = scenes.supernet(container, source)
    made = scenes.evidence(container, target, [source], supernets={source.id: supernet.id})
    _, model = scenes.finished(container, target, ranking=made)
    job = scenes.failed(container, target, "diverged", HOSTILE)
    for path in ("/", f"/datasets/{target.id}", f"/jobs/{job.id}", f"/models/{model.id}", "/jobs"):
        page = browser.get(path).text
        assert "<script>alert" not in page
        assert "49" not in page or "{{7*7}}" in page
        assert "&lt;script&gt;" in page, path


def test_every_picture_on_a_page_is_sound(browser: httpx.Client, container: Container) -> None:
    target, _ = ranked(container)
    _, model = scenes.finished(container, target)
    for path, kinds in (
        (f"/models/{model.id}", {"cell", "curves", "matrix"}),
        (f"/datasets/{target.id}", {"bars", "matrix", "scatter", "shares"}),
        (f"/datasets/{target.id}/report", {"bars"}),
    ):
        drawn = browser.get(path).text.split("<svg")[1:]
        roots = [ElementTree.fromstring(f"<svg{each.split('</svg>')[0]}</svg>") for each in drawn]
        assert kinds <= {each.get("class", "").removeprefix("picture ") for each in roots}, path
        assert all(each.find("{*}title") is not None and len(each) > 1 for each in roots), path


def test_problems_for_people(browser: httpx.Client) -> None:
    answer = browser.get("/nowhere")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert "There is nothing at this address." in answer.text
    partial = browser.get("/jobs/7/live", headers={"HX-Request": "true"})
    assert partial.status_code == 404
    assert "<html" not in partial.text


def test_times_are_told_so_that_a_script_can_bring_them_to_the_readers_zone(
    browser: httpx.Client, container: Container
) -> None:
    job = scenes.queued(container, scenes.dataset(container))
    at = job.created_at.isoformat(timespec="seconds")
    shown = f'<time datetime="{at}">{job.created_at:%Y-%m-%d %H:%M:%S} UTC</time>'
    for path in ("/jobs", f"/jobs/{job.id}"):
        page = browser.get(path).text
        assert shown in page
        assert '<script src="/static/page.js" defer>' in page
