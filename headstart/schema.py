"""The nouns of the interface, as the service sends and takes them; not to be edited."""
# Made by api/client_code.py of 0abf3ad6dcde47d7e618af96fdb4f45405e981198c6b1ab1d25e65452570fe1e;
# SHA-256 of what follows: bf0b87da8bda8bd2bd31218798a22c586724b741f2fa904f8dbb20a6a1ca7020

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypeAlias, TypedDict


class AlikeImageView(TypedDict):
    href: str
    name: str
    similarity: float | None


Architecture: TypeAlias = Literal[
    "resnet18", "resnet34", "vgg11_bn", "mobilenet_v2", "mobilenet_v3_small"
]


class ArtifactView(TypedDict):
    href: str
    media_type: str
    name: str
    sha256: str
    size: int


class AtMostBody(TypedDict):
    flops: NotRequired[int | None]
    parameters: NotRequired[int | None]


class AtMostPatchBody(TypedDict):
    flops: NotRequired[int | None]
    parameters: NotRequired[int | None]


class AuditView(TypedDict):
    action: str
    actor: str | None
    address: str | None
    created_at: str
    id: str
    request_id: str | None
    status: int | None
    target: str | None


class BasisView(TypedDict):
    device: str
    model: str
    searches: int


class BudgetBody(TypedDict):
    epochs: NotRequired[int | None]
    gpu_seconds: NotRequired[float | None]
    seconds: NotRequired[float | None]


class BudgetPatchBody(TypedDict):
    epochs: NotRequired[int | None]
    gpu_seconds: NotRequired[float | None]
    seconds: NotRequired[float | None]


class ClassChangeView(TypedDict):
    after: tuple[int, int] | None
    before: tuple[int, int] | None
    label: str


class ClassProbabilityView(TypedDict):
    name: str
    probability: float | None


Counted: TypeAlias = Literal["parameters", "flops"]


class CouplingView(TypedDict):
    mass: list[list[float]]
    source_classes: list[str]
    target_classes: list[str]


class DatasetView(TypedDict):
    channels: int
    classes: list[str]
    created_at: str
    id: str
    licence: str | None
    n_test: int
    n_train: int
    name: str
    parent_id: str | None
    sha256: str
    size_bytes: int
    source: str | None
    statistics_only: bool
    test_counts: list[int]
    train_counts: list[int]
    version: int


DeliveryState: TypeAlias = Literal["pending", "delivered", "failed", "cancelled"]


DisabledReason: TypeAlias = Literal["asked", "gone", "failing"]


class EmbedderBody(TypedDict):
    embedder: NotRequired[str | None]


class EmbedderView(TypedDict):
    default: bool
    identifier: str | None
    name: str
    summary: str
    supernet_id: str | None
    version: str | None


EventType: TypeAlias = Literal[
    "job.queued",
    "job.running",
    "job.succeeded",
    "job.failed",
    "job.cancelled",
    "search.succeeded",
    "search.failed",
    "dataset.registered",
]


Exactness: TypeAlias = Literal["exact", "approximate"]


Fault: TypeAlias = Literal[
    "status",
    "redirect",
    "timeout",
    "unknown_host",
    "unreachable",
    "certificate",
    "broken",
    "not_allowed",
    "sealed",
]


class FindingView(TypedDict):
    also: list[str]
    code: str
    fix: str
    message: str
    place: str
    severity: str


Form: TypeAlias = Literal["imagefolder", "parquet"]


class GenotypeView(TypedDict):
    cells: NotRequired[str]
    normal: NotRequired[list[list[tuple[str, int]]]]
    reduction: NotRequired[list[list[tuple[str, int]]]]


HeadInit: TypeAlias = Literal["random", "closed_form", "closed_form_every_epoch"]


class HealthView(TypedDict):
    status: Literal["ok"]


Hubness: TypeAlias = Literal["none", "local_scaling"]


class ImageBody(TypedDict):
    index: int
    split: Literal["train", "test"]


class ImageView(TypedDict):
    label: str
    path: str
    sha256: str
    split: str


class ImagesView(TypedDict):
    first: list[ImageView]
    total: int


