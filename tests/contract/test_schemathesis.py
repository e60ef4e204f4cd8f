"""The interface does what its document says, for requests that nobody thought of.

`make contract` tries ten times as many.
"""

from pathlib import Path

import pytest

from tests.contract.checking import tried
from tests.contract.scene import served

# In two halves, for two processes.
HALVES = ("/v1/(datasets|supernets|uploads)", "(?!/v1/(datasets|supernets|uploads))")


@pytest.mark.slow
@pytest.mark.parametrize("paths", HALVES, ids=["what-is-brought", "the-rest"])
def test_the_interface_is_what_its_document_says(paths: str, tmp_path: Path) -> None:
    with served(tmp_path) as scene:
        found = tried(scene, examples=50, paths=paths)
    assert sum(each.cases for each in found.values()) > 2_000
    assert sum(each.accepted for each in found.values()) > 500
    assert {name: each.failures for name, each in found.items() if each.failures} == {}
