"""Folders of attempts: gone with them, swept after a kill, never taken from who computes."""

import subprocess
import sys
from pathlib import Path

from core.execution import scratch

HOLDER = """
import sys, time
from pathlib import Path
from core.execution import scratch
with scratch.folder(Path(sys.argv[1]), "job-a1-") as folder:
    (folder / "tensors").write_text("much")
    print(folder, flush=True)
    time.sleep(600)
"""


def test_it_is_gone_when_the_attempt_ends(tmp_path: Path) -> None:
    with scratch.folder(tmp_path, "job-a1-") as folder:
        (folder / "file").touch()
        assert folder.name.startswith("job-a1-")
    assert not folder.exists()


def test_what_a_killed_worker_left_is_swept_and_what_is_in_use_is_not(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        (sys.executable, "-c", HOLDER, tmp_path), stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        theirs = Path(holder.stdout.readline().strip())
        scratch.sweep(theirs.parent, young_seconds=0.0)
        assert (theirs / "tensors").read_text() == "much"
        holder.kill()
    scratch.sweep(theirs.parent)
    assert theirs.exists()  # young: it might not have been locked yet
    scratch.sweep(theirs.parent, young_seconds=0.0)
    assert not theirs.exists()


def test_what_is_no_folder_of_an_attempt_is_left_alone(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    parent = tmp_path / "scratch"
    parent.mkdir()
    (parent / "file").touch()
    (parent / "link").symlink_to(elsewhere)
    scratch.sweep(parent, young_seconds=0.0)
    assert (elsewhere / "kept").exists()
    assert {each.name for each in parent.iterdir()} == {"file", "link"}
