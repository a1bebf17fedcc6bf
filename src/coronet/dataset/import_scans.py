"""A user's own scans and masks, brought into the cohort's layout without anything that names a patient."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from coronet.dataset.cases import check_case_id, find_case, mask_path, scan_path, write_facts
from coronet.dataset.import_masks import MaskSources, read_masks
from coronet.dataset.import_messages import ImportedScan, ImportResult
from coronet.dataset.pseudonyms import (
    INDEX_NAME,
    case_of,
    content_digest,
    load_key,
    patient_pseudonym,
    remember_case,
    scan_name,
)
from coronet.dataset.quality_flags import quality_flags
from coronet.errors import CoronetError, InputError
from coronet.files import exclusive, remove_abandoned
from coronet.io.patient_identity import Identity, given_patient
from coronet.io.reader import Scan, ScanSource, find_scans
from coronet.io.scan_facts import ScanFacts
from coronet.io.volume import Volume, read_nifti, write_nifti

_MASKS = frozenset(("heart", "calcium"))


def import_scans(
    paths: Sequence[Path],
    *,
    data: Path,
    masks: MaskSources = MaskSources(),
    patient: str | None = None,
    case: str | None = None,
    series: int | str | None = None,
    replace: bool = False,
) -> ImportResult:
    """Add scans to a data folder.

    Every scan that can be read is added, whatever becomes of the others; each is written whole or not at all.
    A scan that is in the folder already stays as it is; masks it lacks are added, others replaced if asked.

    Args:
        paths: scans, or folders of them. A folder counts with its sub-folders: each volume file and each
            DICOM series in it is a scan.
        data: the cohort's folder.
        masks: of the one scan that ``paths`` name.
        patient: who was scanned, where the files do not say it; hashed, never kept.
        case: id of the one scan that ``paths`` name, in place of one made from a keyed hash.
        series: the one DICOM series that is meant, as in `coronet.io.reader.read_scan`.
        replace: the masks take the place of those that the scan has, and the scan that of ``case``, whose
            other masks must lie on its grid.

    Raises:
        InputError: masks or an id were given, but ``paths`` name more than one scan; or ``patient`` was, and
            is blank or a placeholder, or ``paths`` name scans of several patients.
        Busy: another process adds to the folder.
    """
    if case is not None:
        check_case_id(case)
    given = None if patient is None else given_patient(patient)
    data = Path(data)
    sources: list[ScanSource] = []
    refused: list[str] = []
    for path in paths:
        try:
            sources += find_scans(Path(path), series=series, refused=refused)
        except CoronetError as error:
            refused.append(str(error))
    if len(sources) > 1 and (masks.heart or masks.calcium or case):
        raise InputError(
            f"{len(sources)} scans are named, but masks and --case belong to one; add that one by itself."
        )
    patients = {source.identity.text for source in sources if source.identity.known}
    if given is not None and len(patients) > 1:
        raise InputError(
            f"--patient names one patient, but the scans are of {len(patients)} (PatientID); add the scans "
            "of one patient at a time."
        )
    if not sources:
        return ImportResult((), tuple(refused))
    job = _Import(data, masks, patient=given, case=case, replace=replace)
    added = []
    with exclusive(data / ".lock"):
        for folder in ("ct", "masks"):
            # `dvc add` wants both, and masks may be drawn later
            (data / folder).mkdir(exist_ok=True)
            remove_abandoned(data / folder)
        for source in sources:
            try:
                added.append(dataclasses.replace(job.add(source), where=source.where))
            except CoronetError as error:
                refused.append(str(error))
    return ImportResult(tuple(added), tuple(refused))


@dataclasses.dataclass(frozen=True)
class _Import:
    """What is asked for, whatever the scan; see `import_scans`."""

    data: Path
    masks: MaskSources
    patient: Identity | None
    case: str | None
    replace: bool

    def add(self, source: ScanSource) -> ImportedScan:
        scan, key = source.read(), load_key(self.data)
        digest = content_digest(scan.volume, key)
        there = case_of(self.data, digest, named=self.case)
        wanted, warnings = read_masks(self.masks, scan)
        if there is None:
            case = self.case or scan_name(digest)
            facts = self._add(source.where, case, scan, wanted, digest)
            known = (self.patient or scan.identity).known
        elif self.case in (None, there):
            case = there
            facts, known, wanted = self._complete(case, scan, wanted, digest)
        else:
            raise InputError(f"{source.where}: this scan is in the cohort already, as {there}.")
        return ImportedScan(
            case=case,
            patient=facts.patient,
            patient_known=known,
            new=there is None,
            masks=tuple(wanted),
            warnings=warnings,
            flags=facts.flags,
            shape=scan.volume.shape,
            spacing_mm=tuple(round(value, 4) for value in scan.volume.spacing_mm),
        )

    def _add(
        self, where: str, case: str, scan: Scan, wanted: dict[str, np.ndarray], digest: str
    ) -> ScanFacts:
        """Write a new case, or one in place of another."""
        data, key = self.data, load_key(self.data)
        facts_path, index = scan_path(data, case).with_name(f"{case}.json"), data / INDEX_NAME
        there = scan_path(data, case).exists()
        # facts without a scan are what a replacement leaves that was killed
        old = find_case(data, case) if there or (self.replace and facts_path.exists()) else None
        if old and not self.replace:
            raise InputError(
                f"{where}: there is another scan named {case}; choose another id, or --replace it."
            )
        held = self._held_masks(where, case, scan.volume, _MASKS - set(wanted), new=old is None)
        identity = self.patient or _identity(scan, digest)
        if old is not None and not identity.known:
            patient = old.facts.patient
        else:
            patient = patient_pseudonym(identity.text, key)
        facts = dataclasses.replace(
            scan.facts,
            patient=patient,
            flags=quality_flags(scan.volume, scan.facts, _heart(held | wanted)),
        )
        masks = [mask_path(data, case, name) for name in wanted]
        with _all_or_none([*masks, facts_path, index, scan_path(data, case)]):
            if old and wanted:
                # New masks must not lie beside the old scan if this is killed.
                scan_path(data, case).unlink(missing_ok=True)
            for name, mask in wanted.items():
                write_nifti(mask_path(data, case, name), scan.volume.with_array(mask))
            write_facts(data, case, facts)
            # A scan that is replaced must not be taken for the new one if this is killed.
            remember_case(data, None if old else digest, case)
            # The scan comes last: what has no scan is no case.
            write_nifti(scan_path(data, case), scan.volume)
            if old:
                remember_case(data, digest, case)
        return facts

    def _held_masks(
        self, where: str, case: str, volume: Volume, names: Iterable[str], *, new: bool
    ) -> dict[str, np.ndarray]:
        """Masks that are there and stay; they must belong to a scan and lie on the new one's grid."""
        held = {}
        for name in sorted(names):
            path = mask_path(self.data, case, name)
            if path.exists() and new:
                raise InputError(
                    f"{where}: {path} belongs to no scan; an addition was interrupted. Remove it, or give "
                    "the mask again."
                )
            if path.exists():
                mask = read_nifti(path, np.uint8)
                if not mask.same_grid(volume):
                    raise InputError(
                        f"{where}: {path} does not lie on this scan's grid; give the mask again."
                    )
                held[name] = mask.array
        return held

    def _complete(
        self, case: str, scan: Scan, wanted: dict[str, np.ndarray], digest: str
    ) -> tuple[ScanFacts, bool, dict[str, np.ndarray]]:
        """Add or replace masks, name the patient: the facts, whether the patient is known, masks written."""
        data, key = self.data, load_key(self.data)
        facts = find_case(data, case).facts
        known = facts.patient != patient_pseudonym(_identity(scan, digest).text, key) or scan.identity.known
        if self.patient is not None:
            facts, known = _with_patient(case, facts, self.patient, known=known, key=key), True
        written = {}
        for name, mask in wanted.items():
            path = mask_path(data, case, name)
            if self.replace or not path.exists():
                written[name] = mask
                continue
            there = read_nifti(path, np.uint8)
            if not (there.same_grid(scan.volume) and np.array_equal(there.array, mask)):
                raise InputError(
                    f"{case} has another {name} mask already ({path}); give --replace if that is wrong."
                )
        facts_path = scan_path(data, case).with_name(f"{case}.json")
        with _all_or_none([*(mask_path(data, case, name) for name in written), facts_path]):
            for name, mask in written.items():
                write_nifti(mask_path(data, case, name), scan.volume.with_array(mask))
            if "heart" in written:
                facts = dataclasses.replace(facts, flags=quality_flags(scan.volume, facts, _heart(written)))
            if facts != find_case(data, case).facts:
                write_facts(data, case, facts)
        return facts, known, written


