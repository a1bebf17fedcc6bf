"""Bringing scans into the cohort: whole or not at all, once, and without a trace of the patient."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import itertools
import json
import logging
import stat
from collections.abc import Iterator
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from typer.testing import CliRunner

from coronet import cli
from coronet.dataset import import_scans as add_module
from coronet.dataset.cases import find_cases
from coronet.dataset.import_masks import MaskSources
from coronet.dataset.import_scans import import_scans
from coronet.errors import CoronetError, InputError
from coronet.io.volume import grid_affine, read_nifti

CANARY = "Kanarienvogel"
AFFINE = np.diag([-0.7, -0.8, 2.5, 1.0])


def values(seed: int = 0, shape: tuple[int, int, int] = (8, 9, 10)) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1000, 1500, shape).astype(np.int16)


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


def files_of(data: Path) -> dict[str, bytes]:
    return {str(path.relative_to(data)): path.read_bytes() for path in data.rglob("*") if path.is_file()}


def test_a_scan_with_masks_becomes_a_case(tmp_path):
    scan = save(tmp_path / "a.nii.gz", values())
    mask = values() // 400
    mask[mask < 0] = 0
    masks = save(tmp_path / "m.nii.gz", mask.astype(np.uint8))
    outcome = import_scans(
        [scan],
        data=tmp_path / "data",
        masks=MaskSources(heart=masks, heart_labels=(1, 3), calcium=masks, calcium_labels=(3,)),
    )
    (case,) = find_cases(tmp_path / "data")
    assert outcome.refused == ()
    assert (outcome.added[0].case, outcome.added[0].new) == (case.id, True)
    assert outcome.added[0].masks == ("heart", "calcium")
    assert np.array_equal(read_nifti(case.ct).array[::-1, ::-1], np.maximum(values(), -1024))
    assert np.array_equal(read_nifti(case.heart).array[::-1, ::-1], np.isin(mask, (1, 3)))
    assert np.array_equal(read_nifti(case.calcium).array[::-1, ::-1], mask == 3)
    assert read_nifti(case.heart).same_grid(read_nifti(case.ct))
    assert case.facts.source == "nifti"
    assert "heart_size" in case.facts.flags


def test_arteries_are_kept_and_other_numbers_are_not(tmp_path):
    for name, top, expected in (("few", 5, [0, 1, 2, 3, 4]), ("many", 9, [0, 1])):
        scan = save(tmp_path / name / "a.nii", values(top))
        mask = save(tmp_path / name / "m.nii", (np.arange(720).reshape(8, 9, 10) % top).astype(np.uint8))
        import_scans([scan], data=tmp_path / name / "data", masks=MaskSources(calcium=mask))
        (case,) = find_cases(tmp_path / name / "data")
        assert np.unique(read_nifti(case.calcium).array).tolist() == expected


def test_the_same_scan_twice_changes_nothing(tmp_path, write_dicom, picture):
    data = tmp_path / "data"
    write_dicom(tmp_path / "one", picture((4, 8, 8)))
    first = import_scans([tmp_path / "one"], data=data)
    before = files_of(data)
    (tmp_path / "one").rename(tmp_path / "moved")
    again = import_scans([tmp_path / "moved", tmp_path / "moved"], data=data)
    assert [item.new for item in again.added] == [False, False]
    assert again.added[0].case == first.added[0].case
    assert files_of(data) == before
    with pytest.raises(CoronetError):
        raise InputError(*import_scans([tmp_path / "moved"], data=data, case="other").refused)


def test_the_same_scan_is_known_under_a_chosen_id(tmp_path):
    scan = save(tmp_path / "a.nii", values())
    copy = save(tmp_path / "b.nii.gz", values())
    import_scans([scan], data=tmp_path / "data", case="mine")
    again = import_scans([copy], data=tmp_path / "data")
    assert (again.added[0].case, again.added[0].new) == ("mine", False)
    taken = import_scans([save(tmp_path / "c.nii", values(5))], data=tmp_path / "data", case="mine")
    assert "another scan named mine" in taken.refused[0]
    with pytest.raises(InputError, match="cannot name a case"):
        import_scans([scan], data=tmp_path / "data", case="../x")


def test_masks_can_follow_but_not_change(tmp_path):
    data, scan = tmp_path / "data", save(tmp_path / "a.nii", values())
    import_scans([scan], data=data)
    mask = save(tmp_path / "m.nii", np.ones((8, 9, 10), np.uint8))
    assert import_scans([scan], data=data, masks=MaskSources(heart=mask)).added[0].masks == ("heart",)
    assert import_scans([scan], data=data, masks=MaskSources(heart=mask)).added[0].masks == ()
    before = files_of(data)
    other = save(tmp_path / "n.nii", np.eye(8, 9)[..., None].repeat(10, 2).astype(np.uint8))
    assert (
        "another heart mask already"
        in import_scans([scan], data=data, masks=MaskSources(heart=other)).refused[0]
    )
    assert files_of(data) == before


def test_one_patient_has_one_pseudonym_in_one_cohort(tmp_path, write_dicom, picture):
    for name, patient in (("a", "MRN-1"), ("b", "MRN-1"), ("c", "MRN-2")):

        def change(dataset, index, patient=patient):
            dataset.PatientID = patient

        write_dicom(tmp_path / "scans" / name, picture((4, 8, 8), seed=ord(name)), change=change)
    save(tmp_path / "d.nii", values())
    outcome = import_scans([tmp_path / "scans" / name for name in "abc"], data=tmp_path / "data")
    a, b, c = (item.patient for item in outcome.added)
    assert a == b != c
    named = import_scans([tmp_path / "d.nii"], data=tmp_path / "data", patient="MRN-2")
    assert named.added[0].patient == c
    elsewhere = import_scans([tmp_path / "scans" / "a"], data=tmp_path / "other")
    assert elsewhere.added[0].patient != a
    assert elsewhere.added[0].case != outcome.added[0].case
    assert stat.S_IMODE((tmp_path / "data" / ".salt").stat().st_mode) == 0o600


def test_a_blank_patient_id_falls_back_to_the_study(tmp_path, write_dicom, picture):
    def change(dataset, index):
        dataset.PatientID = "ANONYMOUS"

    for name in "ab":
        write_dicom(tmp_path / name, picture((4, 8, 8), seed=ord(name)), change=change)
    outcome = import_scans([tmp_path / "a", tmp_path / "b"], data=tmp_path / "data")
    assert outcome.added[0].patient != outcome.added[1].patient


def test_every_good_scan_is_added_and_every_bad_one_listed(tmp_path, write_dicom, picture):
    write_dicom(tmp_path / "in" / "good", picture((4, 8, 8)))
    write_dicom(tmp_path / "in" / "gap", picture((4, 8, 8)), depths_mm=[0, 1, 2, 4])
    (tmp_path / "in" / "bad.nii").write_bytes(b"nothing")
    save(tmp_path / "in" / "deep" / "fine.nii.gz", values())
    result = CliRunner().invoke(
        cli.app,
        ["data", "import", str(tmp_path / "in"), str(tmp_path / "gone"), "--data", str(tmp_path / "data")],
    )
    assert isinstance(result.exception, InputError)
    assert "3 refused, 2 in the cohort" in str(result.exception)
    for gist in ("bad.nii: the file is damaged", "missing or unevenly spaced", "gone: there is no such file"):
        assert gist in result.output
    assert len(find_cases(tmp_path / "data")) == 2


def test_json_output_can_be_parsed(tmp_path):
    scan = save(tmp_path / "a.nii", values())
    result = CliRunner().invoke(
        cli.app, ["data", "import", str(scan), "--data", str(tmp_path / "data"), "--json"]
    )
    assert result.exit_code == 0
    assert json.loads(result.stdout)["added"][0]["new"] is True


def test_masks_for_several_scans_are_refused_before_anything_is_written(tmp_path):
    scans = [save(tmp_path / f"{seed}.nii", values(seed)) for seed in (1, 2)]
    with pytest.raises(InputError, match="belong to one"):
        import_scans(scans, data=tmp_path / "data", masks=MaskSources(heart=scans[0]))
    assert not (tmp_path / "data" / "ct").exists()


@pytest.mark.parametrize(
    "masks",
    [
        lambda folder: MaskSources(heart=save(folder / "m.nii", np.zeros((8, 9, 10), np.uint8))),
        lambda folder: MaskSources(heart=save(folder / "m.nii", np.ones((4, 4, 4), np.uint8), np.eye(4))),
        lambda folder: MaskSources(heart=folder / "gone.nii"),
        lambda folder: MaskSources(calcium=save(folder / "m.nii", values() / 7)),
    ],
    ids=["empty heart", "another grid", "absent", "no labels"],
)
def test_a_scan_whose_mask_is_refused_is_not_added(tmp_path, masks):
    scan = save(tmp_path / "a.nii", values())
    outcome = import_scans([scan], data=tmp_path / "data", masks=masks(tmp_path))
    assert len(outcome.refused) == 1
    assert not list((tmp_path / "data").rglob("*.nii.gz"))


def test_the_path_of_a_case_is_on_the_screen_and_nowhere_else(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    scan, data = save(tmp_path / f"{CANARY}.nii", values()), tmp_path / "data"
    command = ["data", "import", str(scan), "--data", str(data)]
    shown = CliRunner().invoke(cli.app, command).stdout
    (case,) = find_cases(data)
    assert shown.startswith(f"{scan} → {case.id} ({case.facts.patient}): added")
    assert CANARY not in CliRunner().invoke(cli.app, [*command, "--json"]).stdout + caplog.text
    assert not [name for name, content in files_of(data).items() if CANARY.encode() in content]


def masked(folder: Path, seed: int, voxels: int) -> MaskSources:
    mask = np.zeros((8, 9, 10), np.uint8)
    mask[:voxels] = 1
    return MaskSources(heart=save(folder / f"mask-{seed}-{voxels}.nii", mask))


@pytest.mark.parametrize("indexed", [True, False], ids=["imported", "phantom"])
def test_a_mask_is_replaced_as_the_remedy_of_validation_says(tmp_path, indexed):
    data = tmp_path / "data"
    first = import_scans([save(tmp_path / "a.nii", values())], data=data, masks=masked(tmp_path, 1, 2))
    case = first.added[0].case
    if not indexed:
        (data / ".scans.json").unlink()
        for path in list(data.rglob(f"{case}*")):
            path.rename(path.with_name(path.name.replace(case, "phantom-1")))
        case = "phantom-1"
    facts = (data / "ct" / f"{case}.json").read_bytes()
    again = {"data": data, "case": case, "masks": masked(tmp_path, 2, 3)}
    (refused,) = import_scans([data / "ct" / f"{case}.nii.gz"], **again).refused
    assert "--replace" in refused
    outcome = import_scans([data / "ct" / f"{case}.nii.gz"], replace=True, **again)
    assert (outcome.refused, outcome.added[0].new, outcome.added[0].masks) == ((), False, ("heart",))
    (there,) = find_cases(data)
    assert read_nifti(there.heart).array.sum() == 3 * 90
    assert json.loads((data / "ct" / f"{case}.json").read_text()) == json.loads(facts)


def test_a_mask_of_another_grid_is_replaced_by_the_same_voxels_on_the_scan_s(tmp_path):
    data, masks = tmp_path / "data", masked(tmp_path, 1, 2)
    case = import_scans([save(tmp_path / "a.nii", values())], data=data, masks=masks).added[0].case
    path, scan = data / "masks" / f"{case}_heart.nii.gz", data / "ct" / f"{case}.nii.gz"
    image = nibabel.load(path)
    moved = image.affine.copy()
    moved[0, 3] += 7
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), moved), path)
    assert "--replace" in import_scans([scan], data=data, masks=masks).refused[0]
    assert import_scans([scan], data=data, masks=masks, replace=True).refused == ()
    assert read_nifti(path).same_grid(read_nifti(scan))


def test_the_scan_of_a_case_is_replaced_and_its_masks_and_patient_stay(tmp_path):
    data, first, better = tmp_path / "data", save(tmp_path / "a.nii", values()), values(1)
    import_scans([first], data=data, case="mine", patient="Jane", masks=masked(tmp_path, 1, 2))
    (before,) = find_cases(data)
    other = save(tmp_path / "other.nii", values(2, (8, 9, 12)))
    (refused,) = import_scans([other], data=data, case="mine", replace=True).refused
    assert "mine_heart.nii.gz does not lie on this scan's grid" in refused
    second = save(tmp_path / "b.nii", better)
    assert import_scans([second], data=data, case="mine", replace=True).refused == ()
    (case,) = find_cases(data)
    assert (case.id, case.facts.patient) == ("mine", before.facts.patient)
    assert np.array_equal(read_nifti(case.ct).array[::-1, ::-1], np.maximum(better, -1024))
    assert read_nifti(case.heart).array.any()
    assert not import_scans([second], data=data).added[0].new
    assert import_scans([first], data=data).added[0].new, "the scan that was replaced is another one now"


@contextlib.contextmanager
def stopped_at_write(number: int) -> Iterator[None]:
    """Ctrl-C at one of the volumes that an import writes."""
    write, calls = add_module.write_nifti, itertools.count(1)

    def failing(path, volume):
        if next(calls) == number:
            raise KeyboardInterrupt
        write(path, volume)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(add_module, "write_nifti", failing)
        yield


@pytest.mark.parametrize("stop_at", [1, 2])
def test_an_interrupted_replacement_changes_nothing(tmp_path, stop_at):
    data, scan = tmp_path / "data", save(tmp_path / "a.nii", values())
    import_scans([scan], data=data, case="mine", masks=masked(tmp_path, 1, 2))
    before = files_of(data)
    new = save(tmp_path / "b.nii", values(1))
    with stopped_at_write(stop_at):
        import_scans([new], data=data, case="mine", masks=masked(tmp_path, 2, 3), replace=True)
    assert files_of(data) == before


@pytest.mark.parametrize("stop_at", [1, 2, 3])
def test_an_interruption_leaves_nothing(tmp_path, stop_at):
    """The disk fills up, or the user stops it, at any of the writes."""
    scan = save(tmp_path / "a.nii", values())
    mask = save(tmp_path / "m.nii", np.ones((8, 9, 10), np.uint8))
    with stopped_at_write(stop_at):
        import_scans([scan], data=tmp_path / "data", masks=MaskSources(heart=mask, calcium=mask))
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file() and path.name[0] != "."]
    outcome = import_scans([scan], data=tmp_path / "data", masks=MaskSources(heart=mask, calcium=mask))
    assert outcome.added[0].new


@pytest.mark.parametrize("stop_at", [1, 2])
def test_a_killed_replacement_pairs_no_mask_with_another_scan(tmp_path, monkeypatch, stop_at):
    """Nothing is put back, as after kill -9; the same command goes on."""
    data, scan = tmp_path / "data", save(tmp_path / "a.nii", values())
    both = dataclasses.replace(masked(tmp_path, 1, 2), calcium=masked(tmp_path, 1, 1).heart)
    import_scans([scan], data=data, case="mine", patient="Jane", masks=both)
    (before,) = find_cases(data)
    monkeypatch.setattr(add_module, "_all_or_none", lambda paths: contextlib.nullcontext())
    asked = {"data": data, "case": "mine", "masks": masked(tmp_path, 2, 3), "replace": True}
    new = save(tmp_path / "b.nii", values(1))
    with stopped_at_write(stop_at):
        import_scans([new], **asked)
    with pytest.raises(InputError, match="holds no scan"):
        find_cases(data)
    monkeypatch.undo()
    assert import_scans([new], **asked).refused == ()
    (case,) = find_cases(data)
    assert case.facts.patient == before.facts.patient
    assert (read_nifti(case.heart).array.sum(), read_nifti(case.calcium).array.sum()) == (270, 90)


# Canaries: a word in every place where a format has room for one.


def plant(dataset: Dataset, index: int) -> None:
    """Fill every text tag that a CT image may hold, private blocks and sequences included."""
    text = {"LO", "SH", "PN", "ST", "LT", "UT", "UC"}
    needed = {"ConvolutionKernel", "RescaleType", "PhotometricInterpretation", "Modality"}
    for tag, (vr, _, _, retired, keyword) in pydicom.datadict.DicomDictionary.items():
        if vr in text and not retired and keyword and keyword not in needed and 0x0008 <= tag >> 16 < 0x5000:
            dataset.add_new(tag, vr, f"{CANARY}")
    dataset.ConvolutionKernel = f"{CANARY} B30"[:16]
    dataset.PatientID, dataset.PatientName = f"{CANARY}-1", f"{CANARY}^Jane"
    block = dataset.private_block(0x0009, f"{CANARY} BLOCK", create=True)
    block.add_new(0x01, "LO", CANARY)
    block.add_new(0x02, "OB", CANARY.encode() + b"\0")
    item = Dataset()
    item.PatientID = item.CodeMeaning = CANARY
    dataset.OtherPatientIDsSequence = dataset.RequestAttributesSequence = pydicom.Sequence([item])
    dataset.preamble = (CANARY.encode() * 10)[:128]


def canary_nifti(path: Path, array: np.ndarray) -> Path:
    image = nibabel.Nifti1Image(array, AFFINE)
    for field in ("descrip", "aux_file", "intent_name", "db_name"):
        image.header[field] = CANARY.encode()
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", CANARY.encode()))
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("dicom", (CANARY * 3).encode()))
    nibabel.save(image, path)
    return path


def canary_mha(path: Path, array: np.ndarray) -> Path:
    head = (
        f"ObjectType = Image\nNDims = 3\nComment = {CANARY}\nPatientName = {CANARY}\nDimSize = 8 9 10\n"
        "ElementSpacing = 1 1 2\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    path.write_bytes(head.encode() + array.tobytes(order="F"))
    return path


def canary_nrrd(path: Path, array: np.ndarray, **extra) -> Path:
    affine = np.diag([-1, -1, 1, 1]) @ AFFINE
    header = {
        "space": "left-posterior-superior",
        "space directions": affine[:3, :3].T,
        "space origin": affine[:3, 3],
        "content": CANARY,
        "PatientName": CANARY,
        **extra,
    }
    nrrd.write(str(path), array, header)
    return path


def test_nothing_that_names_the_patient_is_kept(tmp_path, write_dicom, picture, caplog, capfd):
    """Search every byte of the data folder, packed and unpacked, and all that was logged or printed."""
    caplog.set_level(logging.DEBUG)
    source, data = tmp_path / CANARY, tmp_path / "data"
    source.mkdir()
    write_dicom(source / f"{CANARY}_ct", picture((4, 8, 8)), change=plant)
    paths = [
        source / f"{CANARY}_ct",
        canary_nifti(source / f"{CANARY}.nii.gz", values(1)),
        canary_nrrd(source / f"{CANARY}.nrrd", values(2)),
        canary_mha(source / f"{CANARY}.mha", values(3)),
    ]
    mask = canary_nrrd(
        source / f"{CANARY}.seg.nrrd",
        (values(4) > 0).astype(np.uint8),
        Segment0_ID=CANARY,
        Segment0_Name=CANARY,
        Segment0_LabelValue="1",
        Segment0_Layer="0",
    )
    outcome = import_scans(paths, data=data, patient=f"{CANARY} Jane")
    first = canary_nifti(source / "first.nii", values(9))
    outcome_masks = import_scans([first], data=data, masks=MaskSources(heart=mask, calcium=mask))
    assert (len(outcome.added), outcome.refused, outcome_masks.refused) == (4, (), ())
    written = files_of(data)
    assert len([name for name in written if name.endswith(".nii.gz")]) == 5 + 2
    for name, content in written.items():
        assert CANARY not in name
        unpacked = gzip.decompress(content) if name.endswith(".gz") else content
        for trace in (CANARY.encode(), CANARY[:8].encode(), CANARY.encode("utf-16-le"), b"MRN"):
            assert trace not in content, name
            assert trace not in unpacked, name
    printed = capfd.readouterr()
    assert CANARY not in caplog.text + printed.out + printed.err + repr(outcome)


def test_what_is_written_holds_geometry_and_nothing_else(tmp_path):
    import_scans([canary_nifti(tmp_path / "a.nii", values())], data=tmp_path / "data")
    (case,) = find_cases(tmp_path / "data")
    header = nibabel.load(case.ct).header
    assert bytes(header["descrip"]).strip(b"\0") == bytes(header["aux_file"]).strip(b"\0") == b""
    assert len(header.extensions) == 0
    assert set(json.loads(case.ct.with_name(f"{case.id}.json").read_text())) == {
        "patient", "source", "kernel", "slice_thickness_mm", "tube_kv", "contrast", "flags"
    }  # fmt: skip


@pytest.mark.slow
def test_real_scans_with_and_without_flags(real_data, tmp_path):
    lidc = real_data / "lidc_3mm"
    import_scans(
        [lidc / "0187_img.nrrd"],
        data=tmp_path,
        masks=MaskSources(
            heart=lidc / "0187_msk.nrrd",
            heart_labels=(1, 3),
            calcium=lidc / "0187_msk.nrrd",
            calcium_labels=(3,),
        ),
    )
    (case,) = find_cases(tmp_path)
    assert case.facts.flags == ()
    heart, calcium = read_nifti(case.heart), read_nifti(case.calcium)
    assert heart.array.sum() * heart.voxel_mm3 / 1000 == pytest.approx(661, abs=2)
    assert not calcium.array.any()
    outcome = import_scans([real_data / "lung_dx_a0002", real_data / "totalseg_ref"], data=tmp_path)
    flags = {item.flags for item in outcome.added}
    assert ("thick_slices",) in flags
    assert any("contrast" in item for item in flags)
    kernels = [item for item in outcome.added if item.shape == (512, 512, 30)]
    assert len(kernels) == 2
    assert kernels[0].patient == kernels[1].patient
    assert all("labels from" in reason for reason in outcome.refused)


def test_a_grid_far_from_the_origin_is_written_to_the_hundredth_of_a_millimetre(tmp_path):
    affine = grid_affine((0.7, 0.8, 2.5), (-1811.53, 942.27, -3025.11))
    import_scans([save(tmp_path / "a.nii", values(), affine)], data=tmp_path / "data")
    (case,) = find_cases(tmp_path / "data")
    assert np.allclose(read_nifti(case.ct).affine, affine, atol=0.005)
