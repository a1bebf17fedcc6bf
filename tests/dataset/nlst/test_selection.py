"""The choice of NLST series, on the index that is installed and without a network."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import sys
from collections.abc import Iterator

import pytest

from coronet import terminal
from coronet.cli import app
from coronet.dataset.nlst import commons_index, selection_rules
from coronet.dataset.nlst.manifest import Manifest, Request, read_manifest, write_manifest
from coronet.dataset.nlst.selection import manifest_for, select_series
from coronet.errors import InputError

SIZE = 300


@pytest.fixture(scope="module", autouse=True)
def index_of_nlst(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The rows of NLST in the installed index, which holds many times as many."""
    import duckdb

    whole, folder = commons_index.index_folder(), tmp_path_factory.mktemp("index")
    shutil.copy(whole / "collections_index.parquet", folder)
    with duckdb.connect() as connection:
        connection.execute(
            f"copy (select * from read_parquet('{whole / 'idc_index.parquet'}') "
            f"where collection_id = 'nlst') to '{folder / 'idc_index.parquet'}'"
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commons_index, "index_folder", lambda: folder)
        yield


@pytest.fixture(scope="module")
def database() -> Iterator[object]:
    with commons_index.open_index() as opened:
        yield opened


@pytest.fixture(scope="module")
def chosen() -> Manifest:
    return select_series(Request(SIZE, 1, ""))


@pytest.fixture(scope="module")
def whole_index(chosen: Manifest) -> dict[str, dict[str, object]]:
    """All rows of the chosen patients by series UID, read apart from the code under test."""
    import duckdb

    with duckdb.connect() as connection:
        rows = connection.execute(
            "with nlst as (select * from read_parquet(?)) select * from nlst where Modality in ('CT', 'SEG') "
            "and PatientID in (select PatientID from nlst where SeriesInstanceUID in (select unnest(?)))",
            [
                str(commons_index.index_folder() / "idc_index.parquet"),
                [entry.ct.uid for entry in chosen.entries],
            ],
        )
        names = [column[0] for column in rows.description]
        return {
            row["SeriesInstanceUID"]: row
            for row in (dict(zip(names, r, strict=True)) for r in rows.fetchall())
        }


def test_one_series_a_patient_of_the_first_round(chosen, whole_index):
    rows = [whole_index[entry.ct.uid] for entry in chosen.entries]
    assert len({row["PatientID"] for row in rows}) == len({row["StudyInstanceUID"] for row in rows}) == SIZE
    for row, entry in zip(rows, chosen.entries, strict=True):
        field = row["SeriesDescription"].split(",")
        assert row["StudyDate"] == "1999-01-02" and field[0] == "0"
        assert field[1] == "OPA" and row["Modality"] == "CT" and row["analysis_result_id"] is None
        assert 1.0 <= float(field[6]) == entry.thickness_mm <= 2.5
        assert 100 <= entry.ct.files == row["instanceCount"] <= 420
        assert entry.ct.uuid == row["crdc_series_uuid"] and entry.ct.bucket == row["aws_bucket"]
        assert "1.2.840.10008.1.2.4.51" not in row["TransferSyntaxUID"]


def test_the_best_series_of_each_patient_is_taken(chosen, whole_index):
    """Against a second, plain implementation of the rules."""
    soft = {(maker, name) for maker, kinds in selection_rules.PREFERRED_KERNELS.items() for name in kinds[0]}
    hard = {(maker, name) for maker, kinds in selection_rules.PREFERRED_KERNELS.items() for name in kinds[1]}
    patients: dict[str, list[dict[str, object]]] = {}
    for row in whole_index.values():
        if row["Modality"] == "CT" and row["analysis_result_id"] is None and row["StudyDate"] == "1999-01-02":
            patients.setdefault(row["PatientID"], []).append(row)

    def place(row: dict[str, object]) -> tuple[float, ...]:
        field = row["SeriesDescription"].split(",")
        kernel = (field[2], field[4])
        spacing = round(min(float(field[6]), 330 / (row["instanceCount"] - 1)), 2)
        stepped = int(spacing / 0.5 + 0.5) * 0.5
        return (0 if kernel in soft else 1 if kernel in hard else 2, 2.5 - stepped, -row["instanceCount"])

    def fits(row: dict[str, object]) -> bool:
        field = row["SeriesDescription"].split(",")
        return (
            field[0] == "0"
            and field[1] == "OPA"
            and re.fullmatch(r"[0-9.]+", field[6]) is not None
            and 1.0 <= float(field[6]) <= 2.5
            and 100 <= row["instanceCount"] <= 420
            and "4.51" not in row["TransferSyntaxUID"]
            and row["sop_class_name"] == "CT Image Storage"
        )

    several = 0
    for entry in chosen.entries:
        taken = whole_index[entry.ct.uid]
        others = [row for row in patients[taken["PatientID"]] if fits(row)]
        several += len(others) > 1
        assert place(taken) == min(place(row) for row in others)
    assert several > SIZE / 4


def test_soft_kernels_come_before_hard_ones(chosen, database):
    """Nobody is given a hard kernel who has a soft one, and most have one."""
    hard = [
        entry for entry in chosen.entries if entry.kernel in ("B50f", "BONE", "LUNG", "FC51", "D", "B80f")
    ]
    assert len(hard) < 0.2 * SIZE
    with_both = database.execute(
        "select count(*) from (select patient from candidates group by patient "
        "having count(distinct kernel_class) > 1)"
    ).fetchone()[0]
    assert with_both > 5000
    for entry in hard:
        found = database.execute(
            "select count(*) from candidates where kernel_class = 'soft' and patient = "
            "(select patient from candidates where uid = ?)",
            [entry.ct.uid],
        ).fetchone()[0]
        assert found == 0