class IngestBody(TypedDict):
    group: NotRequired[str | None]
    label: NotRequired[str | None]
    licence: NotRequired[str | None]
    name: str
    parent_id: NotRequired[str | None]
    seed: NotRequired[int]
    source: NotRequired[str | None]
    test_share: NotRequired[float]
    unreadable_share: NotRequired[float | None]
    uploads: list[str]


class InputTensorBody(TypedDict):
    data: NotRequired[list[Any] | None]
    datatype: Literal["FP32"]
    name: str
    parameters: NotRequired[dict[str, Any]]
    shape: list[int]


class IntervalView(TypedDict):
    expected: float
    high: float
    low: float


JobKind: TypeAlias = Literal["ingest", "embed", "rank", "pretrain", "search", "prune", "group"]


JobState: TypeAlias = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class LeaveOutBody(TypedDict):
    images: list[ImageBody]
    name: NotRequired[str | None]


class LimitsView(TypedDict):
    active_jobs: int | None
    gpu_seconds: float | None
    stored_bytes: int | None


LineageKind: TypeAlias = Literal["dataset", "multi-dataset", "search", "import"]


LogLevel: TypeAlias = Literal["info", "warning", "error"]


class LogLineView(TypedDict):
    at: str
    fence: int
    level: LogLevel
    message: str
    number: int


class MapPointView(TypedDict):
    dataset_id: str
    deleted: bool
    is_target: bool
    name: str
    x: float
    y: float


MaskPolicy: TypeAlias = Literal["search", "nearest", "combine"]


Measure: TypeAlias = Literal["samples", "classes", "estimate"]


Method: TypeAlias = Literal[
    "darts", "darts-second-order", "pc-darts", "drnas", "sdarts-rs", "darts-minus", "op-dropping"
]


class ModelReadyView(TypedDict):
    name: str
    ready: Literal[True]


class ModelView(TypedDict):
    artifacts: list[ArtifactView]
    created_at: str
    dataset_id: str
    genotype: GenotypeView
    id: str
    manifest_sha256: str
    metrics: dict[str, Any]
    search_id: str


class MoveView(TypedDict):
    after: ImageView
    before: ImageView


class MovesView(TypedDict):
    first: list[MoveView]
    total: int


Nearness: TypeAlias = Literal["near", "far", "unknown"]


class NewSecretView(TypedDict):
    created_at: str
    description: str
    disabled_reason: DisabledReason | None
    enabled: bool
    events: list[EventType]
    failing_since: str | None
    id: str
    old_secret_until: str | None
    secret: str
    url: str


Objective: TypeAlias = Literal["parameters", "flops", "latency"]


class OptionsView(TypedDict):
    group: str | None
    label: str | None
    seed: int
    test_share: float
    unreadable_share: float | None


class OutputChoiceBody(TypedDict):
    name: str
    parameters: NotRequired[dict[str, Any]]


class OutputTensorView(TypedDict):
    data: list[float | None] | None
    datatype: Literal["FP32"]
    name: str
    parameters: dict[str, Any]
    shape: list[int]


class PairView(TypedDict):
    mass: float
    source_class: str
    source_href: str
    source_image: int
    target_class: str
    target_href: str
    target_image: int


class PredictionView(TypedDict):
    classes: list[ClassProbabilityView]
    model_id: str
    neighbours: list[AlikeImageView]


class PresignBody(TypedDict):
    length: int
    name: str
    sha256: NotRequired[str | None]


class PresignedView(TypedDict):
    expires_at: str
    fields: dict[str, str]
    upload_id: str
    url: str


class ProblemDetailView(TypedDict):
    code: str
    message: str
    place: str


class ProblemView(TypedDict):
    code: str
    detail: str
    error: str | None
    errors: list[ProblemDetailView]
    instance: str | None
    status: int
    title: str
    type: str


class PruningBody(TypedDict):
    architecture: Architecture
    batch_size: NotRequired[int]
    blocks: NotRequired[bool]
    controls: NotRequired[bool]
    dataset_id: str
    epochs: NotRequired[int]
    gamma: NotRequired[float | None]
    inherit: NotRequired[bool]
    labels: NotRequired[dict[str, str]]
    learning_rate: NotRequired[float]
    mask: NotRequired[MaskPolicy]
    mask_from: NotRequired[str | None]
    masks_from: NotRequired[list[str]]
    measure: NotRequired[Counted]
    noise: NotRequired[bool]
    priority: NotRequired[int]
    resample_steps: NotRequired[int]
    resolution: NotRequired[int]
    retrain_epochs: NotRequired[int]
    seed: NotRequired[int]
    share: NotRequired[float | None]
    source_id: NotRequired[str | None]
    weight_decay: NotRequired[float]
    weights: NotRequired[str | None]


