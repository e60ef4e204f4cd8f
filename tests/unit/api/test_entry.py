"""The deployed entry point, and the one table of statuses."""

import subprocess
import sys
from pathlib import Path

import pytest

from api import main, problems
from core import errors
from core.errors import AppError, Detail


def test_the_serving_process_never_loads_torch() -> None:
    banned = "{'torch', 'ot', 'scipy'}"
    code = f"import sys, api.main; assert not {banned} & set(sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


def test_the_asgi_entry_reads_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("core.bootstrap.configure_logging", lambda _: None)
    app = main.create()
    container = app.state.container
    assert container.settings.home == tmp_path / "home"
    container.close()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.NotFound("There is no such thing."), 404),
        (errors.Gone("It was deleted.", code="dataset_deleted"), 410),
        (errors.InvalidInput("Mend it."), 422),
        (errors.InvalidInput("Not these bytes.", code="checksum_mismatch"), 460),
        (errors.InvalidInput("Another version.", code="unsupported_version"), 412),
        (errors.BadArchive("Not an archive.", code="corrupt_archive"), 422),
        (errors.TooLarge("Too large."), 413),
        (errors.Conflict("Too many.", code="too_many_uploads"), 429),
        (errors.Conflict("Another adds to it.", code="upload_busy"), 423),
        (errors.Conflict("Not now."), 409),
        (errors.IllegalTransition("It has ended."), 409),
        (errors.LeaseLost("Another holds it."), 409),
        (errors.Unavailable("Try later."), 503),
        (errors.Unavailable("No room.", code="storage_full"), 507),
        (errors.CorruptObject("key/of/object is damaged"), 500),
        (AppError("a bug at /srv/x"), 500),
    ],
)
def test_every_error_has_one_status(error: AppError, status: int) -> None:
    problem = problems.of_error(error)
    assert problem.status == status
    assert problem.code == error.stable_code
    assert (problem.detail == error.message) == (status != 500)
    assert dict(problem.headers).get("Retry-After") == ("5" if status in {423, 429, 503} else None)


def test_every_status_has_a_title() -> None:
    assert problems.Problem(410, "gone", "It was deleted.").title == "Gone"
    # tus made this one up; the others stand for whatever a server between may say.
    assert problems.Problem(460, "checksum_mismatch", "Wrong.").title == "Checksum Mismatch"
    assert problems.Problem(499, "bad_request", "Odd.").title == "Refused"
    assert problems.Problem(599, "internal", "Odd.").title == "Failed"


def test_a_list_of_details_survives() -> None:
    error = errors.BadArchive("Two things.", details=[Detail("a.png", "bad_image", "It is cut.")])
    body = problems.as_json(problems.of_error(error)).body
    assert b'"errors": [{"place": "a.png", "code": "bad_image", "message": "It is cut."}]' in body