def test_heart_segmentations_belong_to_the_series(chosen, whole_index):
    hearts = [entry for entry in chosen.entries if entry.heart]
    assert SIZE * 0.85 < len(hearts) < SIZE
    for entry in hearts:
        seg, ct = whole_index[entry.heart.uid], whole_index[entry.ct.uid]
        assert seg["Modality"] == "SEG" and seg["StudyInstanceUID"] == ct["StudyInstanceUID"]
        assert seg["SeriesDescription"].endswith(f"of Series {ct['SeriesNumber']}")
        assert seg["analysis_result_id"] == "totalsegmentator_ct_segmentations"


def test_a_larger_selection_holds_the_smaller_and_the_seed_changes_it(chosen):
    fewer = select_series(Request(40, 1, ""))
    assert fewer.entries == chosen.entries[:40]
    other = select_series(Request(40, 2, ""))
    assert len(set(other.entries) & set(fewer.entries)) < 10


def test_a_condition_narrows_the_choice():
    found = select_series(
        Request(20, 0, "has_heart and manufacturer = 'SE' and spacing_mm >= 2 -- as wanted")
    )
    assert all(entry.heart and entry.manufacturer == "SE" for entry in found.entries)
    with pytest.raises(InputError, match=r"5 patients are wanted, but \d fulfil"):
        select_series(
            Request(5, 0, "slices = 134 and kernel = 'LUNG' and site = 'LSS' and model = 'LightSpeed16'")
        )


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("slices >", "is no condition"),
        ("kernl = 'B30f'", "kernel_class, thickness_mm"),
        ("patient = '100012'", "is no condition"),
        ("slices", "BIGINT"),
        ("true) union select * from candidates where (true", "is no condition"),
        ("true; drop table candidates", "is no condition"),
        ("(select count(*) from read_csv('/etc/passwd')) > 0", "is no condition"),
        ("(select count(*) from read_parquet('https://example.org/x.parquet')) > 0", "is no condition"),
    ],
)
def test_what_is_no_condition_is_refused(database, condition, reason):
    with pytest.raises(InputError, match=reason):
        commons_index.check_condition(database, condition)
    assert database.execute("select count(*) from candidates").fetchone()[0] > 30_000


def test_the_manifest_says_where_it_came_from_and_names_no_patient(chosen, whole_index, tmp_path):
    path = tmp_path / "nlst.json"
    write_manifest(path, chosen)
    assert read_manifest(path) == chosen
    raw = json.loads(path.read_text())
    assert raw["index"].startswith("idc-index-data ") and raw["rules"] == selection_rules.VERSION
    assert {source["licence"] for source in raw["sources"]} == {"CC BY 4.0"}
    assert any("National Lung Screening Trial Research Team" in item["citation"] for item in raw["sources"])
    assert any("TotalSegmentator" in item["citation"] for item in raw["sources"])
    assert {item["ct"]["doi"] for item in raw["series"]} <= {source["doi"] for source in raw["sources"]}
    assert raw["totals"]["ct_gb"] == pytest.approx(
        sum(whole_index[entry.ct.uid]["series_size_MB"] for entry in chosen.entries) / 1000, rel=1e-3
    )
    words = set(re.findall(r"[\w.]+", path.read_text()))
    assert not words & {whole_index[entry.ct.uid]["PatientID"] for entry in chosen.entries}
    assert (
        sum(entry.ct.uid in line for line in path.read_text().splitlines() for entry in chosen.entries)
        == SIZE
    )


def test_a_reviewed_manifest_is_followed_as_it_stands(tmp_path):
    path = tmp_path / "nlst.json"
    request = Request(5, 0, "")
    with pytest.raises(InputError, match="--patients N"):
        manifest_for(None, path)
    first, written = manifest_for(request, path)
    assert written
    reviewed = dataclasses.replace(first, entries=first.entries[1:], index="idc-index-data 99")
    write_manifest(path, reviewed)
    assert manifest_for(request, path) == manifest_for(None, path) == (reviewed, False)
    other, written = manifest_for(Request(6, 0, ""), path)
    assert written and len(other.entries) == 6 and read_manifest(path) == other


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("uuid", "../../elsewhere"),
        ("uid", "1.2/../3"),
        ("bucket", "a/b"),
        ("files", 0),
        ("size_mb", -1.0),
        ("doi", "10.0/unknown"),
        ("more", 1),
    ],
)
def test_a_manifest_that_was_tampered_with_is_refused(chosen, tmp_path, key, value):
    path = tmp_path / "nlst.json"
    write_manifest(path, chosen)
    raw = json.loads(path.read_text())
    raw["series"][3]["ct"][key] = value
    path.write_text(json.dumps(raw))
    with pytest.raises(InputError, match="is no manifest"):
        read_manifest(path)


def test_a_plan_counts_what_a_selection_takes(capsys, monkeypatch):
    options = ["--plan", "--patients", "50", "--mbit-s", "100", "--cores", "2", "--json"]
    command = ["coronet", "data", "nlst", *options]
    monkeypatch.setattr(sys, "argv", command)
    assert terminal.run_app(app) == 0
    one, every = json.loads(capsys.readouterr().out)["selections"]
    assert one["patients"] == one["series"] == every["patients"] == 50 <= every["series"]
    assert one["terabytes"] == pytest.approx(
        sum(item.ct.size_mb for item in select_series(Request(50, 0, "")).entries) / 1e6
    )
    assert one["download_hours"] == pytest.approx(one["terabytes"] * 8e6 / 100 / 3600, abs=0.06)
    assert one["bottleneck"] == "download"
