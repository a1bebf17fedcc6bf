"""The functions behind ``import coronet``; each takes a path or an image in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coronet.errors import InputError
from coronet.io.images import Image
from coronet.io.reader import Scan, read_scan
from coronet.networks.bundled import BUNDLED
from coronet.scoring.protocol import Protocol, find_protocol

if TYPE_CHECKING:
    import numpy as np
    import torch

    from coronet.evaluation.agreement import Agreement
    from coronet.networks.factory import LoadedModel
    from coronet.scoring.batch_table import BatchResult
    from coronet.scoring.cohort_worker import WorkerOptions
    from coronet.scoring.score_scan import ScanScore
    from coronet.scoring.segment_scan import Segmentation


@dataclasses.dataclass(frozen=True)
class Models:
    """A heart and a calcium network that score scans together.

    Attributes:
        heart: finds the heart.
        calcium: finds calcium in and beside it.
    """

    heart: LoadedModel
    calcium: LoadedModel


def load_models(
    models: str | Path = BUNDLED, *, project: str | Path = ".", device: torch.device | str | None = None
) -> Models:
    """Load a heart and a calcium network.

    Args:
        models: ``bundled`` (the networks in the package), ``build`` (what ``dvc repro`` trained),
            ``champion``, ``challenger``, or ``heart=URI,calcium=URI``, where a URI is a folder,
            ``bundled`` or ``models:/heart/3``.
        project: the project's folder, with ``build/`` and ``mlruns/``.
        device: such as ``cpu`` or ``cuda:0``; by default the GPU where there is one.

    Raises:
        InputError: the text is not understood, or a model is damaged.
        StageError: nothing is trained yet.
        LedgerError: MLflow cannot be reached.

    Example:
        >>> import coronet
        >>> models = coronet.load_models("build")
        >>> models.heart.spec.model, models.calcium.spec.model
        ('heart', 'calcium')
    """
    import torch

    from coronet.inference.devices import pick_device
    from coronet.registry.resolve_models import resolve_models
    from coronet.registry.version_quality import load_scoring_model

    chosen, place = Path(project), pick_device() if device is None else torch.device(device)
    found = {
        part: load_scoring_model(str(folder), part=part, project=chosen, device=place)
        for part, folder in resolve_models(str(models), chosen).items()
    }
    return Models(heart=found["heart"], calcium=found["calcium"])


def _loaded(models: Models | str) -> Models:
    return models if isinstance(models, Models) else load_models(models)


def segment(
    scan: Path | str | Image | Scan,
    models: Models | str = BUNDLED,
    *,
    series: int | str | None = None,
    force: bool = False,
) -> Segmentation:
    """Find the heart and the coronary calcium in a scan.

    Args:
        scan: a volume file, a DICOM folder, or an image in memory; see `read_scan`.
        models: what `load_models` gives or takes.
        series: which DICOM series, by number or UID.
        force: go on even where the scan's quality forbids a score; the warnings stay with the result.

    Raises:
        UnreadableScan: no volume can be read.
        UnsuitableScan: a score would mislead, or no heart was found.

    Example:
        >>> import coronet
        >>> found = coronet.segment("scan.nii.gz", "build")
        >>> found.calcium.shape, round(found.calcium_mm3)
        ((112, 84, 56), 576)
        >>> found.save("masks").name
        'segmentation.json'
    """
    from coronet.scoring.segment_scan import segment_scan

    pair = _loaded(models)
    return segment_scan(
        read_scan(scan, series=series), heart_model=pair.heart, calcium_model=pair.calcium, force=force
    )


def score(
    scan: Path | str | Image | Scan,
    models: Models | str = BUNDLED,
    *,
    protocol: Protocol | str = "coronet",
    method: str = "agatston",
    calibration_factor: float | None = None,
    series: int | str | None = None,
    force: bool = False,
) -> ScanScore:
    """Score the coronary calcium of a scan: networks find heart and calcium, and the calcium is scored.

    Args:
        scan: a volume file, a DICOM folder, or an image in memory; see `read_scan`.
        models: what `load_models` gives or takes. Load them once to score many scans.
        protocol: rules of the score: ``coronet``, ``deepcac``, ``ai-cac``, ``orcascore`` or ``molloi``.
        method: which score is the answer: ``agatston``, ``volume_weighted``, ``volume`` or ``mass``.
        calibration_factor: mg/(mm³·HU); without it there is no mass.
        series: which DICOM series, by number or UID.
        force: score even where the scan's quality forbids it; the warnings stay with the score.

    Raises:
        UnreadableScan: no volume can be read.
        UnsuitableScan: a score would mislead, or no heart was found.
        ParamsError: unknown protocol or method, or mass without a calibration factor.

    Example:
        >>> import coronet
        >>> found = coronet.score("scan.nii.gz", models="build")
        >>> round(found.agatston, 1), found.result.groups["paper"]
        (672.0, '>300')
        >>> found.statement.title
        'Learned from synthetic phantoms: this score must not be believed on patients.'
    """
    from coronet.scoring.score_scan import score_scan

    pair = _loaded(models)
    return score_scan(
        read_scan(scan, series=series),
        heart_model=pair.heart,
        calcium_model=pair.calcium,
        protocol=find_protocol(protocol),
        method=method,
        calibration_factor=calibration_factor,
        force=force,
    )


def score_batch(
    folder: Path,
    out: Path | None = None,
    models: Models | str = BUNDLED,
    *,
    groups: str = "paper",
    again: bool = False,
    quiet_s: float = 0.0,
    progress: Callable[[int, int], None] | None = None,
    **rules: Any,
) -> BatchResult:
    """Score each scan of a folder, with its page; what `coronet score --batch` and the flow share.

    Args:
        folder: DICOM series and volume files.
        out: results; by default a folder under ``mlruns/scores`` for these networks and rules.
        models: what `load_models` gives or takes.
        groups: risk groups of the table.
        again: try those scans once more that could not be scored.
        quiet_s: leave for a later run what was changed less than so many seconds ago.
        progress: called with (files or sub-folders done, in all).
        rules: ``protocol``, ``method``, ``calibration_factor`` and ``force``, as of
            `coronet.scoring.entry_scoring.Scorer`.

    Raises:
        InputError: see `coronet.scoring.batch.score_folder`.
        Busy: another process writes to ``out``.
    """
    from coronet.report.scan_page import write_scan_result
    from coronet.scoring.batch import score_folder
    from coronet.scoring.entry_scoring import Scorer

    pair = _loaded(models)
    scorer = Scorer(pair.heart, pair.calcium, **rules)
    return score_folder(
        folder,
        out or Path("mlruns") / "scores" / scorer.key,
        scorer=scorer,
        write=write_scan_result,
        groups=groups,
        again=again,
        quiet_s=quiet_s,
        data=Path("data"),
        progress=progress,
    )


def score_cohort(
    place: str,
    out: Path | str,
    models: str = BUNDLED,
    *,
    workers: WorkerOptions | None = None,
    groups: str = "paper",
    again: bool = False,
    commons: str = "",
    progress: Callable[[int, int], None] | None = None,
    **rules: Any,
) -> BatchResult:
    """Score each scan of a place on the workers of a Ray cluster; what `coronet score --batch --ray` does.

    Args:
        place: a folder, a list of scans (``.txt``), ``s3://BUCKET/PREFIX``, or ``nlst:MANIFEST``.
        out: folder of the results, or ``s3://BUCKET/PREFIX``.
        models: what `load_models` takes.
        workers: where, how many and what each may use; by default all cores of this machine.
        groups: risk groups of the table.
        again: try those scans once more that could not be scored.
        commons: address of the store that holds the series of a manifest; by default the Imaging Data
            Commons'.
        progress: called with (files or sub-folders done, in all).
        rules: as of `score_batch`.

    Raises:
        InputError: see `coronet.scoring.cohort.score_cohort`.
        Busy: another process writes to ``out``.
        Unreachable: the cluster or a store does not answer.
    """
    from coronet.buckets import SCHEME, Bucket
    from coronet.dataset.scan_places import find_scans
    from coronet.report.scan_page import write_scan_result
    from coronet.scoring.batch_results import BucketResults, FolderResults
    from coronet.scoring.cohort import score_cohort as score
    from coronet.scoring.cohort_worker import WorkerOptions
    from coronet.scoring.entry_scoring import Scorer

    to_bucket = str(out).startswith(SCHEME)
    if not to_bucket and Path(out).resolve().is_relative_to(Path(place).resolve()):
        raise InputError(f"{out} lies in the folder that is to be scored; choose another --out.")
    entries = find_scans(place, commons=commons) if commons else find_scans(place)
    # the workers move the networks to where they compute
    pair = load_models(models, device="cpu")
    return score(
        entries,
        BucketResults(Bucket(str(out))) if to_bucket else FolderResults(Path(out)),
        scorer=Scorer(pair.heart, pair.calcium, **rules),
        workers=workers or WorkerOptions(),
        write=write_scan_result,
        groups=groups,
        again=again,
        data=Path("data"),
        progress=progress,
    )


def agreement(
    reference: Sequence[float] | np.ndarray,
    predicted: Sequence[float] | np.ndarray,
    *,
    groups: str = "paper",
    names: tuple[str, str] = ("reference", "predicted"),
    resamples: int = 1000,
) -> Agreement:
    """Compare two readings of the same scans: κ of the risk groups, ICC, correlation, Bland-Altman.

    Args:
        reference: scores, shape (n,).
        predicted: scores of the same scans in the same order, shape (n,).
        groups: risk groups: ``paper``, ``aha``, ``five`` or ``cac-drs``.
        names: what to call the two, (reference, predicted).
        resamples: of the pairs, for the bootstrap intervals.

    Raises:
        InputError: lengths differ, there are fewer than three pairs, or a value is not a score.

    Example:
        >>> import coronet
        >>> found = coronet.agreement([0, 12, 150, 420], [0, 10, 290, 400])
        >>> found.same_group.same, found.statistics.bias
        (4, 29.5)
        >>> found.save("agreement").name
        'agreement.json'
    """
    import numpy as np

    from coronet.evaluation.agreement import score_agreement

    one, other = (np.asarray(values, dtype=np.float64) for values in (reference, predicted))
    return score_agreement(one, other, groups=groups, names=names, resamples=resamples)
