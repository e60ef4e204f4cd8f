"""What is asked of searches: a new one, one like another, and what one is made again from."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, get_args, get_origin
from uuid import UUID

from pydantic import AfterValidator, Field, create_model, model_validator

from api.lists import Moment
from api.schemas import (
    Body,
    Flag,
    LearningRate,
    Real,
    RetrainingBody,
    SpaceBody,
    TrainingBody,
    Whole,
)
from api.views.shapes import FreeForm
from core.domain.datasets import DatasetId
from core.domain.searches import (
    RETRAIN_RATE,
    AtMost,
    Budget,
    HeadInit,
    Objective,
    SearchSpec,
    Selection,
    StartPolicy,
    TradeOffs,
)
from core.domain.supernets import SupernetId
from core.services.jobs import MOST_URGENT
from core.services.specs import LABEL, LONGEST_LABEL, MOST_COST, MOST_LABELS


def printable(value: str) -> str:
    """Raises ValueError for what could not be read."""
    if not value.isprintable():
        raise ValueError("a label holds no control or invisible characters")
    return value


LabelName = Annotated[str, Field(pattern=f"^{LABEL.pattern}$")]
LabelValue = Annotated[str, Field(max_length=LONGEST_LABEL), AfterValidator(printable)]
# Names of no other form, which pydantic refuses and does not say.
EXACTLY: Final[dict[str, Any]] = {"additionalProperties": False}


class BudgetBody(Body):
    """What a search may take at most, all its attempts together. It ends early enough that
    retraining and export fit in; with less than any model takes it is refused."""

    seconds: Annotated[Real, Field(gt=0, le=1e7)] | None = None
    gpu_seconds: Annotated[Real, Field(gt=0, le=1e7)] | None = None
    epochs: Annotated[Whole, Field(ge=2, le=1_000_000)] | None = None

    def to_spec(self) -> Budget:
        """As the domain says it."""
        return Budget(**self.model_dump())


class AtMostBody(Body):
    """What the network that is handed back may cost, in learned numbers or in multiply-adds of
    one image. Who starts from a source whose cells all cost more fails before its search; in a
    race that source is out."""

    parameters: Annotated[Whole, Field(ge=1, le=MOST_COST)] | None = None
    flops: Annotated[Whole, Field(ge=1, le=MOST_COST)] | None = None

    def to_spec(self) -> AtMost:
        """As the domain says it."""
        return AtMost(**self.model_dump())


class SearchBody(Body):
    """Search an architecture for one dataset."""

    dataset_id: UUID
    policy: StartPolicy = StartPolicy.RACE
    supernet_id: UUID | None = None
    head: HeadInit = HeadInit.EVERY_EPOCH
    space: SpaceBody = SpaceBody()
    adapt: Flag = False
    training: TrainingBody = TrainingBody()
    learning_rates: (
        Annotated[tuple[LearningRate, ...], Field(min_length=1, max_length=8)] | None
    ) = None
    patience: Annotated[Whole, Field(ge=0, le=10_000)] | None = None
    retrain_epochs: Annotated[Whole, Field(ge=1, le=10_000)] = 20
    retrain_learning_rate: LearningRate = RETRAIN_RATE
    retraining: RetrainingBody = RetrainingBody()
    selection: Selection = Selection.MAGNITUDE
    at_most: AtMostBody = AtMostBody()
    objectives: Annotated[tuple[Objective, ...], Field(max_length=3)] = ()
    trade_offs: TradeOffs = TradeOffs.NSGA2
    contribute: Flag = False
    budget: BudgetBody = BudgetBody()
    deadline: Moment | None = None
    labels: Annotated[
        dict[LabelName, LabelValue], Field(max_length=MOST_LABELS, json_schema_extra=EXACTLY)
    ] = Field(default_factory=dict)
    genotype: (
        Annotated[
            FreeForm,
            Field(description="Cells as a model tells them, to be trained without a search."),
        ]
        | None
    ) = None
    priority: Annotated[Whole, Field(ge=-MOST_URGENT, le=MOST_URGENT)] = 0

    @model_validator(mode="after")
    def _supernet_goes_with_its_policy(self) -> "SearchBody":
        if (self.policy is StartPolicy.SUPERNET) != (self.supernet_id is not None):
            raise ValueError("supernet_id is given with policy 'supernet', and only then")
        return self

    def to_spec(self, embedder: str) -> SearchSpec:
        """As the domain says it."""
        return SearchSpec(
            dataset_id=DatasetId(self.dataset_id),
            embedder=embedder,
            policy=self.policy,
            supernet_id=None if self.supernet_id is None else SupernetId(self.supernet_id),
            head=self.head,
            space=self.space.to_spec(),
            adapt=self.adapt,
            training=self.training.to_spec(),
            learning_rates=self.learning_rates,
            patience=self.patience,
            retrain_epochs=self.retrain_epochs,
            retrain_learning_rate=self.retrain_learning_rate,
            retraining=self.retraining.to_spec(),
            selection=self.selection,
            at_most=self.at_most.to_spec(),
            objectives=self.objectives,
            trade_offs=self.trade_offs,
            contribute=self.contribute,
            budget=self.budget.to_spec(),
            deadline=self.deadline,
            labels=self.labels,
            genotype=self.genotype,
        )


def _without_default(shown: dict[str, Any]) -> None:
    del shown["default"]


# None, which cannot be asked for.
LEFT_OUT: Final[Any] = Field(default=None, json_schema_extra=_without_default)


def _patch_of(body: type[Body], name: str, words: str) -> type[Body]:
    """A body like the other of which every field may be left out, or null: its default then,
    where it has one."""
    fields: dict[str, Any] = {}
    for field, info in body.model_fields.items():
        kind: Any = info.annotation
        if isinstance(kind, type) and issubclass(kind, Body):
            kind = _patch_of(kind, kind.__name__.replace("Body", "PatchBody"), kind.__doc__ or "")
        if get_origin(kind) is dict:  # whose members null removes
            key, value = get_args(kind)
            kind = dict[key, value | None]  # type: ignore[valid-type]
        for each in info.metadata:
            kind = Annotated[kind, each]
        if info.json_schema_extra is not None:
            kind = Annotated[kind, Field(json_schema_extra=info.json_schema_extra)]
        fields[field] = (kind, LEFT_OUT) if info.is_required() else (kind | None, None)
    made: type[Body] = create_model(name, __base__=Body, __doc__=words, **fields)
    return made


class CloneBody(_patch_of(SearchBody, "Patch", "")):  # type: ignore[misc]
    """What a clone is asked otherwise (a JSON Merge Patch, RFC 7396): what is left out stays as it
    was, null is the default, and takes a label away."""


class ReplayBody(Body):
    """Search again as a model's search did: of the same images, from the same start."""

    config: Annotated[FreeForm, Field(description="The model's `config.json`, as downloaded.")]
    labels: Annotated[
        dict[LabelName, LabelValue], Field(max_length=MOST_LABELS, json_schema_extra=EXACTLY)
    ] = Field(default_factory=dict)
    priority: Annotated[Whole, Field(ge=-MOST_URGENT, le=MOST_URGENT)] = 0


def merged(old: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """A document after a JSON Merge Patch."""
    new = {name: value for name, value in old.items() if patch.get(name, value) is not None}
    for name, value in patch.items():
        if isinstance(value, Mapping):
            new[name] = merged(old.get(name) or {}, value)
        elif value is not None:
            new[name] = value
    return new
