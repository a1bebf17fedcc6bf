"""The page of one scan, by the command that a user types."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from typer.testing import CliRunner

from coronet.cli import app
from coronet.errors import InputError, UnsuitableScan
from coronet.io.volume import read_nifti, write_nifti
from coronet.networks.factory import load_model
from made_chests import write_calibration

LESIONS = [((20.0, 10.0, 4.0), 350), ((-24.0, 20.0, -20.0), 500)]


class Outline(HTMLParser):
    """Tags that are opened and closed, and addresses that a page asks for."""

    VOID = frozenset({"meta", "input", "br", "img", "link", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_startendtag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def fits(save_fit, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fits")
    paths = [str(save_fit(folder / model, model)) for model in ("heart", "calcium")]
    return ["--models", f"heart={paths[0]},calcium={paths[1]}"]


@pytest.fixture(scope="module")
def answered(make_chest, fits, tmp_path_factory):
    """Folder of the command's files and what it printed; the scan's name and folder tell the patient."""
    folder = tmp_path_factory.mktemp("CANARY-4711")
    chest = make_chest(LESIONS)
    write_nifti(folder / "CANARY^JANE.nii.gz", chest.ct)
    out = tmp_path_factory.mktemp("page")
    command = ["score", str(folder / "CANARY^JANE.nii.gz"), "--out", str(out), "--json", *fits]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0
    return out, done.stdout, chest


def test_the_command_writes_masks_score_and_page(answered):
    out, printed, chest = answered
    names = ["calcium.nii.gz", "heart.nii.gz", "index.html", "score.json"]
    assert sorted(item.name for item in out.iterdir()) == names
    assert json.loads(printed) == json.loads((out / "score.json").read_text())
    assert np.array_equal(read_nifti(out / "calcium.nii.gz").array > 0, chest.calcium)


def test_the_page_needs_nothing_beside_it(answered):
    page = (answered[0] / "index.html").read_text()
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert all(address.startswith(("#", "data:image/jpeg;base64,")) for address in outline.addresses)
    assert not re.search(r"url\((?!#)", page)
    assert len(page) < 3_000_000


def test_the_page_says_that_phantoms_are_no_patients(answered):
    page = (answered[0] / "index.html").read_text()
    assert "must not be believed on patients" in page
    assert "no medical device" in page


def test_the_page_shows_every_lesion_and_its_number(answered):
    out, printed, _ = answered
    page = (out / "index.html").read_text()
    for lesion in json.loads(printed)["lesions"]:
        assert lesion["place"] in page
        assert re.search(rf'class="mark"[^>]*>{lesion["number"]}<', page)
    assert page.count('class="outline heart"') == page.count("<figure")


def test_the_page_says_how_sure_the_score_is(answered, make_chest, save_fit, tmp_path):
    page = (answered[0] / "index.html").read_text()
    assert "no interval, since the calcium network is not calibrated" in page
    assert "--share" not in page.partition('class="ladder"')[2].partition("</section>")[0]
    fits = {model: save_fit(tmp_path / model, model) for model in ("heart", "calcium")}
    write_calibration(fits["calcium"], load_model(fits["calcium"]).sha256, intercept=1.0)
    write_nifti(tmp_path / "scan.nii.gz", make_chest(LESIONS).ct)
    models = ",".join(f"{model}={fit}" for model, fit in fits.items())
    out = tmp_path / "page"
    command = ["score", str(tmp_path / "scan.nii.gz"), "--models", models, "--out", str(out)]
    assert CliRunner().invoke(app, command, catch_exceptions=False).exit_code == 0
    page = (out / "index.html").read_text()
    assert "with a probability of 90%" in page
    assert page.count('<i style="--share:') == 4 + 4 + 5 + 4
    assert page.count(">0.73</td>") == len(LESIONS)
    assert "No single group has a probability of 90%" in page


def test_nothing_names_the_patient(answered):
    out, printed, _ = answered
    assert not re.search("CANARY|4711|JANE", printed + (out / "index.html").read_text())


def test_a_scan_that_does_not_suit_is_refused_and_nothing_is_written(make_chest, fits, tmp_path):
    chest = make_chest()
    write_nifti(tmp_path / "scan.nii.gz", chest.ct.with_array(chest.ct.array[:, :, :28]))
    command = ["score", str(tmp_path / "scan.nii.gz"), "--out", str(tmp_path / "page"), *fits]
    done = CliRunner().invoke(app, command)
    assert isinstance(done.exception, UnsuitableScan)
    assert not (tmp_path / "page").exists()
    forced = CliRunner().invoke(app, [*command, "--force"])
    assert forced.exit_code == 0
    assert "Beware: the heart reaches the highest slice" in forced.stdout
    assert "Scored by force." in (tmp_path / "page" / "index.html").read_text()


def test_what_belongs_to_a_mask_is_refused_without_one(tmp_path):
    done = CliRunner().invoke(app, ["score", str(tmp_path), "--labels"])
    assert isinstance(done.exception, InputError)
