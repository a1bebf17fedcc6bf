"""Model cards, written from facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coronet.config.floors import NETWORK_FLOORS
from coronet.io.scan_facts import DEPOSITED
from coronet.networks.quality import network_figures
from coronet.report.notices import PHANTOM_LIMITS, missed_floors

_LEARNS = {
    "heart": "the heart in a chest CT without contrast agent",
    "calcium": "coronary calcium in and beside a heart whose mask is known",
}
_NOT_A_DEVICE = (
    "**Not a medical device.** Not to be used to diagnose, to treat, or to decide about any person."
)
_PHANTOM = (
    "**Learned from synthetic phantoms.** The figures below show that the machinery works; they say nothing "
    "about patients."
)
_DRAWN = (
    "**Learned from drawn calcium.** It is not measured calcium, so the figures say little about patients."
)
_DRAWN_LIMITS = (
    "Calcium was drawn into real scans without any: where and how it lies follows the phantom's plaques, not "
    "measured patients."
)


def model_card(
    model: str,
    description: Mapping[str, Any],
    *,
    metrics: Mapping[str, Any] | None,
    tags: Mapping[str, str],
    changed: tuple[str, ...] = (),
) -> str:
    """The card of a ``heart`` or ``calcium`` version.

    Args:
        description: ``model.json``.
        metrics: ``metrics.json`` of the evaluation; None where there is none.
        changed: files that differed from the commit.
    """
    cases = description["cases"]
    params = description["params"]
    sources = ", ".join(f"{count} × {source}" for source, count in sorted(cases.items())) or "not recorded"
    few = metrics is None or metrics["cases"] < 30
    lines = [
        *(f"# {model}", "", _NOT_A_DEVICE, "", statement(cases), ""),
        "## Intended use",
        f"Research: to find {_LEARNS[model]}, as one step towards an Agatston score in Coronet. Input are "
        f"Hounsfield units on a grid of {_sizes(params['input']['spacing_mm'])} mm, shape (n, 1, x, y, z) in "
        "RAS+; output are probabilities on the same grid.",
        "",
        "## Network",
        f"`{params['network']['encoder']}` encoder, channels {params['network']['channels']}, "
        f"{params['network']['activation']}, window {_sizes(params['input']['shape'])} voxels; a voxel "
        f"belongs to the mask from a probability of {params['threshold']:g}.",
        "",
        "## Data",
        f"Training cases: {sources}. Patients of the test part were not opened before evaluation.",
        *[f"- `{key}`: `{tags[key]}`" for key in ("data_ct_md5", "data_masks_md5") if key in tags],
        *[f"- {said}" for said in description.get("attributions", ())],
        "",
        "## Figures",
        *_figures(model, metrics),
        "",
        "## Limits",
        "- Scans with contrast agent, gated or not, other tube voltages than 120 kV and slices thicker than "
        "those it learned from were not tested.",
        "- A false voxel costs little in Dice and much in a score; look at the masks.",
        *([f"- {PHANTOM_LIMITS}"] if cases.get("phantom") else []),
        *([f"- {_DRAWN_LIMITS}"] if cases.get(DEPOSITED) else []),
        *(["- Few test cases: every figure has a wide interval."] if few else []),
        "",
        "## Origin",
        *[f"- `{key}`: `{value}`" for key, value in sorted(tags.items()) if "." not in key],
    ]
    if changed:
        names = ", ".join(f"`{name}`" for name in changed)
        lines += ["", f"**Registered from code that was not committed**: {names}; see `uncommitted.patch`."]
    lines += ["", "## Licence", "Code and weights: Apache-2.0. The data have licences of their own.", ""]
    return "\n".join(lines)


def statement(cases: Mapping[str, int]) -> str:
    """What the training data mean for whoever reads the figures."""
    drawn = cases.get(DEPOSITED, 0)
    real = sum(count for source, count in cases.items() if source not in ("phantom", DEPOSITED))
    facts = [
        f"{drawn} of its cases were real scans with drawn calcium." if drawn else "",
        f"{real} of its cases were real scans." if real else "",
    ]
    if cases.get("phantom"):
        return " ".join(filter(None, (_PHANTOM, *facts)))
    if not sum(cases.values()):
        return "It is not recorded what this network learned from."
    if drawn:
        return " ".join(filter(None, (_DRAWN, *facts)))
    return "Learned from real scans; no figure below is a promise for other scanners or patients."


def _figures(model: str, metrics: Mapping[str, Any] | None) -> list[str]:
    if metrics is None:
        return ["Not evaluated yet."]
    found = [f"{metrics['cases']} {metrics.get('part', 'test')} cases."]
    if model == "heart":
        rows = {"Dice": metrics["dice"], "IoU": metrics["iou"]}
    else:
        # a case's own F1 is its Dice; the F1 that the gate judges is that of all voxels
        rows = {"Dice": metrics["f1"], "IoU": metrics["iou"]}
        pooled, lesions = metrics["pooled"], metrics["lesions"]
        found.append(f"F1 of all voxels: {_number(pooled['f1'])}; IoU: {_number(pooled['iou'])}.")
        found.append(
            f"Lesions found: {lesions['found']} of {lesions['true']}; false: {lesions['false']} "
            f"({_number(lesions['false_per_scan'])} a scan)."
        )
        free = metrics["calcium_free"]
        found.append(
            f"Cases without calcium answered by an empty mask: {free['answered_empty']} of {free['cases']}."
        )
    if missed := missed_floors(NETWORK_FLOORS[model], network_figures(model, metrics)):
        found = [f"**Below the default floors of the gate**: {', '.join(missed)}.", "", *found]
    found += ["", "| per case | mean | median | lowest | cases |", "|---|---|---|---|---|"]
    for name, row in rows.items():
        cells = " | ".join(_number(row[key]) for key in ("mean", "median", "lowest"))
        found.append(f"| {name} | {cells} | {row['cases']} |")
    return found


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _sizes(values: Any) -> str:
    return " × ".join(f"{value:g}" for value in values)
