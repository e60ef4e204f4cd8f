"""Work shared out over processes forked off a confined one."""

import os
import subprocess
import sys

import pytest

from core.config import UploadLimits
from core.data import forked

# As on a machine of 100 cores, with 16 archives open and a file unpacked from each.
CROWD = """
import os
from core.config import UploadLimits
from core.data import forked
from core.data.confinement import confine

limits = UploadLimits(workers=100)
confine(limits, parent=os.getppid())
held = [open(os.devnull) for _ in range(32)]
print(sum(forked.each(lambda each: 2 * each, range(100), workers=forked.available(limits))))
"""


def test_a_machine_of_many_cores_does_not_run_out_of_open_files() -> None:
    done = subprocess.run(
        (sys.executable, "-c", CROWD), check=True, capture_output=True, text=True, timeout=60
    )
    assert int(done.stdout) == 2 * sum(range(100))


@pytest.mark.parametrize(("asked", "given"), [(1, 1), (5, 5), (1000, forked.MOST)])
def test_an_upload_has_as_many_processes_as_were_set_up_to_a_limit(asked: int, given: int) -> None:
    assert forked.available(UploadLimits(workers=asked)) == given


def test_an_upload_has_a_process_for_each_core_if_nothing_was_set() -> None:
    cores = len(os.sched_getaffinity(0))
    assert forked.available(UploadLimits()) == min(cores, forked.MOST)
