"""Reading scans: every real folder is read right or refused with its reason, and the volume formats."""

from __future__ import annotations

import zlib
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pydicom
import pytest

from coronet.errors import UnreadableScan
from coronet.io.reader import read_scan

ODD = "import_oddities"
FAILING = f"{ODD}/dicom2nifti_failing"

READ = [
    # path, shape (x, y, z), spacing in mm, lowest and highest HU
    ("lung1_001", (512, 512, 134), (0.9766, 0.9766, 3.0), (-1024, 3034)),
    ("lung_dx_a0002/B40f", (512, 512, 30), (0.6465, 0.6465, 8.0), (-1024, 1548)),
    ("lung_dx_a0002/B70f", (512, 512, 30), (0.6465, 0.6465, 8.0), (-1024, 1904)),
    # 5 mm thick slices every 4 mm: the positions count
    ("acrin_flt_013", (512, 512, 49), (1.3672, 1.3672, 4.0), (-1024, 3071)),
    ("qrm_calcium_phantom", (512, 512, 47), (0.488, 0.488, 3.0), (-1024, 1275)),
    # JPEG 2000, no SOP class, no series UID, 3 mm thick slices every 2 mm
    ("totalseg_ref/example_ct_dicom", (512, 512, 20), (0.9766, 0.9766, 2.0), (-1024, 1839)),
    ("totalseg_ref/example_ct_sm.nii.gz", (122, 101, 30), (3, 3, 3), (-1024, 1207)),
    ("totalseg_ref/pulmonary_report/models/ct_cropped.nii.gz", (122, 102, 112), (1.5,) * 3, (-1024, 3343)),
    ("slicer_ctchest/CTChest4.nrrd", (128, 128, 34), (3.0469, 3.0469, 10.0), (-1024, 3070)),
    ("lidc_3mm/0187_img.nrrd", (112, 112, 112), (3, 3, 3), (-1024, 3067)),
    ("lidc_3mm/0506_img.nrrd", (112, 112, 112), (3, 3, 3), (-1024, 1491)),
    ("lidc_3mm/0909_img.nrrd", (112, 112, 112), (3, 3, 3), (-1024, 1461)),
    # no modality; the SOP class says CT
    (f"{ODD}/lungmask_2slices", (512, 512, 2), (0.625, 0.625, 1.0), (-1024, 1502)),
    # seven slices, and the same seven again as a multi-frame secondary capture, which is passed over
    (f"{ODD}/panimg/dicom_enhanced", (512, 512, 7), (0.5117, 0.5117, 4.0), (-1024, 334)),
    # coronal, with pixels that are not square
    (f"{ODD}/xz_reformat_volumes", (512, 10, 512), (1.3672, 1.6797, 1.6797), (-1024, 1567)),
    # oblique, and upright
    (f"{FAILING}/sliceincrement/002_ground_truth.nii.gz", (512, 514, 5), (0.5117, 0.5117, 0.778), (-1024, 0)),
]

