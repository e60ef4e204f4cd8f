"""The servers that tests stand on are real, ours alone, and gone when the tests are gone."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
import redis
from playwright.sync_api import sync_playwright
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from tests.fixtures.browser import ARGUMENTS
from tests.fixtures.servers import Identity, ServerFailed, listens, running, server_folder

pytestmark = pytest.mark.services
PROJECT = Path(__file__).parents[2]


def test_postgres_gives_each_test_its_own_empty_database(
    postgres_url: str, postgres_server: str
) -> None:
    engine = create_engine(postgres_url)
    with engine.begin() as connection:
        name = connection.scalar(text("SELECT current_database()"))
        tables = connection.scalar(
            text("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        )
    engine.dispose()
    assert name == make_url(postgres_url).database != make_url(postgres_server).database
    assert tables == 0


def test_postgres_refuses_a_wrong_password(postgres_url: str) -> None:
    wrong = make_url(postgres_url).set(drivername="postgresql", password="wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong.render_as_string(hide_password=False))


@pytest.mark.parametrize("turn", [1, 2])
def test_redis_is_empty_at_the_start_of_each_test(redis_url: str, turn: int) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("left-behind", turn)


def test_redis_wants_its_password(redis_url: str) -> None:
    once = Retry(NoBackoff(), 0)
    client = redis.Redis(port=make_url(redis_url).port or 0, retry=once)
    with client, pytest.raises(redis.AuthenticationError):
        client.ping()


ORPHANING = """
import os, sys, signal
from tests.fixtures.servers import Identity, free_port, listens, running, server_folder
port = free_port()
web = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
with server_folder("orphan", Identity.current()) as folder:
    with running(web, folder=folder, ready=lambda: listens(port)):
        print(port, folder, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_server_does_not_outlive_killed_tests() -> None:
    killed = subprocess.run(
        [sys.executable, "-c", ORPHANING], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    port, folder = killed.stdout.split()
    deadline = time.monotonic() + 10
    while (listens(int(port)) or Path(folder).exists()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not listens(int(port))
    assert not Path(folder).exists()


def test_a_server_that_cannot_start_says_why() -> None:
    broken = [sys.executable, "-c", "raise SystemExit('no such luck')"]
    with server_folder("broken", Identity.current()) as folder:
        attempt = running(broken, folder=folder, ready=lambda: False)
        with pytest.raises(ServerFailed, match="no such luck"), attempt:
            pytest.fail("it started")
    assert not folder.exists()


@pytest.mark.browser
def test_chromium_runs(chromium_path: Path) -> None:
    page = "data:text/html,<title>t</title><p id=x>before</p><script>x.textContent=6*7</script>"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=ARGUMENTS)
        tab = browser.new_page()
        tab.goto(page)
        assert tab.text_content("#x") == "42"
        browser.close()
