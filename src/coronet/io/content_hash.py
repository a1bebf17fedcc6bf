"""The hash by which a scan is recognised again, whatever file it comes in."""

from __future__ import annotations

import hashlib

import numpy as np

from coronet.io.volume import AIR_HU, Volume


def content_sha256(volume: Volume) -> str:
    """Hash of a scan's voxels in RAS+, for models that list the scans they learned from and for duplicates.

    It has no key, so that it can be compared wherever a model travels. With a scan at hand it shows whether a
    model learned from that scan, and nothing else. Names, file formats, compression and the scan's place in
    the scanner do not enter. HU are rounded; NaN, values below -1024 and slices of a single value count as
    air, as `coronet.io.reader.read_scan` reads them.

    Args:
        volume: HU, RAS+.
    """
    digest = hashlib.sha256(repr(tuple(volume.shape)).encode())
    limits = np.iinfo(np.int16)
    # slice by slice, since a whole copy of a scan costs memory
    for z in range(volume.shape[2]):
        hu = volume.array[:, :, z]
        if hu.dtype.kind == "f":
            hu = np.nan_to_num(np.rint(hu), nan=AIR_HU).clip(limits.min, limits.max)
        if (hu == hu[0, 0]).all():
            hu = np.full_like(hu, AIR_HU)
        digest.update(np.maximum(hu, AIR_HU).astype("<i2").tobytes(order="F"))
    return digest.hexdigest()
