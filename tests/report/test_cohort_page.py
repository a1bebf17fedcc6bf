"""The cohort's page, out of results that the stages' own functions wrote."""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser

import pytest

from coronet.dataset.split import read_split, write_split
from coronet.errors import StageError
from coronet.evaluation.cohort import score_cohort
from coronet.evaluation.segmentation import evaluate_model
from coronet.files import read_json, write_json, write_text
from coronet.fingerprint import canonical
from coronet.networks.calibration import measure_reliability
from coronet.networks.factory import load_model
from coronet.report.cohort_page import read_cohort_report, write_cohort_report
from coronet.training.learning_curves import write_history
from made_chests import write_calibration


@pytest.fixture(scope="module")
def project(make_cohort, save_fit, params, tmp_path_factory):
    """A project's folder with ``data`` and everything in ``build`` that the page reads."""
    folder = tmp_path_factory.mktemp("project")
    data, build = folder / "data", folder / "build"
    split = make_cohort(data)
    write_split(build / "split.json", split)
    write_text(build / "cases.csv", "case\nfalse\nfree\nright\n")
    for model, metric in (("heart", "dice"), ("calcium", "f1")):
        fit = save_fit(build / model / "fit", model)
        history = [
            {"epoch": n, "loss": 1 / n, metric: 1 - 1 / (n + 1), "learning_rate": 1e-3} for n in (1, 2, 3)
        ]
        write_history(fit / "history.csv", history)
        write_json(fit / "metrics.json", {"metric": metric, f"tune_{metric}": 0.75, "best_epoch": 3})
        evaluate_model(model, data, split, fit, build / model / "evaluation")
    score_cohort(
        data,
        split,
        heart_fit=build / "heart" / "fit",
        calcium_fit=build / "calcium" / "fit",
        out=build / "scores",
        params=params,
    )
    write_cohort_report(build, data, build / "report", params)
    return folder


@pytest.fixture(scope="module")
def page(project):
    return (project / "build" / "report" / "index.html").read_text()


def test_the_worst_case_is_first_and_all_have_pictures(project, params, page):
    report = read_cohort_report(project / "build", project / "data", params)
    assert [case.row.case for case in report.worst] == ["false", "free", "right"]
    assert all(len(case.pictures) == 5 for case in report.worst)
    assert [page.index(f'id="case-{name}"') for name in ("false", "free", "right")] == sorted(
        page.index(f'id="case-{name}"') for name in ("false", "free", "right")
    )


def test_lesions_are_coloured_by_their_fate_and_both_hearts_shown(project, params):
    report = read_cohort_report(project / "build", project / "data", params)
    kinds = {
        case.row.case: {outline.kind for picture in case.pictures for outline in picture.outlines}
        for case in report.worst
    }
    hearts = {"heart", "heart-reference"}
    assert kinds["right"] == hearts | {"hit", "truth"}
    assert kinds["false"] == hearts | {"hit", "truth", "false"}
    assert kinds["free"] == hearts


def test_the_page_has_every_part(page):
    for part in ("figures", "agreement", "worst", "cases", "training", "origin"):
        assert f'id="{part}"' in page
        assert f'href="#{part}"' in page
    assert page.count('class="chart"') == 6
    assert "f" * 64 in page


def test_reliability_and_intervals_are_shown_where_the_network_is_calibrated(project, params, page, tmp_path):
    assert "No interval, since the calcium network is not calibrated: there is no calibration." in page
    shutil.copytree(project / "build", tmp_path / "build")
    fit = tmp_path / "build" / "calcium" / "fit"
    path = write_calibration(fit.parent, load_model(fit).sha256)
    raw = read_json(path)
    raw["network"] = raw["calibrated"] = canonical(measure_reliability([0.2, 0.9], [False, True]))
    write_json(path, raw)
    score_cohort(
        project / "data",
        read_split(project / "build" / "split.json"),
        heart_fit=tmp_path / "build" / "heart" / "fit",
        calcium_fit=fit,
        out=tmp_path / "build" / "scores",
        params=params,
    )
    write_cohort_report(tmp_path / "build", project / "data", tmp_path / "report", params)
    sure = (tmp_path / "report" / "index.html").read_text()
    assert sure.count('class="chart"') == page.count('class="chart"') + 2
    assert "90 % interval holds the reference" in sure
    assert "2 of 3" in sure


def test_the_page_needs_nothing_beside_it_and_is_light(page):
    class Addresses(HTMLParser):
        def __init__(self):
            super().__init__()
            self.found: list[str] = []

        def handle_starttag(self, tag, attrs):
            self.found += [value for name, value in attrs if name in ("src", "href", "xlink:href")]

    reader = Addresses()
    reader.feed(page)
    assert all(address.startswith(("#", "data:image/jpeg;base64,")) for address in reader.found)
    assert not re.search(r"url\((?!#)", page)
    assert len(page) < 10_000_000


def test_the_page_says_that_phantoms_are_no_patients(page):
    assert "say nothing about patients" in page
    assert "no medical device" in page


def test_the_page_has_the_same_bytes_each_time(project, params, page, tmp_path):
    write_cohort_report(project / "build", project / "data", tmp_path / "again", params)
    assert (tmp_path / "again" / "index.html").read_text() == page


def test_a_page_before_its_stages_is_refused(project, params, tmp_path):
    with pytest.raises(StageError, match="dvc repro score"):
        write_cohort_report(tmp_path, project / "data", tmp_path / "report", params)
    assert not (tmp_path / "report").exists()