class PruningView(TypedDict):
    artifacts: list[ArtifactView]
    created_at: str
    dataset_id: str
    id: str
    job_id: str
    manifest_sha256: str | None
    mask: dict[str, list[int]] | None
    metrics: dict[str, Any] | None
    spec: dict[str, Any]


QueueName: TypeAlias = Literal["cpu", "gpu"]


class RankBody(TypedDict):
    embedder: NotRequired[str | None]
    hubness: NotRequired[Hubness]
    k: NotRequired[int]
    supernets_only: NotRequired[bool]


class ReadinessView(TypedDict):
    checks: dict[str, str]
    status: Literal["ok", "unavailable", "leaving"]


class RecordView(TypedDict):
    stage: str
    step: int
    values: dict[str, Any]


class ReplayBody(TypedDict):
    config: dict[str, Any]
    labels: NotRequired[dict[str, str]]
    priority: NotRequired[int]


class ReportView(TypedDict):
    exact_duplicates: int
    findings: dict[str, int]
    groups: int
    images_kept: int
    images_seen: int
    imbalance: float | None
    modes: dict[str, int]
    near_duplicates: int
    options: OptionsView
    problems: list[FindingView]
    sizes: dict[str, int]
    split: str
    split_seed: int | None


class ResultView(TypedDict):
    created: NotRequired[bool]
    dataset_id: NotRequired[str]
    embed_job_id: NotRequired[str | None]
    embedder: NotRequired[str]
    jobs: NotRequired[int]
    model_id: NotRequired[str]
    neighbours: NotRequired[int]
    search_id: NotRequired[str]
    supernet_id: NotRequired[str]


class RetrainingBody(TypedDict):
    augment: NotRequired[Literal["none", "shift", "cutout", "trivial", "auto"]]
    auxiliary: NotRequired[float]
    budget_seconds: NotRequired[float | None]
    distillation: NotRequired[float]
    drop_path: NotRequired[float]
    ema: NotRequired[float]
    flip: NotRequired[bool]
    label_smoothing: NotRequired[float]
    precision: NotRequired[Literal["fp32", "bf16"]]
    solve_head: NotRequired[bool]


class RetrainingPatchBody(TypedDict):
    augment: NotRequired[Literal["none", "shift", "cutout", "trivial", "auto"] | None]
    auxiliary: NotRequired[float | None]
    budget_seconds: NotRequired[float | None]
    distillation: NotRequired[float | None]
    drop_path: NotRequired[float | None]
    ema: NotRequired[float | None]
    flip: NotRequired[bool | None]
    label_smoothing: NotRequired[float | None]
    precision: NotRequired[Literal["fp32", "bf16"] | None]
    solve_head: NotRequired[bool | None]


class S3Body(TypedDict):
    access_key: str
    endpoint: str
    name: NotRequired[str | None]
    region: NotRequired[str]
    secret_key: str
    session_token: NotRequired[str | None]
    sha256: NotRequired[str | None]
    uri: str


class SavingView(TypedDict):
    points: IntervalView | None
    races: int
    seconds: IntervalView | None
    won: int


Scope: TypeAlias = Literal["read", "write", "admin"]


Selection: TypeAlias = Literal["magnitude", "perturbation", "best-of", "jacobian", "fisher-rao"]


class ServerLiveView(TypedDict):
    live: Literal[True]


class ServerMetadataView(TypedDict):
    extensions: list[str]
    name: str
    version: str


class ServerReadyView(TypedDict):
    ready: Literal[True]


class SpaceBody(TypedDict):
    cells: NotRequired[Literal["darts", "s2", "s3", "nas-bench-201"]]
    channels: NotRequired[int]
    layers: NotRequired[int]
    nodes: NotRequired[int]
    resolution: NotRequired[int]


class SpacePatchBody(TypedDict):
    cells: NotRequired[Literal["darts", "s2", "s3", "nas-bench-201"] | None]
    channels: NotRequired[int | None]
    layers: NotRequired[int | None]
    nodes: NotRequired[int | None]
    resolution: NotRequired[int | None]


