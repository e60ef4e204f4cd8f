"""The settings choose the store."""

import subprocess
import sys
from pathlib import Path

from core.config import LocalStorage, S3Storage, Settings
from core.storage.local import LocalStore
from core.storage.s3 import S3Store
from core.storage.select import store_of


def test_objects_lie_under_home_unless_told_otherwise(tmp_path: Path) -> None:
    store_of(Settings(home=tmp_path / "home"))
    assert (tmp_path / "home/objects").is_dir()
    elsewhere = Settings(home=tmp_path, storage=LocalStorage(root=tmp_path / "elsewhere"))
    assert isinstance(store_of(elsewhere), LocalStore)
    assert (tmp_path / "elsewhere").is_dir()


def test_a_bucket_is_chosen_by_kind_and_not_contacted(tmp_path: Path) -> None:
    nowhere = S3Storage(bucket="any", endpoint_url="http://127.0.0.1:9")
    assert isinstance(store_of(Settings(home=tmp_path, storage=nowhere)), S3Store)


def test_embedded_mode_does_not_load_boto3() -> None:
    code = "import sys, core.storage.select; sys.exit('boto3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
