"""Charts as SVG that takes its colours and fonts from the page, so that one drawing fits light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAMES = ("ink", "muted", "line", "accent", "second", "good", "bad", "calm")
_INKS = {name: f"#0101{number:02}" for number, name in enumerate(_NAMES, start=1)}
"""Stand-ins that matplotlib draws with; each becomes the page's CSS variable of that name."""


def curve_chart(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, ylabel: str, mark_x: float | None = None
) -> str:
    """Lines over epochs.

    Args:
        lines: name and (epochs, values); the first takes the accent colour.
        ylabel: what the values are.
        mark_x: the epoch whose weights were kept.
    """

    def draw(axes: Axes) -> None:
        inks = ("accent", "second", "good", "muted")
        for ink, (name, (x, y)) in zip(inks, lines.items(), strict=False):
            axes.plot(x, y, color=_INKS[ink], linewidth=1.6, label=name)
        if mark_x is not None:
            axes.axvline(mark_x, color=_INKS["muted"], linewidth=0.9, linestyle=(0, (3, 3)), label="kept")
        axes.set_xlabel("epoch")
        axes.set_ylabel(ylabel)
        axes.legend(frameon=False, labelcolor=_INKS["ink"], fontsize=9)

    return _svg(draw, size=(4.6, 2.9), title=f"{ylabel} by epoch")


def scatter_chart(reference: Sequence[float], predicted: Sequence[float], *, cuts: Sequence[float]) -> str:
    """Predicted over reference score on axes that are linear to 10 and logarithmic beyond.

    Args:
        reference: one score a case.
        predicted: one score a case, in the same order.
        cuts: borders of the risk groups, drawn as a grid.
    """
    top = max([100.0, *reference, *predicted]) * 1.6

    def draw(axes: Axes) -> None:
        for cut in cuts:
            axes.axvline(cut, color=_INKS["line"], linewidth=0.8)
            axes.axhline(cut, color=_INKS["line"], linewidth=0.8)
        axes.plot([0, top], [0, top], color=_INKS["muted"], linewidth=0.9, linestyle=(0, (4, 3)))
        axes.scatter(reference, predicted, s=26, color=_INKS["accent"], alpha=0.75, linewidths=0)
        _scale_scores(axes, "x", top)
        _scale_scores(axes, "y", top)
        axes.set_xlabel("reference Agatston score")
        axes.set_ylabel("predicted")

    return _svg(draw, size=(4.2, 3.6), title="predicted over reference score")


def bland_altman_chart(
    reference: Sequence[float], predicted: Sequence[float], *, bias: float, limits: tuple[float, float]
) -> str:
    """Difference over mean with bias and 95 % limits of agreement (Bland and Altman, Lancet 1986;327:307)."""
    first, second = np.asarray(reference, float), np.asarray(predicted, float)
    means, differences = (first + second) / 2, second - first

    def draw(axes: Axes) -> None:
        axes.axhline(0, color=_INKS["line"], linewidth=0.8)
        axes.axhline(bias, color=_INKS["ink"], linewidth=1.1)
        for limit in limits:
            axes.axhline(limit, color=_INKS["muted"], linewidth=0.9, linestyle=(0, (4, 3)))
        axes.scatter(means, differences, s=26, color=_INKS["accent"], alpha=0.75, linewidths=0)
        for value, name in ((bias, "bias"), (limits[0], "−1.96 SD"), (limits[1], "+1.96 SD")):
            text = f"{name} {value:+.0f}".replace("-", "−")
            axes.annotate(
                text,
                (1, value),
                xycoords=("axes fraction", "data"),
                xytext=(-2, 3),
                textcoords="offset points",
                ha="right",
                fontsize=8,
                color=_INKS["muted"],
            )
        _scale_scores(axes, "x", max(100.0, float(means.max(initial=0)) * 1.6))
        axes.margins(y=0.18)
        axes.set_xlabel("mean of both scores")
        axes.set_ylabel("predicted − reference")

    return _svg(draw, size=(4.2, 3.6), title="difference of scores over their mean")


def reliability_chart(bins: Mapping[str, Sequence[tuple[float, float, int]]], *, title: str) -> str:
    """Share of candidates that are calcium over the probability that they are, by bin.

    Args:
        bins: by name (mean probability, share, candidates) of each bin; the first takes the accent colour.
        title: of the drawing.
    """

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=_INKS["muted"], linewidth=0.9, linestyle=(0, (4, 3)))
        for ink, (name, items) in zip(("accent", "muted"), bins.items(), strict=False):
            x, y, count = np.array(items, dtype=np.float64).reshape(-1, 3).T
            axes.plot(x, y, color=_INKS[ink], linewidth=1.3, label=name)
            axes.scatter(x, y, s=12 + 3 * count, color=_INKS[ink], alpha=0.6, linewidths=0)
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("probability of a candidate")
        axes.set_ylabel("share that is calcium")
        axes.legend(frameon=False, labelcolor=_INKS["ink"], fontsize=9)

    return _svg(draw, size=(4.2, 3.6), title=title)


def _scale_scores(axes: Axes, name: str, top: float) -> None:
    """Make an axis of scores linear to 10 and logarithmic beyond, up to ``top``."""
    axis = getattr(axes, f"{name}axis")
    getattr(axes, f"set_{name}scale")("symlog", linthresh=10, linscale=0.8)
    getattr(axes, f"set_{name}lim")(-2.5, top)
    ticks = [tick for tick in (0, 10, 100, 1000, 10000) if tick <= top]
    axis.set_ticks(ticks, labels=[f"{tick:,}" for tick in ticks])
    axis.set_ticks([], minor=True)


def _svg(draw: Callable[[Axes], None], *, size: tuple[float, float], title: str) -> str:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": title,
        "font.family": "sans-serif",
        "font.size": 9.5,
        "axes.edgecolor": _INKS["line"],
        "axes.labelcolor": _INKS["muted"],
        "xtick.color": _INKS["line"],
        "ytick.color": _INKS["line"],
        "xtick.labelcolor": _INKS["muted"],
        "ytick.labelcolor": _INKS["muted"],
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.unicode_minus": True,
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.add_subplot())
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(stream.getvalue(), title)


def _inline(document: str, title: str) -> str:
    """Make a drawing part of an HTML page: no prolog, no fixed size or font, colours from the page."""
    drawing = document[document.index("<svg") :]
    drawing = re.sub(r"<(metadata|style)\b.*?</\1>", "", drawing, flags=re.S)
    drawing = re.sub(r"font-family: [^;\"]+;? ?", "", drawing)
    drawing = re.sub(r' id="(?![mp][0-9a-f]{10}")[^"]*"', "", drawing)
    for name, stand_in in _INKS.items():
        drawing = drawing.replace(stand_in, f"var(--{name})")
    opening = f'<svg class="chart" role="img" aria-label="{title}" '
    drawing = re.sub(r"<svg [^>]*?(viewBox=\"[^\"]+\")[^>]*>", opening + r"\1>", drawing, count=1)
    return re.sub(r"\n\s*", "\n", drawing)