class SpaceView(TypedDict):
    cells: NotRequired[str]
    channels: NotRequired[int]
    input_channels: NotRequired[int]
    layers: NotRequired[int]
    nodes: NotRequired[int]
    partial: NotRequired[int]
    stem_multiplier: NotRequired[int]
    stem_stride: NotRequired[int]


StartPolicy: TypeAlias = Literal["race", "nearest", "multi-dataset", "supernet", "cold"]


class StartView(TypedDict):
    dataset_name: str | None
    lead: IntervalView | None
    name: str
    supernet_id: str | None


class TensorMetadataView(TypedDict):
    datatype: Literal["FP32"]
    name: str
    shape: list[int]


TradeOffs: TypeAlias = Literal["nsga2", "refined"]


class TrainedOnView(TypedDict):
    classes: NotRequired[int]
    images: NotRequired[int]
    name: NotRequired[str]
    sha256: NotRequired[str]


class TrainingBody(TypedDict):
    alpha_learning_rate: NotRequired[float]
    batch_size: NotRequired[int]
    epochs: NotRequired[int]
    fit_batch: NotRequired[bool]
    generalisation_gap: NotRequired[float]
    guard: NotRequired[bool]
    max_skips: NotRequired[int]
    method: NotRequired[Method]
    paths: NotRequired[int]
    precision: NotRequired[Literal["fp32", "bf16"]]
    recompute: NotRequired[bool]
    seed: NotRequired[int]
    weight_decay: NotRequired[float]


class TrainingPatchBody(TypedDict):
    alpha_learning_rate: NotRequired[float | None]
    batch_size: NotRequired[int | None]
    epochs: NotRequired[int | None]
    fit_batch: NotRequired[bool | None]
    generalisation_gap: NotRequired[float | None]
    guard: NotRequired[bool | None]
    max_skips: NotRequired[int | None]
    method: NotRequired[Method | None]
    paths: NotRequired[int | None]
    precision: NotRequired[Literal["fp32", "bf16"] | None]
    recompute: NotRequired[bool | None]
    seed: NotRequired[int | None]
    weight_decay: NotRequired[float | None]


class TrialView(TypedDict):
    batch_size: int
    epochs: int
    learning_rates: list[float]
    method: str
    policy: str
    resolution: int
    retrain_epochs: int
    selection: str
    space: SpaceView
    starts: list[StartView]
    steps_per_epoch: int


class UploadInPiecesView(TypedDict):
    created_at: str
    expires_at: str
    id: str
    length: int
    name: str
    received: int
    sha256: str | None
    state: str


class UseView(TypedDict):
    active_jobs: int
    gpu_seconds: float
    stored_bytes: int


class VerdictView(TypedDict):
    nearest: float
    nearness: Nearness
    references: int
    share: float | None
    threshold: float | None


class VersionView(TypedDict):
    created_at: str
    deleted_at: str | None
    id: str
    licence: str | None
    n_test: int
    n_train: int
    name: str
    parent_id: str | None
    sha256: str
    source: str | None
    statistics_only: bool
    version: int


class WebhookBody(TypedDict):
    description: NotRequired[str]
    events: list[EventType]
    url: str


class WebhookChangeBody(TypedDict):
    description: NotRequired[str | None]
    enabled: NotRequired[bool | None]
    events: NotRequired[list[EventType] | None]
    url: NotRequired[str | None]


class WebhookView(TypedDict):
    created_at: str
    description: str
    disabled_reason: DisabledReason | None
    enabled: bool
    events: list[EventType]
    failing_since: str | None
    id: str
    old_secret_until: str | None
    url: str


class WholeNeighbourView(TypedDict):
    coupling: CouplingView
    dataset_id: str
    dataset_name: str
    deleted: bool
    distance: float
    embedder: str
    features_part: float
    hub_share: float | None
    interval: tuple[float, float]
    labels_part: float
    measure: Measure
    pairs: list[PairView]
    place: int
    proven: bool
    samples: tuple[int, int]
    scaled: float | None
    supernet_id: str | None
    target_id: str
    tied_with_nearest: bool


class AuditListQuery(TypedDict):
    order: NotRequired[Literal["newest", "oldest"]]
    page_size: NotRequired[int]


