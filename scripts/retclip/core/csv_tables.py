"""CSV tables as people have them, read strictly: every row is whole, or the table is refused with its line and column.

Comma, semicolon or tab; UTF-8, with or without a byte order mark. No sentence quotes a cell: it may hold a name.
"""

import csv
import re
import unicodedata
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NoReturn, TextIO

from retclip.core.bounded import lines_of
from retclip.core.spelling import ZERO_WIDTH

SEPARATORS = (",", ";", "\t")
# What tables of pandas' and of spreadsheets write where there is nothing; one rule for every column of every source.
MISSING = frozenset(("nan", "na", "n/a", "<na>", "#n/a", "null", "none", "nat", "-"))
# Of columns in a sentence: letters of one, and of all.
LONGEST_NAME = 25
LONGEST_NAMES = 120
CONTROLS = re.compile(r"\s*[\x00-\x1f\x7f-\x9f\u2028\u2029]+\s*")
LIKE_DATA = re.compile(r"[\d./:-]+|.+\.(jpe?g|png|tiff?|bmp|dcm)", re.IGNORECASE)
SAVE = "save the table as CSV in UTF-8"
# How a file of another kind begins -> what it is, and what to do.
FORMATS = {
    b"PK\x03\x04": ("an Excel workbook or another zip file", SAVE),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook", SAVE),
    b"\x1f\x8b": ("a gzip file", "unpack it: gunzip FILE"),
    b"BZh": ("a bzip2 file", "unpack it: bunzip2 FILE"),
    b"\xfd7zXZ": ("an xz file", "unpack it: unxz FILE"),
    b"7z\xbc\xaf": ("a 7z archive", "unpack it: 7z x FILE"),
    b"Rar!": ("a RAR archive", "unpack it: unrar x FILE"),
    b"(\xb5/\xfd": ("a zstd file", "unpack it: unzstd FILE"),
    b"%PDF": ("a PDF", SAVE),
    b"PAR1": ("a Parquet file", "convert it: pandas.read_parquet(OLD).to_csv(NEW, index=False)"),
    b"ARROW1": ("an Arrow file", "convert it: pandas.read_feather(OLD).to_csv(NEW, index=False)"),
    b"FEA1": ("a Feather file", "convert it: pandas.read_feather(OLD).to_csv(NEW, index=False)"),
    b"\x89HDF": ("an HDF5 file", SAVE),
    b"SQLite format 3": ("an SQLite database", SAVE),
    b"\x80\x04\x95": ("a Python pickle", SAVE),
    b"\x80\x05\x95": ("a Python pickle", SAVE),
    b"\x93NUMPY": ("a NumPy array", SAVE),
    b"{\\rtf": ("a text of a word processor (RTF)", SAVE),
    b"$FL2": ("an SPSS file", SAVE),
    b"<stata_dta>": ("a Stata file", SAVE),
    b"\xff\xd8\xff": ("an image (JPEG)", "data.manifest is the table of the images"),
    b"\x89PNG": ("an image (PNG)", "data.manifest is the table of the images"),
}
JSON = re.compile(rb"\s*(\[\s*[\[{]|\{\s*\")")
UTF32 = (b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")
SEPARATOR_LINE = re.compile(r"\"?sep=(.)\"?\s*", re.IGNORECASE)
UTF16 = (b"\xff\xfe", b"\xfe\xff")
RowIterator = Generator[tuple[int, list[str]], None, None]
csv.field_size_limit(10_000_000)  # reports of 100 KB are rare, but they exist
LONGEST_LINE = 16_000_000
MOST_COLUMNS = 10_000
MOST_TABLE_BYTES = 2 << 30


def cell_of(text: str) -> str:
    """The text without blanks around it, in Unicode's composed form (NFC): what looks equal is equal."""
    text = text.strip()
    if not text.isascii():
        text = unicodedata.normalize("NFC", text).strip(ZERO_WIDTH).strip()
    return text


def is_missing(cell: str) -> bool:
    """Whether a cell says that there is nothing, in whatever word; so does one that joins or lists nothing but such
    words."""
    if "|" in cell and len(cell) < 100:
        return all(is_missing(part.strip()) for part in cell.split("|"))
    if cell[:1] + cell[-1:] in ("[]", "{}") and 1 < len(cell) < 100:
        return all(is_missing(part.strip(" '\"")) for part in cell[1:-1].split(","))
    return not cell or (len(cell) < 5 and cell.lower() in MISSING)


def read_header(path: Path) -> list[str]:
    """The names of the columns. Raises ValueError as read_rows does."""
    rows = read_rows(path)
    names = next(rows)[1]
    rows.close()
    return names


def read_rows(path: Path) -> RowIterator:
    """(line of the file, cells), first of the header, then of every row that is not blank, each as long as the header.

    Nameless columns at the end are left out where they are empty. Raises ValueError, at the latest at the end, where
    the file is missing, no CSV in UTF-8, or has a row that is not whole, a quote that is not closed or a column twice.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file.")
    if path.stat().st_size > MOST_TABLE_BYTES:
        raise ValueError(
            f"{path}: has {path.stat().st_size >> 20:,} MB; a table has at most {MOST_TABLE_BYTES >> 20:,}."
        )
    _refuse_other_formats(path)
    return _checked(path)


def shown(names: list[str]) -> str:
    """The columns of a table for a sentence; where the first line is a row of data, it is not told."""
    if any(LIKE_DATA.fullmatch(name) for name in names):
        return "a first line that looks like data: is the header missing?"
    told = [_short(name) for name in names]
    while len(", ".join(told)) > LONGEST_NAMES:
        told.pop()
    more = f" and {len(names) - len(told)} more" if len(names) > len(told) else ""
    return ", ".join(told) + more


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _checked(path: Path) -> RowIterator:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            separator = _separator(stream, path)
            reader = csv.reader(_without_nulls(stream, path), delimiter=separator, strict=True, skipinitialspace=True)
            yield from _whole_rows(path, reader, separator)
    except UnicodeDecodeError:
        refuse_encoding(path)


def _whole_rows(path: Path, reader: Any, separator: str) -> RowIterator:
    names: list[str] = []
    full = width = 0
    lengths: dict[int, list[int]] = {}  # cells of a row -> its first line, and how many there are
    surplus = 0  # the first line with a value beyond the names
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error:
            _refuse_quote(path, line, reader.line_num, names, separator)
        if cells is None:
            break
        if not any(cell and not cell.isspace() for cell in cells):
            continue
        if not names and SEPARATOR_LINE.fullmatch(separator.join(cells)):
            continue
        if not names:
            full = len(cells)
            names = _names(path, cells)
            width = len(names)
            yield line, names
            continue
        if reader.line_num > line:
            _refuse_swallowed(path, line, names, cells, separator)
        lengths.setdefault(len(cells), [line, 0])[1] += 1
        if not surplus and any(cell.strip() for cell in cells[width:]):
            surplus = line
        yield line, cells if len(cells) == width else (cells + [""] * width)[:width]
    if not names:
        raise ValueError(f"{path}: cannot be read as a CSV table in UTF-8: it is empty.")
    # an exporter may end every line with separators; one row that differs has lost or shifted its cells
    if len(lengths) > 1 or surplus or any(length < width for length in lengths):
        _refuse_ragged(path, lengths, full, surplus, names, separator)


def _names(path: Path, cells: list[str]) -> list[str]:
    # a name of two lines, as spreadsheets break them, is one of words
    if len(cells) > MOST_COLUMNS:
        raise ValueError(f"{path}: has {len(cells):,} columns; a table has at most {MOST_COLUMNS:,}.")
    names = [CONTROLS.sub(" ", cell_of(cell)) for cell in cells]
    while not names[-1]:
        names.pop()
    seen: set[str] = set()
    for name in names:
        if name and name in seen:
            raise ValueError(f"{path}: the column {_short(name)} is there twice; rename one.")
        seen.add(name)
    return [name or f"(column {place})" for place, name in enumerate(names, start=1)]


def _separator(stream: TextIO, path: Path) -> str:
    """Whichever the first line that is not blank has most of, outside of quotes; or what Excel's line sep=; says."""
    first = next((line for line in lines_of(stream, path, LONGEST_LINE) if line.strip()), "")
    stream.seek(0)
    if found := SEPARATOR_LINE.fullmatch(first):
        if found[1] not in SEPARATORS:
            raise ValueError(
                f"{path}: line 1 says that {found[1]!r} separates; only comma, semicolon and tab are read."
            )
        return found[1]
    plain = re.sub('"[^"]*"', "", first)
    separator = max(SEPARATORS, key=plain.count)
    if not plain.count(separator) and plain.count("|") > 1:
        raise ValueError(f"{path}: line 1: its columns are separated by |; only comma, semicolon and tab are read.")
    return separator


def _without_nulls(stream: TextIO, path: Path) -> Iterator[str]:
    for number, line in enumerate(lines_of(stream, path, LONGEST_LINE), start=1):
        if "\0" in line:
            raise ValueError(f"{path}: line {number} has null characters; save the table as CSV in UTF-8.")
        yield line


def _refuse_quote(path: Path, line: int, until: int, names: list[str], separator: str) -> NoReturn:
    text = _line(path, line)
    cells = next(csv.reader([text], delimiter=separator, skipinitialspace=True), [])
    column = _short(names[min(len(cells), len(names)) - 1]) if names and cells else "of the header"
    if until == line and text.count('"') % 2 == 0:
        what = f"the column {column} continues after its closing quote"
    else:
        what = f"the quote that opens in the column {column} is never closed"
    raise ValueError(f"{path}: line {line}: {what}. Within quotes, a quote is written twice.")


def _refuse_swallowed(path: Path, line: int, names: list[str], cells: list[str], separator: str) -> None:
    """Raises ValueError where a line within a quoted cell looks like a row: its quote was not meant to open there."""
    if len(cells) != len(names):
        return  # refused in any case
    for column, cell in enumerate(cells):
        for inner in cell.splitlines()[1:]:
            if inner.count(separator) < max(len(names) - 1, 1):
                continue  # as nearly all lines of reports
            parts = next(csv.reader([inner], delimiter=separator, skipinitialspace=True), [])
            if len(parts) != len(names):
                continue
            pairs = [(a, b) for place, (a, b) in enumerate(zip(cells, parts, strict=True)) if place != column]
            alike = sum(bool(_shape(a)) and _shape(a) == _shape(b) for a, b in pairs)
            if alike >= max(min(2, len(pairs)), (len(pairs) + 1) // 2):
                raise ValueError(
                    f"{path}: line {line}: the quote that opens in the column {_short(names[column])} takes in whole "
                    "rows; close it. Within quotes, a quote is written twice."
                )


def _shape(cell: str) -> str:
    """Words and numbers without their letters and digits: those of a column are alike."""
    return re.sub(r"\d+", "0", re.sub(r"[^\W\d_]+", "a", cell.strip()))


def _refuse_ragged(
    path: Path, lengths: dict[int, list[int]], full: int, surplus: int, names: list[str], separator: str
) -> NoReturn:
    usual = full if full in lengths or len(lengths) == 1 else max(lengths, key=lambda n: lengths[n][1])
    odd = {length: found for length, found in lengths.items() if length != usual}
    if not odd:
        raise ValueError(f"{path}: line {surplus} has a value in a column without a name; name or empty that column.")
    line = min(found[0] for found in odd.values())
    length = next(length for length, found in odd.items() if found[0] == line)
    cells = next(csv.reader([_line(path, line)], delimiter=separator), [])
    # a comma in a sentence has a blank behind it, one between cells seldom
    place = next((place for place, cell in enumerate(cells) if place and cell.startswith(" ")), len(names))
    near = _short(names[max(min(place, len(names)) - 1, 0)])
    total = sum(found[1] for found in odd.values())
    raise ValueError(
        f"{path}: line {line} has {length} cells, but the header {full} (near the column {near}); "
        f"{total} rows are like that. A text with a separator or a line break in it needs double quotes."
    )


def _line(path: Path, number: int) -> str:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return next(text for place, text in enumerate(stream, start=1) if place == number).rstrip("\r\n")


def _refuse_other_formats(path: Path) -> None:
    with path.open("rb") as stream:
        head = stream.read(1 << 16)
    if head.startswith(UTF32):
        raise ValueError(f"{path} is not in UTF-8 but in UTF-32; convert it: iconv -f UTF-32 -t UTF-8 OLD > NEW.")
    if head.startswith(UTF16) or (b"\0" in head and head.count(b"\0") > len(head) // 4 and b"\0\0" not in head):
        raise ValueError(f"{path} is not in UTF-8 but in UTF-16; convert it: iconv -f UTF-16 -t UTF-8 OLD > NEW.")
    for begin, (kind, advice) in FORMATS.items():
        if head.startswith(begin):
            if kind.startswith("an Excel"):
                kind, advice = _kind_of_zip(head)
            nulls = "has null characters, so it" if b"\0" in head else "it"
            raise ValueError(f"{path}: {nulls} is no CSV table but {kind}; {advice}.")
    if head[128:132] == b"DICM":
        raise ValueError(f"{path}: it is no CSV table but a DICOM file; data.manifest is the table of the images.")
    if re.match(rb"\s*(<!doctype|<html|<\?xml)", head.removeprefix(b"\xef\xbb\xbf"), re.IGNORECASE):
        raise ValueError(f"{path}: it is no CSV table but a web page; was the download refused?")
    if head.startswith(b"version https://git-lfs"):
        raise ValueError(f"{path}: it is no CSV table but a pointer of Git LFS; fetch the file: git lfs pull.")
    if JSON.match(head):
        raise ValueError(f"{path}: it is no CSV table but JSON; convert it: pandas.read_json(OLD).to_csv(NEW).")


def _kind_of_zip(head: bytes) -> tuple[str, str]:
    if b"xl/" in head or b"[Content_Types].xml" in head:
        return "an Excel workbook", "save it from there as 'CSV UTF-8'"
    if b"opendocument.spreadsheet" in head:
        return "an OpenDocument table", "save it from there as CSV in UTF-8"
    return "an Excel workbook or another zip file", f"{SAVE}, or unpack it"


def refuse_encoding(path: Path) -> NoReturn:
    """Raises ValueError with what the file seems to be encoded in, and the first line that is not UTF-8."""
    content = path.read_bytes()
    lines = content.splitlines()
    line = next((number for number, text in enumerate(lines, start=1) if not _is_utf8(text)), len(lines))
    name, flag = _encoding_of(content)
    raise ValueError(
        f"{path} is not in UTF-8 but seems to be in {name}; convert it: iconv -f {flag} -t UTF-8 OLD > NEW. The first "
        f"such line is {line}."
    )


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _encoding_of(content: bytes) -> tuple[str, str]:
    """Name and iconv's name of the likeliest encoding.

    Chinese text in GBK has its high bytes side by side, Western text in Windows-1252 seldom; of Cyrillic text in
    Windows-1251 most letters are small, from 0xE0 on.
    """
    runs = re.findall(rb"[\x80-\xff]+", content)
    high = b"".join(runs)
    paired = sum(len(run) for run in runs if len(run) > 1)
    if paired <= len(high) / 2:
        return "Windows-1252", "CP1252"
    if sum(byte >= 0xE0 for byte in high) > 0.6 * len(high):
        return "Windows-1251", "CP1251"
    return "GBK", "GBK"
