"""What must hold of single scans, their masks and the cohort; rules between scans are in `leakage`."""

from __future__ import annotations

import dataclasses

from coronet.config import ValidateParams

_LEAST_DEVIATION_HU = 20
_LEAST_DISTINCT = 100
_LARGEST_OBLIQUE_DEG = 30
_LARGEST_SKEW = 0.02
_BONE_HU = 200  # some bone of every chest is brighter
_LARGEST_PIECES_SHARE = 0.02
_LEAST_DENSE_SHARE = 0.3
"""A mask drawn on blurred edges may hold fainter voxels; one that belongs elsewhere holds mostly such."""
_IMPORT_AGAIN = (
    "bring the scan in again (`coronet data import SCAN --case {case} --replace`), or remove "
    "data/ct/{case}.* and data/masks/{case}_*"
)


@dataclasses.dataclass(frozen=True)
class Rule:
    """One expectation about one column; rows where the column is empty are not asked."""

    name: str  # short and stable, such as `heart-volume`
    column: str  # of the case table, or of `coronet.validation.rule_columns`
    says: str  # what must hold, one sentence
    fault: str  # what is wrong with a row that fails; may name columns in braces
    remedy: str  # what to do; names the case in braces
    low: float | None = None  # smallest value allowed
    high: float | None = None  # largest value allowed
    allowed: tuple[object, ...] = ()  # the values allowed, in place of a range
    # the column must hold at least this many different values; then the fault is the cohort's
    patients: int = 0
    severity: str = "critical"  # `critical` fails the gate, `warning` does not


def all_rules(params: ValidateParams) -> tuple[Rule, ...]:
    """Every rule about single scans and about the cohort."""
    enough = Rule(
        "enough-patients",
        "training_patient",
        f"At least {params.least_patients} patients have a fit scan with both masks.",
        f"too few patients: {{count}} of at least {params.least_patients} have a fit scan with both masks",
        "add scans with masks (`coronet data import`) or phantoms (`coronet data phantom`)",
        patients=params.least_patients,
    )
    rules = (_geometry_rules, _intensity_rules, _heart_rules, _calcium_rules)
    return (*(rule for part in rules for rule in part(params)), enough)


def _span(limits: tuple[float, float]) -> str:
    return f"{limits[0]:g} to {limits[1]:g}"


def _redraw(model: str) -> str:
    return (
        "draw the mask on this scan and bring it in (`coronet data import data/ct/{case}.nii.gz "
        f"--case {{case}} --{model} MASK --replace`), or remove data/masks/{{case}}_{model}.nii.gz"
    )


def _geometry_rules(params: ValidateParams) -> tuple[Rule, ...]:
    spacing = "voxels of {spacing_x_mm:g} × {spacing_y_mm:g} × {spacing_z_mm:g} mm"
    extent = "scan of {width_mm:g} × {depth_mm:g} × {height_mm:g} mm"
    pixels, slices = _span(params.in_plane_spacing_mm), _span(params.slice_spacing_mm)
    extents = _span(params.extent_mm)
    in_plane = (
        Rule(
            f"in-plane-spacing-{axis}",
            f"spacing_{axis}_mm",
            f"Pixels are {pixels} mm along {axis}.",
            f"{spacing}: in-plane spacing must be {pixels} mm",
            f"check the header's spacing and {_IMPORT_AGAIN}",
            *params.in_plane_spacing_mm,
        )
        for axis in "xy"
    )
    square = Rule(
        "square-pixels",
        "in_plane_skew",
        "Pixels are square.",
        f"{spacing}: pixels are not square, as where spacings were swapped",
        f"check the order of the header's spacings and {_IMPORT_AGAIN}",
        high=_LARGEST_SKEW,
    )
    apart = Rule(
        "slice-spacing",
        "spacing_z_mm",
        f"Slices are {slices} mm apart.",
        f"{spacing}: slices must be {slices} mm apart",
        f"check the header's slice spacing and {_IMPORT_AGAIN}",
        *params.slice_spacing_mm,
    )
    sizes = (
        Rule(
            f"extent-{name}",
            f"{name}_mm",
            f"The scan's {name} is {extents} mm.",
            f"{extent}: each extent must be {extents} mm",
            f"check the header's spacing and {_IMPORT_AGAIN}",
            *params.extent_mm,
        )
        for name in ("width", "depth", "height")
    )
    upright = Rule(
        "oblique",
        "oblique_deg",
        f"The scan's axes are within {_LARGEST_OBLIQUE_DEG} degrees of the body's.",
        "the scan's axes are {oblique_deg:g} degrees off the body's",
        "look at the scan; training goes on",
        high=_LARGEST_OBLIQUE_DEG,
        severity="warning",
    )
    return (*in_plane, square, apart, *sizes, upright)