class DatasetsListQuery(TypedDict):
    order: NotRequired[Literal["newest", "oldest", "name"]]
    name: NotRequired[str | None]
    deleted: NotRequired[bool]
    page_size: NotRequired[int]


class EmbeddersListQuery(TypedDict):
    order: NotRequired[Literal["newest", "oldest", "name"]]
    page_size: NotRequired[int]


class JobsListQuery(TypedDict):
    order: NotRequired[Literal["newest", "oldest"]]
    kind: NotRequired[JobKind | None]
    state: NotRequired[list[JobState]]
    label: NotRequired[list[str]]
    dataset_id: NotRequired[str | None]
    parent_id: NotRequired[str | None]
    created_after: NotRequired[str | None]
    created_before: NotRequired[str | None]
    page_size: NotRequired[int]


class JobsEventsQuery(TypedDict):
    order: NotRequired[Literal["newest", "oldest"]]
    page_size: NotRequired[int]


class JobsLogsQuery(TypedDict):
    order: NotRequired[Literal["newest", "oldest"]]
    page_size: NotRequired[int]


class JobsRecordsQuery(TypedDict):
    order: NotRequired[Literal["newest", "oldest"]]
    stage: NotRequired[str | None]
    page_size: NotRequired[int]


class KeysListQuery(TypedDict):
    order: NotRequired[Literal["newest", "oldest"]]
    page_size: NotRequired[int]


class ModelsListQuery(TypedDict):
    order: NotRequired[Literal["newest", "oldest"]]
    dataset_id: NotRequired[str | None]
    page_size: NotRequired[int]


class PruningsListQuery(TypedDict):
    order: NotRequired[Literal["newest", "oldest"]]
    dataset_id: NotRequired[str | None]
    page_size: NotRequired[int]


class SearchesListQuery(TypedDict):
    order: NotRequired[Literal["newest", "oldest"]]
    dataset_id: NotRequired[str | None]
    state: NotRequired[list[JobState]]
    label: NotRequired[list[str]]
    page_size: NotRequired[int]


class SupernetsListQuery(TypedDict):
    order: NotRequired[Literal["newest", "oldest", "name"]]
    dataset_id: NotRequired[str | None]
    page_size: NotRequired[int]


class UploadsListQuery(TypedDict):
    order: NotRequired[Literal["newest", "oldest"]]
    page_size: NotRequired[int]


class WebhooksListQuery(TypedDict):
    page_size: NotRequired[int]


class WebhooksDeliveriesQuery(TypedDict):
    state: NotRequired[DeliveryState | None]
    page_size: NotRequired[int]


class CloneOptions(TypedDict):
    adapt: NotRequired[bool | None]
    at_most: NotRequired[AtMostPatchBody | None]
    budget: NotRequired[BudgetPatchBody | None]
    contribute: NotRequired[bool | None]
    deadline: NotRequired[str | None]
    genotype: NotRequired[dict[str, Any] | None]
    head: NotRequired[HeadInit | None]
    labels: NotRequired[dict[str, str | None] | None]
    learning_rates: NotRequired[list[float] | None]
    objectives: NotRequired[list[Objective] | None]
    patience: NotRequired[int | None]
    policy: NotRequired[StartPolicy | None]
    priority: NotRequired[int | None]
    retrain_epochs: NotRequired[int | None]
    retrain_learning_rate: NotRequired[float | None]
    retraining: NotRequired[RetrainingPatchBody | None]
    selection: NotRequired[Selection | None]
    space: NotRequired[SpacePatchBody | None]
    supernet_id: NotRequired[str | None]
    trade_offs: NotRequired[TradeOffs | None]
    training: NotRequired[TrainingPatchBody | None]


class IngestOptions(TypedDict):
    group: NotRequired[str | None]
    label: NotRequired[str | None]
    licence: NotRequired[str | None]
    parent_id: NotRequired[str | None]
    seed: NotRequired[int]
    source: NotRequired[str | None]
    test_share: NotRequired[float]
    unreadable_share: NotRequired[float | None]


class InputTensorOptions(TypedDict):
    data: NotRequired[list[Any] | None]
    datatype: Literal["FP32"]
    parameters: NotRequired[dict[str, Any]]
    shape: list[int]


class KeyOptions(TypedDict):
    expires_in_seconds: NotRequired[int | None]
    scope: NotRequired[Scope]


