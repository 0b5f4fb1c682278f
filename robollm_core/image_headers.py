# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What a JPEG or PNG says of itself: whether it is whole, and how many pixels it claims.

OpenCV fills what is missing with grey, and takes the memory that a header asks for.
"""


def jpeg_is_whole(data: bytes) -> bool:
    """Walk the segments of a JPEG up to its end-of-image marker (ITU-T T.81, annex B)."""
    at = 2
    while 0 <= at < len(data) - 1:
        marker = data[at + 1]
        if data[at] != 0xFF or marker == 0xD9:
            return data[at] == 0xFF
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:  # stuffed or without a length
            at = data.find(b"\xff", at + 2)
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
            if marker == 0xDA:  # scan data runs to the next marker
                at = data.find(b"\xff", at)
    return False


def jpeg_pixels(data: bytes) -> int:
    """Width times height, as the frame header says (ITU-T T.81, B.2.2); 0 without one."""
    at = 2
    while 0 <= at < len(data) - 8 and data[at] == 0xFF:
        marker = data[at + 1]
        # C4, C8 and CC are tables among the markers of frames
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            high, wide = data[at + 5 : at + 7], data[at + 7 : at + 9]
            return int.from_bytes(high, "big") * int.from_bytes(wide, "big")
        bare = marker == 0xFF or marker == 0x01 or 0xD0 <= marker <= 0xD8
        at += (
            (1 if marker == 0xFF else 2)
            if bare
            else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        )
    return 0


def png_is_whole(data: bytes) -> bool:
    """Walk the chunks of a PNG up to its end (PNG, section 5)."""
    at = 8
    while at + 12 <= len(data):
        if data[at + 4 : at + 8] == b"IEND":
            return True
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return False


def png_pixels(data: bytes) -> int:
    """Width times height, at their fixed place in the chunk that comes first."""
    return int.from_bytes(data[16:20], "big") * int.from_bytes(data[20:24], "big")
