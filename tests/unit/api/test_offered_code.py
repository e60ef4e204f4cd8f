"""The code that a model's page offers does what it says, as it stands there."""

import html
import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from core.bootstrap import Container
from core.config import InferenceSettings
from core.inference.batching import Inference
from tests.fixtures.offered_code import said_alike
from tests.fixtures.onnx_models import CHANNELS, RESOLUTION, tiny
from tests.unit.api import scenes
from tests.unit.api.conftest import Served
from tests.unit.api.keyed import keyed

CLASSES = ["ant", "bee <b>", "cat", "dog"]
CONFIG = {"classes": CLASSES, "resolution": RESOLUTION, "space": {"input_channels": CHANNELS}}
FILES = {"model.onnx": tiny(), "config.json": json.dumps(CONFIG).encode()}


@pytest.fixture
def inference(served: Served) -> Iterator[None]:
    before = served.app.state.inference
    with closing(Inference(InferenceSettings())) as served.app.state.inference:
        yield
    served.app.state.inference = before


@pytest.fixture
def pieces(browser: httpx.Client, container: Container) -> dict[str, str]:
    _, model = scenes.finished(container, scenes.dataset(container), files=FILES)
    page = browser.get(f"/models/{model.id}").text
    found = re.findall(r'<code id="use-(\w+)">(.*?)</code>', page, re.DOTALL)
    return {name: html.unescape(code) for name, code in found}


@pytest.mark.usefixtures("inference")
def test_all_three_say_the_same(pieces: dict[str, str], tmp_path: Path) -> None:
    dots = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    Image.fromarray(dots).save(tmp_path / "image.png")
    assert len(said_alike(pieces, tmp_path)) == 3


def test_where_keys_are_asked_for_each_sends_one(migrated_sqlite: Path, tmp_path: Path) -> None:
    for service in keyed(migrated_sqlite, tmp_path):
        _, model = scenes.finished(service.mine, scenes.dataset(service.mine))
        page = service.ask("GET", f"/models/{model.id}", "read", headers={"Accept": "text/html"})
        assert 'key=os.environ["HEADSTART_KEY"]' in page.text
        assert "Bearer $HEADSTART_KEY" in page.text
