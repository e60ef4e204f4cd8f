"""What came of what: datasets, the supernets trained on them, the searches that began from those,
and the supernets that searches left behind."""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.dataset_tables import DatasetRow
from core.db.result_tables import SupernetRow
from core.domain.datasets import DatasetId
from core.services import datasets
from core.services.gains import Begun

NEWEST: Final = 200  # supernets that are looked at
MOST: Final = 40  # nodes of a drawing
FEW: Final = 4  # datasets of one supernet, or its searches, that stand alone


class NodeKind(StrEnum):
    """What a node is."""

    DATASET = "dataset"
    SUPERNET = "supernet"
    SEARCH = "search"


@dataclass(frozen=True, slots=True)
class Node:
    """One dataset, supernet or search, or `count` of those that would say nothing one by one;
    `of` is its id, that of the search's model, or that of the supernet that they belong to."""

    kind: NodeKind
    name: str
    of: UUID | None
    count: int = 1


@dataclass(frozen=True, slots=True)
class Lineage:
    """Nodes in an order in which every link goes on to a later one; `left_out` found no room."""

    nodes: tuple[Node, ...]
    links: tuple[tuple[int, int], ...]
    focus: int | None
    left_out: int


def around(
    session: Session, begun: Sequence[Begun], *, focus: UUID | None = None, most: int = MOST
) -> Lineage:
    """The `most` nodes nearest to the supernet in focus, or to the newest ones; `begun` are the
    searches that are looked at."""
    graph = _Graph()
    known = {row.id: row for row in _supernets(session, focus)}
    called = datasets.called(session, [each.dataset_id for each in begun])
    _join_searches(graph, known, begun, called)
    _join_sources(graph, known, _datasets(session, known.values()))
    first = [_node(row) for row in known.values() if focus is None or row.id == focus]
    return graph.near(first, most, focused=focus is not None)


@dataclass(slots=True)
class _Graph:
    """Nodes and links as they become known."""

    nodes: dict[Node, None] = field(default_factory=dict)  # in order
    links: dict[tuple[Node, Node], None] = field(default_factory=dict)

    def add(self, node: Node) -> None:
        self.nodes[node] = None

    def join(self, source: Node, target: Node) -> None:
        self.add(source)
        self.add(target)
        if source != target:
            self.links[source, target] = None

    def near(self, first: Sequence[Node], most: int, *, focused: bool) -> Lineage:
        """Those that few links lead to from the first ones."""
        beside: defaultdict[Node, list[Node]] = defaultdict(list)
        for source, target in self.links:
            beside[source].append(target)
            beside[target].append(source)
        kept: dict[Node, None] = {}
        for start in first:  # whole families, the newest first
            waiting = deque([start])
            while waiting and len(kept) < most:
                node = waiting.popleft()
                if node not in kept:
                    kept[node] = None
                    waiting.extend(beside[node])
        links = [pair for pair in self.links if pair[0] in kept and pair[1] in kept]
        nodes = list(_in_order(kept, links))
        place = {node: at for at, node in enumerate(nodes)}
        numbered = sorted((place[source], place[target]) for source, target in links)
        return Lineage(
            nodes=tuple(nodes),
            links=tuple(pair for pair in numbered if pair[0] < pair[1]),
            focus=place.get(first[0]) if focused and first else None,
            left_out=len(self.nodes) - len(kept),
        )


def _join_searches(
    graph: _Graph,
    known: Mapping[UUID, Any],
    begun: Sequence[Begun],
    called: Mapping[DatasetId, str],
) -> None:
    """Searches behind what they began from, and before what they left."""
    made_by = {row.job_id: row for row in known.values() if row.job_id is not None}
    leaves: defaultdict[UUID, list[Begun]] = defaultdict(list)
    for each in begun:
        source = None if each.supernet_id is None else known.get(each.supernet_id)
        made = made_by.get(each.job_id)
        if made is not None:
            graph.join(_search(each, called), _node(made))
            if source is not None:
                graph.join(_node(source), _search(each, called))
        elif source is not None:
            leaves[source.id].append(each)
    for source_id, those in leaves.items():
        source = _node(known[source_id])
        if len(those) > FEW:
            name = f"{len(those)} searches"
            graph.join(source, Node(NodeKind.SEARCH, name, source_id, len(those)))
        else:
            for each in those:
                graph.join(source, _search(each, called))


def _join_sources(
    graph: _Graph, known: Mapping[UUID, Any], names: Mapping[str, tuple[UUID, str]]
) -> None:
    """What supernets were trained on and continued from, where no search of ours stands before."""
    passed = {target for source, target in graph.links if source.kind is NodeKind.SEARCH}
    by_sha256 = {row.sha256: row for row in known.values()}
    for row in reversed(list(known.values())):
        node = _node(row)
        graph.add(node)
        if node not in passed:
            for parent in filter(None, map(by_sha256.get, row.lineage.get("parents", ()))):
                graph.join(_node(parent), node)
            for dataset in _trained_on(row, names):
                graph.join(dataset, node)


def _in_order(nodes: Iterable[Node], links: Sequence[tuple[Node, Node]]) -> Iterator[Node]:
    """Each after all that lead to it. What leads to itself, as a file may claim, comes last."""
    waits: defaultdict[Node, set[Node]] = defaultdict(set)
    for source, target in links:
        waits[target].add(source)
    left = list(nodes)
    while left:
        ready = [node for node in left if not waits[node]] or left[:1]
        yield from ready
        left = [node for node in left if node not in ready]
        for sources in waits.values():
            sources.difference_update(ready)


def _supernets(session: Session, focus: UUID | None) -> Iterator[Any]:
    row = SupernetRow
    wanted = select(row.id, row.name, row.sha256, row.job_id, row.lineage)
    newest = wanted.order_by(row.created_at.desc(), row.id).limit(NEWEST)
    found = {each.id: each for each in session.execute(newest)}
    if focus is not None and focus not in found:
        found = {each.id: each for each in session.execute(wanted.where(row.id == focus))} | found
    if focus in found:
        parents = found[focus].lineage.get("parents", ())
        older = session.execute(wanted.where(row.sha256.in_(parents)))
        found |= {each.id: each for each in older}
    yield from found.values()


def _datasets(session: Session, supernets: Iterable[Any]) -> dict[str, tuple[UUID, str]]:
    """Ids and names of the datasets that they were trained on, as far as they are here."""
    wanted = {
        each["sha256"] for row in supernets for each in row.lineage.get("datasets", ())[:FEW]
    }
    row = DatasetRow
    statement = select(row.sha256, row.id, row.name).where(
        row.sha256.in_(wanted), row.deleted_at.is_(None)
    )
    return {each.sha256: (each.id, each.name) for each in session.execute(statement)}


def _trained_on(row: Any, names: Mapping[str, tuple[UUID, str]]) -> Iterator[Node]:
    told = row.lineage.get("datasets", ())
    if len(told) > FEW:
        yield Node(NodeKind.DATASET, f"{len(told)} datasets", row.id, len(told))
        return
    for each in told:
        of, name = names.get(each["sha256"], (None, str(each["name"])))
        yield Node(NodeKind.DATASET, name, of)


def _search(begun: Begun, called: Mapping[DatasetId, str]) -> Node:
    name = called.get(begun.dataset_id)
    return Node(NodeKind.SEARCH, f"on {name}" if name else "of a dataset", begun.model_id)


def _node(row: Any) -> Node:
    return Node(NodeKind.SUPERNET, row.name, row.id)
