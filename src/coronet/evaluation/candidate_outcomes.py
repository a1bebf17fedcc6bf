"""A scan's candidates against its reference mask: which are lesions, and how exactly those measure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from coronet.inference.predict import CalciumCandidates
from coronet.io.volume import CALCIUM_HU, Volume
from coronet.scoring.calcium_score import score_calcium
from coronet.scoring.protocol import Protocol
from coronet.scoring.uncertainty import candidate_scores


@dataclasses.dataclass(frozen=True)
class CandidateOutcomes:
    """Candidates of one scan against its reference.

    Attributes:
        network: the network's probability of each candidate, shape (candidates,).
        volume_mm3: of each.
        score: Agatston score that each adds if it is calcium.
        true: whether each shares a voxel with a lesion of the reference.
        measured: (score of the candidates, score of the reference) of lesions that are in both; what touches
            is one lesion.
        missed: scores above 0 of the reference's lesions that no candidate touches.
    """

    network: np.ndarray
    volume_mm3: np.ndarray
    score: np.ndarray
    true: np.ndarray
    measured: tuple[tuple[float, float], ...]
    missed: tuple[float, ...]


def candidate_outcomes(
    ct: Volume, candidates: CalciumCandidates, reference: np.ndarray, protocol: Protocol
) -> CandidateOutcomes:
    """Match the candidates of a scan with the lesions of its reference mask.

    Args:
        ct: HU, shape (x, y, z).
        candidates: of this scan.
        reference: calcium mask of the same shape; its voxels below 130 HU are no calcium.
        protocol: rules of the scores.
    """
    import cc3d
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = candidates.counted.size
    lesions = cc3d.connected_components((reference > 0) & (ct.array >= CALCIUM_HU), connectivity=26)
    true_count = int(lesions.max())
    true_scores = _lesion_scores(ct, lesions, true_count, protocol)
    score = candidate_scores(ct, candidates, protocol)
    touched = lesions[candidates.place].astype(int)
    pairs = np.unique(np.stack([candidates.number, touched - 1], axis=1)[touched > 0], axis=0)
    true = np.zeros(count, bool)
    true[pairs[:, 0]] = True
    nodes = count + true_count
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], count + pairs[:, 1])), shape=(nodes, nodes))
    _, group = connected_components(graph, directed=False) if nodes else (0, np.zeros(0, int))
    found = np.bincount(group[:count], weights=score, minlength=nodes)
    wanted = np.bincount(group[count:], weights=true_scores, minlength=nodes)
    both = np.unique(group[:count][true])
    alone = np.setdiff1d(group[count:], both)
    return CandidateOutcomes(
        network=candidates.network,
        volume_mm3=np.bincount(candidates.number, minlength=count) * ct.voxel_mm3,
        score=score,
        true=true,
        measured=tuple((float(found[at]), float(wanted[at])) for at in both if found[at] > 0),
        missed=tuple(float(wanted[at]) for at in alone if wanted[at] > 0),
    )


def _lesion_scores(ct: Volume, lesions: np.ndarray, count: int, protocol: Protocol) -> np.ndarray:
    """Agatston score of each numbered lesion, shape (count,)."""
    if not count:
        return np.zeros(0)
    names = {number: str(number) for number in range(1, count + 1)}
    found = score_calcium(ct, lesions.astype(np.int32), protocol=protocol, vessels=names).vessels
    assert found is not None
    return np.array([found[name] for name in names.values()])


def pool(outcomes: Sequence[CandidateOutcomes]) -> CandidateOutcomes:
    """The candidates of several scans, at least one, together."""

    def together(name: str) -> np.ndarray:
        return np.concatenate([getattr(item, name) for item in outcomes])

    return CandidateOutcomes(
        network=together("network"),
        volume_mm3=together("volume_mm3"),
        score=together("score"),
        true=together("true"),
        measured=tuple(pair for item in outcomes for pair in item.measured),
        missed=tuple(score for item in outcomes for score in item.missed),
    )
