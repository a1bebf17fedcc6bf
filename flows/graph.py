"""DVC's graph as waves of stages, read from DVC itself."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Any

from coronet.errors import StageError
from coronet.lists import check_list


@dataclasses.dataclass(frozen=True)
class Node:
    """A stage of DVC's graph.

    Attributes:
        name: as DVC addresses it, such as ``train@heart`` or ``data.dvc``.
        needs: stages that it depends on, directly or through others.
        alone: ``meta: {alone: true}`` in ``dvc.yaml``: it uses all cores, so nothing runs beside it.
    """

    name: str
    needs: frozenset[str]
    alone: bool


def read_waves(targets: Sequence[str] = ()) -> list[list[Node]]:
    """DVC's graph as waves: the stages of each depend only on those before it.

    Args:
        targets: stages to end with; all by default.

    Raises:
        StageError: DVC has no such stage, or cannot read its files.
        InputError: a target is empty or named twice.
    """
    import networkx
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.repo.reproduce import collect_stages, get_active_graph

    if targets:
        check_list(targets, "--targets")
    try:
        with contextlib.closing(Repo()) as repo:
            graph = get_active_graph(repo.index.graph)
            if targets:
                wanted = set(collect_stages(repo, targets))
                wanted |= {below for stage in wanted for below in networkx.descendants(graph, stage)}
                graph = graph.subgraph(wanted)
    except DvcException as error:
        reason = " ".join(str(error).split())
        raise StageError(
            f"DVC cannot read its graph: {reason}. Where that file has the marks of a merge conflict, resolve"
            " them; `git restore` brings back the file that was committed."
        ) from error

    def node(stage: Any) -> Node:
        needs = frozenset(item.addressing for item in networkx.descendants(graph, stage))
        return Node(stage.addressing, needs, bool((getattr(stage, "meta", None) or {}).get("alone")))

    generations = networkx.topological_generations(graph.reverse())
    return [sorted(map(node, wave), key=lambda item: item.name) for wave in generations]
