"""The public functions of `import coronet`: what they take, what they give, what they refuse."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import json
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

import coronet
from coronet.errors import InputError, UnreadableScan, UnsuitableScan
from coronet.io.volume import Volume, read_nifti, write_nifti

LESIONS = [((20.0, 10.0, 4.0), 350), ((-20.0, 20.0, -12.0), 500)]
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def folder(make_chest, save_fit, tmp_path_factory):
    """A project with a scan, its calcium mask and two networks whose answer is known."""
    place = tmp_path_factory.mktemp("api")
    chest = make_chest(LESIONS)
    write_nifti(place / "scan.nii.gz", chest.ct.with_array(chest.ct.array.clip(-1024)))
    write_nifti(place / "calcium.nii.gz", chest.ct.with_array(chest.calcium.astype(np.uint8)))
    for model in ("heart", "calcium"):
        save_fit(place / "build" / model / "fit", model)
    return place


@pytest.fixture
def chest(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return read_nifti("scan.nii.gz")


@dataclasses.dataclass(frozen=True)
class ItkImage:
    """What a SimpleITK image offers, of an array in ITK's order (z, y, x)."""

    array: np.ndarray
    affine_lps: np.ndarray

    def GetSpacing(self):
        return tuple(np.linalg.norm(self.affine_lps[:3, :3], axis=0))

    def GetOrigin(self):
        return tuple(self.affine_lps[:3, 3])

    def GetDirection(self):
        return tuple((self.affine_lps[:3, :3] / self.GetSpacing()).ravel())

    def __array__(self, dtype=None, copy=None):
        return self.array


def turned(volume: Volume) -> Volume:
    """The same scan stored with other axes: (z, y, x), z downwards."""
    array = np.ascontiguousarray(volume.array.transpose(2, 1, 0)[::-1])
    affine = volume.affine[:, [2, 1, 0, 3]].copy()
    affine[:, 3] = volume.affine @ [0, 0, volume.shape[2] - 1, 1]
    affine[:, 0] *= -1
    return Volume(array, affine)


def as_nibabel(volume):
    return nibabel.Nifti1Image(volume.array, volume.affine)


def as_itk(volume):
    return ItkImage(volume.array.transpose(), np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine)


def as_simpleitk(volume):
    sitk = pytest.importorskip("SimpleITK")
    image, shape = sitk.GetImageFromArray(volume.array.transpose()), as_itk(volume)
    image.SetSpacing(shape.GetSpacing())
    image.SetOrigin(shape.GetOrigin())
    image.SetDirection(shape.GetDirection())
    return image


def as_tuple(volume):
    return volume.array, volume.affine


@pytest.mark.parametrize("form", [as_nibabel, as_itk, as_simpleitk, as_tuple, lambda volume: volume])
@pytest.mark.parametrize("axes", [lambda volume: volume, turned])
def test_an_image_in_memory_is_the_same_scan_as_its_file(chest, form, axes):
    from_file = coronet.score_mask("scan.nii.gz", "calcium.nii.gz")
    mask = read_nifti("calcium.nii.gz")
    scan = coronet.read_scan(form(axes(chest)))
    assert scan.volume.same_grid(chest) and np.array_equal(scan.volume.array, chest.array)
    found = coronet.score_mask(form(axes(chest)), form(axes(mask)))
    assert found.result.scores == from_file.result.scores
    assert found.result.lesions == from_file.result.lesions
    # an array alone takes the place of the scan in memory, in whatever order of axes
    assert coronet.score_mask(form(axes(chest)), axes(mask).array).result.scores == from_file.result.scores


def test_the_callers_array_is_not_changed(chest):
    padded = chest.array.copy()
    padded[0] = -2000
    before = padded.copy()
    assert coronet.read_scan((padded, chest.affine)).volume.array.min() >= -1024
    assert np.array_equal(padded, before)


def test_a_scan_is_scored_as_the_command_does(chest):
    from typer.testing import CliRunner

    from coronet.cli import app

    models = coronet.load_models("build")
    found = coronet.score("scan.nii.gz", models)
    in_memory = coronet.score(as_nibabel(chest), models)
    assert found.result == in_memory.result
    command = ["score", "scan.nii.gz", "--models", "build", "--json"]
    printed = CliRunner().invoke(app, command, catch_exceptions=False).stdout
    assert json.loads(printed) == json.loads(json.dumps(found.to_json()))
    segmentation = coronet.segment("scan.nii.gz", models)
    assert np.array_equal(segmentation.calcium.array > 0, found.masks.calcium)


