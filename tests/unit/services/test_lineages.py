"""Lineages: near first, bounded, in order, and whatever a file claims."""

from uuid import uuid4

from core.db.sessions import Sessions
from core.domain.identity import DEFAULT
from core.domain.supernets import LineageKind
from core.services import lineages, supernets
from core.services.lineages import FEW, Lineage, NodeKind


def registered(
    sessions: Sessions, name: str, sha256: str, parents: tuple[str, ...] = (), datasets: int = 1
) -> None:
    told = [
        {"name": f"{name} {at}", "sha256": f"{name}{at}", "classes": 2, "images": 3}
        for at in range(datasets)
    ]
    with sessions.within(DEFAULT).begin() as session:
        supernets.register(
            session,
            name=name,
            dataset_id=None,
            job_id=None,
            space={},
            resolution=16,
            key=name,
            sha256=sha256,
            metrics={},
            seconds=1.0,
            lineage={"kind": LineageKind.IMPORT, "datasets": told, "parents": list(parents)},
        )


def lineage(sessions: Sessions, focus: str | None = None, most: int = 100) -> Lineage:
    with sessions.within(DEFAULT).read() as session:
        found, _ = supernets.listing(session, limit=100)
        ids = {each.name: each.id for each in found}
        chosen = None if focus is None else ids[focus]
        return lineages.around(session, (), focus=chosen, most=most)


def named(found: Lineage) -> set[tuple[str, str]]:
    return {(found.nodes[a].name, found.nodes[b].name) for a, b in found.links}


def test_a_chain_is_told_in_order_and_the_nearest_first(sessions: Sessions) -> None:
    for at in range(6):
        registered(sessions, f"net {at}", f"{at:064x}", (f"{at - 1:064x}",) if at else ())
    whole = lineage(sessions)
    assert {(f"net {at}", f"net {at + 1}") for at in range(5)} <= named(whole)
    assert {(f"net {at} 0", f"net {at}") for at in range(6)} <= named(whole)
    assert (whole.left_out, whole.focus) == (0, None)
    few = lineage(sessions, "net 2", most=4)
    assert {each.name for each in few.nodes} == {"net 2", "net 2 0", "net 1", "net 3"}
    assert few.left_out == 8
    assert few.focus is not None
    assert few.nodes[few.focus].name == "net 2"


def test_many_datasets_are_one_node(sessions: Sessions) -> None:
    registered(sessions, "broad", "b" * 64, datasets=FEW + 1)
    found = lineage(sessions)
    assert named(found) == {(f"{FEW + 1} datasets", "broad")}
    assert found.nodes[0].kind is NodeKind.DATASET
    assert found.nodes[0].count == FEW + 1


def test_a_file_may_claim_to_come_of_what_came_of_it(sessions: Sessions) -> None:
    one, other = "1" * 64, "2" * 64
    registered(sessions, "one", one, (other, one))
    registered(sessions, "other", other, (one,))
    found = lineage(sessions)
    assert all(source < target for source, target in found.links)
    assert {"one", "other"} <= {each.name for each in found.nodes}


def test_another_projects_supernets_are_in_no_lineage(sessions: Sessions) -> None:
    registered(sessions, "mine", "c" * 64)
    with sessions.within(uuid4()).read() as session:  # type: ignore[arg-type]
        assert lineages.around(session, ()).nodes == ()
