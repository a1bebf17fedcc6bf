"""The Commons' index, read from the package that ships it; nothing here talks to the network."""

from __future__ import annotations

import contextlib
import dataclasses
import html
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from coronet.dataset.nlst import selection_rules
from coronet.errors import InputError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_PACKAGE = "idc-index-data"


@dataclasses.dataclass(frozen=True)
class DataSource:
    """A data set that series come from, and what its use asks for."""

    doi: str
    licence: str
    licence_url: str
    citation: str


def index_version() -> str:
    """Package and version of the index, such as ``idc-index-data 25.0.5`` (release 25 of the Commons)."""
    return f"{_PACKAGE} {metadata.version(_PACKAGE)}"


def index_folder() -> Path:
    """Where the package's tables lie."""
    import idc_index_data

    table = idc_index_data.IDC_INDEX_PARQUET_FILEPATH
    if table is None:
        raise InputError(f"{_PACKAGE} holds no index; install it again.")
    return Path(table).parent


@contextlib.contextmanager
def open_index() -> Iterator[DuckDBPyConnection]:
    """A database in memory with the table ``candidates``, sealed: it can reach neither files nor network."""
    import duckdb

    with duckdb.connect(":memory:") as database:
        index = index_folder() / "idc_index.parquet"
        database.execute(f"create table candidates as {selection_rules.candidates_sql(str(index))}")
        database.execute("set enable_external_access = false")
        database.execute("set lock_configuration = true")
        yield database


def check_condition(database: DuckDBPyConnection, condition: str) -> None:
    """Refuse what is not one condition over `selection_rules.COLUMNS`.

    Raises:
        InputError: it is no such condition; the message lists the columns.
    """
    import duckdb

    try:
        columns = database.sql(f"select {', '.join(selection_rules.COLUMNS)} from candidates")
        kind = columns.select(duckdb.SQLExpression(condition).alias("wanted")).types[0]
        columns.filter(duckdb.SQLExpression(condition)).limit(1).fetchall()
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f'--where "{condition}" is no condition ({reason}). '
            f"Columns: {', '.join(selection_rules.COLUMNS)}."
        ) from error
    if str(kind) != "BOOLEAN":
        raise InputError(f'--where "{condition}" is a {kind}, no condition that is true or false.')


def sources(dois: set[str]) -> tuple[DataSource, ...]:
    """Licence and citation of data sets, by DOI.

    Raises:
        InputError: the index does not name the licence of one.
    """
    import duckdb

    known = {}
    with duckdb.connect(":memory:") as database:
        collections = str(index_folder() / "collections_index.parquet").replace("'", "''")
        rows = database.execute(
            "select unnest(sources, recursive := true) "
            f"from read_parquet('{collections}') where collection_id = 'nlst'"
        )
        names = [column[0] for column in rows.description]
        for values in rows.fetchall():
            row = dict(zip(names, values, strict=True))
            citation = " ".join(html.unescape(re.sub(r"<[^>]+>", "", row["citation"])).split())
            known[row["source_doi"]] = DataSource(
                row["source_doi"], row["license_short_name"], row["license_url"], citation
            )
    lacking = dois - set(known)
    if lacking:
        raise InputError(f"The index names no licence for {', '.join(sorted(lacking))}; update idc-index.")
    return tuple(known[doi] for doi in sorted(dois))
