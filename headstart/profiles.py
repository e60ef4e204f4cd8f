"""Which server to ask, and by which key: arguments, the environment, or a profile in a file."""

import ipaddress
import json
import os
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from headstart.problems import Problem

DEFAULT_URL = "http://127.0.0.1:8765"
DEFAULT_PROFILE = "default"
OTHERS = 0o077


@dataclass(frozen=True, slots=True)
class Target:
    """A server and the key for it, which is never shown."""

    url: str
    key: str | None = field(default=None, repr=False)

    @property
    def local(self) -> bool:
        """Whether it is this machine."""
        host = urlsplit(self.url).hostname or ""
        try:
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    @property
    def private(self) -> bool:
        """Whether nobody on the way can read what is sent."""
        return self.local or urlsplit(self.url).scheme == "https"


def chosen(
    url: str | None = None,
    key: str | None = None,
    profile: str | None = None,
    *,
    environment: Mapping[str, str] = os.environ,
) -> Target:
    """Arguments come first, a profile that is named next, then HEADSTART_URL and HEADSTART_KEY,
    then the profile of HEADSTART_PROFILE or `default`, then this machine without a key.

    A profile's key is for the profile's server alone, and HEADSTART_KEY for no `url` but that of
    HEADSTART_URL. Raises Problem.
    """
    said = environment.get
    if url and key and not profile:
        return Target(checked(url), key)  # whatever the matter with the file
    named = profile or said("HEADSTART_PROFILE")
    kept = read(environment=environment)
    if named and named not in kept:
        known = ", ".join(sorted(kept)) or "none"
        detail = f"There is no profile '{named}' in {place(environment)}; it has: {known}. "
        raise Problem(f"{detail}`headstart login --as {named}` adds it.", code="unknown_profile")
    file = kept.get(named or DEFAULT_PROFILE)
    if profile and file:
        address, secret = url or file.url, key
    else:
        address = url or said("HEADSTART_URL") or (file.url if file else DEFAULT_URL)
        meant = url is None or url.rstrip("/") == (said("HEADSTART_URL") or "").rstrip("/")
        secret = key or (said("HEADSTART_KEY") if meant else None) or None
    if secret is None and file and file.url == address.rstrip("/"):
        secret = file.key
    return Target(checked(address), secret)


def checked(url: str) -> str:
    """The address without a slash at its end. Raises Problem where it is none."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Problem(f"'{url}' is no address: write https://HOST.", code="bad_url")
    if parts.username or parts.password or parts.query or parts.fragment:
        detail = "An address holds neither user nor key nor query: give the key by itself."
        raise Problem(detail, code="bad_url")
    return url.rstrip("/")


def read(*, environment: Mapping[str, str] = os.environ) -> dict[str, Target]:
    """The profiles of the file, none where there is no file. Raises Problem."""
    try:
        path = place(environment)
    except Problem:
        return {}
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            found = tomllib.load(file).get("profiles", {})
        kept = {
            name: Target(checked(each["url"]), each.get("key")) for name, each in found.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError) as error:
        # Never the line that is wrong: it may be the key's.
        detail = f"{path} cannot be read as profiles ({type(error).__name__}): mend or delete it."
        raise Problem(detail, code="bad_profiles") from None
    if mode & OTHERS and any(each.key for each in kept.values()):
        detail = f"{path} holds keys and others may read it: `chmod 600 {path}`."
        raise Problem(detail, code="bad_profiles")
    return kept


def write(kept: Mapping[str, Target], *, environment: Mapping[str, str] = os.environ) -> Path:
    """Keep these profiles and no others, for the owner's eyes alone; where."""
    path = place(environment)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lines = []
    for name, target in sorted(kept.items()):
        lines += [f"[profiles.{_quoted(name)}]", f"url = {_quoted(target.url)}"]
        lines += [f"key = {_quoted(target.key)}"] if target.key else []
    # Made with mode 0600, and there under its name only when whole.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".config-")
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return path


def place(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the file is. Raises Problem for who has no home."""
    try:
        folder = environment.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    except RuntimeError:
        detail = "You have no home directory to keep profiles in: name one in XDG_CONFIG_HOME."
        raise Problem(detail, code="bad_profiles") from None
    return Path(folder) / "headstart" / "config.toml"


def _quoted(text: str) -> str:
    """A TOML string: JSON's, but for a character that neither names nor keys have."""
    return json.dumps(text.replace("\x7f", ""), ensure_ascii=False)
