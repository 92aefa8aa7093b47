"""What a file is that was taken for an image: by its first bytes, in words that say what to do."""

CONVERT = "convert it to PNG or JPEG"
# offset, the bytes there, what such a file is
MARKS = (
    (0, b"version https://git-lfs", "it is a Git LFS pointer; run git lfs pull"),
    (0, b"\xff\x0a", f"it is JPEG XL; pip install pillow-jxl-plugin, or {CONVERT}"),
    (4, b"JXL ", f"it is JPEG XL; pip install pillow-jxl-plugin, or {CONVERT}"),
    (0, b"%!PS", f"it is PostScript; {CONVERT}"),
    (0, b"\xc5\xd0\xd3\xc6", f"it is PostScript; {CONVERT}"),
    (0, b"GIF8", f"it is GIF; {CONVERT}"),
    (0, b"8BPS", f"it is a Photoshop document; {CONVERT}"),
    (0, b"BLP", f"it is BLP; {CONVERT}"),
    (0, b"DDS ", f"it is DDS; {CONVERT}"),
    (0, b"P5", f"it is PGM; {CONVERT}"),
    (0, b"P6", f"it is PPM; {CONVERT}"),
    (0, b"SIMPLE  =", f"it is FITS; {CONVERT}"),
    (4, b"ftypavif", f"it is AVIF; {CONVERT}"),
    (0, b"%PDF", f"it is a PDF document; {CONVERT}"),
    (0, b"PK\x03\x04", "it is a ZIP archive; unpack it"),
    (0, b"\x1f\x8b", "it is packed by gzip; gunzip it"),
    (0, b"7z\xbc\xaf\x27\x1c", "it is a 7-Zip archive; unpack it"),
    (0, b"Rar!", "it is a RAR archive; unpack it"),
    (0, b"\x89HDF\r\n\x1a\n", f"it is an HDF5 file; {CONVERT}"),
    (0, b"MATLAB ", f"it is a MATLAB file; {CONVERT}"),
    (0, b"\x93NUMPY", f"it is a NumPy array; {CONVERT}"),
)
HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
PAGES = (b"<!doctype html", b"<html")


def kind_of(content: bytes) -> str:
    """In words, what a file of these bytes is and what to do; "" where nobody knows."""
    if content[4:8] == b"ftyp" and content[8:12] in HEIF_BRANDS:
        return f"it is HEIC; {CONVERT}, as with pillow-heif"
    if content[:200].lstrip().lower().startswith(PAGES):
        return "it is a web page; download the image again"
    return next((kind for offset, mark, kind in MARKS if content.startswith(mark, offset)), "")
