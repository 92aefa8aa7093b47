"""How large a WebP image says it is: its decoder takes the memory of all pixels, twice, before Pillow can tell."""


def webp_size(content: bytes) -> tuple[int, int] | None:
    """Width and height in the header of a WebP file's bytes; None where it has none. Source: RFC 9649, section 2."""
    kind, head = content[12:16], content[20:30]
    if content[:4] != b"RIFF" or content[8:12] != b"WEBP" or len(head) < 10:
        return None
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[4:7], "little"), 1 + int.from_bytes(head[7:10], "little")
    if kind == b"VP8L":
        sizes = int.from_bytes(head[1:5], "little")
        return 1 + (sizes & 0x3FFF), 1 + (sizes >> 14 & 0x3FFF)
    return int.from_bytes(head[6:8], "little") & 0x3FFF, int.from_bytes(head[8:10], "little") & 0x3FFF
