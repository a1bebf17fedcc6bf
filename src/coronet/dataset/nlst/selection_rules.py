"""The rules by which NLST series are chosen, as far as the Commons' index can tell.

The index holds no geometry. What NLST says of a series is in its SeriesDescription, eleven values with
commas: screening year, kind of picture, manufacturer, model, kernel, field of view (mm), slice thickness
(mm), tube voltage (kV), tube current, effective current and pitch ("NLST CT Images, General Details", The
Cancer Imaging Archive). Slice *spacing* is in none of them; it is estimated here, and checked once a series
is downloaded.
"""

from __future__ import annotations

VERSION = 1
"""Raised with every change to the rules; the manifest names it."""

SPACING_MM = (1.0, 2.5)
"""Slice spacing that is taken, lowest and highest; the nearest to the highest is preferred."""

SPACING_TOLERANCE_MM = 0.05
_SLICES = (100, 420)
"""Fewer are localizers or parts of a chest (2.5 mm × 100 = 25 cm); more are finer than 1 mm, or several."""

_CHEST_MM = 330.0  # length of a typical NLST scan: 137 slices of 2.5 mm (GE), 165 of 2.0 mm (Siemens)

_STEP_MM = 0.5  # estimated spacings nearer to each other than this count as equal

_FIRST_ROUND = "1999-01-02"
"""NLST's study dates are made up: this one stands for the first screening (T0), 2000 for T1, 2001 for T2."""

_SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.70")
"""Transfer syntaxes that lose nothing; some 150 series are stored as lossy JPEG."""

PREFERRED_KERNELS = {
    "GE": (("STANDARD", "SOFT"), ("BONE", "BONEPLUS", "LUNG", "EDGE")),
    "SE": (
        ("B20f", "B30f", "B30s", "B31f", "B31s", "B35f"),
        ("B40f", "B41s", "B45f", "B50f", "B50s", "B60f", "B60s", "B70f", "B80f"),
    ),
    "PH": (("A", "B", "C"), ("D", "E", "EC")),
    "TO": (("FC01", "FC02", "FC10", "FC11"), ("FC30", "FC50", "FC51", "FC52", "FC53", "FC82")),
}
"""Soft and hard kernels by manufacturer, as NLST codes them. All others are unknown, and come last."""

_HEART_SERIES = r"Segmentation of Series (\d+)$"
"""How a segmentation of the Commons names the CT series (its SeriesNumber) that it was drawn on."""


def candidates_sql(index: str) -> str:
    """The query that lists every series that may be chosen, one row each.

    Args:
        index: path of the Commons' index (a parquet file).
    """
    soft, hard = (
        ", ".join(f"'{maker} {name}'" for maker, kinds in PREFERRED_KERNELS.items() for name in kinds[which])
        for which in (0, 1)
    )
    syntaxes = ", ".join(f"'{syntax}'" for syntax in _SYNTAXES)
    return f"""
with nlst as (
  select * from read_parquet('{index.replace("'", "''")}') where collection_id = 'nlst'
), ct as (
  select *, string_split(SeriesDescription, ',') as field
  from nlst
  where Modality = 'CT' and sop_class_name = 'CT Image Storage' and analysis_result_id is null
    and StudyDate = '{_FIRST_ROUND}'
    and list_has_all([{syntaxes}], string_split(TransferSyntaxUID, ','))
    and instanceCount between {_SLICES[0]} and {_SLICES[1]}
), heart as (
  select StudyInstanceUID, regexp_extract(SeriesDescription, '{_HEART_SERIES}', 1) as SeriesNumber,
    any_value(SeriesInstanceUID) as uid, any_value(aws_bucket) as bucket,
    any_value(crdc_series_uuid) as uuid, any_value(instanceCount) as files,
    any_value(series_size_MB) as size_mb, any_value(source_DOI) as doi
  from nlst
  where Modality = 'SEG' and analysis_result_id = 'totalsegmentator_ct_segmentations'
  group by all
  having count(*) = 1
)
select
  regexp_extract(StudyDescription, '[A-Z]+$') as site,
  field[3] as manufacturer,
  ManufacturerModelName as model,
  field[5] as kernel,
  case when concat(field[3], ' ', field[5]) in ({soft}) then 'soft'
       when concat(field[3], ' ', field[5]) in ({hard}) then 'hard' else 'unknown' end as kernel_class,
  try_cast(field[7] as double) as thickness_mm,
  round(least(try_cast(field[7] as double), {_CHEST_MM} / (instanceCount - 1)), 2) as spacing_mm,
  try_cast(field[6] as double) as field_of_view_mm,
  try_cast(field[8] as double) as tube_kv,
  instanceCount as slices,
  round(series_size_MB, 2) as size_mb,
  heart.uid is not null as has_heart,
  PatientID as patient, SeriesInstanceUID as uid, aws_bucket as bucket, crdc_series_uuid as uuid,
  source_DOI as doi,
  heart.uid as heart_uid, heart.bucket as heart_bucket, heart.uuid as heart_uuid,
  heart.files as heart_files, round(heart.size_mb, 2) as heart_mb, heart.doi as heart_doi
from ct left join heart using (StudyInstanceUID, SeriesNumber)
where field[1] = '0' and field[2] = 'OPA'
  and try_cast(field[7] as double) between {SPACING_MM[0]} and {SPACING_MM[1]}
"""


ORDER = f"""
case kernel_class when 'soft' then 0 when 'hard' then 1 else 2 end,
abs(round(spacing_mm / {_STEP_MM}) * {_STEP_MM} - {SPACING_MM[1]}),
slices desc, uid
"""
"""Which of a patient's series is taken: soft before hard kernels, then the spacing, then the longest."""

COLUMNS = (
    *("site", "manufacturer", "model", "kernel", "kernel_class", "thickness_mm", "spacing_mm"),
    *("field_of_view_mm", "tube_kv", "slices", "size_mb", "has_heart"),
)
"""What a further condition may speak of."""
