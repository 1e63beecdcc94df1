# SPDX-License-Identifier: BSD-2-Clause
"""Ethernet frames in capture files."""
import struct

HEAD = struct.Struct("=IHHiIII")
RECORD = struct.Struct("=IIII")
MAGIC = 0xa1b2c3d4
LONGEST = 65535
ETHERNET = 1


def write(path, frames):
    with open(path, "wb") as f:
        f.write(HEAD.pack(MAGIC, 2, 4, 0, 0, LONGEST, ETHERNET))
        for frame in frames:
            f.write(RECORD.pack(0, 0, len(frame), len(frame)) + frame)


def read(path):
    """All frames; one that is being written, and not whole yet, is left out."""
    with open(path, "rb") as f:
        data = f.read()
    frames = []
    offset = HEAD.size
    while offset + RECORD.size <= len(data):
        _, _, stored, length = RECORD.unpack_from(data, offset)
        assert stored == length, f"{path}: a frame of {length} bytes was cut"
        offset += RECORD.size + stored
        if offset <= len(data):
            frames.append(data[offset - stored:offset])
    return frames
