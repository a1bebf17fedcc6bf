"""`coronet data list`: every case with what to do next."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from coronet import cli
from coronet.dataset.case_table import describe_cases, write_table
from coronet.dataset.cases import mask_path, scan_path, write_facts
from coronet.dataset.overview import list_cases
from coronet.dataset.split import Member, Split, write_split
from coronet.io.scan_facts import ScanFacts
from coronet.io.volume import Volume, grid_affine, write_nifti


def write_case(data: Path, case: str, *, masks: tuple[str, ...] = (), flags: tuple[str, ...] = ()) -> None:
    volume = Volume(np.arange(512, dtype=np.int16).reshape(8, 8, 8), grid_affine((1.0, 1.0, 2.0), (0, 0, 0)))
    write_nifti(scan_path(data, case), volume)
    write_facts(data, case, ScanFacts(f"p-{case}", "nifti", flags=flags))
    for model in masks:
        write_nifti(mask_path(data, case, model), volume.with_array(np.ones((8, 8, 8), np.uint8)))


def test_each_case_says_what_is_next(tmp_path):
    data, build = tmp_path / "data", tmp_path / "build"
    write_case(data, "bare", flags=("thick_slices",))
    write_case(data, "heart", masks=("heart",))
    write_case(data, "unfit", masks=("heart", "calcium"), flags=("contrast",))
    before = {item.case: item for item in list_cases(data, build=build)}
    assert before["bare"].next.startswith("draw a heart mask: coronet annotate draw bare --target heart")
    assert "--target calcium" in before["heart"].next
    assert before["unfit"].next == "measure it: dvc repro"
    assert before["bare"].flags == ("thick_slices",) and before["bare"].spacing_mm is None
    write_table(build / "cases.csv", describe_cases(data, workers=1))
    write_case(data, "late", masks=("heart", "calcium"))
    write_split(build / "split.json", Split(1, (Member("heart", "p-heart", "train", "none"),)))
    after = {item.case: item for item in list_cases(data, build=build)}
    assert after["unfit"].next.startswith("takes no part in training: is flagged contrast")
    assert (after["unfit"].part, after["heart"].part) == ("left out", "train")
    assert after["unfit"].spacing_mm == (1, 1, 2)
    assert after["late"].next == "measure it: dvc repro"


def test_the_command_prints_columns_or_json(tmp_path):
    write_case(tmp_path / "data", "bare")
    command = ["data", "list", "--data", str(tmp_path / "data"), "--build", str(tmp_path / "build")]
    lines = CliRunner().invoke(cli.app, command).stdout.splitlines()
    assert lines[0].split()[:2] == ["case", "patient"] and lines[1].split()[:3] == ["bare", "p-bare", "-"]
    assert lines[2] == "1 case of 1 patient; 1 with something to do."
    (found,) = json.loads(CliRunner().invoke(cli.app, [*command, "--json"]).stdout)
    assert (found["case"], found["masks"], found["next"][:4]) == ("bare", [], "draw")
