"""DICOM series made to measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

AXIAL = (1, 0, 0, 0, 1, 0)


def stored_picture(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Random stored values (slices, rows, columns), 12 bits, the first pixel of each slice marked."""
    values = np.random.default_rng(seed).integers(600, 1600, shape).astype(np.uint16)
    values[:, 0, 0] = 2000 + np.arange(shape[0])
    return values


def write_dicom_series(
    folder: Path,
    stored: np.ndarray,
    *,
    orientation: Sequence[float] = AXIAL,
    origin_mm: Sequence[float] = (-100.0, -120.0, -50.0),
    spacing_mm: tuple[float, float] = (0.7, 0.8),
    depths_mm: Sequence[float] | None = None,
    step_mm: float = 2.5,
    step_direction: Sequence[float] | None = None,
    change: Callable[[Dataset, int], None] = lambda dataset, index: None,
    syntax: str = ExplicitVRLittleEndian,
) -> list[Path]:
    """Write one CT series, a file a slice.

    Args:
        folder: made where it is absent.
        stored: (slices, rows, columns).
        orientation: along a row, along a column; LPS.
        origin_mm: first pixel of the first slice; LPS.
        spacing_mm: between rows, between columns (the order of PixelSpacing).
        depths_mm: of each slice along the step direction; even steps by default.
        step_mm: of the even steps.
        step_direction: the picture's normal by default.
        change: edits each dataset before it is written.
        syntax: transfer syntax; pydicom compresses where it can.
    """
    folder.mkdir(parents=True, exist_ok=True)
    row, column = np.asarray(orientation[:3], float), np.asarray(orientation[3:], float)
    direction = np.cross(row, column) if step_direction is None else np.asarray(step_direction, float)
    depths = np.arange(len(stored)) * step_mm if depths_mm is None else np.asarray(depths_mm)
    series, study, paths = generate_uid(), generate_uid(), []
    for index, picture in enumerate(stored):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, generate_uid()
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
        dataset.Modality, dataset.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.PatientID, dataset.PatientName = "MRN-1", "Doe^Jane"
        dataset.SeriesNumber, dataset.InstanceNumber = 3, index + 1
        dataset.ImageOrientationPatient = [float(value) for value in orientation]
        dataset.ImagePositionPatient = [
            round(float(value), 6) for value in np.asarray(origin_mm) + depths[index] * direction
        ]
        dataset.PixelSpacing, dataset.SliceThickness = list(spacing_mm), 5.0
        dataset.ConvolutionKernel, dataset.KVP = "B30f", 120
        dataset.Rows, dataset.Columns = picture.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
        dataset.PixelRepresentation = int(stored.dtype.kind == "i")
        if stored.dtype.kind == "i":
            dataset.BitsStored, dataset.HighBit = 16, 15
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
        dataset.PixelData = np.ascontiguousarray(picture).tobytes()
        change(dataset, index)
        if syntax != ExplicitVRLittleEndian:
            dataset.compress(syntax)
        path = folder / f"{(index * 7919) % 10007:05d}.dcm"
        pydicom.dcmwrite(path, dataset, enforce_file_format=True)
        paths.append(path)
    return paths


@pytest.fixture
def write_dicom() -> Callable[..., list[Path]]:
    """The function `write_dicom_series`."""
    return write_dicom_series


@pytest.fixture
def picture() -> Callable[..., np.ndarray]:
    """The function `stored_picture`."""
    return stored_picture
