"""Where studies are kept: a SQLite file under ``mlruns``, or any database that a URL names."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from coronet.errors import SearchError
from coronet.files import exclusive, sqlite_url
from coronet.imaging.mask_metrics import DECISIVE
from coronet.process import check_port
from coronet.search.space import present_draw
from coronet.search.study_plan import StudyPlan, check_bound

if TYPE_CHECKING:
    import optuna
    from optuna.storages import RDBStorage

    from coronet.config import SearchParams

logger = logging.getLogger("coronet")
BOUND = "bound"  # the study's attribute that holds the hashes of what it is of
LOCK_SECONDS = 60  # how long SQLite lets one writer wait for another before it gives up


def _lock(project: Path) -> Path:
    return Path(project) / "mlruns" / ".optuna.lock"


def open_storage(project: Path, url: str | None = None, *, space: SearchParams | None = None) -> RDBStorage:
    """Open the database, and make its tables where it is new.

    One process at a time does so, since two that make the tables of one SQLite file at once fail. SQLite
    keeps a write-ahead log, so that readers such as the dashboard hold up no writer.

    Args:
        project: the folder of ``params.yaml``.
        url: an SQLAlchemy URL; ``mlruns/optuna.db`` without one.
        space: gives the heartbeat, and how often a trial whose heartbeat stopped is repeated; without it
            there is none, as for reading.

    Raises:
        SearchError: the database cannot be opened.
    """
    import optuna
    import sqlalchemy
    from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback

    # It would print a traceback for each failed trial; the worker logs one line.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url = url or sqlite_url(Path(project) / "mlruns" / "optuna.db")
    options = {"connect_args": {"timeout": LOCK_SECONDS}} if url.startswith("sqlite") else {}
    with exclusive(_lock(project), seconds=None), warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            storage = RDBStorage(
                url,
                engine_kwargs=options,
                heartbeat_interval=space.heartbeat_s if space else None,
                grace_period=space.grace_s if space else None,
                heartbeat_stale_trial_callback=(
                    RetryHeartbeatStaleTrialCallback(max_retry=space.retries) if space else None
                ),
            )
            if url.startswith("sqlite"):
                with storage.engine.connect() as connection:
                    connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        except (sqlalchemy.exc.SQLAlchemyError, ImportError, RuntimeError) as error:
            shown = _without_password(url)
            reason = str(error).partition("\n")[0]
            raise SearchError(f"The study database {shown} cannot be opened: {reason}") from error
    return storage


def open_study(plan: StudyPlan, name: str, storage: RDBStorage) -> optuna.Study:
    """The study of that name, made where it is new.

    Its first trial is what ``params.yaml`` says now, where that lies within the space.

    Raises:
        SearchError: there is one of something else than ``plan``.
    """
    import optuna

    with exclusive(_lock(plan.project), seconds=None):
        study = optuna.create_study(
            study_name=name, storage=storage, direction="maximize", load_if_exists=True
        )
        if BOUND not in study.user_attrs:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.set_metric_names([f"held-out {DECISIVE[plan.model].replace('_', ' ')}"])
            study.set_user_attr("fingerprint", plan.fingerprint)
            study.set_user_attr("folds", [len(fold.held_out) for fold in plan.folds])
            if present := present_draw(plan.params.model(plan.model), plan.params.search):
                study.enqueue_trial(present, skip_if_exists=True)
            study.set_user_attr(BOUND, {"model": plan.model, **plan.bound})
    check_bound(plan, name, study.user_attrs[BOUND])
    return study


def find_study(name: str, project: Path, url: str | None = None) -> optuna.Study:
    """The study of that name, to be read.

    Raises:
        SearchError: there is none; names those that are there.
    """
    import optuna

    storage = open_storage(project, url)
    names = study_names(storage)
    if name not in names:
        listed = ", ".join(names) or "none yet; `coronet search heart` makes one"
        raise SearchError(f'There is no study "{name}"; there are: {listed}.')
    return optuna.load_study(study_name=name, storage=storage)


def study_names(storage: RDBStorage) -> Sequence[str]:
    """Names of all studies of a search, sorted."""
    import optuna

    return sorted(
        item.study_name
        for item in optuna.get_all_study_summaries(storage, include_best_trial=False)
        if BOUND in item.user_attrs
    )


def _without_password(url: str) -> str:
    import sqlalchemy

    with contextlib.suppress(sqlalchemy.exc.ArgumentError):
        return sqlalchemy.engine.make_url(url).render_as_string(hide_password=True)
    return "of --storage"


def serve_dashboard(project: Path, url: str | None, *, port: int) -> None:
    """Run optuna-dashboard on 127.0.0.1 until it is stopped.

    Raises:
        SearchError: there is no study to show.
        Busy: another program listens on the port.
    """
    from optuna_dashboard import run_server

    check_port(port)
    opened = open_storage(project, url)
    if not study_names(opened):
        raise SearchError("There is no study yet; `coronet search heart` makes one.")
    logger.info("the studies are at http://127.0.0.1:%d", port)
    run_server(opened, host="127.0.0.1", port=port)