REFUSED = [
    ("lung1_001/RTSTRUCT", "no CT volume in it .*1 × RTSTRUCT object"),
    ("lung_dx_a0002", r"2 series in it.*--series.*1: 30 slices .* B70f; 2: 30 slices .* B40f"),
    ("tables", "no CT volume in it"),
    ("lidc_3mm/0506_msk.nrrd", "labels from 0 to 3, no HU"),
    ("slicer_ctchest/Segmentation.seg.nrrd", "labels from 0 to 7, no HU"),
    ("totalseg_ref/pulmonary_report/models/heart.nii.gz", "labels from 0 to 1, no HU"),
    (f"{FAILING}/gantrytilting", r"lean by 14.0 degrees.*gantry tilt"),
    (f"{FAILING}/notavolume", "4 acquisitions of the same place"),
    (f"{FAILING}/slicecount/001", "2 × MR object"),
    (f"{FAILING}/sliceincrement/001", r"10.00 mm between 28.1 and 38.1, elsewhere 5.00 mm"),
    (f"{FAILING}/sliceincrement/002", r"lean by 15.5 degrees.*gantry tilt"),
    (f"{FAILING}/sliceorientation", "4 × MR object"),
    (f"{ODD}/gantry_tilt_uneven_GE", r"lean by 18.5 degrees.*gantry tilt"),
    (f"{ODD}/j2k_undecodable_fda_phantom", "only every 100th slice is there"),
    (f"{ODD}/localizer_philips", "1 × localizer"),
    (f"{ODD}/rgb_secondary_philips", "2 × localizer, 3 × picture in colour"),
    (f"{ODD}/seg_one_file_per_slice", "5 × SEG object"),
    (f"{ODD}/enhanced_multiframe/CT_small.dcm", "a single slice"),
    (f"{ODD}/enhanced_multiframe/eCT_Supplemental.dcm", "1 × computed map"),
    (f"{ODD}/enhanced_multiframe/emri_small.dcm", "1 × MR object"),
    (f"{ODD}/enhanced_multiframe/emri_small_big_endian.dcm", "1 × MR object"),
    (f"{ODD}/enhanced_multiframe/emri_small_jpeg_2k_lossless_too_short.dcm", "no CT volume"),
    (f"{ODD}/panimg/dicom_4d", r"19 series in it.*and 7 more"),
    (f"{ODD}/panimg/dicom_4d_enhanced", "19 × secondary capture"),
    (f"{ODD}/panimg/dicom_slope", "every voxel is 0"),
    (f"{ODD}/panimg/dicom_window_level", "every voxel is 0"),
    (f"{ODD}/panimg/dicom_intercept", "no HU"),
    (f"{ODD}/transfer_syntaxes_WG04", "4 series in it"),
    (f"{ODD}/transfer_syntaxes_WG04/CT1_J2KR", "a single slice"),
]


@pytest.mark.parametrize(("name", "shape", "spacing", "hu"), READ, ids=[row[0] for row in READ])
def test_real_scans_are_read(real_data, name, shape, spacing, hu):
    scan = read_scan(real_data / name)
    assert scan.volume.shape == shape
    assert scan.volume.spacing_mm == pytest.approx(spacing, abs=1e-3)
    assert (scan.volume.array.min(), scan.volume.array.max()) == hu
    assert scan.volume.array.dtype == np.int16
    assert nibabel.aff2axcodes(scan.volume.affine) == ("R", "A", "S")


@pytest.mark.parametrize(("name", "gist"), REFUSED, ids=[row[0] for row in REFUSED])
def test_real_oddities_are_refused_with_the_reason(real_data, name, gist):
    with pytest.raises(UnreadableScan, match=gist) as caught:
        read_scan(real_data / name)
    assert str(caught.value).startswith(str(real_data / name))


def test_every_real_folder_is_in_a_table(real_data):
    named = [real_data / row[0] for row in [*READ, *REFUSED]]
    parts = [folder for folder in real_data.rglob("*.dcm") for folder in [folder.parent]]
    for folder in {*parts, *(real_data / ODD / "panimg").iterdir()}:
        inside = any(folder in (path, *path.parents) or path in folder.parents for path in named)
        assert inside, folder


@pytest.mark.parametrize("name", ["lung_dx_a0002/B40f", f"{ODD}/xz_reformat_volumes", "qrm_calcium_phantom"])
def test_geometry_and_hu_agree_with_another_reader(real_data, name):
    import highdicom

    scan = read_scan(real_data / name)
    files = [pydicom.dcmread(path) for path in sorted((real_data / name).iterdir())]
    other = highdicom.get_volume_from_series(files)
    rng = np.random.default_rng(0)
    # The two lowest planes of the coronal one hold nothing but 0 HU: no data, hence air.
    voxels = rng.integers((0, 0, 2), scan.volume.shape, (4000, 3))
    world = nibabel.affines.apply_affine(scan.volume.affine, voxels)
    index = nibabel.affines.apply_affine(np.linalg.inv(other.affine), world * [-1, -1, 1])
    assert np.abs(index - np.rint(index)).max() < 1e-3
    expected = other.array[tuple(np.rint(index).astype(int).T)]
    assert np.array_equal(scan.volume.array[tuple(voxels.T)], np.maximum(expected, -1024))


