"""Where supernets come from and go to, and what they have brought, as pictures."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from api.web import words
from core.domain.datasets import DatasetId
from core.pictures.lineage import Box, draw_lineage
from core.pictures.trend import Measured, draw_trend
from core.services.gains import Begun
from core.services.lineages import Lineage, Node, NodeKind

GROUPS = (NodeKind.DATASET, NodeKind.SUPERNET, NodeKind.SEARCH)
LEGEND = ("datasets", "supernets", "searches")
FOLDERS = {
    NodeKind.DATASET: "/datasets",
    NodeKind.SUPERNET: "/registry",
    NodeKind.SEARCH: "/models",
}


def graph(found: Lineage) -> Markup | None:
    """The graph, whose boxes lead to what they stand for; None where nothing leads anywhere."""
    if not found.links:
        return None
    boxes = [
        Box(
            label=node.name,
            group=GROUPS.index(node.kind),
            tip=f"{node.kind} {node.name}" if node.count == 1 else node.name,
            link=_link(node),
            marked=at == found.focus,
        )
        for at, node in enumerate(found.nodes)
    ]
    title = "What was trained on what, and what searches made of it"
    return Markup(draw_lineage(boxes, found.links, title=title, groups=LEGEND))


def gains(begun: Sequence[Begun], names: Mapping[DatasetId, str]) -> Markup | None:
    """The leads that were measured, over time; None where there are none."""
    measured = [
        Measured(
            each.at,
            each.lead,
            f"{each.lead:+.1f} points on {names.get(each.dataset_id, 'a dataset')}, "
            f"{words.moment(each.at)}",
            f"/models/{each.model_id}",
        )
        for each in begun
        if each.lead is not None
    ]
    if not measured:
        return None
    title = "Lead of the start that was chosen over a cold one, by search"
    return Markup(draw_trend(measured, title=title, y_label="accuracy points"))


def _link(node: Node) -> str | None:
    if node.of is None:
        return None
    folder = FOLDERS[NodeKind.SUPERNET if node.count > 1 else node.kind]
    return f"{folder}/{node.of}"