def _intensity_rules(params: ValidateParams) -> tuple[Rule, ...]:
    finite = "{not_finite} voxels are NaN or infinite"
    rescale = f"apply rescale slope and intercept and {_IMPORT_AGAIN}"
    air, soft = _span(params.air_hu), _span(params.soft_tissue_hu)
    return (
        Rule("finite", "not_finite", "Every voxel is a number.", finite, _IMPORT_AGAIN, high=0),
        Rule(
            "hu-offset",
            "lowest_hu",
            "The lowest value is below 0 HU.",
            "the lowest value is {hu_min:g}: the HU offset is lost",
            f"apply the rescale intercept (often -1024) and {_IMPORT_AGAIN}",
            high=-1,
        ),
        Rule(
            "hu-bone",
            "highest_hu",
            f"The highest value is at least {_BONE_HU} HU.",
            "the highest value is {hu_max:g}: there is no bone, so the values are no HU",
            f"undo whatever scaled the values and {_IMPORT_AGAIN}",
            low=_BONE_HU,
        ),
        Rule(
            "air",
            "air",
            f"Air is {air} HU.",
            f"air is {{air_hu:g}} HU; it must be {air}",
            rescale,
            *params.air_hu,
        ),
        Rule(
            "soft-tissue",
            "soft_tissue",
            f"The median of soft tissue is {soft} HU.",
            f"soft tissue is {{soft_tissue_hu:g}} HU; it must be {soft}",
            rescale,
            *params.soft_tissue_hu,
        ),
        Rule(
            "varied",
            "hu_deviation",
            f"The standard deviation is at least {_LEAST_DEVIATION_HU}.",
            "the standard deviation is {hu_deviation:g}: the image is all but empty",
            _IMPORT_AGAIN,
            low=_LEAST_DEVIATION_HU,
        ),
        Rule(
            "distinct",
            "distinct",
            f"There are at least {_LEAST_DISTINCT} distinct values.",
            "there are only {distinct} distinct values, as after a conversion to eight bits",
            _IMPORT_AGAIN,
            low=_LEAST_DISTINCT,
        ),
    )


def _mask_rules(model: str, labels: str) -> tuple[Rule, ...]:
    mask, redraw = f"{model} mask", _redraw(model)
    return (
        Rule(
            f"{model}-grid",
            f"{model}_grid",
            f"The {mask} has the shape and affine of its scan.",
            f"the {mask} has another shape or affine than the scan",
            redraw,
            allowed=(True,),
        ),
        Rule(
            f"{model}-integer",
            f"{model}_integer",
            f"The {mask} holds whole numbers.",
            f"the {mask} holds fractions, as after interpolation or noise",
            f"{redraw}; resample masks by nearest neighbour",
            allowed=(True,),
        ),
        Rule(
            f"{model}-labels",
            f"{model}_strange",
            f"The {mask} holds no label but {labels}.",
            f"the {mask} holds {{{model}_strange}}; allowed are {labels}",
            redraw,
            allowed=("",),
        ),
    )


def _heart_rules(params: ValidateParams) -> tuple[Rule, ...]:
    redraw, volume, hu = _redraw("heart"), _span(params.heart_ml), _span(params.heart_hu)
    filled = ("A heart mask is not empty.", "the heart mask is empty")
    return (
        *_mask_rules("heart", "0 and 1"),
        Rule("heart-filled", "heart_filled", *filled, redraw, allowed=(True,)),
        Rule(
            "heart-volume",
            "heart_volume",
            f"The heart has {volume} ml.",
            f"the heart has {{heart_ml:.0f}} ml; plausible are {volume}",
            redraw,
            *params.heart_ml,
        ),
        Rule(
            "heart-hu",
            "heart_median",
            f"The median inside the heart is {hu} HU.",
            f"the median inside the heart mask is {{heart_hu:g}} HU; {hu} are plausible without contrast "
            "agent",
            f"flag the scan as contrast if it is; else {redraw}",
            *params.heart_hu,
        ),
        Rule(
            "heart-air",
            "heart_air",
            f"At most {params.heart_air_share:.0%} of the heart mask is lung or air.",
            "{heart_air_share:.0%} of the heart mask is lung or air: it was drawn on another scan, or one of "
            "the two was turned or mirrored alone",
            redraw,
            high=params.heart_air_share,
        ),
        Rule(
            "heart-one-piece",
            "heart_pieces_share",
            "The heart mask is one piece.",
            "{heart_pieces_share:.0%} of the heart mask is apart from its largest piece",
            "look at the mask; training goes on",
            high=_LARGEST_PIECES_SHARE,
            severity="warning",
        ),
        Rule(
            "heart-whole",
            "heart_cut",
            "The heart mask does not touch the border of the scan.",
            "the heart mask touches the border of the scan: the heart is not wholly in view",
            "look at the scan; it takes no part in training if it is flagged incomplete",
            allowed=(False,),
            severity="warning",
        ),
    )


def _calcium_rules(params: ValidateParams) -> tuple[Rule, ...]:
    redraw, near, body = _redraw("calcium"), params.calcium_near_heart_mm, params.calcium_body_mm3
    return (
        *_mask_rules("calcium", "0 to 4"),
        Rule(
            "calcium-dense",
            "faint",
            "Each calcium lesion has a voxel of at least 130 HU.",
            "{faint_lesions} of {lesions} calcium lesions have no voxel of at least 130 HU: {faint_places}",
            "erase what is no calcium; if all of it is off, mask and scan do not belong together: " + redraw,
            high=0,
        ),
        Rule(
            "calcium-share",
            "dense_share",
            f"At least {_LEAST_DENSE_SHARE:.0%} of the calcium mask is 130 HU or more.",
            "only {calcium_dense_share:.0%} of the calcium mask is 130 HU or more: mask and scan do not fit",
            redraw,
            low=_LEAST_DENSE_SHARE,
        ),
        Rule(
            "calcium-in-heart",
            "calcium_far_mm",
            f"Each calcium lesion is in the heart or at most {near:g} mm from it.",
            f"{{far_pieces}}; at most {near:g} mm from the heart mask are plausible",
            f"erase calcium that is not coronary; {redraw}",
            high=near,
        ),
        Rule(
            "calcium-no-bone",
            "bony",
            f"No calcium lesion is part of a body of 130 HU or more that is larger than {body:g} mm³.",
            f"{{bone_pieces}}; bodies of 130 HU or more of at most {body:g} mm³ are plausible",
            f"erase what is not coronary; {redraw}; if it is coronary, raise validate.calcium_body_mm3",
            high=0,
        ),
    )
