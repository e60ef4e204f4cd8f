"""A search's own supernet, handed over as a pretrained one is."""

from core.domain.searches import SearchSpec
from core.domain.work import PretrainOutcome
from core.nas.images import LabelledImages
from core.nas.supernet import Supernet
from core.pipelines import derivation, supernet_file
from core.pipelines.context import Context
from core.pipelines.notes import Notes


def hand_over(
    supernet: Supernet, written: Notes, images: LabelledImages, spec: SearchSpec, context: Context
) -> PretrainOutcome:
    """Store the supernet of the arm that was kept."""
    arm = written.arms[written.best_arm or 0]
    # With the statistics that its accuracies were measured with.
    measured = derivation.as_teacher(supernet, images, spec)
    key, sha256 = supernet_file.keep(context, measured.state_dict())
    return PretrainOutcome(
        space=supernet.space.to_dict(),
        resolution=written.start["resolution"],
        key=key,
        sha256=sha256,
        metrics={
            **written.figures["supernet"],
            "history": arm["history"],
            "search_seconds": arm["seconds"],
        },
        seconds=arm["seconds"],
        embedding=None,
    )
