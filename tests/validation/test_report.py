from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import numpy as np
import pytest

from coronet import validation
from coronet.dataset.case_table import describe_cases
from coronet.errors import GateFailed

pytestmark = pytest.mark.slow


@pytest.fixture
def spoilt(cohort, drawn):
    """Table of a cohort with two faults."""
    heart = drawn["case0"].heart
    cohort.write("case0", heart=heart.with_array(np.zeros_like(heart.array)))
    cohort.write("case1", ct=drawn["case1"].ct.with_array(drawn["case1"].ct.array.clip(-1024) + 1024))
    return describe_cases(cohort.data, workers=1)


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_pages_are_there_before_the_gate_fails(spoilt, limits, tmp_path, monkeypatch):
    def refuse(*_args):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    out = tmp_path / "validation"
    report = validation.run_validation(spoilt, limits, out=out)
    assert not report.ok
    written = json.loads((out / "report.json").read_text())
    assert written["ok"] is False
    assert {fault["case"] for fault in written["faults"]} >= {"case0", "case1"}
    assert all(fault["what"] and fault["remedy"] for fault in written["faults"])
    page = (out / "index.html").read_text()
    assert "the heart mask is empty" in page and "the HU offset is lost" in page
    assert (out / "docs" / "index.html").exists()
    (results,) = (out / "docs" / "validations").rglob("*.html")
    assert "A heart mask is not empty." in results.read_text()


def test_the_terminal_names_each_case_and_fault(spoilt, limits, tmp_path):
    report = validation.run_validation(spoilt, limits, out=tmp_path / "validation")
    with pytest.raises(GateFailed) as failed:
        validation.check(report)
    message = str(failed.value)
    assert "case0: the heart mask is empty. To fix it, " in message
    assert "case1: the lowest value is 0: the HU offset is lost" in message
    assert str(tmp_path / "validation" / "index.html") in message


def test_a_passed_gate_is_silent(cohort, limits, tmp_path, capfd):
    report = validation.run_validation(
        describe_cases(cohort.data, workers=1), limits, out=tmp_path / "validation"
    )
    validation.check(report)
    assert report.ok
    assert capfd.readouterr() == ("", "")


def test_same_table_same_bytes(spoilt, limits, tmp_path):
    for name in ("one", "two"):
        validation.run_validation(spoilt, limits, out=tmp_path / name)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_pages_need_no_network_and_show_no_patient(spoilt, limits, tmp_path):
    out = tmp_path / "validation"
    validation.run_validation(spoilt, limits, out=out)
    for path in out.rglob("*.html"):
        text = path.read_text()
        assert not re.search(r"<(link|script|img|iframe)[^>]*(src|href)=.https?:", text), path
        assert "patient-case" not in text


def test_an_earlier_report_is_replaced(cohort, spoilt, limits, tmp_path):
    out = tmp_path / "validation"
    validation.run_validation(spoilt, limits, out=out)
    for case in ("case0", "case1"):
        cohort.write(case)
    assert validation.run_validation(describe_cases(cohort.data, workers=1), limits, out=out).ok
    assert len(list((out / "docs" / "validations").rglob("*.html"))) == 1
    assert not list(out.glob(".part-*"))
