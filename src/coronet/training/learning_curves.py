"""The course of a training: a table of its epochs, and their picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from coronet.errors import InputError
from coronet.files import write_text

HISTORY = "history.csv"


def write_history(path: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Write a CSV table with one row an epoch, which `dvc plots` reads."""
    import pandas

    write_text(path, pandas.DataFrame(history).to_csv(index=False, lineterminator="\n"))


def read_history(path: Path) -> tuple[dict[str, float], ...]:
    """Read what `write_history` wrote: ``epoch``, ``loss``, ``learning_rate`` and what was measured.

    Raises:
        InputError: the table is absent or damaged.
    """
    import pandas

    try:
        table = pandas.read_csv(path, float_precision="round_trip")
        if not {"epoch", "loss", "learning_rate"} <= set(table) or table.isna().any(axis=None):
            raise ValueError("a column or a cell is missing")
        rows = table.astype(float).astype({"epoch": int}).to_dict("records")
        return tuple({str(name): value for name, value in row.items()} for row in rows)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); `dvc repro train` writes it.") from error


def draw_curves(path: Path, history: Sequence[Mapping[str, float]], *, metric: str, title: str) -> None:
    """Write a PNG with the loss at left, the tune metric at right, and the learning rate's steps marked.

    Args:
        history: one mapping per epoch with ``epoch``, ``loss``, ``learning_rate`` and the metric.
        metric: key of the tune metric.
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
