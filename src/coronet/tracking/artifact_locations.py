"""Where MLflow's database says that artifacts lie, kept right when the project's folder is moved or copied.

MLflow stores absolute addresses. The database under ``mlruns`` belongs to the artifacts beside it, so its
addresses are set to where that folder is now, each time the ledger is opened: a moved project finds its
models, and a copy neither reads nor writes those of the original. Any other database may serve several
projects; there a folder that has gone is an error, and ``coronet tracking relocate`` sets it anew.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from coronet.config import MODELS
from coronet.errors import LedgerError

if TYPE_CHECKING:
    import sqlalchemy

logger = logging.getLogger("coronet")
DATABASE, _ARTIFACTS = "mlflow.db", "artifacts"
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")  # how the tracking URI of a database begins
EXPERIMENTS = (*MODELS, "coronet", *(f"{model}-search" for model in MODELS))
"""Experiments of this program; others keep their addresses unless they lie in the folder that was moved."""
_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("logged_models", "artifact_location"),
)
"""Where MLflow's tables hold addresses of artifacts."""


def artifact_location(mlruns: Path, experiment: str) -> str:
    """The address of an experiment's artifacts in the folder ``mlruns``."""
    return (Path(mlruns) / _ARTIFACTS / experiment).resolve().as_uri()


def check_locations(uri: str, mlruns: Path) -> None:
    """Set the addresses of the project's own database to where its folder is now; check those of others.

    Raises:
        LedgerError: another database keeps its artifacts in a folder that is absent.
    """
    url = _database_url(uri)
    if url is None or (url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file()):
        return
    elsewhere = _roots_elsewhere(url, mlruns)
    if not elsewhere:
        return
    if (
        url.get_backend_name() == "sqlite"
        and Path(url.database or "").resolve() == Path(mlruns).resolve() / DATABASE
    ):
        _move(url, elsewhere, mlruns)
    elif absent := [root for root in elsewhere.values() if not root.is_dir()]:
        raise LedgerError(
            f"The database of MLFLOW_TRACKING_URI keeps artifacts in {absent[0]}, which is absent. Bring it "
            f"back, or, where it was moved to {Path(mlruns).resolve()}, run `coronet tracking relocate`."
        )


def relocate_artifacts(uri: str, mlruns: Path) -> tuple[Path, ...]:
    """Let a database lead to the artifacts in ``mlruns`` where it leads to folders that are absent.

    Returns:
        The folders that it led to.

    Raises:
        LedgerError: MLflow is no database but a server, which keeps its artifacts itself.
    """
    url = _database_url(uri)
    if url is None:
        raise LedgerError("MLFLOW_TRACKING_URI names no database; a server knows itself where artifacts lie.")
    absent = {root: path for root, path in _roots_elsewhere(url, mlruns).items() if not path.is_dir()}
    if absent:
        _move(url, absent, mlruns)
    return tuple(absent.values())


def _database_url(uri: str) -> sqlalchemy.URL | None:
    """The URL of a database; None of a server or a plain folder."""
    import sqlalchemy

    if not uri.startswith(_DATABASES):
        return None
    return sqlalchemy.engine.make_url(uri)


def _roots_elsewhere(url: sqlalchemy.URL, mlruns: Path) -> dict[str, Path]:
    """Other folders than ``mlruns`` in which this program's experiments keep artifacts, by their address."""
    import sqlalchemy

    here = Path(mlruns).resolve()
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool)
    with engine.connect() as connection:
        if not sqlalchemy.inspect(connection).has_table("experiments"):
            return {}
        table = sqlalchemy.table("experiments", *map(sqlalchemy.column, ("name", "artifact_location")))
        known = connection.execute(sqlalchemy.select(table).where(table.c.name.in_(EXPERIMENTS))).all()
    found = {}
    for name, location in known:
        root = (location or "").removesuffix(f"/{_ARTIFACTS}/{quote(name)}")
        if (
            root != location
            and root.startswith("file:")
            and (path := Path(unquote(urlsplit(root).path))) != here
        ):
            found[root] = path
    return found


def _move(url: sqlalchemy.URL, roots: Mapping[str, Path], mlruns: Path) -> None:
    """Replace folders by the present ``mlruns`` in all addresses of a database, in one transaction."""
    import sqlalchemy

    here = Path(mlruns).resolve()
    pairs: Sequence[tuple[str, str]] = [
        pair
        for root, path in roots.items()
        # MLflow's own experiment has a path without a scheme
        for pair in ((f"{root}/", f"{here.as_uri()}/"), (f"{path}/", f"{here}/"))
    ]
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool)
    with engine.begin() as connection:
        present = set(sqlalchemy.inspect(connection).get_table_names())
        for name, column in _COLUMNS:
            if name not in present:
                continue
            table = sqlalchemy.table(name, sqlalchemy.column(column, sqlalchemy.String))
            address = table.c[column]
            for old, new in pairs:
                rest = sqlalchemy.func.substr(address, len(old) + 1, type_=sqlalchemy.String)
                connection.execute(
                    sqlalchemy.update(table)
                    .where(sqlalchemy.func.substr(address, 1, len(old)) == old)
                    .values({column: sqlalchemy.literal(new) + rest})
                )
    logger.info("the project was moved or copied; MLflow's addresses of artifacts lead to this folder now")
