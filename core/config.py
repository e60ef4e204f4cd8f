"""Settings: typed, frozen, read once, passed down. Defaults are the embedded mode."""

import os
import re
from ipaddress import IPv6Address
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

ORIGIN = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?/?"
)
USUAL_PORTS = {"http": 80, "https": 443}


def s3_origin(url: str) -> str:
    """An endpoint in the one way that it is compared in. Raises ValueError.

    Scheme, host and port alone: nothing that programs read differently, such as a user, a path or
    a query.
    """
    found = ORIGIN.fullmatch(url.lower()) if url.isascii() else None
    port = int((found and found["port"]) or 1)
    if found is None or not 0 < port < 65536:
        raise ValueError("an endpoint is https://HOST, with :PORT if need be, and nothing else")
    scheme, host = found["scheme"], found["host"]
    if host.startswith("["):
        host = f"[{IPv6Address(host[1:-1])}]"
    if not found["port"] or port == USUAL_PORTS[scheme]:
        return f"{scheme}://{host}"
    return f"{scheme}://{host}:{port}"


class LocalStorage(BaseModel):
    """Objects as files under one folder; `None` means `<home>/objects`."""

    model_config = ConfigDict(frozen=True)
    kind: Literal["local"] = "local"
    root: Path | None = None


class S3Storage(BaseModel):
    """Objects in a bucket of an S3-compatible store."""

    model_config = ConfigDict(frozen=True)
    kind: Literal["s3"] = "s3"
    bucket: str
    endpoint_url: str | None = None
    region: str = "us-east-1"
    access_key: SecretStr | None = None
    secret_key: SecretStr | None = None
    # Where clients reach the store, if that is elsewhere than where this service does: they send
    # large files straight to it.
    public_url: str | None = None

    @field_validator("public_url")
    @classmethod
    def _place(cls, url: str | None) -> str | None:
        return None if url is None else s3_origin(url)


class UploadLimits(BaseModel):
    """What uploads may weigh; each limit refuses what is beyond it, none truncates anything."""

    model_config = ConfigDict(frozen=True)
    archive_bytes: int = Field(default=2 * 1024**3, gt=0)
    expanded_bytes: int = Field(default=10 * 1024**3, gt=0)
    # Room for 50,000 images and the folders of nearly 1,000 classes in two splits.
    entries: int = Field(default=52_000, gt=0)
    entry_bytes: int = Field(default=64 * 1024**2, gt=0)
    ratio: int = Field(default=200, gt=1)
    name_bytes: int = Field(default=255, gt=0)
    depth: int = Field(default=8, gt=0)
    image_pixels: int = Field(default=50_000_000, gt=0)
    classes: int = Field(default=1_000, gt=1)
    unreadable_share: float = Field(default=0.01, ge=0, le=1)
    memory_bytes: int = Field(default=4 * 1024**3, gt=0)
    cpu_seconds: int = Field(default=1_800, gt=0)
    # Whether images may be TIFFs: their decoder has many parts, each of which may have faults.
    tiff: bool = False
    # Of uploads in pieces: how many are under way, for how long, and how a file is stored.
    open_uploads: int = Field(default=8, gt=0)
    expiry_seconds: float = Field(default=86_400.0, gt=0)
    part_bytes: int = Field(default=64 * 1024**2, gt=0)
    most_parts: int = Field(default=10_000, gt=0)
    # What datasets, imported supernets and uploads of a project may take in the store together,
    # unless it has a limit of its own.
    stored_bytes: int = Field(default=200 * 1024**3, gt=0)
    # How many archives are read at once while their senders wait.
    at_once: int = Field(default=2, gt=0)
    # Processes that decode one upload's images; None: as many as there are cores. 16 at most.
    workers: int | None = Field(default=None, ge=1)


class InferenceSettings(BaseModel):
    """What finished models may take of the machine that serves: one process computes for all."""

    model_config = ConfigDict(frozen=True)
    threads: int = Field(default=1, ge=1)
    memory_bytes: int = Field(default=2 * 1024**3, gt=0)  # of addresses, as the kernel counts
    model_bytes: int = Field(default=256 * 1024**2, gt=0)  # files of the models that it keeps
    seconds: float = Field(default=10.0, gt=0)  # for one batch, and to wait for its turn
    idle_seconds: float = Field(default=300.0, gt=0)  # without a request, after which it ends
    # Requests for one model are computed together: those that wait, up to so many rows, and those
    # that come in the time that the first of them is made to wait for others.
    rows: int = Field(default=64, ge=1)
    gather_seconds: float = Field(default=0.0, ge=0, le=0.005)
    queue: int = Field(default=256, ge=1)  # requests that wait
    body_bytes: int = Field(default=16 * 1024**2, gt=0)
    bodies_bytes: int = Field(default=64 * 1024**2, gt=0)  # of all that are under way


