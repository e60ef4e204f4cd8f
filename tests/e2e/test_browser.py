"""A person with a folder of images: upload, look, search, watch, download, in a real browser."""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.chaos.proxy import Proxy, Way, proxied
from tests.e2e import shapes
from tests.e2e.conftest import Service
from tests.fixtures.browser import ARGUMENTS

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]

SEARCH_MS = 600_000


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
    context = chromium.new_context(base_url=service.url, viewport={"width": 1200, "height": 900})
    yield opened(context, complaints)
    context.close()
    assert complaints == []


@pytest.fixture
def scriptless(chromium: Browser, service: Service, complaints: list[str]) -> Iterator[Page]:
    context = chromium.new_context(base_url=service.url, java_script_enabled=False)
    yield opened(context, complaints)
    context.close()
    assert complaints == []


def opened(context: BrowserContext, complaints: list[str]) -> Page:
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None,
    )
    page.on(
        "requestfailed",
        lambda request: complaints.append(f"{request.url}: {request.failure}"),
    )
    return page


def upload(page: Page, archive: Path, name: str) -> None:
    page.goto("/")
    page.get_by_label("Name", exact=True).fill(name)
    page.locator("#archive").set_input_files(archive)
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url("**/datasets/*")


def test_from_a_folder_of_images_to_a_model(page: Page, tmp_path: Path) -> None:
    upload(page, shapes.archive(tmp_path / "shapes.zip", images=20, seed=5), "my shapes")
    expect(page.get_by_role("heading", name="my shapes", level=1)).to_be_visible()
    for shape in shapes.SHAPES:
        strip = page.get_by_alt_text(f"examples of {shape}")
        strip.scroll_into_view_if_needed()
        expect(strip).to_be_visible()
        page.wait_for_function(
            "image => image.complete && image.naturalWidth > 0", arg=strip.element_handle()
        )

    form = page.locator("form.primary")
    form.get_by_text("Options").click()
    form.get_by_label("Start from").select_option("cold")
    form.get_by_label("Epochs", exact=True).fill("1")
    form.get_by_label("Retraining epochs").fill("1")
    form.get_by_label("Channels").fill("4")
    form.get_by_label("Cells").fill("3")
    form.get_by_role("button", name="Search").click()

    page.wait_for_url("**/jobs/*")
    expect(page.get_by_role("heading", name="Architecture search")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    expect(page.locator(".badge")).to_have_text("running", timeout=SEARCH_MS)
    result = page.get_by_role("button", name="See the result")
    expect(result).to_be_visible(timeout=SEARCH_MS)  # htmx refreshes the page until then
    expect(page.locator(".badge")).to_have_text("succeeded")
    assert page.locator("svg.curves").count() >= 2

    result.click()
    page.wait_for_url("**/models/*")
    expect(page.get_by_role("heading", name="Model for my shapes")).to_be_visible()
    assert page.locator(".scores strong").count() == 3
    assert page.locator("svg.cell").count() == 2
    expect(page.locator("svg.matrix")).to_be_visible()
    with page.expect_download() as started:
        page.get_by_role("link", name="onnx").first.click()
    saved = tmp_path / "model.onnx"
    started.value.save_as(saved)
    assert saved.stat().st_size > 1_000


def test_a_refused_upload_is_a_list_that_can_be_tried_again(page: Page, tmp_path: Path) -> None:
    folder = folder_of_shapes(tmp_path / "dented", seed=8)
    (folder / "ring" / "torn.png").write_bytes(b"no image")
    page.goto("/")
    page.locator("#folder").set_input_files(folder)
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url("**/jobs/*")
    expect(page.get_by_role("heading", name="What to mend")).to_be_visible(timeout=60_000)
    expect(page.get_by_role("alert")).to_contain_text("not a PNG, JPEG")
    expect(page.locator("#live details li").first).to_contain_text("ring/torn.png")
    page.get_by_label("Unreadable images that may be left out").fill("0.1")
    page.get_by_role("button", name="Try again").click()
    page.wait_for_url("**/datasets/*", timeout=60_000)
    expect(page.get_by_role("heading", name="dented", level=1)).to_be_visible()
    expect(page.get_by_text("left out").first).to_be_visible()


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
    page.wait_for_url("**/datasets/*", timeout=60_000)
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
    line.cut_after(Way.SENT, 1_500_000)
    with page.expect_request(lambda request: request.method == "PATCH") as sending:
        page.get_by_role("button", name="Upload").click()
    address = urlsplit(sending.value.url).path
    deadline = time.monotonic() + 30
    while not line.cuts and time.monotonic() < deadline:
        page.wait_for_timeout(50)
    line.refuse()
    there = httpx.get(f"{service.url}{address}", trust_env=False).json()["received"]
    assert 1_000_000 < there < 3_600_000
    line.forward()
    page.goto(f"http://127.0.0.1:{line.port}/")
    begun: list[str] = []
    page.on("request", lambda each: begun.append(f"{each.method} {urlsplit(each.url).path}"))
    page.locator("#folder").set_input_files(folder)
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url("**/datasets/*", timeout=60_000)
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
    page.wait_for_url("**/datasets/*", timeout=60_000)
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
    scriptless.get_by_role("button", name="Rank the sources").click()
    scriptless.wait_for_url("**/jobs/*")
    expect(scriptless.get_by_role("heading", name="Ranking of sources")).to_be_visible()