class LeaveOutOptions(TypedDict):
    images: list[ImageBody]


class OutputChoiceOptions(TypedDict):
    parameters: NotRequired[dict[str, Any]]


class PresignOptions(TypedDict):
    length: int
    sha256: NotRequired[str | None]


class PretrainOptions(TypedDict):
    continue_from: NotRequired[str | None]
    learning_rate: NotRequired[float]
    others: NotRequired[list[str]]
    space: NotRequired[SpaceBody]
    steps: NotRequired[int]
    training: NotRequired[TrainingBody]


class PretrainEachOptions(TypedDict):
    learning_rate: NotRequired[float]
    space: NotRequired[SpaceBody]
    training: NotRequired[TrainingBody]


class PruningOptions(TypedDict):
    architecture: Architecture
    batch_size: NotRequired[int]
    blocks: NotRequired[bool]
    controls: NotRequired[bool]
    epochs: NotRequired[int]
    gamma: NotRequired[float | None]
    inherit: NotRequired[bool]
    labels: NotRequired[dict[str, str]]
    learning_rate: NotRequired[float]
    mask: NotRequired[MaskPolicy]
    mask_from: NotRequired[str | None]
    masks_from: NotRequired[list[str]]
    measure: NotRequired[Counted]
    noise: NotRequired[bool]
    priority: NotRequired[int]
    resample_steps: NotRequired[int]
    resolution: NotRequired[int]
    retrain_epochs: NotRequired[int]
    seed: NotRequired[int]
    share: NotRequired[float | None]
    source_id: NotRequired[str | None]
    weight_decay: NotRequired[float]
    weights: NotRequired[str | None]


class S3Options(TypedDict):
    access_key: str
    endpoint: str
    region: NotRequired[str]
    secret_key: str
    session_token: NotRequired[str | None]
    sha256: NotRequired[str | None]
    uri: str


class SearchOptions(TypedDict):
    adapt: NotRequired[bool]
    at_most: NotRequired[AtMostBody]
    budget: NotRequired[BudgetBody]
    contribute: NotRequired[bool]
    deadline: NotRequired[str | None]
    genotype: NotRequired[dict[str, Any] | None]
    head: NotRequired[HeadInit]
    labels: NotRequired[dict[str, str]]
    learning_rates: NotRequired[list[float] | None]
    objectives: NotRequired[list[Objective]]
    patience: NotRequired[int | None]
    policy: NotRequired[StartPolicy]
    priority: NotRequired[int]
    retrain_epochs: NotRequired[int]
    retrain_learning_rate: NotRequired[float]
    retraining: NotRequired[RetrainingBody]
    selection: NotRequired[Selection]
    space: NotRequired[SpaceBody]
    supernet_id: NotRequired[str | None]
    trade_offs: NotRequired[TradeOffs]
    training: NotRequired[TrainingBody]


class AttemptView(TypedDict):
    at: str
    fault: Fault | None
    seconds: float
    status: int | None


class AuditPage(TypedDict):
    items: list[AuditView]
    next_page_token: str | None


class CloneBody(TypedDict):
    adapt: NotRequired[bool | None]
    at_most: NotRequired[AtMostPatchBody | None]
    budget: NotRequired[BudgetPatchBody | None]
    contribute: NotRequired[bool | None]
    dataset_id: NotRequired[str]
    deadline: NotRequired[str | None]
    genotype: NotRequired[dict[str, Any] | None]
    head: NotRequired[HeadInit | None]
    labels: NotRequired[dict[str, str | None] | None]
    learning_rates: NotRequired[list[float] | None]
    objectives: NotRequired[list[Objective] | None]
    patience: NotRequired[int | None]
    policy: NotRequired[StartPolicy | None]
    priority: NotRequired[int | None]
    retrain_epochs: NotRequired[int | None]
    retrain_learning_rate: NotRequired[float | None]
    retraining: NotRequired[RetrainingPatchBody | None]
    selection: NotRequired[Selection | None]
    space: NotRequired[SpacePatchBody | None]
    supernet_id: NotRequired[str | None]
    trade_offs: NotRequired[TradeOffs | None]
    training: NotRequired[TrainingPatchBody | None]


class DatasetPage(TypedDict):
    items: list[DatasetView]
    next_page_token: str | None


