"""Every fault that ruins a study of this kind is planted and must be caught, by the rule meant for it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from coronet.io.volume import Volume

pytestmark = pytest.mark.slow


def turned(
    array: np.ndarray, angles_deg: tuple[float, ...], order: int = 1, fill: float = -1024
) -> np.ndarray:
    matrix = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()
    centre = (np.array(array.shape) - 1) / 2
    return ndimage.affine_transform(array, matrix, centre - matrix @ centre, order=order, cval=fill)


def bent(array: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    places = np.stack(np.meshgrid(*map(np.arange, array.shape), indexing="ij")).astype(float)
    for axis in range(3):
        shift = ndimage.gaussian_filter(rng.standard_normal(array.shape), 5)
        places[axis] += shift / shift.std() * 0.5
    return ndimage.map_coordinates(array, places, order=1, mode="nearest")


# noise of 20 HU on voxels of 180 mm³ is as much as 250 HU on those of a usual scan
AUGMENTED = {
    "turned": lambda hu: turned(hu, (7, -6, 8)),
    "bent": lambda hu: bent(hu, 3),
    "blurred": lambda hu: ndimage.gaussian_filter(hu, 0.6),
    "gamma": lambda hu: 2024 * (np.clip(hu + 1024, 0, 2024) / 2024) ** 0.8 - 1024,
    "noisy": lambda hu: hu + np.random.default_rng(1).normal(0, 20, hu.shape),
    "mirrored": lambda hu: np.flip(hu, 0),
    "all at once": lambda hu: (
        turned(np.flip(bent(hu, 4), 0), (-4, 5, 6)) + np.random.default_rng(2).normal(0, 20, hu.shape)
    ),
}


def test_a_sound_cohort_has_no_fault(faults):
    assert faults() == set()


def test_masks_in_another_order_than_the_scans(cohort, drawn, faults):
    shifted = [*list(drawn)[1:], "case0"]
    for case, other in zip(drawn, shifted, strict=True):
        cohort.write(case, heart=drawn[other].heart, calcium=drawn[other].calcium)
    assert {(case, "calcium-dense") for case in drawn} <= faults()


def test_mask_of_another_grid(cohort, drawn, faults):
    heart = drawn["case0"].heart
    moved = heart.affine.copy()
    moved[0, 3] += 4
    cohort.write("case0", heart=Volume(heart.array, moved))
    cohort.write("case1", calcium=Volume(drawn["case1"].calcium.array[:-1], drawn["case1"].calcium.affine))
    assert {("case0", "heart-grid"), ("case1", "calcium-grid")} <= faults()


@pytest.mark.parametrize("axis", [0, 1, 2], ids=["left-right", "front-back", "feet-head"])
def test_mask_of_the_mirrored_volume(cohort, drawn, faults, axis):
    scan = drawn["case0"]
    mirrored = {
        name: getattr(scan, name).with_array(np.flip(getattr(scan, name).array, axis).copy())
        for name in ("heart", "calcium")
    }
    cohort.write("case0", **mirrored)
    assert {("case0", "heart-air"), ("case0", "calcium-dense")} & faults()


def test_mask_of_the_transposed_volume(cohort, drawn, faults):
    square = {
        name: Volume(volume.array[:48, :48, :48], volume.affine)
        for name, volume in vars(drawn["case0"]).items()
    }
    transposed = {name: square[name].with_array(square[name].array.T.copy()) for name in ("heart", "calcium")}
    cohort.write("case0", ct=square["ct"], **transposed)
    assert ("case0", "heart-air") in faults()


def test_image_and_mask_augmented_apart(cohort, drawn, faults):
    scan = drawn["case1"]
    image = scan.ct.with_array(np.rint(turned(scan.ct.array.astype(float), (8, -7, 9))).astype(np.int16))
    other = {
        name: getattr(scan, name).with_array(turned(getattr(scan, name).array, (-9, 6, -8), order=0, fill=0))
        for name in ("heart", "calcium")
    }
    cohort.write("case1", ct=image, **other)
    assert ("case1", "calcium-dense") in faults()


@pytest.mark.parametrize("change", AUGMENTED.values(), ids=AUGMENTED)
def test_augmented_twin_under_another_name(cohort, drawn, faults, change):
    hu = drawn["case2"].ct.array.astype(float)
    twin = np.rint(np.clip(change(hu), -1024, 3000)).astype(np.int16)
    cohort.write("twin", ct=drawn["case2"].ct.with_array(twin), heart=None, calcium=None)
    assert {("case2", "no-copies"), ("twin", "no-copies")} <= faults()


def test_two_scans_of_one_patient_are_no_copies(cohort, drawn, faults):
    hu = drawn["case2"].ct.array.astype(float)
    later = drawn["case2"].ct.with_array(np.rint(turned(hu, (2, 1, -3))).astype(np.int16))
    cohort.write("later", patient="patient-case2", ct=later, heart=None, calcium=None)
    assert faults() == set()


def test_same_voxels_under_another_name(cohort, drawn, faults):
    scan = drawn["case3"]
    moved = scan.ct.affine.copy()
    moved[:3, 3] += 30
    again = Volume(scan.ct.array.astype(np.float32), moved)
    cohort.write("again", patient="patient-case3", ct=again, heart=None, calcium=None)
    assert faults() == {("case3", "no-duplicates"), ("again", "no-duplicates")}


def test_strange_label(cohort, drawn, faults):
    heart, calcium = drawn["case0"].heart, drawn["case1"].calcium
    cohort.write("case0", heart=heart.with_array(heart.array * 3))
    cohort.write("case1", calcium=calcium.with_array(np.where(calcium.array > 0, 7, 0).astype(np.uint8)))
    assert faults() == {("case0", "heart-labels"), ("case1", "calcium-labels")}


def test_mask_with_fractions(cohort, drawn, faults):
    heart = drawn["case0"].heart
    noisy = heart.array + np.abs(np.random.default_rng(0).normal(0, 0.01, heart.shape)) * (heart.array > 0)
    cohort.write("case0", heart=heart.with_array(noisy.astype(np.float32)))
    assert faults() == {("case0", "heart-integer")}


def test_lost_hu_offset(cohort, drawn, faults):
    ct = drawn["case0"].ct
    cohort.write("case0", ct=ct.with_array(np.clip(ct.array + 1024, 0, None).astype(np.int16)))
    assert ("case0", "hu-offset") in faults()


@pytest.mark.parametrize(
    "scaled",
    [
        lambda hu: ((hu - hu.min()) / (hu.max() - hu.min()) * 1.154 - 0.577).astype(np.float32),
        lambda hu: ((hu - hu.min()) / (hu.max() - hu.min())).astype(np.uint8),
        lambda hu: ((hu - hu.min()) / (hu.max() - hu.min()) * 255).astype(np.uint8),
    ],
    ids=["to ±0.577", "to zeros", "to eight bits"],
)
def test_destroyed_hu(cohort, drawn, faults, scaled):
    ct = drawn["case0"].ct
    cohort.write("case0", ct=ct.with_array(scaled(ct.array.astype(float))))
    assert ("case0", "air") in faults()


def test_a_scan_without_air_outside_is_not_asked_for_its_hu(cohort, drawn, faults):
    ct = drawn["case0"].ct
    lung = np.random.default_rng(0).normal(-780, 70, ct.shape).round().astype(ct.array.dtype)
    cohort.write("case0", ct=ct.with_array(np.where(ct.array < -600, lung, ct.array)))
    assert ("case0", "air") not in faults()
    cohort.write("case0", ct=ct.with_array(np.where(ct.array < -600, ct.array.dtype.type(-700), ct.array)))
    assert ("case0", "air") in faults()


def test_swapped_spacing(cohort, drawn, faults):
    swapped = {}
    for name, volume in vars(drawn["case0"]).items():
        affine = volume.affine.copy()
        affine[0, 0], affine[2, 2] = affine[2, 2], affine[0, 0]
        swapped[name] = Volume(volume.array, affine)
    cohort.write("case0", **swapped)
    assert faults() == {("case0", "square-pixels")}


def test_voxels_that_are_no_numbers(cohort, drawn, faults):
    ct = drawn["case0"].ct
    array = ct.array.astype(np.float32)
    array[3:5] = np.nan
    array[6, 0, 0] = np.inf
    cohort.write("case0", ct=ct.with_array(array))
    assert faults() == {("case0", "finite")}


def test_empty_heart_mask(cohort, drawn, faults):
    heart = drawn["case0"].heart
    cohort.write("case0", heart=heart.with_array(np.zeros_like(heart.array)))
    assert faults() == {("case0", "heart-filled")}


def test_an_empty_calcium_mask_is_sound(cohort, drawn, faults):
    calcium = drawn["case0"].calcium
    cohort.write("case0", calcium=calcium.with_array(np.zeros_like(calcium.array)))
    assert faults() == set()


def test_implausible_heart(cohort, drawn, faults):
    heart = drawn["case0"].heart
    small = ndimage.binary_erosion(heart.array, iterations=3).astype(np.uint8)
    cohort.write("case0", heart=heart.with_array(small))
    assert ("case0", "heart-volume") in faults()


def test_faint_calcium_is_named_with_its_place(cohort, drawn, validated):
    scan = drawn["case0"]
    faint = scan.calcium.array.copy()
    faint[tuple(np.argwhere(scan.heart.array)[0])] = 1
    cohort.write("case0", calcium=scan.calcium.with_array(faint))
    found = {fault.rule: fault.what for fault in validated().faults if fault.case == "case0"}
    x, y, z = (scan.ct.affine @ [*np.argwhere(scan.heart.array)[0], 1])[:3]
    place = f"1 of 2 calcium lesions have no voxel of at least 130 HU: 181.5 mm³ at ({x:g}, {y:g}, {z:g}) mm"
    assert found["calcium-dense"] == place


def test_calcium_far_from_the_heart(cohort, drawn, faults):
    scan = drawn["case0"]
    hu, calcium = scan.ct.array.copy(), scan.calcium.array.copy()
    hu[30, 15, 40] = 600
    calcium[30, 15, 40] = 1
    cohort.write("case0", ct=scan.ct.with_array(hu), calcium=scan.calcium.with_array(calcium))
    assert faults() == {("case0", "calcium-in-heart")}


def front_of_heart(scan) -> tuple[int, int, int]:
    """The foremost voxel of the heart mask in the middle of it."""
    x, _, z = np.argwhere(scan.heart.array).mean(axis=0).astype(int)
    return int(x), int(np.flatnonzero(scan.heart.array[x, :, z])[-1]), int(z)


@pytest.mark.parametrize(
    "bone",
    [(6, 1, "363.0"), (6, 6, "2178.0"), (1, 1, "")],
    ids=["a slice of a bone", "more of it", "a small plaque"],
)
def test_calcium_mask_in_a_bone_beside_the_heart(cohort, drawn, validated, bone):
    thick, masked, mm3 = bone
    scan = drawn["case0"]
    x, y, z = front_of_heart(scan)
    hu, calcium = scan.ct.array.copy(), scan.calcium.array.copy()
    wide = 7 * (thick > 1)
    hu[x - wide : x + wide, y + 1 : y + 1 + thick, z - wide // 2 : z + wide // 2] = 500
    hu[x : x + 2, y + 1 : y + 1 + thick, z] = 500
    calcium[x : x + 2, y + 1 : y + 1 + masked, z] = 1
    cohort.write("case0", ct=scan.ct.with_array(hu), calcium=scan.calcium.with_array(calcium))
    faults = validated().faults
    assert [(fault.case, fault.rule) for fault in faults] == [("case0", "calcium-no-bone")] * bool(mm3)
    for fault in faults:
        assert f"1 calcium lesion ({mm3} mm³) in bone-like bodies: 91476 mm³ at (" in fault.what


def test_far_calcium_is_named_with_number_place_and_volume(cohort, drawn, validated):
    scan = drawn["case0"]
    x, y, z = front_of_heart(scan)
    hu, calcium = scan.ct.array.copy(), scan.calcium.array.copy()
    for more in (4, 6):
        hu[x, y + more, z] = 600
        calcium[x, y + more, z] = 1
    cohort.write("case0", ct=scan.ct.with_array(hu), calcium=scan.calcium.with_array(calcium))
    (fault,) = validated().faults
    place = ", ".join(f"{value:g}" for value in (scan.ct.affine @ [x, y + 6, z, 1])[:3])
    assert fault.rule == "calcium-in-heart"
    assert (
        f"2 calcium lesions (363.0 mm³) far from the heart: 33 mm at ({place}) mm, 22 mm at (" in fault.what
    )


def test_too_few_patients(cohort, faults):
    cohort.write("case5", patient="patient-case4")
    assert faults() == {("cohort", "enough-patients")}


@pytest.mark.parametrize("reason", ["no mask", "contrast", "not_hu", "no_heart_in_view"])
def test_what_cannot_train_is_left_out_and_no_fault(cohort, validated, reason):
    cohort.write("case0", **({"calcium": None} if reason == "no mask" else {"flags": (reason,)}))
    report = validated()
    assert {fault.rule for fault in report.faults} == {"enough-patients"}
    assert [case for case, _ in report.excluded] == ["case0"]
