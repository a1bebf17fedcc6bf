"""Optuna's pictures of a study: history, reports, importances, slices, parallel coordinates."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna

logger = logging.getLogger("coronet")
_FEWEST = 2
"""Finished trials, before which there is nothing to compare."""


def draw_study(study: optuna.Study, folder: Path, *, metric: str) -> tuple[str, ...]:
    """Write a PNG of each kind into ``folder``, and return the names of those that could be drawn.

    Importances take at least two trials of different values, and say nothing of a parameter that was always
    the same.
    """
    import matplotlib
    from optuna import visualization

    matplotlib.use("Agg")
    plots = visualization.matplotlib
    kinds: Mapping[str, Callable[..., Any]] = {
        "history": plots.plot_optimization_history,
        "reports": plots.plot_intermediate_values,
        "importances": plots.plot_param_importances,
        "slices": plots.plot_slice,
        "parallel_coordinates": plots.plot_parallel_coordinate,
    }
    if sum(trial.state.name == "COMPLETE" for trial in study.get_trials(deepcopy=False)) < _FEWEST:
        return ()
    return tuple(name for name, plot in kinds.items() if _draw(study, folder / f"{name}.png", plot, metric))


def _draw(study: optuna.Study, path: Path, plot: Callable[..., Any], metric: str) -> bool:
    from matplotlib import pyplot

    options = {} if path.stem == "reports" else {"target_name": metric}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = plot(study, **options)
        figure = pyplot.gcf() if not hasattr(made, "figure") else made.figure
        figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})
    except (ValueError, RuntimeError) as error:
        logger.info("no picture «%s»: %s", path.stem, error)
        return False
    finally:
        pyplot.close("all")
    return True
