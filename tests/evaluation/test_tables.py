"""Tables for `coronet agreement`: what is read from each, and what is refused with which reason."""

from __future__ import annotations

import json
import resource
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from coronet.cli import app
from coronet.errors import CoronetError
from coronet.evaluation.agreement import score_agreement
from coronet.evaluation.agreement_statistics import PairedReadings, icc, kappas
from coronet.evaluation.paired_table import read_pairs
from coronet.scoring.risk_groups import find_groups

SCORES = [(0.0, 0.0), (12.5, 10.25), (150.0, 161.5), (420.0, 400.0)]
ROWS = [[f"s{number}", f"{one:g}", f"{other:g}"] for number, (one, other) in enumerate(SCORES)]


def table_of(rows, heading="id,manual,ai", *, between=",", end="\n", quote="", comma=False) -> str:
    lines = [between.join(heading.split(","))]
    for row in rows:
        fields = [field.replace(".", ",") if comma else field for field in row]
        lines.append(between.join(f"{quote}{field}{quote}" for field in fields))
    return end.join(lines) + end


def written(folder, content: str | bytes):
    path = folder / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


READ = {
    "commas": table_of(ROWS),
    "semicolons": table_of(ROWS, between=";"),
    "tabs": table_of(ROWS, between="\t"),
    "semicolons and decimal commas": table_of(ROWS, between=";", comma=True),
    "tabs and decimal commas": table_of(ROWS, between="\t", comma=True),
    "quoted decimal commas": table_of(ROWS, quote='"', comma=True),
    "quotes": table_of(ROWS, quote='"'),
    "blanks around fields": table_of(ROWS, " id , manual , ai ", between=" , "),
    "Windows line ends": table_of(ROWS, end="\r\n"),
    "old Macintosh line ends": table_of(ROWS, end="\r"),
    "no line end at the end": table_of(ROWS).rstrip(),
    "blank lines": table_of(ROWS, end="\n\n") + "\n \n",
    "rows without anything": table_of(ROWS) + ",,\n,,\n",
    "blank lines first": "\n\n" + table_of(ROWS),
    "Excel's line on the delimiter": "sep=;\n" + table_of(ROWS, between=";"),
    "UTF-8 with its mark": table_of(ROWS).encode("utf-8-sig"),
    "UTF-16": table_of(ROWS).encode("utf-16"),
    "UTF-16, other order": b"\xfe\xff" + table_of(ROWS).encode("utf-16-be"),
    "UTF-32": table_of(ROWS).encode("utf-32"),
    "id last": table_of([[row[1], row[2], row[0]] for row in ROWS], "manual,ai,id"),
    "id in the middle, a number": table_of(
        [[row[1], f"{7 * place}", row[2]] for place, row in enumerate(ROWS)], "manual,PatientID,ai"
    ),
    "text last": table_of([[row[1], row[2], "north"] for row in ROWS], "manual,ai,site"),
    "row names of pandas": table_of([[str(k), *row[1:]] for k, row in enumerate(ROWS)], ",manual,ai"),
    "an empty last column": table_of([[*row, ""] for row in ROWS], "id,manual,ai,"),
    "columns the other way round": table_of([[row[0], row[2], row[1]] for row in ROWS], "id,ai,manual"),
    "a heading in quotes": table_of(ROWS, 'id,manual,"ai"'),
    "no id": table_of([row[1:] for row in ROWS], "manual,ai"),
    "exponents": "manual,ai\n0e0,0\n1.25e1,1025e-2\n1.5E+2,161.5\n420,4e2\n",
    "rounding noise": "manual,ai\n-2.2e-16,1e-300\n12.5,10.25\n150,161.5\n420,400\n",
}


@pytest.mark.parametrize("case", READ)
def test_a_table_is_read(tmp_path, case):
    pairs = read_pairs(written(tmp_path, READ[case]))
    assert pairs.names == ("manual", "ai")
    found = np.stack([pairs.reference, pairs.predicted], axis=1)
    assert found == pytest.approx(np.array(SCORES), abs=1e-12)


NUMBERS = table_of([[*row[1:], f"{60 + place}"] for place, row in enumerate(ROWS)], "manual,ai,age")

