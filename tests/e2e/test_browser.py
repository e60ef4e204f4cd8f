"""A person with a folder of images: upload, look, search, watch, download, in a real browser."""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.chaos.proxy import Proxy, Way, proxied
from tests.e2e import shapes
from tests.e2e.conftest import Service
from tests.e2e.journeys import (
    COUNTER,
    MADE,
    SEARCH_MS,
    digits,
    downloads,
    fills_in,
    from_images_to_a_model,
    opened,
    runs,
    searches,
    visited,
)
from tests.fixtures.accessibility import obstacles
from tests.fixtures.browser import ARGUMENTS

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def chromium(chromium_path: Path) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the browser complained of: policy violations, script errors, missing files."""
    return []


@pytest.fixture
def page(chromium: Browser, service: Service, complaints: list[str]) -> Iterator[Page]:
    with visited(chromium, service.url, complaints) as made:
        yield made


@pytest.fixture
def scriptless(chromium: Browser, service: Service, complaints: list[str]) -> Iterator[Page]:
    context = chromium.new_context(base_url=service.url, java_script_enabled=False)
    yield opened(context, complaints)
    context.close()
    assert complaints == []


def upload(page: Page, archive: Path, name: str) -> None:
    page.goto("/")
    page.get_by_label("Name", exact=True).fill(name)
    page.locator("#archive").set_input_files(archive)
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url("**/datasets/*")


def test_from_a_folder_of_images_to_a_model(
    page: Page, tmp_path: Path, complaints: list[str]
) -> None:
    folder = digits(tmp_path / "my digits")
    from_images_to_a_model(page, folder, complaints)
    runs(page, next((folder / "test").glob("*/*.png")), tmp_path / "offered")


def test_whoever_comes_first_starts_a_search_in_four_steps(page: Page, tmp_path: Path) -> None:
    page.add_init_script(COUNTER)
    page.goto("/")
    page.locator("#folder").set_input_files(digits(tmp_path / "first digits", train=8, test=4))
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url("**/datasets/*", timeout=SEARCH_MS)
    searches(page)
    expect(page.locator(".badge")).to_have_text("running", timeout=SEARCH_MS)
    assert 2 <= page.evaluate(MADE) <= 4
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".badge")).to_have_text("cancelled", timeout=SEARCH_MS)


def test_a_refused_upload_is_a_list_that_can_be_tried_again(page: Page, tmp_path: Path) -> None:
    folder = folder_of_shapes(tmp_path / "dented", seed=8)
    (folder / "ring" / "torn.png").write_bytes(b"no image")
    page.goto("/")
    page.locator("#folder").set_input_files(folder)
    page.get_by_text("Options").click()
    page.get_by_label("Licence").fill("CC0-1.0")
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url("**/jobs/*")
    expect(page.get_by_role("heading", name="What to mend")).to_be_visible(timeout=60_000)
    expect(page.get_by_role("alert")).to_contain_text("not a PNG, JPEG")
    expect(page.locator("#live details li").first).to_contain_text("ring/torn.png")
    page.get_by_label("Unreadable images that may be left out").fill("0.1")
    page.get_by_role("button", name="Try again").click()
    page.wait_for_url("**/datasets/*/report", timeout=60_000)
    expect(page.get_by_role("heading", name="dented", level=1)).to_be_visible()
    expect(page.get_by_text("left out").first).to_be_visible()
    expect(page.get_by_text("ring/torn.png")).to_be_visible()
    assert obstacles(page) == []
    page.locator("fieldset").first.get_by_label("Leave out the right one").check()
    page.get_by_role("button", name="Make a version without them").click()
    page.wait_for_url("**/datasets/**", timeout=60_000)
    page.goto(page.url.removesuffix("/report"))
    expect(page.locator("tr.current")).to_contain_text("version 1, -1 images")
    expect(page.get_by_text("CC0-1.0")).to_be_visible()
    page.wait_for_load_state("networkidle")  # an estimate that is broken off is complained of
    page.get_by_role("link", name="images kept").click()
    page.get_by_role("button", name="go on").click()
    expect(page.get_by_role("button", name="Search", exact=True)).to_be_in_viewport()
    page.wait_for_load_state("networkidle")
    points_at_the_map(page)


def points_at_the_map(page: Page) -> None:
    """Rank the dataset; its neighbour on the map shows its images, to the keyboard too."""
    page.get_by_role("button", name="Rank the sources").click()
    page.get_by_role("button", name="Back to").click(timeout=60_000)
    expect(page.get_by_text("Point at a dataset")).to_be_visible()
    point = page.locator(".map a[data-of]").first
    point.focus()
    card = page.locator(f'[data-card="{point.get_attribute("data-of")}"]')
    expect(card.get_by_alt_text("examples of").first).to_be_visible()
    expect(page.get_by_text("Point at a dataset")).to_be_hidden()
    point.hover()
    expect(card).to_be_visible()
    assert obstacles(page) == []
    page.wait_for_load_state("networkidle")
    there = f"**{point.get_attribute('href')}"
    point.click()
    page.wait_for_url(there)
    page.wait_for_load_state("networkidle")


def test_what_is_no_upload_is_explained_where_it_was_chosen(page: Page) -> None:
    page.goto("/")
    page.get_by_label("Name", exact=True).fill("nothing")
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("alert")).to_contain_text("Choose a folder or an archive first")
    expect(page.get_by_role("button", name="Upload")).to_be_enabled()


def folder_of_shapes(folder: Path, *, seed: int, noise: int = 0) -> Path:
    """A folder with one folder per shape, and junk; each image may carry a lot of noise."""
    shapes.unpacked(folder, images=12, seed=seed)
    (folder / ".DS_Store").write_bytes(b"junk")
    if noise:
        dice = random.Random(seed)
        for path in folder.glob("*/*.png"):
            # After the end of a PNG decoders look no further.
            path.write_bytes(path.read_bytes() + dice.randbytes(noise))
    return folder


def left(page: Page) -> None:
    """Ask for no more pictures over a line that is about to be taken away."""
    page.wait_for_load_state("networkidle")
    page.goto("about:blank")


@pytest.fixture
def line(service: Service) -> Iterator[Proxy]:
    """The connection to the service, to be broken."""
    with proxied(("127.0.0.1", urlsplit(service.url).port or 0)) as proxy:
        yield proxy


def test_a_folder_gets_through_a_connection_that_breaks(
    page: Page, line: Proxy, complaints: list[str], tmp_path: Path
) -> None:
    folder = folder_of_shapes(tmp_path / "broken line", seed=9, noise=100_000)  # 3.6 MB in all
    page.goto(f"http://127.0.0.1:{line.port}/")
    page.locator("#folder").set_input_files(folder)
    expect(page.locator("#chosen")).to_contain_text("37 files")
    line.cut_after(Way.SENT, 1_000_000)  # every connection, again and again
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url("**/datasets/**", timeout=60_000)
    expect(page.get_by_role("heading", name="broken line", level=1)).to_be_visible()
    assert line.cuts >= 3
    assert complaints  # of the broken requests, by the browser itself
    left(page)
    complaints.clear()


def test_a_reloaded_page_goes_on_where_the_upload_was(
    page: Page, service: Service, line: Proxy, complaints: list[str], tmp_path: Path
) -> None:
    folder = folder_of_shapes(tmp_path / "reloaded", seed=10, noise=100_000)
    page.goto(f"http://127.0.0.1:{line.port}/")
    page.locator("#folder").set_input_files(folder)
    line.delay(0.2)  # 0.33 MB in a second, at most
    with page.expect_request(lambda request: request.method == "PATCH") as sending:
        page.get_by_role("button", name="Upload").click()
    address = urlsplit(sending.value.url).path
    page.wait_for_timeout(5_000)
    line.black_hole()
    page.wait_for_timeout(1_000)  # a reset would lose what the server has not read yet
    line.refuse()
    deadline, there = time.monotonic() + 30, 0
    while there <= 1_000_000 and time.monotonic() < deadline:  # it is told of once it is on disk
        there = httpx.get(f"{service.url}{address}", trust_env=False).json()["received"]
        page.wait_for_timeout(50)
    assert 1_000_000 < there < 3_600_000
    line.forward()
    page.goto(f"http://127.0.0.1:{line.port}/")
    begun: list[str] = []
    page.on("request", lambda each: begun.append(f"{each.method} {urlsplit(each.url).path}"))
    page.locator("#folder").set_input_files(folder)
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url("**/datasets/**", timeout=60_000)
    assert f"HEAD {address}" in begun
    assert "POST /v1/uploads" not in begun
    left(page)
    complaints.clear()


def test_what_was_sent_is_not_sent_again_when_its_job_could_not_be_asked_for(
    page: Page, complaints: list[str], tmp_path: Path
) -> None:
    archives = [
        shapes.archive(tmp_path / f"{name}.zip", images=8, seed=seed)
        for seed, name in enumerate(("train", "test"), start=20)
    ]
    begun: list[str] = []
    page.on("request", lambda each: begun.append(f"{each.method} {urlsplit(each.url).path}"))
    page.goto("/")
    page.locator("#archive").set_input_files(archives)
    page.route(
        "**/v1/datasets:ingest",
        lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>"),
    )
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("alert")).to_have_text("The server did not accept this.")
    page.unroute("**/v1/datasets:ingest")
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url("**/datasets/**", timeout=60_000)
    assert begun.count("POST /v1/uploads") == 2
    assert begun.count("POST /v1/datasets:ingest") == 2
    page.goto("/")
    assert page.evaluate("Object.keys(localStorage)") == []
    complaints.clear()


def test_a_folder_whose_files_changed_places_begins_anew(
    page: Page, complaints: list[str], tmp_path: Path
) -> None:
    """As many files and bytes as before, and none newer: only what is where has changed."""
    folder = folder_of_shapes(tmp_path / "swapped", seed=11)
    begun: list[str] = []
    page.on("request", lambda each: begun.append(f"{each.method} {urlsplit(each.url).path}"))
    page.route("**/v1/datasets:ingest", lambda route: route.abort())
    for _ in range(2):
        page.goto("/")
        page.locator("#folder").set_input_files(folder)
        page.get_by_role("button", name="Upload").click()
        expect(page.get_by_role("alert")).to_contain_text("The connection broke")
        one, other = sorted(folder.iterdir())[-2:]
        one.rename(tmp_path / "aside")
        other.rename(one)
        (tmp_path / "aside").rename(other)
    assert begun.count("POST /v1/uploads") == 2
    complaints.clear()


def test_nothing_else_is_chosen_while_an_upload_runs(page: Page, tmp_path: Path) -> None:
    first, second = (
        shapes.archive(tmp_path / f"{name}.zip", images=8, seed=seed)
        for seed, name in ((30, "first"), (31, "second"))
    )
    page.goto("/")
    page.locator("#archive").set_input_files(first)
    page.route("**/v1/uploads", lambda _: None)  # the answer does not come
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("button", name="Upload")).to_be_disabled()
    page.locator("#archive").set_input_files(second)
    expect(page.locator("#chosen")).to_contain_text("first.zip")
    expect(page.get_by_role("button", name="Upload")).to_be_disabled()


def test_everything_works_without_scripts(scriptless: Page, tmp_path: Path) -> None:
    archive = shapes.archive(tmp_path / "plain.zip", images=12, seed=6)
    upload(scriptless, archive, "plain <b>shapes</b>")
    expect(scriptless.get_by_role("heading", level=1)).to_have_text("plain <b>shapes</b>")
    dataset = scriptless.url
    scriptless.get_by_role("button", name="Rank the sources").click()
    scriptless.wait_for_url("**/jobs/*")
    expect(scriptless.get_by_role("heading", name="Ranking of sources")).to_be_visible()
    scriptless.goto(dataset)
    fills_in(scriptless)
    searches(scriptless)
    result = scriptless.get_by_role("button", name="See the result")
    expect(result).to_be_visible(timeout=SEARCH_MS)  # the page loads itself anew until then
    result.click()
    scriptless.wait_for_url("**/models/*")
    downloads(scriptless, tmp_path / "model.onnx")