class DeliveryView(TypedDict):
    attempts: list[AttemptView]
    created_at: str
    due_at: str | None
    event: str
    finished_at: str | None
    id: str
    message_id: str
    state: DeliveryState
    webhook_id: str


class DifferenceView(TypedDict):
    added: ImagesView
    against: str
    classes: list[ClassChangeView]
    classes_added: list[str]
    classes_removed: list[str]
    dataset_id: str
    relabelled: MovesView
    removed: ImagesView
    resplit: MovesView
    unchanged: int


class EmbedderPage(TypedDict):
    items: list[EmbedderView]
    next_page_token: str | None


class EstimateView(TypedDict):
    basis: BasisView
    dataset_id: str
    gpu_bytes: IntervalView
    gpu_seconds: IntervalView
    host_bytes: IntervalView
    least_seconds: IntervalView
    saving: SavingView
    seconds: IntervalView
    trial: TrialView


class EventView(TypedDict):
    actor: str
    at: str
    fence: int
    from_state: JobState | None
    reason: str
    seq: int
    to_state: JobState


class FullDatasetView(TypedDict):
    channels: int
    classes: list[str]
    created_at: str
    id: str
    licence: str | None
    n_test: int
    n_train: int
    name: str
    parent_id: str | None
    report: ReportView
    sha256: str
    size_bytes: int
    source: str | None
    statistics_only: bool
    test_counts: list[int]
    train_counts: list[int]
    version: int


class InferenceBody(TypedDict):
    id: NotRequired[str | None]
    inputs: list[InputTensorBody]
    outputs: NotRequired[list[OutputChoiceBody]]
    parameters: NotRequired[dict[str, Any]]


class InferenceView(TypedDict):
    id: str | None
    model_name: str
    outputs: list[OutputTensorView]


class JobView(TypedDict):
    attempt: int
    cancel_requested: bool
    children: dict[JobState, int] | None
    cost_seconds: float
    created_at: str
    dataset_id: str | None
    error_code: str | None
    error_message: str | None
    eta_seconds: float | None
    fence: int
    finished_at: str | None
    id: str
    kind: JobKind
    max_attempts: int
    parent_id: str | None
    poll_after_ms: int | None
    priority: int
    progress: float
    queue: QueueName
    result: ResultView | None
    resume_reason: str | None
    spec: dict[str, Any]
    stage: str
    started_at: str | None
    state: JobState


class KeyBody(TypedDict):
    expires_in_seconds: NotRequired[int | None]
    name: str
    scope: NotRequired[Scope]


class KeyView(TypedDict):
    created_at: str
    expires_at: str | None
    id: str
    last_used_at: str | None
    name: str
    revoked_at: str | None
    scope: Scope


class LineageView(TypedDict):
    datasets: NotRequired[list[TrainedOnView]]
    kind: NotRequired[LineageKind]
    parents: NotRequired[list[str]]
    training: NotRequired[dict[str, Any]]


class LogLinePage(TypedDict):
    items: list[LogLineView]
    next_page_token: str | None


class MapView(TypedDict):
    dataset_id: str
    embedder: str
    measure: Measure
    points: list[MapPointView]
    stress: float


class MeView(TypedDict):
    key_id: str | None
    limits: LimitsView
    project: str
    project_id: str
    scope: Scope
    used: UseView


class ModelMetadataView(TypedDict):
    inputs: list[TensorMetadataView]
    name: str
    outputs: list[TensorMetadataView]
    platform: str


class ModelPage(TypedDict):
    items: list[ModelView]
    next_page_token: str | None


class NeighbourView(TypedDict):
    coupling: list[tuple[str, str, float]]
    coupling_entries: int
    dataset_id: str
    dataset_name: str
    deleted: bool
    distance: float
    features_part: float
    hub_share: float | None
    interval: tuple[float, float]
    labels_part: float
    measure: Measure
    pairs: list[PairView]
    proven: bool
    samples: tuple[int, int]
    scaled: float | None
    supernet_id: str | None
    tied_with_nearest: bool


class NewKeyView(TypedDict):
    created_at: str
    expires_at: str | None
    id: str
    key: str
    last_used_at: str | None
    name: str
    revoked_at: str | None
    scope: Scope