REFUSED = {
    # name: (content, options, words of the reason)
    "a field more than the heading": (table_of([[*row, "9"] for row in ROWS]), {}, "line 2: 4 fields"),
    "a field more, no id": (table_of(ROWS, "manual,ai"), {}, "line 2: 3 fields"),
    "a field more in one row": (table_of(ROWS) + "s9,3,4,5\n", {}, "line 6: 4 fields"),
    "an empty field more": (table_of([[*row, ""] for row in ROWS]), {}, "line 2: 4 fields"),
    "a field fewer": (table_of(ROWS) + "\n\ns9,3\n", {}, "line 8: 2 fields"),
    "decimal commas without quotes": (table_of(ROWS, comma=True), {}, "line 3: 5 fields.*decimal commas"),
    "points and commas": ('id,manual,ai\na,"1,5",2.5\nb,3,4\nc,5,6\n', {}, "line 2 has a decimal point"),
    "thousands or decimals": ('manual,ai\n"1,234",5\n3,4\n5,6\n', {}, "line 2.*can be 1.234 or 1234"),
    "thousands or decimals, points": ("manual;ai\n1.234;5\n3;4\n5;6\n", {}, "line 2.*can be 1.234 or 1234"),
    "both marks": ('manual,ai\n"1,234.5",5\n3,4\n5,6\n', {}, "line 2.*no score"),
    "millions": ("manual;ai\n1.234.567;5\n3;4\n5;6\n", {}, "line 2.*no score"),
    "a blank as thousands separator": ("manual;ai\n1 234;5\n3;4\n5;6\n", {}, "line 2.*no score"),
    "three columns of numbers": (NUMBERS, {}, "numbers are: manual, ai, age.*--reference.*--predicted"),
    "three, one named": (NUMBERS, {"reference": "manual"}, "numbers are: ai, age"),
    "a column with itself": (NUMBERS, {"reference": "ai", "predicted": "ai"}, "different columns"),
    "a column as id and score": (NUMBERS, {"reference": "ai", "id_column": "ai"}, "different columns"),
    "an unknown column": (NUMBERS, {"reference": "AI"}, 'no column "AI".*--reference'),
    "an empty name": (NUMBERS, {"predicted": ""}, 'no column "".*--predicted'),
    "two headings alike": (table_of(ROWS, "id,score,score"), {}, 'several columns "score"'),
    "two headings alike but for blanks": (table_of(ROWS, "id,score, score "), {}, 'several columns "score"'),
    "a scan twice": (table_of([*ROWS, ROWS[1]]), {}, "lines 3 and 6 have the same id"),
    "a scan twice, named": (
        table_of([["s", *row[1:]] for row in ROWS], "lesion,manual,ai"),
        {"id_column": "lesion"},
        "lines 2 and 3 have the same id",
    ),
    "a row without an id": (table_of(ROWS) + ",120,118\n", {}, "line 6: the row has no id"),
    "no heading": (table_of(ROWS[1:], "s0,0,1.5"), {}, "no heading"),
    "a remark above": ("# two readers\n" + table_of(ROWS), {}, "no table: its first line has one field"),
    "a remark with a comma above": ("# one, two\n" + table_of(ROWS), {}, "line 2: 3 fields"),
    "two delimiters": ("manual;ai,x\n1;2,3\n", {}, "by commas or by semicolons"),
    "an open quote": (table_of(ROWS) + 's9,"12,3\n', {}, "line 6: the quotes"),
    "an open quote that another closes": (table_of(ROWS) + '"s9,3,4\ns10",5,6\n', {}, "line 6: the id"),
    "Latin-1": ("id,Prüfer,ai\na,1,2\n".encode("latin-1"), {}, "line 1: not UTF-8"),
    "a workbook": (b"PK\x03\x04rest", {}, "workbook"),
    "NUL characters": (table_of(ROWS).encode("utf-16-le"), {}, "NUL"),
    "nothing": ("", {}, "is empty"),
    "a heading only": ("id,manual,ai\n", {}, "numbers are: none"),
    **{
        f"{value!r} as score": (table_of([*ROWS, ["s9", value, "3"]]), {}, "line 6.*no score")
        for value in ("", "x", "nan", "NaN", "inf", "-1", "-1e-3", "12 mg", "1_234", "0x10", "True", "1e300")
    },
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_table_that_is_not_clear_is_refused(tmp_path, case):
    content, options, reason = REFUSED[case]
    with pytest.raises(CoronetError, match=reason):
        read_pairs(written(tmp_path, content), **options)


def test_the_cohorts_own_tables_need_no_options(tmp_path):
    rows = ["c1,phantom,12,10,8.5,9,1-100", "c2,phantom,0,0,0,0,0", "c3,nifti,320,280,90,88,>300"]
    heading = (
        "case,source,predicted_agatston,reference_agatston,predicted_volume_mm3,reference_volume_mm3,group"
    )
    pairs = read_pairs(written(tmp_path, "\n".join([heading, *rows])))
    assert (pairs.names, pairs.ids) == (("reference_agatston", "predicted_agatston"), ("case",))
    assert pairs.predicted.tolist() == [12, 0, 320]


def test_a_folder_and_a_pipe_are_refused(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(CoronetError, match="is no file"):
            read_pairs(path)


def test_options_name_the_columns(tmp_path):
    path = written(tmp_path, NUMBERS)
    options = ["--reference", "ai", "--predicted", "age", "--id", "manual", "--json", "--resamples", "5"]
    found = CliRunner().invoke(app, ["agreement", str(path), *options])
    assert found.exit_code == 0, found.output
    answer = json.loads(found.stdout)
    assert (answer["reference"], answer["predicted"], answer["id"]) == ("ai", "age", ["manual"])


def test_thirteen_of_thirteen_are_told_with_what_they_show(tmp_path):
    rows = [[f"s{number}", str(40 * number), str(40 * number + 1)] for number in range(1, 14)]
    rows = [row for row in rows if int(row[1]) not in (280, 320, 80, 120)] + [
        [f"t{number}", "150", "160"] for number in range(4)
    ]
    path = written(tmp_path, table_of(rows))
    output = CliRunner().invoke(app, ["agreement", str(path)]).stdout
    assert "13 of 13 pairs are in the same group: at least 75.3% of all such scans" in output
    assert "[1, 1]" not in output
    # 0.025 ** (1 / 13)
    answer = json.loads(CliRunner().invoke(app, ["agreement", str(path), "--json"]).stdout)
    assert answer["same_group"] == {"same": 13, "of": 13, "low": pytest.approx(0.752947, abs=1e-6), "high": 1}
    assert answer["intervals"]["concordance"][0] == answer["same_group"]["low"]


def test_what_rounding_leaves_is_zero():
    # kappa of independent readings is 0, which the sums miss by 2.2e-16
    counts = [[3, 6, 9], [1, 2, 3], [2, 4, 6]]
    inside = np.array([0.0, 50.0, 200.0])
    cells = [cell for cell, count in np.ndenumerate(counts) for _ in range(count)]
    reference, predicted = inside[np.array(cells).T]
    statistics = score_agreement(reference, predicted, resamples=5).statistics
    assert (statistics.kappa, statistics.kappa_linear, statistics.spearman) == (0.0, 0.0, 0.0)


def test_resamples_by_weights_equal_resamples_by_rows():
    from scipy import stats

    rng = np.random.default_rng(0)
    reference = np.array([0, 0, 0, 5, 5, 80, 120.5, 300, 420, 900.25])
    predicted = np.array([0, 0, 4, 5, 9, 80, 99.5, 310, 380, 1200.5])
    bins = find_groups("paper")
    classes = np.array([bins.indices(reference), bins.indices(predicted)])
    found = PairedReadings.of(reference, predicted, classes, 4).resampled(40)
    for row in found:
        chosen = rng.integers(10, size=10)
        one, other = reference[chosen], predicted[chosen]
        counts = np.zeros((4, 4))
        np.add.at(counts, (classes[1][chosen], classes[0][chosen]), 1)
        difference = other - one
        low, high = difference.mean() + 1.96 * difference.std() * np.array([-1, 1])
        expected = [
            *kappas(counts),
            (classes[0][chosen] == classes[1][chosen]).mean(),
            *icc(one, other),
            stats.spearmanr(one, other).statistic,
            stats.pearsonr(one, other).statistic,
            difference.mean(),
            low,
            high,
        ]
        assert row == pytest.approx(expected, abs=1e-9)


@pytest.mark.slow
def test_sixty_thousand_pairs_stay_small_and_quick():
    rng = np.random.default_rng(0)
    reference = rng.gamma(0.5, 300, 60_000).round(1)
    predicted = (reference * rng.normal(1, 0.1, 60_000)).clip(0).round(1)
    score_agreement(reference[:100], predicted[:100], resamples=5)
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    score_agreement(reference, predicted, resamples=1000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000
    assert time.process_time() - started < 20
