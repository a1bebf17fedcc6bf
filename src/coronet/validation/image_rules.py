"""What must hold of a scan: its geometry and its HU."""

from __future__ import annotations

from coronet.config import ValidateParams
from coronet.validation.rule import ADD_AGAIN, Rule

_LEAST_DEVIATION_HU = 20
_LEAST_DISTINCT = 100
_LARGEST_OBLIQUE_DEG = 30
_LARGEST_SKEW = 0.02
_BONE_HU = 200
"""Some bone of every chest is brighter."""


def geometry_rules(params: ValidateParams) -> tuple[Rule, ...]:
    """Spacing, extent and orientation."""
    spacing = "{spacing_x_mm:g} × {spacing_y_mm:g} × {spacing_z_mm:g} mm"
    extent = "{width_mm:g} × {depth_mm:g} × {height_mm:g} mm"
    low, high = params.in_plane_spacing_mm
    lowest, highest = params.extent_mm
    return (
        *(
            Rule(
                f"in-plane-spacing-{axis}",
                f"spacing_{axis}_mm",
                f"Pixels are {low:g} to {high:g} mm along {axis}.",
                f"voxels of {spacing}: in-plane spacing must be {low:g} to {high:g} mm",
                f"check the header's spacing and {ADD_AGAIN}",
                low=low,
                high=high,
            )
            for axis in "xy"
        ),
        Rule(
            "square-pixels",
            "in_plane_skew",
            "Pixels are square.",
            f"voxels of {spacing}: pixels are not square, as where spacings were swapped",
            f"check the order of the header's spacings and {ADD_AGAIN}",
            high=_LARGEST_SKEW,
        ),
        Rule(
            "slice-spacing",
            "spacing_z_mm",
            f"Slices are {params.slice_spacing_mm[0]:g} to {params.slice_spacing_mm[1]:g} mm apart.",
            f"voxels of {spacing}: slices must be {params.slice_spacing_mm[0]:g} to "
            f"{params.slice_spacing_mm[1]:g} mm apart",
            f"check the header's slice spacing and {ADD_AGAIN}",
            low=params.slice_spacing_mm[0],
            high=params.slice_spacing_mm[1],
        ),
        *(
            Rule(
                f"extent-{name}",
                f"{name}_mm",
                f"The scan's {name} is {lowest:g} to {highest:g} mm.",
                f"scan of {extent}: each extent must be {lowest:g} to {highest:g} mm",
                f"check the header's spacing and {ADD_AGAIN}",
                low=lowest,
                high=highest,
            )
            for name in ("width", "depth", "height")
        ),
        Rule(
            "oblique",
            "oblique_deg",
            f"The scan's axes are within {_LARGEST_OBLIQUE_DEG} degrees of the body's.",
            "the scan's axes are {oblique_deg:g} degrees off the body's",
            "look at the scan; training goes on",
            high=_LARGEST_OBLIQUE_DEG,
            severity="warning",
        ),
    )


def intensity_rules(params: ValidateParams) -> tuple[Rule, ...]:
    """HU that are HU."""
    return (
        Rule(
            "finite",
            "not_finite",
            "Every voxel is a number.",
            "{not_finite} voxels are NaN or infinite",
            ADD_AGAIN,
            high=0,
        ),
        Rule(
            "hu-offset",
            "lowest_hu",
            "The lowest value is below 0 HU.",
            "the lowest value is {hu_min:g}: the HU offset is lost",
            f"apply the rescale intercept (often -1024) and {ADD_AGAIN}",
            high=-1,
        ),
        Rule(
            "hu-bone",
            "highest_hu",
            f"The highest value is at least {_BONE_HU} HU.",
            "the highest value is {hu_max:g}: there is no bone, so the values are no HU",
            f"undo whatever scaled the values and {ADD_AGAIN}",
            low=_BONE_HU,
        ),
        Rule(
            "air",
            "air",
            f"Air is {params.air_hu[0]:g} to {params.air_hu[1]:g} HU.",
            f"air is {{air_hu:g}} HU; it must be {params.air_hu[0]:g} to {params.air_hu[1]:g}",
            f"apply rescale slope and intercept and {ADD_AGAIN}",
            low=params.air_hu[0],
            high=params.air_hu[1],
        ),
        Rule(
            "soft-tissue",
            "soft_tissue",
            f"The median of soft tissue is {params.soft_tissue_hu[0]:g} to {params.soft_tissue_hu[1]:g} HU.",
            f"soft tissue is {{soft_tissue_hu:g}} HU; it must be {params.soft_tissue_hu[0]:g} to "
            f"{params.soft_tissue_hu[1]:g}",
            f"apply rescale slope and intercept and {ADD_AGAIN}",
            low=params.soft_tissue_hu[0],
            high=params.soft_tissue_hu[1],
        ),
        Rule(
            "varied",
            "hu_deviation",
            f"The standard deviation is at least {_LEAST_DEVIATION_HU}.",
            "the standard deviation is {hu_deviation:g}: the image is all but empty",
            ADD_AGAIN,
            low=_LEAST_DEVIATION_HU,
        ),
        Rule(
            "distinct",
            "distinct",
            f"There are at least {_LEAST_DISTINCT} distinct values.",
            "there are only {distinct} distinct values, as after a conversion to eight bits",
            ADD_AGAIN,
            low=_LEAST_DISTINCT,
        ),
    )
