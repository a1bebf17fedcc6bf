"""The gate's picture: every patient's difference, the mean with its interval, and the margin."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from coronet.evaluation.paired_tests import PairedComparison
from coronet.files import replacing
from coronet.registry.verdict import VERDICT_WORDS, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POINTS, _MEAN, _BOUND = "#4c72b0", "#c44e52", "#777777"


def draw_verdict(path: Path, verdict: Verdict) -> None:
    """Write the picture as PNG: differences where there is a champion, else what was measured."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    measured = dict(verdict.challenger.patients) if verdict.challenger else {}
    shown = len(verdict.comparisons) or sum(bool(values) for values in measured.values()) or 1
    figure = Figure(figsize=(4.2 * shown, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    against = f" against {verdict.model}/{verdict.champion}" if verdict.champion else ""
    figure.suptitle(f"{verdict.model}/{verdict.version}{against}: {verdict.headline}")
    axes = figure.subplots(1, shown, squeeze=False)[0]
    if verdict.comparisons:
        for ax, item in zip(axes, verdict.comparisons, strict=True):
            _draw_differences(ax, item)
    elif any(measured.values()):
        filled = {name: values for name, values in measured.items() if values}
        for ax, (name, values) in zip(axes, filled.items(), strict=True):
            _draw_values(ax, name, values)
    else:
        axes[0].axis("off")
        axes[0].text(0.5, 0.5, "nothing was measured", ha="center", va="center")
    with replacing(Path(path)) as part:
        figure.savefig(part, dpi=110, format="png", metadata={"Software": None})


def _draw_differences(ax: Axes, item: PairedComparison) -> None:
    gains = np.sort(item.differences)
    rows = np.arange(len(gains))
    ax.axvline(0, color="black", linewidth=0.8)
    for bound in (-item.margin, item.margin):
        ax.axvline(bound, color=_BOUND, linewidth=0.8, linestyle="--")
    ax.plot(gains, rows, "o", color=_POINTS, markersize=5)
    if item.low is not None and item.high is not None:
        ax.plot([item.low, item.high], [-1.5, -1.5], color=_MEAN, linewidth=3, solid_capstyle="butt")
    ax.plot([item.mean], [-1.5], "D", color=_MEAN, markersize=7)
    ax.set_yticks([-1.5], ["mean"])
    ax.set_ylim(-2.5, len(gains))
    ax.set_title(f"{VERDICT_WORDS[item.name]}: {item.finding}", fontsize=10)
    ax.set_xlabel(f"gain, {len(gains)} patients; dashed: margin; p = {item.p:.3g}", fontsize=9)


def _draw_values(ax: Axes, name: str, values: Mapping[str, float]) -> None:
    known = np.sort(list(values.values()))
    ax.plot(known, np.arange(len(known)), "o", color=_POINTS, markersize=5)
    ax.plot([known.mean()], [-1.5], "D", color=_MEAN, markersize=7)
    ax.set_yticks([-1.5], ["mean"])
    ax.set_ylim(-2.5, len(known))
    ax.set_title(VERDICT_WORDS[name], fontsize=10)
    ax.set_xlabel(f"{len(known)} patients", fontsize=9)
