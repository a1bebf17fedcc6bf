"""DICOM: CT series and segmentations, from headers to volumes in HU."""
