"""The choice of patients and of one series each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coronet.dataset.nlst import commons_index, selection_rules
from coronet.dataset.nlst.manifest import (
    Manifest,
    ManifestEntry,
    ManifestSeries,
    Request,
    read_manifest,
    write_manifest,
)
from coronet.errors import InputError


def select_series(request: Request) -> Manifest:
    """Choose series by rule, without the network.

    Patients are drawn by the hash of seed and patient: a random order that does not depend on anything else,
    so that a larger selection holds the smaller one. Each gives the best series of the first screening round.

    Raises:
        InputError: ``request.where`` is no condition, or fewer patients fulfil it than are wanted.
    """
    with commons_index.open_index() as database:
        where = "true"
        if request.where.strip():
            commons_index.check_condition(database, request.where)
            where = f"({request.where}\n)"
        best = f"""
            with best as (
              select * from candidates where {where}
              qualify row_number() over (partition by patient order by {selection_rules.ORDER}) = 1
            )
        """
        found = database.execute(f"{best} select count(*) from best").fetchall()[0][0]
        if found < request.patients:
            wanted = f' and "{request.where}"' if request.where else ""
            raise InputError(
                f"{request.patients} patients are wanted, but {found} fulfil the rules"
                f"{wanted}; ask for fewer, or for less."
            )
        rows = database.execute(
            f"{best} select * exclude (patient) from best order by sha256(concat(?, ' ', patient)) limit ?",
            [str(request.seed), request.patients],
        )
        names = [column[0] for column in rows.description]
        entries = tuple(_entry(dict(zip(names, values, strict=True))) for values in rows.fetchall())
    dois = {series.doi for entry in entries for series in (entry.ct, entry.heart) if series}
    return Manifest(
        request=request,
        index=commons_index.index_version(),
        rules=selection_rules.VERSION,
        spacing_mm=selection_rules.SPACING_MM,
        sources=commons_index.sources(dois),
        entries=entries,
    )


def manifest_for(request: Request | None, path: Path) -> tuple[Manifest, bool]:
    """The manifest at ``path``, chosen and written where it does not answer to ``request`` yet.

    A manifest that answers to it is followed as it stands, whatever the index says by now and whatever a
    reviewer took out of it.

    ``request`` None follows the manifest, whatever it was chosen for.

    Returns:
        The manifest, and whether it was written now.

    Raises:
        InputError: as `select_series`; or no manifest is there and none is asked for.
    """
    path = Path(path)
    if path.exists():
        there = read_manifest(path)
        if request in (None, there.request):
            return there, False
    if request is None:
        raise InputError(f"{path} is absent; choose patients with `coronet data nlst --patients N`.")
    chosen = select_series(request)
    write_manifest(path, chosen)
    return chosen, True


def _entry(row: Mapping[str, Any]) -> ManifestEntry:
    ct = ManifestSeries(row["uid"], row["bucket"], row["uuid"], row["slices"], row["size_mb"], row["doi"])
    heart = None
    if row["heart_uid"] is not None:
        heart = ManifestSeries(
            *(row[f"heart_{key}"] for key in ("uid", "bucket", "uuid", "files", "mb", "doi"))
        )
    acquired = {key: row[key] for key in ("site", "manufacturer", "model", "kernel", "thickness_mm")}
    return ManifestEntry(**acquired, ct=ct, heart=heart)
