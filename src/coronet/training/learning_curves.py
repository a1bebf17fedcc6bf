"""The picture of a training: loss and metric over the epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path


def draw_curves(path: Path, history: Sequence[Mapping[str, float]], *, metric: str, title: str) -> None:
    """Write a PNG with the loss at left, the tune metric at right, and the learning rate's steps marked.

    Args:
        path: the file.
        history: one mapping per epoch with ``epoch``, ``loss``, ``learning_rate`` and the metric.
        metric: key of the tune metric.
        title: the model's name.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    epochs = [entry["epoch"] for entry in history]
    rates = [entry["learning_rate"] for entry in history]
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for axes, key in zip(figure.subplots(1, 2), ("loss", metric), strict=True):
        axes.plot(epochs, [entry[key] for entry in history], color="#1f6f8b", linewidth=1.6)
        for epoch, before, after in zip(epochs[1:], rates[:-1], rates[1:], strict=True):
            if after < before:
                axes.axvline(epoch, color="#bbbbbb", linewidth=0.8, zorder=0)
        axes.set_xlabel("epoch")
        axes.set_title(
            f"{title}: {'training loss' if key == 'loss' else f'{key} on tune cases'}", fontsize=10
        )
        axes.grid(alpha=0.25)
    FigureCanvasAgg(figure).print_png(path, metadata={"Software": None})