class WebhookSettings(BaseModel):
    """Whether events are sent to addresses that callers name, and which those may be."""

    model_config = ConfigDict(frozen=True)
    enabled: bool = False
    # The operator's own network too; where nobody is asked for a key, this machine, also by http.
    allow_private: bool = False


class MlflowSettings(BaseModel):
    """The MLflow tracking server that is told of every search that has ended; None: nobody is."""

    model_config = ConfigDict(frozen=True)
    tracking_uri: str | None = None
    experiment: str = Field(default="headstart", min_length=1, max_length=256)
    # Either of these, if the server asks who comes.
    token: SecretStr | None = None
    username: str | None = None
    password: SecretStr | None = None
    ca_file: Path | None = None  # who vouches for its certificate, if not the usual ones
    # Where people reach this service, for the links in what is told.
    links_to: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _given(cls, told: Any) -> Any:
        if not isinstance(told, dict):
            return told
        return {name: value for name, value in told.items() if value}  # empty: none to give

    @field_validator("tracking_uri", "links_to")
    @classmethod
    def _place(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        plain = "@" not in parts.netloc and not parts.query and not parts.fragment
        if parts.scheme not in USUAL_PORTS or not parts.hostname or not plain:
            raise ValueError("give http(s)://HOST[:PORT][/PATH]; credentials have settings")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("a username and a password go together")
        if self.token is not None and self.username is not None:
            raise ValueError("give a token, or a username and a password")
        return self


class RateLimits(BaseModel):
    """Requests a second over time, and at once: of a key, and of an address without a good one.

    `reads` change nothing, and pieces of files count as such; without a number they are free.
    """

    model_config = ConfigDict(frozen=True)
    reads_per_second: float | None = Field(default=None, gt=0)
    reads_burst: float = Field(default=2_000.0, ge=1)
    writes_per_second: float = Field(default=50.0, gt=0)
    writes_burst: float = Field(default=200.0, ge=1)
    failures_per_second: float = Field(default=5.0, gt=0)
    failures_burst: float = Field(default=100.0, ge=1)


class QueueLimits(BaseModel):
    """How many jobs there may be before more are refused."""

    model_config = ConfigDict(frozen=True)
    jobs: int = Field(default=20_000, ge=1)  # that wait, of all projects together
    # That have not ended, of a project without a limit of its own, where keys are asked for.
    active_jobs: int = Field(default=1_000, ge=1)


SHORTEST_KEY = 32  # in characters
CANCEL_SECONDS = 10.0  # a cancelled job's process is gone this long after the request, or sooner
ANSWER_SECONDS = 1.0  # of these, for the supervisor's ticks and the database's answers


class JobTimings(BaseModel):
    """The lease protocol's clocks, in seconds (`docs/architecture.md`, "Jobs").

    A child that is asked to stop has `cancel_grace` until it is killed where somebody cancelled
    its job, and `drain_grace` where its worker ends: long enough to end an epoch and keep it. One
    that has given no sign of life for `stall`, and ten times as long as is usual for it, is hung.
    """

    model_config = ConfigDict(frozen=True)
    heartbeat: float = Field(default=10.0, gt=0)
    lease: float = Field(default=60.0, gt=0)
    self_stop: float = Field(default=45.0, gt=0)
    sweep: float = Field(default=10.0, gt=0)
    cancel_poll: float = Field(default=2.0, gt=0)
    cancel_grace: float = Field(default=5.0, ge=0)
    drain_grace: float = Field(default=20.0, ge=0)
    stall: float = Field(default=600.0, gt=0)
    retry_delays: tuple[float, ...] = (0.0, 30.0, 120.0)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        # A holder must beat before it gives up, and give up before its successor may begin.
        if not self.heartbeat < self.self_stop < self.lease:
            raise ValueError("heartbeat < self_stop < lease must hold")
        # A cancel is learned of at a beat or a look between beats, then the grace begins.
        learned = min(self.cancel_poll, self.heartbeat)
        if learned + self.cancel_grace > CANCEL_SECONDS - ANSWER_SECONDS:
            raise ValueError(
                f"cancel_poll + cancel_grace must be at most {CANCEL_SECONDS - ANSWER_SECONDS:g}: "
                f"a cancel ends a job within {CANCEL_SECONDS:g} seconds"
            )
        return self


class Settings(BaseSettings):
    """Everything the environment may say (`HEADSTART_…`, nested with `__`)."""

    model_config = SettingsConfigDict(
        env_prefix="HEADSTART_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,  # a value that does not fit may be a password
    )
    home: Path = Path("var/headstart")
    database_url: str | None = None
    redis_url: str | None = None
    storage: Annotated[LocalStorage | S3Storage, Field(discriminator="kind")] = LocalStorage()
    uploads: UploadLimits = UploadLimits()
    # From where a caller may have objects fetched with credentials of their own, each spelled as
    # `https://HOST[:PORT]`; none, nowhere. What a name here resolves to is its operator's word.
    s3_endpoints: tuple[str, ...] = ()
    inference: InferenceSettings = InferenceSettings()
    webhooks: WebhookSettings = WebhookSettings()
    mlflow: MlflowSettings = MlflowSettings()
    # What secrets are sealed with in the database: long and random. Several by commas: the first
    # seals, what the others have sealed can still be opened.
    secret_key: SecretStr | None = None
    jobs: JobTimings = JobTimings()
    queue: QueueLimits = QueueLimits()
    slots: int = Field(default_factory=lambda: min(2, os.cpu_count() or 1), ge=1)
    threads_per_job: int | None = Field(default=None, ge=1)
    # How many processes a search or a pretraining is computed by, each on a GPU where there are
    # any; the job's threads are shared out over them.
    processes_per_job: int = Field(default=1, ge=1)
    device: str = "auto"
    # `all`, `none`, or indices and UUIDs by commas: `python -m worker` starts a process for each.
    # Without a value it is one process that sees what the machine shows it.
    worker_gpus: str | None = None
    worker_place: int | None = None  # which of them this process is; said by the one that starts
    # With its version: embeddings are kept and found under both.
    embedder: str = Field(default="oriented-energy@1", pattern=r"^[^@]+@[^@]+$")
    resnet18_weights: Path | None = None
    zoo: bool = True  # register the supernets that come with the package
    # `keys`: every request but a few needs an API key. `none`: nobody is asked who they are, so
    # the service is for this machine alone, unless the other says that a proxy asks.
    auth: Literal["none", "keys"] = "none"
    rates: RateLimits = RateLimits()
    allow_unauthenticated_network: bool = False
    log_format: Literal["console", "json"] = "console"
    # Where a worker tells Prometheus its counters; each of a fleet at its place after this one.
    metrics_port: int | None = Field(default=None, ge=1, le=65_000)
    # What Prometheus may show at `/metrics` instead of a key of an administrator of `default`.
    # Several by commas: any of them.
    metrics_token: SecretStr | None = None

    @field_validator("s3_endpoints")
    @classmethod
    def _spelled_alike(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(s3_origin, urls))

    @field_validator("secret_key", "metrics_token")
    @classmethod
    def _long(cls, keys: SecretStr | None) -> SecretStr | None:
        if keys is None or not keys.get_secret_value():  # empty: a deployment has none to give
            return None
        parts = keys.get_secret_value().split(",")
        if any(len(each.strip()) < SHORTEST_KEY for each in parts):
            raise ValueError(f"give at least {SHORTEST_KEY} characters, random ones")
        return keys

    @model_validator(mode="after")
    def _sealed(self) -> Self:
        if self.webhooks.enabled and self.secret_key is None:
            raise ValueError("webhooks need HEADSTART_SECRET_KEY, which seals their secrets")
        return self

    @model_validator(mode="after")
    def _a_device_for_each(self) -> Self:
        if self.processes_per_job > 1 and ":" in self.device:
            raise ValueError(
                f"device names one device for {self.processes_per_job} processes_per_job: "
                "say cuda and show them their GPUs by CUDA_VISIBLE_DEVICES"
            )
        return self

    @property
    def database(self) -> str:
        """The SQLAlchemy URL: what was given, or a SQLite file under `home`."""
        return self.database_url or f"sqlite:///{self.home.absolute() / 'headstart.db'}"

    @property
    def threads(self) -> int:
        """Compute threads one job may use: the cores shared out over the slots."""
        return self.threads_per_job or max(1, (os.cpu_count() or 1) // self.slots)