def test_findings_of_a_real_chest_lie_where_they_were_seen(real_data):
    """Right coronary calcium near row 193, column 246 of slices 50 to 57, counted from the feet."""
    volume = read_scan(real_data / "lung1_001").volume
    last = 511
    window = volume.array[last - 246 - 12 : last - 246 + 13, last - 193 - 12 : last - 193 + 13]
    highest = window.max(axis=(0, 1))
    assert (highest[50:58] >= 130).all()
    assert highest[38:43].max() < 130
    # The liver is on the right and the stomach's air on the left; the spine is at the back.
    bones = volume.array[:, :, 20] > 300
    spine = np.argwhere(bones[200:312, 100:400])
    assert np.median(spine[:, 1]) + 100 < 256


def test_compressed_slices_decode_to_the_same_values(real_data, tmp_path):
    """One slice in six compressions, put on top of each other: the lossless ones agree to the last bit."""
    folder = real_data / ODD / "transfer_syntaxes_WG04"
    for index, kind in enumerate(("J2KR", "JLSL", "JPLL", "RLE", "J2KI", "JLSN")):
        dataset = pydicom.dcmread(folder / f"CT1_{kind}")
        dataset.StudyInstanceUID = dataset.SeriesInstanceUID = dataset.FrameOfReferenceUID = "1.2.3"
        dataset.ImagePositionPatient = [-158.135803, -179.035797, -75.7 + 5 * index]
        dataset.InstanceNumber = index + 1
        dataset.save_as(tmp_path / kind)
    volume = read_scan(tmp_path).volume
    assert volume.array[..., :4].max() == 2278 - 1024
    for index in (1, 2, 3):
        assert np.array_equal(volume.array[..., 0], volume.array[..., index])
    inside = volume.array[..., 0] > -1000
    assert np.abs(volume.array[inside][:, 4].astype(int) - volume.array[inside][:, 0]).mean() < 60
    assert np.abs(volume.array[inside][:, 5].astype(int) - volume.array[inside][:, 0]).max() <= 10


def test_undecodable_slices_are_refused(real_data, tmp_path):
    for index, path in enumerate(sorted((real_data / ODD / "j2k_undecodable_fda_phantom").iterdir())):
        dataset = pydicom.dcmread(path)
        dataset.InstanceNumber = index + 1
        dataset.save_as(tmp_path / path.name)
    with pytest.raises(UnreadableScan, match=r"slice at .* mm cannot be decoded \(JPEG 2000"):
        read_scan(tmp_path)


def test_outer_slices_without_data_are_air(real_data):
    """The source of this scan filled slices outside its field with 0 HU, which is water."""
    array = read_scan(real_data / "lidc_3mm" / "0506_img.nrrd").volume.array
    raw = nrrd.read(str(real_data / "lidc_3mm" / "0506_img.nrrd"))[0]
    assert (raw[:, :, 100:] == 0).all()
    assert (array[:, :, 100:] == -1024).all()
    assert np.array_equal(array[::-1, ::-1, :100], np.maximum(raw[:, :, :100], -1024))


# Volume formats, from values whose place is known

SHAPE = (5, 6, 7)


def values(dtype: str = "<i2") -> np.ndarray:
    return np.random.default_rng(3).integers(-1000, 1500, SHAPE).astype(dtype)


def ras_affine(rng_seed: int = 0) -> np.ndarray:
    affine = np.diag([-0.7, -0.8, 2.5, 1.0])
    affine[:3, 3] = (90.0, 110.0, -300.0)
    return affine


