"""Who was scanned: which texts name a patient, which only stand where a name was removed, and which objects
belong together.

Anonymisers write one text into the PatientID of everybody. To take it for a name would make one patient of
strangers: a split would then keep all of them in one part.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING

from coronet.errors import InputError
from coronet.text import without_accents

if TYPE_CHECKING:
    from pydicom import Dataset


def _plain(text: str) -> str:
    """Lower case without accents."""
    return without_accents(text.casefold())


def _words(text: str) -> frozenset[str]:
    return frozenset(map(_plain, text.split()))


_REMOVED = _words(
    """
    anon anonym anonyme anonymise anonymised anonymiser anonymisé anonymisiert anonymize anonymized anonymizer
    anonymous anonymus anonimo anonimizado anonimizzato deid deident deidentify deidentified notidentified
    removed redacted deleted erased cleared stripped scrubbed blanked hidden masked withheld suppressed
    confidential private pseudonym entfernt gelöscht geloescht supprimé effacé eliminado rimosso borrado
    none null nil nan na unknown unk unspecified undefined unidentified unnamed unassigned missing absent
    empty blank void nothing noname noid nopatient notavailable notapplicable notknown notgiven notprovided
    notspecified notrecorded notdisclosed unbekannt keine inconnu aucun desconocido ninguno sconosciuto
    nobody noone somebody someone johndoe janedoe dummy default example sample demo tba tbd todo placeholder
    test testing tester testpatient patienttest testid
    匿名 不明 不详 未知 аноним анонимный неизвестно неизвестный удалено
    """
)
"""Words that anonymisers and test systems write where a name was."""

_LABELS = _words(
    """
    patient patients pat patientid patientname pid mrn uid id identifier identity name subject person case
    study scan series data dataset value field header tag string text
    """
)
"""Words for the field itself; they say nothing by themselves."""

_CONNECTING = _words(
    """
    a an the of for by to and or is was has been no not non de in on with without from per due given provided
    specified available identified privacy protection reasons research info information phi pii ctp
    anonymization anonymisation deidentification identification
    """
)
"""Words that count for nothing beside one of `_REMOVED`."""

_LEAST_REPEATED = 4
"""A digit or letter that is repeated so often, and nothing else, is no number of a patient."""

_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_LEAST_UID_PARTS, _LEAST_UID_LENGTH, _REPEATED_IN_UID = 5, 20, 6
"""UIDs that devices write are long; ``1.2.3`` and parts of one repeated digit were written by hand."""


@dataclasses.dataclass(frozen=True)
class Identity:
    """Who was scanned, as a header says it. Only ever hashed, never written or shown.

    Attributes:
        text: what a pseudonym is made of; empty where the header holds nothing that tells patients apart.
        known: whether it names the patient, and not only a study.
    """

    text: str = dataclasses.field(default="", repr=False)
    known: bool = False


UNKNOWN = Identity()


def _normalise(text: object) -> str:
    """One form of a text: composed Unicode (NFC), single spaces, no control or invisible characters."""
    composed = unicodedata.normalize("NFC", " ".join(str(text or "").split()))
    visible = "".join(c for c in composed if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn"))
    return " ".join(visible.split())


def _is_placeholder(text: object) -> bool:
    """Whether a text is no name: blank, ``_REMOVED``, ``00000000``, ``N/A``, ``XXXX`` and the like."""
    # Numbered names such as ANON0017 and PATIENT 3 tell patients apart, and are no placeholders.
    plain = _plain(_normalise(text))
    words = re.findall(r"[^\W_]+", plain)
    joined = "".join(words)
    if not joined or plain == "-1" or joined in _REMOVED:
        return True
    if len(set(joined)) == 1 and (joined[0] in "0x" or len(joined) >= _LEAST_REPEATED):
        return True
    if not joined.strip("0x"):
        return True
    # "no patient id" says nothing, but "DE" may be the initials of somebody
    return not _CONNECTING.issuperset(words) and all(
        word in _REMOVED | _LABELS | _CONNECTING for word in words
    )


def clean(text: object) -> str:
    """A header value in one form; empty where it is blank or a placeholder."""
    return "" if _is_placeholder(text) else _normalise(text)


def _is_unique_study(uid: object) -> bool:
    """Whether a StudyInstanceUID looks as a device writes it, so that it tells studies apart."""
    text = _normalise(uid)
    parts = text.split(".")
    return (
        bool(_UID.fullmatch(text))
        and len(parts) >= _LEAST_UID_PARTS
        and len(text) >= _LEAST_UID_LENGTH
        and not any(len(part) >= _REPEATED_IN_UID and len(set(part)) == 1 for part in parts)
    )


def identity_of(patient: object, study: object, name: object = "", birth_date: object = "") -> Identity:
    """Who was scanned: the PatientID, or the StudyInstanceUID where that is no name.

    Name and birth date tell patients of one StudyInstanceUID apart, where it was given to several.
    """
    if text := clean(patient):
        return Identity(f"patient {text}", known=True)
    if not _is_unique_study(study):
        return UNKNOWN
    return Identity(" ".join(filter(None, ["study", _normalise(study), clean(name), clean(birth_date)])))


def given_patient(text: str) -> Identity:
    """The patient that a user names.

    Raises:
        InputError: the text is blank or a placeholder.
    """
    if not (cleaned := clean(text)):
        raise InputError(
            "--patient is blank or a placeholder such as REMOVED or 0000; give what tells this patient from "
            "others, or leave the option out."
        )
    return Identity(f"patient {cleaned}", known=True)


@dataclasses.dataclass(frozen=True)
class Identifiers:
    """Header values that two objects of one scan share; empty where a header says nothing.

    They identify a patient: they are compared in memory and never written, logged or shown.

    Attributes:
        patient: PatientID.
        study: StudyInstanceUID.
        frame_of_reference: FrameOfReferenceUID; objects that share it share their coordinates.
        series: SeriesInstanceUID of the pictures; of a segmentation, those it was drawn on.
    """

    patient: str = dataclasses.field(default="", repr=False)
    study: str = dataclasses.field(default="", repr=False)
    frame_of_reference: str = dataclasses.field(default="", repr=False)
    series: frozenset[str] = dataclasses.field(default=frozenset(), repr=False)

    def conflict(self, other: Identifiers) -> str:
        """The first thing that both state and in which they differ, in words; empty where there is none."""
        pairs = {
            "patient (PatientID)": (self.patient, other.patient),
            "study (StudyInstanceUID)": (self.study, other.study),
            "frame of reference (FrameOfReferenceUID)": (self.frame_of_reference, other.frame_of_reference),
        }
        return next((name for name, (one, two) in pairs.items() if one and two and one != two), "")

    def other_series(self, other: Identifiers) -> bool:
        """Whether both name their series and share none."""
        return bool(self.series and other.series) and not self.series & other.series


def read_identifiers(dataset: Dataset, series: Iterable[Dataset]) -> Identifiers:
    """Identifiers out of a header; each dataset of ``series`` names a SeriesInstanceUID."""
    uids = (clean(item.get("SeriesInstanceUID")) for item in series)
    return Identifiers(
        patient=clean(dataset.get("PatientID")),
        study=clean(dataset.get("StudyInstanceUID")),
        frame_of_reference=clean(dataset.get("FrameOfReferenceUID")),
        series=frozenset(filter(None, uids)),
    )