def test_results_are_saved_with_what_to_json_gives(chest, tmp_path):
    models = coronet.load_models("build")
    results = {
        "score": coronet.score("scan.nii.gz", models),
        "segmentation": coronet.segment("scan.nii.gz", models),
        "mask": coronet.score_mask("scan.nii.gz", "calcium.nii.gz"),
        "agreement": coronet.agreement([0, 12, 150, 420], [0, 10, 290, 400], resamples=20),
    }
    for name, found in results.items():
        path = found.save(tmp_path / name)
        assert json.loads(path.read_text()) == json.loads(json.dumps(found.to_json()))
    assert read_nifti(tmp_path / "score" / "calcium.nii.gz").same_grid(chest)
    assert (tmp_path / "segmentation" / "heart.nii.gz").exists()
    assert (tmp_path / "agreement" / "agreement.png").exists()


REFUSED = {
    "no image": (3, "int is not an image"),
    "an array alone": (np.zeros((4, 4, 4)), "ndarray is not an image"),
    "no affine": ((np.zeros((4, 4, 4)), np.eye(3)), "affine has shape"),
    "text": ((np.zeros((4, 4, 4)), "RAS"), "two arrays of numbers"),
    "four axes": ((np.zeros((4, 4, 4, 2)), np.eye(4)), "three axes"),
    "one slice": ((np.zeros((4, 4, 1)), np.eye(4)), "single slice"),
    "a colour": ((np.zeros((4, 4, 4), complex), np.eye(4)), "arrays of numbers"),
    "no spacing": ((np.zeros((4, 4, 4)), np.diag([1.0, 0, 1, 1])), "spacing"),
    "sheared": ((np.zeros((4, 4, 4)), np.eye(4) + 0.3 * np.eye(4, k=1) * [[0, 1, 0, 0]] * 1), "axes lean"),
    "not finite": ((np.full((4, 4, 4), np.nan), np.eye(4)), "not finite"),
    "a plane image": (ItkImage(np.zeros((4, 4)), np.eye(4)), "not one volume"),
    "absent": ("absent.nii.gz", "no such file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_scan_is_refused_with_a_reason(case):
    scan, reason = REFUSED[case]
    with pytest.raises(UnreadableScan, match=reason):
        coronet.read_scan(scan)


def test_a_mask_that_may_not_fit_is_refused(chest):
    mask = read_nifti("calcium.nii.gz").array
    with pytest.raises(InputError, match="array without a place"):
        coronet.score_mask("scan.nii.gz", mask)
    with pytest.raises(InputError, match="has shape"):
        coronet.score_mask(chest, mask[:-1])
    with pytest.raises(InputError, match="no whole numbers"):
        coronet.score_mask(chest, mask * np.float32(0.4))
    moved = chest.affine + np.diag([0.0, 0, 0, 0])
    moved[0, 3] += 30
    with pytest.raises(InputError, match="another grid"):
        coronet.score_mask(chest, (mask, moved))


def test_a_scan_that_must_not_be_scored_is_refused(chest):
    cut = Volume(np.asfortranarray(chest.array[:, :, :32]), chest.affine)
    models = coronet.load_models("build")
    for function in (coronet.score, coronet.segment):
        with pytest.raises(UnsuitableScan, match="reaches the highest slice"):
            function(cut, models)
    assert "incomplete" in coronet.segment(cut, models, force=True).to_json()["warnings"]


def test_importing_coronet_loads_nothing_heavy():
    code = (
        "import sys\nimport coronet\nheavy = sorted({name.partition('.')[0] for name in sys.modules} & "
        "{'numpy', 'torch', 'scipy', 'pandas', 'nibabel', 'pydicom', 'mlflow', 'matplotlib', 'typer'})\n"
        "assert not heavy, heavy\nassert len(sys.modules) < 120, len(sys.modules)\n"
        "assert set(coronet.__all__) <= set(dir(coronet))\n"
        "assert all(getattr(coronet, name) for name in coronet.__all__)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'scores'"):
        _ = coronet.scores


def test_what_needs_no_network_loads_no_torch(folder):
    code = (
        "import sys\nimport coronet\n"
        "coronet.score_mask('scan.nii.gz', 'calcium.nii.gz')\n"
        "coronet.agreement([0, 12, 150], [0, 10, 290], resamples=5)\n"
        "from coronet.cli import agreement, score\nassert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)


DOCUMENTED = ["coronet", "coronet.api", "coronet.io.reader", "coronet.scoring.score_with_mask"]


@pytest.mark.parametrize("module", DOCUMENTED)
def test_the_examples_in_docstrings_run(module, chest):
    found = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)
    assert found.attempted and not found.failed


def test_every_public_function_has_an_example():
    for name in coronet.__all__:
        value = getattr(coronet, name)
        assert value.__doc__
        if not isinstance(value, type):
            assert ">>> " in value.__doc__, name


def test_the_page_on_python_runs(chest, folder):
    found = doctest.testfile(
        str(ROOT / "docs" / "python.md"), module_relative=False, optionflags=doctest.ELLIPSIS
    )
    assert found.attempted > 8 and not found.failed
