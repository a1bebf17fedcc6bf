"""Codes of what a calcium score is made of, and the texts that every written object carries."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from types import MappingProxyType
from typing import Any

from pydicom.sr.coding import Code

SCHEME = "99CORONET"
"""Of concepts for which the standard has no code."""
INTENDED_USE = "Research use only, no medical device."
LARGEST_DESCRIPTION = 64  # characters of a description (VR LO)

HEART = Code("80891009", "SCT", "Heart")
CORONARY_ARTERIES = Code("41801008", "SCT", "Coronary artery")
CALCIFICATION = Code("18115005", "SCT", "Pathologic calcification")
STRUCTURE = Code("123037004", "SCT", "Anatomical Structure")
ALTERED = Code("49755003", "SCT", "Morphologically Altered Structure")
VESSELS: Mapping[str, Code] = MappingProxyType(
    {
        "LM": Code("3227004", "SCT", "Left Main Coronary Artery"),
        "LAD": Code("59438005", "SCT", "Left Anterior Descending Coronary Artery"),
        "LCX": Code("57396003", "SCT", "Circumflex Coronary Artery"),
        "RCA": Code("13647002", "SCT", "Right Coronary Artery"),
    }
)
"""Context group 3015."""

SCORE = Code("112058", "DCM", "Calcium score")
VOLUME = Code("122660", "DCM", "Calcium Volume")
MASS = Code("122661", "DCM", "Calcium Mass")
THRESHOLD = Code("122657", "DCM", "Agatston Score Threshold")
AGATSTON_METHOD = Code("112055", "DCM", "Agatston scoring method")
VOLUME_METHOD = Code("112056", "DCM", "Volume scoring method")
MASS_METHOD = Code("112057", "DCM", "Mass scoring method")
WEIGHTED_METHOD = Code("weighted-volume", SCHEME, "Volume weighted by the highest HU of a lesion")
COMMENT = Code("121106", "DCM", "Comment")
PROCEDURE = Code("25045-6", "LN", "CT unspecified body region")

NO_UNIT = Code("1", "UCUM", "no units")
PERCENT = Code("%", "UCUM", "Percent")
MM3 = Code("mm3", "UCUM", "cubic millimeter")
MG = Code("mg", "UCUM", "milligram")
HU = Code("[hnsf'U]", "UCUM", "Hounsfield unit")


def own(value: str, meaning: str) -> Code:
    """A concept of our own scheme; a value has at most 16 characters, a meaning 64."""
    return Code(value, SCHEME, meaning)


def describe(what: str, trained_on: str) -> str:
    """A series description: what it is, that it is for research, and what the networks learned from."""
    learned = "" if "real" in trained_on or "phantom" not in trained_on else "; phantom-trained"
    return f"{what}; research, no medical device{learned}"[:LARGEST_DESCRIPTION]


def equipment() -> dict[str, Any]:
    """What made an object, as arguments of highdicom's classes."""
    from highdicom.coding_schemes import CodingSchemeIdentificationItem

    release = version("coronet")
    return {
        "manufacturer": "Coronet",
        "manufacturer_model_name": "Coronet",
        "software_versions": release,
        "device_serial_number": release,
        "coding_schemes": [CodingSchemeIdentificationItem(SCHEME, name="Coronet")],
    }