class PretrainBody(TypedDict):
    continue_from: NotRequired[str | None]
    dataset_id: str
    learning_rate: NotRequired[float]
    name: str
    others: NotRequired[list[str]]
    space: NotRequired[SpaceBody]
    steps: NotRequired[int]
    training: NotRequired[TrainingBody]


class PretrainEachBody(TypedDict):
    dataset_ids: list[str]
    learning_rate: NotRequired[float]
    space: NotRequired[SpaceBody]
    training: NotRequired[TrainingBody]


class PruningPage(TypedDict):
    items: list[PruningView]
    next_page_token: str | None


class RankingView(TypedDict):
    dataset_id: str
    embedder: str
    exactness: Exactness
    neighbours: list[NeighbourView]
    proven: int
    ranked: int
    seconds: float
    settings: dict[str, Any]
    sources: int
    verdict: VerdictView | None


class RecordPage(TypedDict):
    items: list[RecordView]
    next_page_token: str | None


class SearchBody(TypedDict):
    adapt: NotRequired[bool]
    at_most: NotRequired[AtMostBody]
    budget: NotRequired[BudgetBody]
    contribute: NotRequired[bool]
    dataset_id: str
    deadline: NotRequired[str | None]
    genotype: NotRequired[dict[str, Any] | None]
    head: NotRequired[HeadInit]
    labels: NotRequired[dict[str, str]]
    learning_rates: NotRequired[list[float] | None]
    objectives: NotRequired[list[Objective]]
    patience: NotRequired[int | None]
    policy: NotRequired[StartPolicy]
    priority: NotRequired[int]
    retrain_epochs: NotRequired[int]
    retrain_learning_rate: NotRequired[float]
    retraining: NotRequired[RetrainingBody]
    selection: NotRequired[Selection]
    space: NotRequired[SpaceBody]
    supernet_id: NotRequired[str | None]
    trade_offs: NotRequired[TradeOffs]
    training: NotRequired[TrainingBody]


class SearchView(TypedDict):
    created_at: str
    dataset_id: str
    id: str
    job_id: str
    model_id: str | None
    ranking: RankingView | None
    spec: dict[str, Any]
    start: dict[str, Any] | None


class SubmittedPruningView(TypedDict):
    artifacts: list[ArtifactView]
    created_at: str
    dataset_id: str
    id: str
    job: JobView
    job_id: str
    manifest_sha256: str | None
    mask: dict[str, list[int]] | None
    metrics: dict[str, Any] | None
    spec: dict[str, Any]


class SubmittedSearchView(TypedDict):
    created_at: str
    dataset_id: str
    id: str
    job: JobView
    job_id: str
    model_id: str | None
    ranking: RankingView | None
    spec: dict[str, Any]
    start: dict[str, Any] | None


class SupernetView(TypedDict):
    created_at: str
    dataset_id: str | None
    id: str
    job_id: str | None
    lineage: LineageView
    metrics: dict[str, Any]
    name: str
    resolution: int
    seconds: float
    sha256: str
    space: SpaceView


class UploadInPiecesPage(TypedDict):
    items: list[UploadInPiecesView]
    next_page_token: str | None


class UploadView(TypedDict):
    channels: int
    classes: list[str]
    created_at: str
    embed_job: JobView | None
    id: str
    licence: str | None
    n_test: int
    n_train: int
    name: str
    parent_id: str | None
    report: ReportView
    sha256: str
    size_bytes: int
    source: str | None
    statistics_only: bool
    test_counts: list[int]
    train_counts: list[int]
    version: int


class WebhookPage(TypedDict):
    items: list[WebhookView]
    next_page_token: str | None


class WholeDeliveryView(TypedDict):
    attempts: list[AttemptView]
    created_at: str
    due_at: str | None
    event: str
    finished_at: str | None
    id: str
    message_id: str
    payload: dict[str, Any]
    state: DeliveryState
    webhook_id: str


class DeliveryPage(TypedDict):
    items: list[DeliveryView]
    next_page_token: str | None


class EventPage(TypedDict):
    items: list[EventView]
    next_page_token: str | None


class JobPage(TypedDict):
    items: list[JobView]
    next_page_token: str | None


class KeyPage(TypedDict):
    items: list[KeyView]
    next_page_token: str | None


class SearchPage(TypedDict):
    items: list[SearchView]
    next_page_token: str | None


class SupernetPage(TypedDict):
    items: list[SupernetView]
    next_page_token: str | None
