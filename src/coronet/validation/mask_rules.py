"""What must hold of masks and of how they lie on their scan."""

from __future__ import annotations

from coronet.config import ValidateParams
from coronet.validation.rule import Rule, redraw

_LARGEST_PIECES_SHARE = 0.02
_LEAST_DENSE_SHARE = 0.3
"""A mask drawn on blurred edges may hold fainter voxels; one that belongs elsewhere holds mostly such."""


def _mask_rules(model: str, labels: str) -> tuple[Rule, ...]:
    return (
        Rule(
            f"{model}-grid",
            f"{model}_grid",
            f"The {model} mask has the shape and affine of its scan.",
            f"the {model} mask has another shape or affine than the scan",
            redraw(model),
            allowed=(True,),
        ),
        Rule(
            f"{model}-integer",
            f"{model}_integer",
            f"The {model} mask holds whole numbers.",
            f"the {model} mask holds fractions, as after interpolation or noise",
            f"{redraw(model)}; resample masks by nearest neighbour",
            allowed=(True,),
        ),
        Rule(
            f"{model}-labels",
            f"{model}_strange",
            f"The {model} mask holds no label but {labels}.",
            f"the {model} mask holds {{{model}_strange}}; allowed are {labels}",
            redraw(model),
            allowed=("",),
        ),
    )


def heart_rules(params: ValidateParams) -> tuple[Rule, ...]:
    """The heart mask."""
    return (
        *_mask_rules("heart", "0 and 1"),
        Rule(
            "heart-filled",
            "heart_filled",
            "A heart mask is not empty.",
            "the heart mask is empty",
            redraw("heart"),
            allowed=(True,),
        ),
        Rule(
            "heart-volume",
            "heart_volume",
            f"The heart has {params.heart_ml[0]:g} to {params.heart_ml[1]:g} ml.",
            "the heart has {heart_ml:.0f} ml; plausible are "
            f"{params.heart_ml[0]:g} to {params.heart_ml[1]:g}",
            redraw("heart"),
            low=params.heart_ml[0],
            high=params.heart_ml[1],
        ),
        Rule(
            "heart-hu",
            "heart_median",
            f"The median inside the heart is {params.heart_hu[0]:g} to {params.heart_hu[1]:g} HU.",
            f"the median inside the heart mask is {{heart_hu:g}} HU; {params.heart_hu[0]:g} to "
            f"{params.heart_hu[1]:g} are plausible without contrast agent",
            f"flag the scan as contrast if it is; else {redraw('heart')}",
            low=params.heart_hu[0],
            high=params.heart_hu[1],
        ),
        Rule(
            "heart-air",
            "heart_air",
            f"At most {params.heart_air_share:.0%} of the heart mask is lung or air.",
            "{heart_air_share:.0%} of the heart mask is lung or air: it was drawn on another scan, or one of "
            "the two was turned or mirrored alone",
            redraw("heart"),
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


def calcium_rules(params: ValidateParams) -> tuple[Rule, ...]:
    """The calcium mask."""
    return (
        *_mask_rules("calcium", "0 to 4"),
        Rule(
            "calcium-dense",
            "faint",
            "Each calcium lesion has a voxel of at least 130 HU.",
            "{faint_lesions} of {lesions} calcium lesions have no voxel of at least 130 HU: {faint_places}",
            "erase what is no calcium; if all of it is off, mask and scan do not belong together: "
            f"{redraw('calcium')}",
            high=0,
        ),
        Rule(
            "calcium-share",
            "dense_share",
            f"At least {_LEAST_DENSE_SHARE:.0%} of the calcium mask is 130 HU or more.",
            "only {calcium_dense_share:.0%} of the calcium mask is 130 HU or more: mask and scan do not fit",
            redraw("calcium"),
            low=_LEAST_DENSE_SHARE,
        ),
        Rule(
            "calcium-in-heart",
            "calcium_far_mm",
            f"Each calcium lesion is in the heart or at most {params.calcium_near_heart_mm:g} mm from it.",
            f"{{far_pieces}}; at most {params.calcium_near_heart_mm:g} mm from the heart mask are plausible",
            f"erase calcium that is not coronary; {redraw('calcium')}",
            high=params.calcium_near_heart_mm,
        ),
        Rule(
            "calcium-no-bone",
            "bony",
            "No calcium lesion is part of a body of 130 HU or more that is larger than "
            f"{params.calcium_body_mm3:g} mm³.",
            "{bone_pieces}; bodies of 130 HU or more of at most "
            f"{params.calcium_body_mm3:g} mm³ are plausible",
            f"erase what is not coronary; {redraw('calcium')}; if it is coronary, raise "
            "validate.calcium_body_mm3",
            high=0,
        ),
    )
