"""Words of contrast tags, in files, and what they mean for the blood."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from coronet.io.reader import read_scan

ROWS = [
    # agent, route, contrast in the blood
    (None, None, None),
    ("", None, None),
    ("-", None, None),
    ("--", "-", None),
    ("N/A", None, None),
    ("UNKNOWN", None, None),
    ("Not specified", None, None),
    ("XR CHEST", None, None),
    ("0 ml", None, None),
    # none
    ("NONE", None, False),
    ("NONE", "NONE", False),
    ("N", None, False),
    ("0", None, False),
    ("NO", None, False),
    ("NO CONTRAST", None, False),
    ("No contrast was given", None, False),
    ("None given", None, False),
    ("NIL", None, False),
    ("NEGATIVE", None, False),
    ("Not Administered", None, False),
    ("IV contrast: not given", None, False),
    ("CONTRAST: NO", None, False),
    ("W/O", None, False),
    ("w/o iv contrast", None, False),
    ("WITHOUT", None, False),
    ("NON-CONTRAST", None, False),
    ("NONCON", None, False),
    ("Unenhanced", None, False),
    ("PRE CONTRAST", None, False),
    ("C-", None, False),
    ("NO IV CONTRAST", None, False),
    ("NO IV OR ORAL CONTRAST", None, False),
    ("ohne KM", None, False),
    ("nativ", None, False),
    ("kein Kontrastmittel", None, False),
    ("sans injection", None, False),
    ("sin contraste", None, False),
    ("S/C", None, False),
    ("sem contraste", None, False),
    ("não", None, False),
    ("senza mdc", None, False),
    ("zonder contrast", None, False),
    ("utan kontrast", None, False),
    ("bez kontrastu", None, False),
    # into the bowel or elsewhere
    ("Gastrografin", "ORAL", False),
    ("GASTROGRAFIN", None, False),
    ("ORAL CONTRAST", None, False),
    ("ORAL CONTRAST ONLY, NO IV", None, False),
    ("OMNIPAQUE", "RECTAL", False),
    ("OMNIPAQUE 240", "per os", False),
    ("OMNIPAQUE", "P.O.", False),
    ("OMNIPAQUE", "INTRAARTICULAR", False),
    (None, "ORAL", False),
    # into the blood
    ("ISOVUE300/100", None, True),
    ("OMNIPAQUE 350", "IV", True),
    ("OMNIPAQUE 350", "i.v.", True),
    ("OMNIPAQUE 350", "IV AND ORAL", True),
    ("OMNIPAQUE 350", "FEMORAL VEIN", True),
    ("ULTRAVIST TEMPORAL", "IV", True),
    ("ULTRAVIST TEMPORAL", None, True),
    ("VISIPAQUE 320 LEFT ANTECUBITAL", None, True),
    ("IOPAMIDOL", "PARENTERAL", True),
    ("iohexol", "INTRA-ARTERIAL", True),
    ("ORAL & IV", None, True),
    ("GASTROGRAFIN, OMNIPAQUE 350", None, True),
    ("NO ORAL, IV CONTRAST 100 ML", None, True),
    ("IV CONTRAST, NO ORAL", None, True),
    ("ISOVUE WITHOUT ORAL", None, True),
    ("OMNIPAQUE 350, no adverse reaction", None, True),
    ("NON-IONIC", None, True),
    ("no iónico 100 ml", None, True),
    ("APPLIED", None, True),
    ("YES", None, True),
    ("C+", None, True),
    ("w/ contrast", None, True),
    ("POST CONTRAST", None, True),
    ("KM i.v.", None, True),
    ("con mdc e.v.", None, True),
    ("avec injection", None, True),
    ("XYZ", "Intravenous route", True),
    (None, "IV", True),
    # words that contradict each other
    ("WITH AND WITHOUT CONTRAST", None, None),
    ("W/WO CONTRAST", None, None),
    ("NO ORAL AND IV CONTRAST", None, None),
    ("ORAL YES IV NO", None, None),
    ("NO CONTRAST", "IV", None),
    ("OMNIPAQUE 350", "NONE", None),
]


def contrast_of(folder, write_dicom, change) -> bool | None:
    """What is read of a series of three slices whose headers ``change`` edits."""
    write_dicom(folder, np.random.default_rng(0).integers(0, 2000, (3, 8, 8)).astype("u2"), change=change)
    return read_scan(folder).facts.contrast


@pytest.mark.parametrize(("agent", "route", "expected"), ROWS)
def test_words_of_agent_and_route(tmp_path, write_dicom, agent, route, expected):
    def change(dataset, index):
        dataset.SpecificCharacterSet = "ISO_IR 192"
        if agent is not None:
            dataset.ContrastBolusAgent = agent
        if route is not None:
            dataset.ContrastBolusRoute = route

    assert contrast_of(tmp_path, write_dicom, change) is expected


@pytest.mark.parametrize(
    ("agent", "expected"),
    [("造影なし", False), ("平扫", False), ("造影", True), ("без контраста", False), ("Омнипак в/в", True)],
)
def test_words_of_other_scripts(tmp_path, write_dicom, agent, expected):
    test_words_of_agent_and_route(tmp_path, write_dicom, agent, None, expected)


def coded(meaning: str, **items) -> Dataset:
    """An item of a code sequence, with sequences in it."""
    dataset = Dataset()
    dataset.CodeValue, dataset.CodingSchemeDesignator, dataset.CodeMeaning = "1", "99TEST", meaning
    for keyword, item in items.items():
        setattr(dataset, keyword, Sequence([item]))
    return dataset


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"ContrastBolusVolume": 100}, True),
        ({"ContrastBolusTotalDose": 80.5}, True),
        ({"ContrastBolusVolume": 0}, None),
        ({"ContrastBolusVolume": 500, "ContrastBolusRoute": "ORAL"}, False),
        ({"ContrastBolusVolume": 100, "ContrastBolusAgent": "NONE"}, None),
        ({"ContrastBolusIngredient": "IODINE"}, True),
        ({"ContrastBolusAgent": ["GASTROGRAFIN", "OMNIPAQUE 350"]}, True),
        ({"ContrastBolusAgentSequence": Sequence([coded("Iohexol")])}, True),
        ({"ContrastBolusAgentSequence": Sequence([coded("No contrast")])}, False),
        (
            {
                "ContrastBolusAgentSequence": Sequence(
                    [coded("Iohexol", ContrastBolusAdministrationRouteSequence=coded("Oral route"))]
                )
            },
            False,
        ),
    ],
    ids=str,
)
def test_amounts_and_codes(tmp_path, write_dicom, fields, expected):
    def change(dataset, index):
        for keyword, value in fields.items():
            setattr(dataset, keyword, value)

    assert contrast_of(tmp_path, write_dicom, change) is expected


def test_one_slice_that_says_so_is_enough(tmp_path, write_dicom):
    def change(dataset, index):
        dataset.ContrastBolusAgent = "OMNIPAQUE 350" if index == 2 else ""

    assert contrast_of(tmp_path, write_dicom, change) is True
