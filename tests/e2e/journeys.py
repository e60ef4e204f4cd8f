"""What a person does in a browser from a folder of images to a model, wherever it is served."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, BrowserContext, FilePayload, Page, expect

from api.demo import images
from tests.fixtures.accessibility import obstacles
from tests.fixtures.offered_code import said_alike

SEARCH_MS = 600_000
# What the form of a search is told here, and the same for the API.
CHANNELS, CELLS, EPOCHS, RETRAINING_EPOCHS = 4, 3, 1, 1
ASKED = {
    "policy": "cold",
    "space": {"channels": CHANNELS, "layers": CELLS},
    "training": {"epochs": EPOCHS},
    "retrain_epochs": RETRAINING_EPOCHS,
}
# Counts what a person does, on whatever page: clicks and keys, the choice of files left out.
COUNTER = """
for (const kind of ["click", "keydown"]) {
  addEventListener(kind, (e) => {
    const made = e.isTrusted && !e.target.closest?.("input[type=file]");
    if (made) sessionStorage.setItem("made", 1 + Number(sessionStorage.getItem("made")));
  }, true);
}
"""
LEFT = "net::ERR_ABORTED"  # a page may be left before its images and estimate are there
MADE = "Number(sessionStorage.getItem('made'))"


def digits(folder: Path, *, train: int = 12, test: int = 6) -> Path:
    """A folder of handwritten digits, of real hands: so many images a class."""
    written: dict[tuple[str, str], int] = {}
    for split, label, pixels in images.digits():
        place = folder / split / label
        number = written[split, label] = written.get((split, label), 0) + 1
        if number <= (train if split == "train" else test):
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(place / f"{number:03d}.png")
    return folder


@contextmanager
def visited(browser: Browser, url: str, complaints: list[str]) -> Iterator[Page]:
    """A page of that service, in a reader's zone far from UTC; it must have no complaint."""
    context = browser.new_context(
        base_url=url,
        viewport={"width": 1200, "height": 900},
        locale="en-GB",
        timezone_id="Asia/Tokyo",
        reduced_motion="reduce",  # colours on their way from light to dark have no contrast
    )
    yield opened(context, complaints)
    context.close()
    assert complaints == []


def opened(context: BrowserContext, complaints: list[str]) -> Page:
    """A page, and all that the browser complains of: policy, scripts, missing files."""
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None,
    )
    page.on(
        "requestfailed",
        lambda request: (
            None
            if request.failure == LEFT
            and (request.resource_type == "image" or request.url.endswith("/estimate"))
            else complaints.append(f"{request.url}: {request.failure}")
        ),
    )
    return page


def from_images_to_a_model(page: Page, folder: Path, complaints: list[str]) -> None:
    """Upload the folder, look, search, watch, understand, try and download."""
    page.goto("/")
    page.locator("#folder").set_input_files(folder)
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url("**/datasets/*", timeout=SEARCH_MS)
    expect(page.get_by_role("heading", name=folder.name, level=1)).to_be_visible()
    shows_examples(page, sorted(each.name for each in (folder / "train").iterdir()))
    fills_in(page)
    assert obstacles(page) == []
    searches(page)
    watches(page, complaints)
    page.get_by_role("button", name="See the result").click()
    page.wait_for_url("**/models/*")
    expect(page.get_by_role("heading", name=f"Model for {folder.name}")).to_be_visible()
    assert page.locator(".scores strong").count() == 3
    assert page.locator("svg.cell").count() == 2
    expect(page.locator("svg.matrix")).to_be_visible()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert obstacles(page) == []
    tries(page, next((folder / "test").glob("*/*.png")), complaints)
    downloads(page, folder.with_suffix(".onnx"))


def shows_examples(page: Page, classes: list[str]) -> None:
    """Each class shows a strip of its images."""
    for name in classes:
        strip = page.get_by_alt_text(f"examples of {name}", exact=True)
        strip.scroll_into_view_if_needed()
        expect(strip).to_be_visible()
        page.wait_for_function(
            "image => image.complete && image.naturalWidth > 0", arg=strip.element_handle()
        )


