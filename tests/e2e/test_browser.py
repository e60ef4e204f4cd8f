"""A person with a folder of images: upload, look, search, watch, download, in a real browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

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


def test_a_refused_archive_is_explained_where_it_was_chosen(
    page: Page, complaints: list[str], tmp_path: Path
) -> None:
    text = tmp_path / "notes.zip"
    text.write_text("this is not an archive")
    page.goto("/")
    page.get_by_label("Name", exact=True).fill("notes")
    page.locator("#archive").set_input_files(text)
    page.get_by_role("button", name="Upload").click()
    alert = page.get_by_role("alert")
    expect(alert).to_be_visible()
    assert len(alert.inner_text()) > 20
    expect(page.get_by_role("button", name="Upload")).to_be_enabled()
    # The browser reports the 422 itself (so complaints are heard); nothing else may be wrong.
    assert complaints
    assert all("422" in complaint for complaint in complaints)
    complaints.clear()


def test_everything_works_without_scripts(scriptless: Page, tmp_path: Path) -> None:
    archive = shapes.archive(tmp_path / "plain.zip", images=12, seed=6)
    upload(scriptless, archive, "plain <b>shapes</b>")
    expect(scriptless.get_by_role("heading", level=1)).to_have_text("plain <b>shapes</b>")
    scriptless.get_by_role("button", name="Rank the sources").click()
    scriptless.wait_for_url("**/jobs/*")
    expect(scriptless.get_by_role("heading", name="Ranking of sources")).to_be_visible()
