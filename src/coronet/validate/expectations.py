"""Every rule about scans and cohort, and the columns they ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coronet.cohort.measures import CALCIUM_LABELS, HEART_LABELS
from coronet.cohort.table import left_out
from coronet.config import ValidateParams
from coronet.validate.image_rules import geometry_rules, intensity_rules
from coronet.validate.mask_rules import calcium_rules, heart_rules
from coronet.validate.rule import Rule

if TYPE_CHECKING:
    import pandas


def rules(params: ValidateParams) -> tuple[Rule, ...]:
    """Every rule about single scans and about the cohort; those about the split are in `leakage`."""
    return (
        *geometry_rules(params),
        *intensity_rules(params),
        *heart_rules(params),
        *calcium_rules(params),
        _enough_patients(params),
    )


def prepare(table: pandas.DataFrame) -> pandas.DataFrame:
    """The case table with the derived columns that rules ask for, emptied where a rule does not apply."""
    import pandas

    frame = table.copy()
    in_plane = frame[["spacing_x_mm", "spacing_y_mm"]]
    frame["in_plane_skew"] = (in_plane.max(axis=1) - in_plane.min(axis=1)) / in_plane.max(axis=1)
    recorded = frame["recorded_flags"].str.split()
    not_hu = recorded.map(lambda flags: "not_hu" in flags)
    contrast = frame["flags"].str.split().map(lambda flags: "contrast" in flags)
    frame["lowest_hu"] = frame["hu_min"].mask(not_hu)
    frame["highest_hu"] = frame["hu_max"].mask(not_hu)
    frame["air"] = frame["air_hu"].mask(not_hu)
    frame["soft_tissue"] = frame["soft_tissue_hu"].mask(not_hu)
    frame["heart_filled"] = (frame["heart_ml"] > 0).astype("boolean").mask(frame["heart_ml"].isna())
    frame["heart_volume"] = frame["heart_ml"].mask(frame["heart_ml"] == 0)
    frame["heart_median"] = frame["heart_hu"].mask(contrast | not_hu)
    frame["heart_air"] = frame["heart_air_share"].mask(not_hu)
    for model, allowed in (("heart", HEART_LABELS), ("calcium", CALCIUM_LABELS)):
        strange = frame[f"{model}_labels"].map(lambda text, allowed=allowed: _strange(text, allowed))
        frame[f"{model}_strange"] = strange.mask(~frame[f"{model}_integer"].fillna(False).astype(bool))
    frame["dense_share"] = frame["calcium_dense_share"].mask(not_hu)
    frame["faint"] = frame["faint_lesions"].mask(not_hu)
    out = left_out(table)
    frame["training_patient"] = frame["patient"].where(~frame["case"].isin(out)).astype(pandas.StringDtype())
    return frame


def _strange(labels: str, allowed: tuple[int, ...]) -> str:
    names = {str(label) for label in allowed}
    return " ".join(label for label in labels.split() if label not in names)


def _enough_patients(params: ValidateParams) -> Rule:
    return Rule(
        "enough-patients",
        "training_patient",
        f"At least {params.least_patients} patients have a fit scan with both masks.",
        f"too few patients: {{count}} of at least {params.least_patients} have a fit scan with both masks",
        "add scans with masks (`coronet cohort add`) or phantoms (`coronet cohort phantom`)",
        patients=params.least_patients,
    )