def fills_in(page: Page) -> None:
    """Choose a short search in the form of a dataset's page."""
    form = page.locator("form.primary")
    form.get_by_text("Options").click()
    form.get_by_label("Start from").select_option("cold")
    form.get_by_label("Epochs", exact=True).fill(str(EPOCHS))
    form.get_by_label("Retraining epochs").fill(str(RETRAINING_EPOCHS))
    form.get_by_label("Channels", exact=True).fill(str(CHANNELS))
    form.get_by_label("Cells", exact=True).fill(str(CELLS))


def searches(page: Page) -> None:
    """Send that form."""
    page.get_by_role("button", name="Search", exact=True).click()
    page.wait_for_url("**/jobs/*")


def watches(page: Page, complaints: list[str]) -> None:
    """Stay on the job's page until there is a result, and go back in time."""
    expect(page.get_by_role("heading", name="Architecture search")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    expect(page.locator(".badge")).to_have_text("running", timeout=SEARCH_MS)
    loses_the_service(page, complaints)
    result = page.get_by_role("button", name="See the result")
    expect(result).to_be_visible(timeout=SEARCH_MS)  # htmx refreshes the page until then
    expect(page.locator(".badge")).to_have_text("succeeded")
    assert page.locator("svg.curves").count() >= 2
    assert "GMT+9" in str(page.locator("hgroup time").get_attribute("title"))
    expect(page.locator("#shown")).to_have_text("1")
    page.locator("#epoch").press("ArrowLeft")  # by keyboard
    expect(page.locator("#shown")).to_have_text("0")
    expect(page.locator("#epoch")).to_be_focused()
    assert obstacles(page) == []


def loses_the_service(page: Page, complaints: list[str]) -> None:
    """The page of a job says that nobody answers, and goes on by itself when somebody does."""
    assert complaints == []
    lost = page.get_by_text("Connection lost; trying again.")
    expect(lost).to_be_hidden()
    page.route("**/live?*", lambda route: route.abort())
    expect(lost).to_be_visible(timeout=20_000)
    page.unroute("**/live?*")
    expect(lost).to_be_hidden(timeout=20_000)
    complaints.clear()  # the browser's own, of what was lost


def tries(page: Page, image: Path, complaints: list[str]) -> None:
    """Ask the model of a page for its opinion of an image, and of what is none."""
    page.locator("#image").set_input_files(image)
    expect(page.locator("#said li")).to_have_count(5, timeout=60_000)
    expect(page.locator("#seen")).to_be_visible()
    expect(page.locator("#most-alike img")).to_have_count(5)
    torn: FilePayload = {"name": "torn.png", "mimeType": "image/png", "buffer": b"no image"}
    page.locator("#image").set_input_files(torn)
    expect(page.locator("#unseen")).to_be_visible()
    expect(page.locator("#seen")).to_be_hidden()
    assert "422" in complaints.pop()  # the browser's own line


def runs(page: Page, image: Path, folder: Path) -> None:
    """Copy the code that a model's page offers, and run it beside the image."""
    folder.mkdir()
    shutil.copy(image, folder / "image.png")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    pieces = {}
    for name in ("python", "onnx", "curl"):
        piece = page.locator("#use details").filter(has=page.locator(f"#use-{name}"))
        if piece.get_attribute("open") is None:
            piece.locator("summary").click()
        piece.get_by_role("button", name="Copy").click()
        expect(piece.get_by_role("button", name="Copied")).to_be_visible()
        pieces[name] = page.evaluate("navigator.clipboard.readText()")
    assert len(said_alike(pieces, folder)) == 3


def downloads(page: Page, saved: Path) -> None:
    """Take the network of a model's page away."""
    with page.expect_download() as started:
        page.get_by_role("link", name="onnx").first.click()
    started.value.save_as(saved)
    assert saved.stat().st_size > 1_000