def check_place(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Each voxel of ``array`` is found at its place in what `read_scan` returns."""
    volume = read_scan(path).volume
    index = np.argwhere(np.ones(array.shape, bool))
    world = nibabel.affines.apply_affine(affine, index)
    back = nibabel.affines.apply_affine(np.linalg.inv(volume.affine), world)
    assert np.abs(back - np.rint(back)).max() < 1e-3
    assert np.array_equal(volume.array[tuple(np.rint(back).astype(int).T)], array[tuple(index.T)])


def save_nifti(path: Path, array: np.ndarray, affine: np.ndarray, **header) -> Path:
    image = nibabel.Nifti1Image(array, affine)
    image.set_sform(affine, code=header.get("sform", 2))
    image.set_qform(header.get("qform_affine", affine), code=header.get("qform", 1))
    image.header.set_xyzt_units(header.get("unit", "mm"))
    nibabel.save(image, path)
    return path


def test_nifti_is_placed_by_its_affine(tmp_path):
    array = values()
    check_place(save_nifti(tmp_path / "a.nii.gz", array, ras_affine()), array, ras_affine())
    turned = nibabel.affines.from_matvec([[0, 0, 2.5], [-0.7, 0, 0], [0, 0.8, 0]], [5, 6, 7])
    check_place(save_nifti(tmp_path / "b.nii", array, turned), array, turned)
    angle = np.radians(12)
    oblique = np.eye(4)
    oblique[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    oblique = oblique @ ras_affine()
    check_place(save_nifti(tmp_path / "c.nii.gz", array, oblique), array, oblique)
    check_place(save_nifti(tmp_path / "d.nii", array, ras_affine(), sform=0), array, ras_affine())


def test_nifti_scaling_and_a_fourth_axis_of_one(tmp_path):
    array = values()[..., None]
    image = nibabel.Nifti1Image((array + 1024).astype(np.uint16), ras_affine())
    image.header.set_slope_inter(1, -1024)
    nibabel.save(image, tmp_path / "scaled.nii.gz")
    check_place(tmp_path / "scaled.nii.gz", array[..., 0], ras_affine())


def test_nifti_in_metres_is_brought_to_millimetres(tmp_path):
    metres = np.diag([0.001, 0.001, 0.001, 1]) @ ras_affine()
    path = save_nifti(tmp_path / "m.nii", values(), metres, unit="meter")
    assert read_scan(path).volume.spacing_mm == pytest.approx((0.7, 0.8, 2.5))


def flipped() -> np.ndarray:
    return np.diag([-1, 1, 1, 1]) @ ras_affine()


@pytest.mark.parametrize(
    ("make", "gist"),
    [
        (
            lambda p: save_nifti(p, values(), ras_affine(), sform=0, qform=0),
            "does not say how the patient lies",
        ),
        (lambda p: save_nifti(p, values(), ras_affine(), qform_affine=flipped()), "qform says .* sform says"),
        (lambda p: save_nifti(p, np.stack([values()] * 3, -1), ras_affine()), "a series in time"),
        (lambda p: save_nifti(p, values()[:, :, :1], ras_affine()), "a single slice"),
        (lambda p: save_nifti(p, np.full(SHAPE, np.nan, "f4"), ras_affine()), "210 voxels are not finite"),
        (lambda p: save_nifti(p, np.zeros(SHAPE, "f4"), ras_affine()), "every voxel is 0"),
        (lambda p: p.write_bytes(b"no NIfTI at all") and p, "damaged or no NIfTI"),
        (lambda p: p.write_bytes(b"") or p, "damaged or no NIfTI"),
    ],
)
def test_nifti_that_cannot_be_used(tmp_path, make, gist):
    path = tmp_path / "scan.nii"
    make(path)
    with pytest.raises(UnreadableScan, match=gist):
        read_scan(path)


def test_cut_volume_files_are_refused(tmp_path):
    save_nifti(tmp_path / "whole.nii.gz", values(), ras_affine())
    save_nrrd(tmp_path / "whole.nrrd", values())
    save_mha(tmp_path / "whole.mha", values(), packed=True)
    save_mha(tmp_path / "plain.mha", values())
    for name in ("whole.nii.gz", "whole.nrrd", "whole.mha", "plain.mha"):
        content = (tmp_path / name).read_bytes()
        for kept in (0, 10, len(content) // 2, len(content) - 20):
            cut = tmp_path / f"cut{kept}.{name.partition('.')[2]}"
            cut.write_bytes(content[:kept])
            with pytest.raises(UnreadableScan):
                read_scan(cut)


def test_a_leaning_affine_is_refused(tmp_path):
    affine = ras_affine()
    affine[1, 2] = 0.6
    image = nibabel.Nifti1Image(values(), affine)
    image.set_qform(None, code=0)
    nibabel.save(image, tmp_path / "tilt.nii")
    with pytest.raises(UnreadableScan, match="gantry tilt"):
        read_scan(tmp_path / "tilt.nii")


def save_nrrd(path: Path, array: np.ndarray, space: str = "left-posterior-superior", **header) -> Path:
    to_file = {"left-posterior-superior": [-1, -1, 1], "RAS": [1, 1, 1], "left-anterior-superior": [-1, 1, 1]}
    affine = np.diag([*to_file.get(space, [1, 1, 1]), 1]) @ ras_affine()
    fields = {"space": space, "space directions": affine[:3, :3].T, "space origin": affine[:3, 3]}
    nrrd.write(str(path), array, {**fields, **header})
    return path


@pytest.mark.parametrize("space", ["left-posterior-superior", "RAS", "left-anterior-superior"])
def test_nrrd_is_placed_by_its_space(tmp_path, space):
    array = values()
    check_place(save_nrrd(tmp_path / "a.nrrd", array, space), array, ras_affine())


def test_nrrd_with_a_detached_header_and_big_endian(tmp_path):
    array = values()
    save_nrrd(tmp_path / "a.nhdr", array)
    check_place(tmp_path / "a.nhdr", array, ras_affine())
    save_nrrd(tmp_path / "b.nrrd", array.astype(">i2"), endian="big")
    check_place(tmp_path / "b.nrrd", array, ras_affine())


def test_nrrd_that_cannot_be_used(tmp_path):
    nrrd.write(str(tmp_path / "a.nrrd"), values(), {"spacings": [1, 1, 1]})
    with pytest.raises(UnreadableScan, match="does not say how the patient lies"):
        read_scan(tmp_path / "a.nrrd")
    save_nrrd(tmp_path / "b.nrrd", values(), **{"space units": ["cm", "cm", "cm"]})
    with pytest.raises(UnreadableScan, match="not in millimetres"):
        read_scan(tmp_path / "b.nrrd")
    save_nrrd(tmp_path / "c.nhdr", values())
    moved = (tmp_path / "c.nhdr").read_text(errors="surrogateescape").replace("data file: ", "data file: ../")
    (tmp_path / "c.nhdr").write_text(moved, errors="surrogateescape")
    with pytest.raises(UnreadableScan, match="one file in the same folder"):
        read_scan(tmp_path / "c.nhdr")


def save_mha(path: Path, array: np.ndarray, *, packed: bool = False, big: bool = False, **fields) -> Path:
    affine = np.diag([-1, -1, 1, 1]) @ ras_affine()
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(0))
    content = array.astype(">i2" if big else "<i2").tobytes(order="F")
    content = zlib.compress(content) if packed else content
    header = {
        "ObjectType": "Image",
        "NDims": 3,
        "BinaryData": True,
        "BinaryDataByteOrderMSB": big,
        "CompressedData": packed,
        # Each row of the file is the direction of one axis.
        "TransformMatrix": " ".join(str(v) for v in (affine[:3, :3] / spacing).T.ravel()),
        "Offset": " ".join(str(v) for v in affine[:3, 3]),
        "ElementSpacing": " ".join(str(v) for v in spacing),
        "DimSize": " ".join(str(v) for v in array.shape),
        "ElementType": "MET_SHORT",
        **fields,
    }
    raw = path.suffix == ".mhd"
    header["ElementDataFile"] = fields.get("ElementDataFile", f"{path.stem}.raw" if raw else "LOCAL")
    text = "".join(f"{key} = {value}\n" for key, value in header.items() if value is not None)
    path.write_bytes(text.encode() + (b"" if raw else content))
    if raw:
        path.with_suffix(".raw").write_bytes(content)
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("suffix", [".mha", ".mhd"])
def test_metaimage_is_placed_by_its_transform(tmp_path, packed, big, suffix):
    array = values()
    check_place(save_mha(tmp_path / f"a{suffix}", array, packed=packed, big=big), array, ras_affine())


def test_metaimage_axes_are_the_rows_of_its_matrix(tmp_path):
    array = values()
    path = save_mha(tmp_path / "a.mha", array, TransformMatrix="0 1 0 0 0 -1 -1 0 0", Offset="1 2 3")
    lps = np.eye(4)
    lps[:3, :3] = np.array([[0, 1, 0], [0, 0, -1], [-1, 0, 0]]).T * (0.7, 0.8, 2.5)
    lps[:3, 3] = (1, 2, 3)
    check_place(path, array, np.diag([-1, -1, 1, 1]) @ lps)


@pytest.mark.parametrize(
    ("fields", "gist"),
    [
        ({"ElementSpacing": None}, "does not say its spacing"),
        ({"ElementNumberOfChannels": 3}, "several channels"),
        ({"ElementType": "MET_STRING"}, "are no HU"),
        ({"ElementDataFile": "LIST"}, "one file in the same folder"),
        ({"ElementDataFile": "../other.raw"}, "one file in the same folder"),
        ({"ElementDataFile": "gone.raw"}, "is absent"),
        ({"DimSize": "5 6 700"}, "end early"),
        ({"ElementSpacing": "0 1 1"}, "cannot be right"),
        ({"BinaryData": False}, "only binary data"),
    ],
)
def test_metaimage_that_cannot_be_used(tmp_path, fields, gist):
    with pytest.raises(UnreadableScan, match=gist):
        read_scan(save_mha(tmp_path / "a.mha", values(), **fields))


def test_lost_slices_inside_a_volume_are_refused(tmp_path):
    array = values()
    array[:, :, 3] = 0
    with pytest.raises(UnreadableScan, match="1 slices inside the volume hold no data"):
        read_scan(save_nifti(tmp_path / "a.nii", array, ras_affine()))


def test_padding_below_air_is_air_in_every_format(tmp_path):
    array = values()
    array[:2, :2] = -3024
    for path in (
        save_nifti(tmp_path / "a.nii", array, ras_affine()),
        save_nrrd(tmp_path / "a.nrrd", array),
        save_mha(tmp_path / "a.mha", array),
    ):
        check_place(path, np.maximum(array, -1024), ras_affine())


def test_fractions_of_hu_are_kept(tmp_path):
    array = values("f4") + np.float32(0.25)
    assert read_scan(save_nifti(tmp_path / "a.nii", array, ras_affine())).volume.array.dtype == np.float32


def test_what_is_not_there(tmp_path):
    with pytest.raises(UnreadableScan, match="no such file or folder"):
        read_scan(tmp_path / "gone")
    with pytest.raises(UnreadableScan, match="no files"):
        read_scan(tmp_path)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_bytes_are_read_or_refused_but_never_crash(tmp_path, write_dicom, picture, seed):
    """Flip, overwrite and cut bytes, mostly in the headers."""
    rng = np.random.default_rng(seed)
    files = [
        save_nifti(tmp_path / "a.nii", values(), ras_affine()),
        save_nrrd(tmp_path / "a.nrrd", values()),
        save_mha(tmp_path / "a.mha", values()),
        write_dicom(tmp_path / "ct", picture((3, 8, 8)))[1],
        write_dicom(tmp_path / "rle", picture((3, 8, 8)), syntax="1.2.840.10008.1.2.5")[1],
        write_dicom(tmp_path / "jls", picture((3, 8, 8)), syntax="1.2.840.10008.1.2.4.80")[1],
    ]
    for file in files:
        whole = file.read_bytes()
        for _ in range(25):
            content = bytearray(whole)
            for place in rng.integers(0, min(len(content), 1200), rng.integers(1, 12)):
                content[place] = rng.choice([0, 255, ord("-"), ord("9"), int(rng.integers(256))])
            file.write_bytes(content[: rng.integers(len(content))] if rng.random() < 0.1 else content)
            try:
                scan = read_scan(file if file.parent == tmp_path else file.parent)
            except UnreadableScan:
                continue
            assert np.isfinite(scan.volume.array).all()
        file.write_bytes(whole)


def test_a_decoder_that_dies_takes_nobody_along(real_data, tmp_path):
    """Some damaged JPEG streams make the decoder abort its process."""
    source = real_data / ODD / "transfer_syntaxes_WG04" / "CT1_JPLL"
    for index in range(2):
        dataset = pydicom.dcmread(source)
        dataset.InstanceNumber, dataset.ImagePositionPatient = index + 1, [0, 0, 5 * index]
        dataset.save_as(tmp_path / f"{index}.dcm")
    whole = (tmp_path / "1.dcm").read_bytes()
    table = whole.index(b"\xff\xc4")
    (tmp_path / "1.dcm").write_bytes(whole[: table + 4] + b"\xff" * 24 + whole[table + 28 :])
    with pytest.raises(UnreadableScan, match=r"cannot be decoded \(JPEG Lossless"):
        read_scan(tmp_path)