def _identity(scan: Scan, digest: str) -> Identity:
    """Who was scanned as the header says it; else a name that no other scan has."""
    return scan.identity if scan.identity.text else Identity(f"scan {digest}")


def _heart(masks: dict[str, np.ndarray]) -> np.ndarray | None:
    return masks["heart"] > 0 if "heart" in masks else None


def _with_patient(case: str, facts: ScanFacts, patient: Identity, *, known: bool, key: bytes) -> ScanFacts:
    """Name the patient of a case that is there; one who is known stays."""
    pseudonym = patient_pseudonym(patient.text, key)
    if known and facts.patient != pseudonym:
        raise InputError(
            f"{case} is in the cohort already, as a scan of another patient; remove its files from ct and "
            "masks first if that is wrong."
        )
    return dataclasses.replace(facts, patient=pseudonym)


@contextlib.contextmanager
def _all_or_none(paths: Sequence[Path]) -> Iterator[None]:
    """Leave ``paths`` as they were, there or absent, where not all of them could be written."""
    before = {path: path.with_name(f".part-before-{path.name}") for path in paths if path.exists()}
    try:
        for path, copy in before.items():
            shutil.copyfile(path, copy)
        try:
            yield
        except BaseException:
            for path in reversed(paths):
                before[path].replace(path) if path in before else path.unlink(missing_ok=True)
            raise
    finally:
        for copy in before.values():
            copy.unlink(missing_ok=True)
