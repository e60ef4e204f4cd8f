"""What the stages of a prune job share: its images, its weights, and how far it is."""

from dataclasses import dataclass
from pathlib import Path

import torch

from core.domain.prunings import Counted
from core.domain.work import PruneInputs
from core.errors import InvalidInput
from core.nas.images import LabelledImages
from core.nas.pruning import network_cost
from core.nas.pruning.backbone import Backbone
from core.nas.pruning.channels import ChannelComponents
from core.pipelines import (
    assembling,
    bilevel,
    dataset_images,
    known_network,
    machine,
    objects,
    pruning_notes,
)
from core.pipelines.context import Context
from core.pipelines.meter import Meter
from core.pipelines.pruning_notes import PruningNotes

PRUNED, FULL, MAGNITUDE, RANDOM = "pruned", "full", "magnitude", "random"
CONTROLS = FULL, MAGNITUDE, RANDOM  # by magnitude: of the whole network, once that is trained
EXPORT_UNITS = 1.0
_MEASURES: dict[Counted, network_cost.Measure] = {
    Counted.PARAMETERS: "parameters",
    Counted.FLOPS: "multiply-adds",
}


@dataclass(frozen=True, slots=True)
class Desk:
    """What the stages of one prune job share."""

    inputs: PruneInputs
    context: Context
    notes: PruningNotes
    meter: Meter
    weights: Path | None
    images: LabelledImages
    test: LabelledImages

    @property
    def batch_size(self) -> int:
        """As asked for, halved as often as the GPU's memory did not do."""
        return machine.again(self.inputs.spec.batch_size, 0, self.context)

    def network(self, classes: int, *, begun: bool) -> Backbone:
        """The whole network, `begun` with the weights that were brought, if any were."""
        spec = self.inputs.spec
        weights = self.weights if begun else None
        generator = bilevel.generator(spec.seed)
        found = known_network.build(spec.architecture, classes, generator, weights)
        return found.to(self.context.device)

    def carried(self) -> Path:
        """The weights of the network that the mask is from. Raises InvalidInput."""
        found = self.inputs.carried
        if self.notes.taken:
            (taken,) = self.notes.taken
            of = {str(each.pruning_id): each.weights for each in self.inputs.known}
            found = of.get(taken["pruning_id"])
        if found is None:
            raise InvalidInput(
                "The weights of the network that the mask is from are gone: its dataset was "
                "deleted meanwhile. Ask for it again without inherit."
            )
        place = self.context.scratch / "carried.safetensors"
        return objects.fetch(self.context.store, found.key, place, sha256=found.sha256)

    def components(self, model: Backbone) -> ChannelComponents:
        """What of a network can be taken off. Raises InvalidInput."""
        spec, side = self.inputs.spec, self.inputs.spec.resolution
        picture = torch.zeros(1, bilevel.INPUT_CHANNELS, side, side, device=self.context.device)
        measure = _MEASURES[spec.measure]
        try:
            return ChannelComponents(model, picture, blocks=spec.blocks, measure=measure)
        except ValueError as error:
            raise InvalidInput(
                f"{spec.architecture} cannot be pruned at {side}: {error}."
            ) from error


def opened(inputs: PruneInputs, context: Context) -> Desk:
    """The desk of an attempt, with what earlier ones have noted. Raises InvalidInput."""
    spec = inputs.spec
    if not inputs.dataset.n_test:
        raise InvalidInput(
            "The dataset has no test images, so nothing honest could be said of what is left. "
            "Upload it with a test folder, or with enough images a class to split."
        )
    notes = pruning_notes.restored(context)
    if inputs.mask is not None:
        notes.masks.setdefault(PRUNED, {name: list(kept) for name, kept in inputs.mask.items()})
    weights = None
    if inputs.weights is not None:
        upload, parts = inputs.weights
        weights = assembling.assemble(
            context.store,
            upload,
            parts,
            context.scratch / "weights",
            heard=lambda _size: context.alive(),
        )
    images, test = dataset_images.load(
        context, inputs.dataset, resolution=spec.resolution, channels=bilevel.INPUT_CHANNELS
    )
    meter = Meter(context, total=_total_units(inputs))
    meter.skip(_units_done(inputs, notes))
    here = images.to(context.device), test.to(context.device)
    return Desk(inputs, context, notes, meter, weights, *here)


def arms(inputs: PruneInputs) -> tuple[str, ...]:
    """The networks that are trained, in this order."""
    return (PRUNED, *CONTROLS) if inputs.spec.controls else (PRUNED,)


def _total_units(inputs: PruneInputs) -> float:
    spec = inputs.spec
    searched = bilevel.units(spec.epochs + 1) if spec.searches else 0.0
    return searched + len(arms(inputs)) * bilevel.units(spec.retrain_epochs + 1) + EXPORT_UNITS


def _units_done(inputs: PruneInputs, notes: PruningNotes) -> float:
    trained = len(notes.arms) * bilevel.units(inputs.spec.retrain_epochs + 1)
    searched = bilevel.units(len(notes.search)) if PRUNED in notes.masks else 0.0
    return searched + trained + bilevel.units(len(notes.live_history))
