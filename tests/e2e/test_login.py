"""A person with a key: log in, upload, press a button, make a key and end it, log out, in a real
browser."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e import shapes
from tests.e2e.conftest import Service, serving
from tests.e2e.journeys import opened
from tests.e2e.test_browser import chromium, upload
from tests.fixtures.accessibility import obstacles

__all__ = ["chromium"]
pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]


def new_key(service: Service) -> str:
    command = [sys.executable, "-m", "api.cli", "keys", "create", "--scope", "admin"]
    environment = {**os.environ, "HEADSTART_HOME": str(service.home)}
    made = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return made.stdout.strip()


def made_and_revoked(page: Page, service: Service) -> None:
    """A key for a program, from the page's hand to its end."""
    page.get_by_role("link", name="Account").click()
    page.get_by_label("Name").fill("a program's")
    page.get_by_role("button", name="Make it").click()
    key = page.locator("#secret").inner_text()
    assert obstacles(page) == []
    with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {key}"}) as program:
        assert program.get("/v1/me").json()["scope"] == "write"
        page.get_by_role("link", name="Keys", exact=True).click()  # it is shown no more
        expect(page.locator("#secret")).to_have_count(0)
        row = page.get_by_role("row").filter(has_text=key.split("_")[1])
        row.get_by_text("Revoke…").click()
        row.get_by_role("button", name="Revoke").click()
        expect(row.get_by_text("revoked")).to_be_visible()
        for _ in range(60):  # seconds that it is recognised still
            if (answer := program.get("/v1/me")).status_code == 401:
                break
            page.wait_for_timeout(100)
        assert answer.json()["code"] == "key_revoked"
    assert key.split("_")[2] not in service.log.read_text()


def test_a_key_opens_the_pages_until_the_browser_leaves(chromium: Browser, tmp_path: Path) -> None:
    complaints: list[str] = []
    with serving(tmp_path, HEADSTART_AUTH="keys") as service:
        key = new_key(service)
        context = chromium.new_context(base_url=service.url)
        page = opened(context, complaints)
        page.goto("/jobs")
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url("**/jobs")

        # Sent by a script in pieces, which says whose page it is of.
        upload(page, shapes.archive(tmp_path / "shapes.zip", images=12, seed=5), "mine")
        expect(page.get_by_alt_text("examples of").first).to_be_visible()
        page.get_by_role("button", name="Rank the sources").click()  # a form
        page.wait_for_url("**/jobs/*")
        assert "csrf" not in page.url

        made_and_revoked(page, service)

        assert [each["httpOnly"] for each in context.cookies()] == [True]
        page.get_by_role("button", name="Log out").click()
        page.wait_for_url("**/login")
        assert context.cookies() == []
        page.goto("/")
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()
        context.close()
        assert key.split("_")[2] not in service.log.read_text()
    assert complaints == []
