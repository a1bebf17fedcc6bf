"""Scans and masks from files: NIfTI, NRRD, MetaImage and DICOM, as volumes in RAS+ millimetres."""
