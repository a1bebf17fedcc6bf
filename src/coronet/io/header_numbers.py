"""Numbers that headers hold as text: read where they can mean one thing only.

DICOM's DS and IS values and the fields of MetaImage headers are written by programs that heed the language of
their computer ("2,5"), and by people who add units ("120 kV"). What is still certain is read; all else is an
error that names the field and never its value.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom import Dataset

_PLAIN = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?")
_WHOLE = re.compile(r"[+-]?\d+")
_WITH_UNIT = re.compile(r"(.*?[\d.,])\s*([a-z/]+)", re.IGNORECASE)
_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+")  # digits in groups of three, as in 1,024
_GROUPED_DOT_FRACTION = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+\.\d+")
_GROUPED_COMMA_FRACTION = re.compile(r"[+-]?[1-9]\d{0,2}(?:\.\d{3})+,\d+")
_COMMA_FRACTION = re.compile(r"[+-]?\d*,\d+")

_LENGTHS = {"mm": "1", "cm": "10", "um": "0.001"}


@dataclasses.dataclass(frozen=True)
class Quantity:
    """What a field can hold."""

    most: float  # no larger number makes sense; tells 1,250 from 1250 where one of the two is beyond it
    # names of units in lower case, and the factor to the unit of the field
    units: Mapping[str, str] = dataclasses.field(default_factory=dict)
    needed: bool = True  # a value that cannot be read is an error; else it counts as absent
    whole: bool = False  # only whole numbers make sense


_QUANTITIES = MappingProxyType(
    {
        "ImagePositionPatient": Quantity(2000, _LENGTHS),
        "ImageOrientationPatient": Quantity(1),
        "PixelSpacing": Quantity(20, _LENGTHS),
        "SliceThickness": Quantity(100, _LENGTHS),
        "SpacingBetweenSlices": Quantity(100, _LENGTHS, needed=False),
        "RescaleSlope": Quantity(999, {"hu": "1"}),
        "RescaleIntercept": Quantity(100_000, {"hu": "1"}),
        "KVP": Quantity(999, {"kv": "1", "kvp": "1", "v": "0.001"}, needed=False),
        "ContrastBolusVolume": Quantity(999, {"ml": "1", "cc": "1"}, needed=False),
        "ContrastBolusTotalDose": Quantity(999, {"ml": "1", "cc": "1", "g": "1"}, needed=False),
        "ContrastBolusIngredientConcentration": Quantity(
            999, {"mg/ml": "1", "mg": "1", "mgi/ml": "1"}, needed=False
        ),
        "NumberOfFrames": Quantity(1e6, whole=True),
        "InstanceNumber": Quantity(1e9, needed=False, whole=True),
        "SeriesNumber": Quantity(1e9, needed=False, whole=True),
    }
)
"""DICOM tags that hold numbers as text."""

_BINARY = ("FD", "FL", "US", "SS", "UL", "SL", "UV", "SV")


class UnreadableNumber(ValueError):
    """A field holds no number, or one that could mean several things; the message names the field."""


def name_tag(tag: int | str) -> str:
    """A tag, given by number or keyword, as errors name it: ``KVP (0018,0060)``."""
    from pydicom.datadict import keyword_for_tag
    from pydicom.tag import Tag

    tag = Tag(tag)
    return f"{keyword_for_tag(tag)} ({tag.group:04X},{tag.element:04X})"


def plain_numbers(texts: Sequence[str], quantity: Quantity, *, comma_is_point: bool = False) -> list[str]:
    """Numbers as plain decimals with a point, in the unit of the field.

    ``comma_is_point`` says that other fields of the same file are written with a decimal comma.

    Raises:
        ValueError: one of them is no number, or could mean several numbers.
    """
    comma_is_point = comma_is_point or _has_decimal_comma(texts, quantity)
    chosen = []
    for text in texts:
        found = _readings(text, quantity)
        if "comma" in found and comma_is_point:
            found = {"comma": found["comma"]}
        if len(found) != 1:
            raise ValueError("no number, or one with several meanings")
        chosen.append(next(iter(found.values())))
    return chosen


def _has_decimal_comma(texts: Sequence[str], quantity: Quantity) -> bool:
    """Whether a comma in one of the texts can only be a decimal one."""
    return any("," in text and list(_readings(text, quantity)) == ["comma"] for text in texts)


def _readings(text: str, quantity: Quantity) -> dict[str, str]:
    """What a text can mean: sort of notation and plain decimal."""
    text, factor = text.strip(), "1"
    if match := _WITH_UNIT.fullmatch(text):
        text, unit = match.group(1), match.group(2).lower()
        if unit not in quantity.units:
            return {}
        factor = quantity.units[unit]
    found = {}
    if _PLAIN.fullmatch(text):
        found["plain"] = text
    elif _GROUPED_DOT_FRACTION.fullmatch(text):
        found["grouped"] = text.replace(",", "")
    elif _GROUPED_COMMA_FRACTION.fullmatch(text):
        found["comma"] = text.replace(".", "").replace(",", ".")
    else:
        if _COMMA_FRACTION.fullmatch(text):
            found["comma"] = text.replace(",", ".")
        if _GROUPED.fullmatch(text):
            found["grouped"] = text.replace(",", "")
    scaled = found
    if factor != "1":
        scaled = {kind: f"{Decimal(number) * Decimal(factor):f}" for kind, number in found.items()}
    if len(scaled) > 1:
        scaled = {kind: number for kind, number in scaled.items() if abs(float(number)) <= quantity.most}
    if quantity.whole:
        scaled = {
            kind: str(int(float(number))) for kind, number in scaled.items() if float(number).is_integer()
        }
    return scaled


def last_digit(value: Any) -> float:
    """Unit of the last digit that a header number is written with, 0 where it is not written in digits.

    Zeros at the end do not count: 0.600000 may be a rounded 0.6.
    """
    try:
        exponent = Decimal(str(getattr(value, "original_string", "nan"))).normalize().as_tuple().exponent
    except InvalidOperation:
        return 0.0
    return 10.0 ** min(0, exponent) if isinstance(exponent, int) else 0.0


@dataclasses.dataclass(frozen=True)
class _Element:
    """An unparsed number of a dataset, or of an item of its sequences."""

    owner: Dataset
    raw: Any
    keyword: str
    parts: tuple[str, ...]


def read_numbers(dataset: Dataset) -> None:
    """Rewrite the unparsed elements of `_QUANTITIES` in ``dataset``, and in its sequences, as plain decimals.

    What is written as the standard asks stays as it is. A number that cannot be read becomes blank where
    nothing depends on it.

    Raises:
        UnreadableNumber: a number that is needed cannot be read.
    """
    elements = list(_elements(dataset))
    comma_is_point = any(_has_decimal_comma(item.parts, _QUANTITIES[item.keyword]) for item in elements)
    for item in elements:
        _rewrite(item, comma_is_point=comma_is_point)


def _elements(dataset: Dataset) -> Iterator[_Element]:
    from pydicom.datadict import keyword_for_tag

    for tag in list(dataset.keys()):
        keyword = keyword_for_tag(tag)
        raw: Any = dataset.get_item(tag)
        if raw.VR == "SQ" or (raw.VR in (None, "UN") and keyword.endswith("Sequence")):
            for nested in dataset[tag].value or []:
                yield from _elements(nested)
        elif raw.is_raw and isinstance(raw.value, bytes) and raw.VR not in _BINARY:
            if keyword == "AcquisitionNumber":
                # It only tells acquisitions apart, so any text will do.
                dataset[tag] = raw._replace(VR="LO")
            elif keyword in _QUANTITIES:
                parts = raw.value.decode("latin-1").split("\\")
                yield _Element(dataset, raw, keyword, tuple(part.strip(" \0\t\r\n") for part in parts))


def _rewrite(item: _Element, *, comma_is_point: bool) -> None:
    from pydicom.datadict import dictionary_VR

    raw, quantity = item.raw, _QUANTITIES[item.keyword]
    usual = _WHOLE if quantity.whole else _PLAIN
    if raw.VR in (None, "DS", "IS") and all(usual.fullmatch(part) for part in item.parts):
        return
    parts = list(item.parts)
    while parts and not parts[-1]:
        parts.pop()
    try:
        text = "\\".join(plain_numbers(parts, quantity, comma_is_point=comma_is_point))
    except ValueError:
        if quantity.needed:
            raise UnreadableNumber(
                f"{name_tag(raw.tag)} holds no number that can be read; correct it or export the files again"
            ) from None
        text = ""
    item.owner[raw.tag] = raw._replace(VR=dictionary_VR(raw.tag), value=text.encode(), length=len(text))
