"""Pictures of the test cases with a model's worst results, as files that MLflow shows."""

from __future__ import annotations

import hashlib
import html
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from coronet.errors import CoronetError
from coronet.files import read_json, replacing_folder, sha256_file
from coronet.tracking.dvc_lock import DvcLock

if TYPE_CHECKING:
    from coronet.report.slice_pictures import Picture

logger = logging.getLogger("coronet")
_WORST = 3  # cases pictured of each model
_STYLE = (
    "path{fill:none;stroke-width:.8;fill-rule:evenodd}.heart{stroke:#57d3e6}.hit{stroke:#4bdc82}"
    ".heart-reference{stroke:#f2f59a;stroke-dasharray:4 2}"
    ".false{stroke:#ff5a52}.missed{stroke:#6aa2ff}.truth{stroke:#fff;stroke-width:.5;stroke-dasharray:2 2}"
    "text{fill:#fff;font:7px sans-serif}"
)


def draw_worst(project: Path, model: str, lock: DvcLock, out: Path, *, fit_md5: str) -> Path | None:
    """Draw the model's worst test cases, unless they are drawn already.

    Cyan is the heart, yellow dashes the heart of the reference, white dashes its calcium; green is found, red
    false and blue missed. The heart's worst are those of lowest Dice, calcium's those with the worst score.

    Args:
        lock: shows whether the masks in ``build/scores`` are of the model with ``fit_md5``.
        out: folder of the pictures, one per case and view.
        fit_md5: DVC's md5 of the model.

    Returns:
        ``out``, or None where the scores or the scans are absent, or of other models.
    """
    scores = project / "build" / "scores"
    if not (scores / "scores.csv").exists() or lock.input("score", f"build/{model}/fit") != fit_md5:
        return None
    key = hashlib.sha256(f"{fit_md5} {sha256_file(scores / 'scores.csv')}".encode()).hexdigest()
    if (out / ".key").exists() and (out / ".key").read_text(encoding="utf-8") == key:
        return out
    try:
        pictured = {name: _pictures(project, model, name) for name in _worst_names(model, scores)}
    except CoronetError as error:
        logger.info("no pictures of %s's worst cases: %s", model, error)
        return None
    with replacing_folder(out) as part:
        for rank, (name, pictures) in enumerate(pictured.items(), start=1):
            for picture in pictures:
                view, _, rest = picture.title.partition(", ")
                number = rest.split()[1] if view == "axial" else ""
                path = part / f"worst-{rank}_{name}_{view}{number}.svg"
                path.write_text(_to_svg(picture, caption=f"{name}, {picture.title}"), encoding="utf-8")
        (part / ".key").write_text(key, encoding="utf-8")
    return out


def _worst_names(model: str, scores: Path) -> list[str]:
    from coronet.evaluation.case_scores import read_case_scores, worst_first

    rows = read_case_scores(scores / "scores.csv")
    if model == "heart":
        measured = [row for row in rows if row.heart_dice is not None]
        ordered = tuple(sorted(measured, key=lambda row: (row.heart_dice, row.case)))
    else:
        ordered = worst_first(rows, read_json(scores / "metrics.json")["groups"]["names"])
    return [row.case for row in ordered[:_WORST]]


def _pictures(project: Path, model: str, name: str) -> tuple[Picture, ...]:
    from coronet.dataset.cases import find_case, find_reference, load_mask
    from coronet.io.volume import read_nifti
    from coronet.report.case_views import case_pictures, compared_pictures

    case = find_case(project / "data", name)
    masks = project / "build" / "scores" / "masks"
    heart_path, calcium_path = (masks / f"{name}_{kind}.nii.gz" for kind in ("heart", "calcium"))
    if model == "calcium":
        return compared_pictures(case, heart=heart_path, calcium=calcium_path)
    ct = read_nifti(case.ct)
    reference = find_reference(case, "heart")
    assert reference is not None, name
    heart, truth = (load_mask(path, ct) > 0 for path in (heart_path, reference.path))
    differing = {"truth": truth, "false": heart & ~truth, "missed": truth & ~heart}
    return case_pictures(ct, heart, calcium=differing)


def _to_svg(picture: Picture, *, caption: str) -> str:
    """One picture as an SVG file that needs nothing beside it."""
    size = f'width="{picture.width_mm}" height="{picture.height_mm}"'
    outlines = "".join(f'<path class="{item.kind}" d="{item.path}"/>' for item in picture.outlines)
    left, right = picture.sides
    middle = picture.height_mm / 2
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {picture.width_mm} {picture.height_mm}" '
        f'width="{picture.width_mm * 4:.0f}" height="{picture.height_mm * 4:.0f}">'
        f"<title>{html.escape(caption)}</title><style>{_STYLE}</style>"
        f'<image href="{picture.image}" {size} preserveAspectRatio="none"/>{outlines}'
        f'<text x="3" y="{middle}">{left}</text>'
        f'<text x="{picture.width_mm - 3}" y="{middle}" text-anchor="end">{right}</text>'
        f'<text x="3" y="9">{html.escape(caption)}</text></svg>\n'
    )
