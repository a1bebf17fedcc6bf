"""The columns that rules ask for beside those of the case table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from coronet.config import ValidateParams
from coronet.dataset.case_measures import CALCIUM_LABELS, HEART_LABELS
from coronet.dataset.case_table import left_out
from coronet.dataset.mask_pieces import MaskPiece, read_pieces
from coronet.text import counted, first_few

if TYPE_CHECKING:
    import pandas

_MOST_NAMED = 3  # pieces whose places stand in a message


def prepare_columns(table: pandas.DataFrame, params: ValidateParams) -> pandas.DataFrame:
    """The case table with the derived columns that rules ask for, emptied where a rule does not apply."""
    import pandas

    frame = table.copy()
    in_plane = frame[["spacing_x_mm", "spacing_y_mm"]]
    frame["in_plane_skew"] = (in_plane.max(axis=1) - in_plane.min(axis=1)) / in_plane.max(axis=1)
    recorded = frame["recorded_flags"].str.split()
    not_hu = recorded.map(lambda flags: "not_hu" in flags)
    contrast = frame["flags"].str.split().map(lambda flags: "contrast" in flags)
    only_in_hu = {
        **{"lowest_hu": "hu_min", "highest_hu": "hu_max", "air": "air_hu", "soft_tissue": "soft_tissue_hu"},
        **{"heart_air": "heart_air_share", "dense_share": "calcium_dense_share", "faint": "faint_lesions"},
    }
    for name, measure in only_in_hu.items():
        frame[name] = frame[measure].mask(not_hu)
    frame["heart_filled"] = (frame["heart_ml"] > 0).astype("boolean").mask(frame["heart_ml"].isna())
    frame["heart_volume"] = frame["heart_ml"].mask(frame["heart_ml"] == 0)
    frame["heart_median"] = frame["heart_hu"].mask(contrast | not_hu)
    for model, allowed in (("heart", HEART_LABELS), ("calcium", CALCIUM_LABELS)):
        names = {str(label) for label in allowed}
        strange = frame[f"{model}_labels"].map(
            lambda text, names=names: " ".join(label for label in text.split() if label not in names)
        )
        frame[f"{model}_strange"] = strange.mask(~frame[f"{model}_integer"].fillna(False).astype(bool))
    near, largest = params.calcium_near_heart_mm, params.calcium_body_mm3
    pieces = [read_pieces(text) for text in frame["doubtful_pieces"]]
    far = [[piece for piece in some if piece.far_mm > near] for some in pieces]
    # a lesion that is far from the heart is not listed twice
    bony = [[piece for piece in some if piece.far_mm <= near and piece.body_mm3 > largest] for some in pieces]
    frame["far_pieces"] = [_pieces(some, "far from the heart", "far_mm", "mm") for some in far]
    frame["bone_pieces"] = [_pieces(some, "in bone-like bodies", "body_mm3", "mm³") for some in bony]
    frame["faint_places"] = [_places([piece for piece in some if not piece.body_mm3]) for some in pieces]
    frame["bony"] = pandas.Series(map(len, bony), frame.index, "Int64").mask(
        ~frame["has_calcium"] | contrast | not_hu
    )
    out = left_out(table)
    frame["training_patient"] = frame["patient"].where(~frame["case"].isin(out)).astype(pandas.StringDtype())
    return frame


def _pieces(pieces: Sequence[MaskPiece], where: str, measure: str, unit: str) -> str:
    """Number, volume and places of pieces, those with the largest measure first."""
    ordered = sorted(pieces, key=lambda piece: -getattr(piece, measure))
    shown = [f"{getattr(piece, measure):.10g} {unit} at {_place(piece)}" for piece in ordered]
    volume = sum(piece.mm3 for piece in ordered)
    lesions = counted(len(ordered), "calcium lesion")
    return f"{lesions} ({volume:.1f} mm³) {where}: {first_few(shown, _MOST_NAMED)}"


def _places(pieces: Sequence[MaskPiece]) -> str:
    """Places of pieces, the largest first."""
    ordered = sorted(pieces, key=lambda piece: -piece.mm3)
    return first_few([f"{piece.mm3:.1f} mm³ at {_place(piece)}" for piece in ordered], _MOST_NAMED)


def _place(piece: MaskPiece) -> str:
    return f"({', '.join(f'{value:g}' for value in piece.centre_mm)}) mm"
