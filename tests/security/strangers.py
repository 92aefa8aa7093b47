"""Files and answers of strangers that nobody thought of: good ones with random damage, a thousand to a process.

A case is the number that its damage is drawn from, so a failure names all that is needed to see it again:
`one_case(KIND, NUMBER, folder)`.
"""

import contextlib
import copy
import io
import json
import random
import shutil
import signal
import struct
import time
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from dicom_files import DRAWN, dicom
from PIL import Image
from security import hub_attacks, model_attacks
from small_hub import MODEL, WEIGHTS, SmallHub

from retclip.core.hub import fetch_snapshot

SECONDS = 30  # a case on a busy machine; the slowest honest one takes one
MOST_MEGABYTES = 1500
NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1]
SCALARS = [None, True, -1, 0, 1, 3, 10**9, 2**63, 1e308, -0.5, "", "x", "hf-hub:a/b", "../../x", "/etc/passwd",
           "a" * 5000, [], {}, [1], [[1]], {"a": 1}, ["x"], "\0", "\ud800", "timm/x", "NaN"]  # fmt: skip


class TooSlow(BaseException):
    """Nothing that reads files catches it."""


def run_cases(kind: str, numbers: range, folder: Path) -> None:
    """Writes found.json: what went wrong, and the most memory that this process has had in MB."""
    signal.signal(signal.SIGALRM, _too_slow)
    faults, slowest, used = [], 0.0, 0
    for number in numbers:
        (folder / "at_hand").write_text(f"{kind} {number}")  # whatever ends this process
        began = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            try:
                used += one_case(kind, number, folder)
            except ValueError as error:
                if len(str(error)) > 320 or "\n" in str(error).strip():
                    faults.append(f"{kind} {number}: no sentence of 300 letters: {str(error)[:400]!r}")
            except BaseException:
                faults.append(f"{kind} {number}: {traceback.format_exc()[-1500:]}")
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        slowest = max(slowest, time.monotonic() - began)
    highest = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    found = {"faults": faults, "megabytes": int(highest.split()[1]) >> 10, "slowest": slowest, "used": used}
    (folder / "found.json").write_text(json.dumps(found))


def one_case(kind: str, number: int, folder: Path) -> bool:
    """Reads what a stranger gave; whether it was used. Raises ValueError with a sentence where it was refused."""
    return KINDS[kind](random.Random(f"{kind} {number}"), folder)


def _too_slow(*_: object) -> None:
    raise TooSlow


def damaged(draw: random.Random, content: bytes, other: bytes = b"") -> bytes:
    """Bits, numbers, pieces and ends of a file changed, in one to eight places, most of them where headers are."""
    found = bytearray(content)
    for _ in range(draw.choice([1, 1, 1, 2, 3, 8])):
        if not found:
            break
        at = draw.randrange(min(len(found), draw.choice([32, 128, 1024, 1 << 30])))
        length = draw.choice([1, 2, 4, 8, 64, 1024])
        match draw.randrange(8):
            case 0:
                found[at] ^= 1 << draw.randrange(8)
            case 1 | 2:
                form = draw.choice(["B", "<H", ">H", "<I", ">I", "<Q"])
                number = draw.choice(NUMBERS) & ((1 << 8 * struct.calcsize(form)) - 1)
                found[at : at + struct.calcsize(form)] = struct.pack(form, number)
            case 3:
                del found[at:]
            case 4:
                del found[at : at + length]
            case 5:
                found[at:at] = draw.randbytes(length)
            case 6:
                found[at:at] = found[at : at + length] * draw.choice([1, 2, 50])
            case 7:
                found[at : at + length] = other[at : at + length]
    return bytes(found)


def changed(draw: random.Random, content: bytes) -> bytes:
    """JSON with one to three values replaced, taken away, or put where none was; or damaged as any file."""
    if draw.random() < 0.25:
        return damaged(draw, content)
    document = json.loads(content)
    for _ in range(draw.choice([1, 1, 2, 3])):
        at, places = document, []
        while isinstance(at, dict | list) and at:
            key: Any = draw.choice(list(at)) if isinstance(at, dict) else draw.randrange(len(at))
            places.append((at, key))
            at = at[key]
        if not places:
            return json.dumps(draw.choice(SCALARS)).encode()
        parent, key = draw.choice(places)
        if draw.random() < 0.2 and isinstance(parent, dict):
            del parent[key]
        else:
            parent[key] = draw.choice([*SCALARS, copy.deepcopy(document)])
    return json.dumps(document).encode()


@cache
def _images() -> list[bytes]:
    """A small photograph in every form that is read."""
    from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless

    image = Image.fromarray(DRAWN)

    def saved(form: str, made: Image.Image = image, **options: Any) -> bytes:
        stream = io.BytesIO()
        made.save(stream, form, **options)
        return stream.getvalue()

    jpeg, gray = saved("JPEG"), np.asarray(image.convert("L"))
    found = [jpeg, saved("JPEG", progressive=True), saved("PNG"), saved("PNG", image.convert("P")), saved("BMP"),
             saved("PNG", Image.fromarray(gray.astype(np.uint16) * 200)), saved("PNG", image.convert("RGBA")),
             saved("TIFF"), saved("TIFF", compression="tiff_lzw"), saved("TIFF", compression="jpeg"),
             saved("TIFF", compression="tiff_adobe_deflate"), saved("WEBP"), saved("WEBP", lossless=True),
             saved("JPEG2000"), saved("JPEG", exif=b"Exif\0\0" + image.getexif().tobytes())]  # fmt: skip
    pixels, runs = DRAWN.tobytes(), b"\x01\0\0\0\x40\0\0\0" + bytes(56) + b"\x81\0" * 64
    scans = [dicom("RGB", pixels), dicom("RGB", pixels, syntax=ImplicitVRLittleEndian), dicom("MONOCHROME1", gray),
             dicom("RGB", pixels, syntax=DeflatedExplicitVRLittleEndian),
             dicom("MONOCHROME2", gray.astype("<u2"), bits=12), dicom("MONOCHROME2", [runs], syntax=RLELossless),
             dicom("YBR_FULL_422", [jpeg], syntax=JPEGBaseline8Bit)]  # fmt: skip
    return found + scans * 2  # twice: more of it is parsed


def image(draw: random.Random, folder: Path) -> bool:
    from retclip.data.images import read_fundus

    content, other = draw.choice(_images()), draw.choice(_images())
    read_fundus(damaged(draw, content, other), 24)
    return True


MODEL_FILES = ["model.json", "preprocessing.json", "class_prompts.json", "vision.safetensors", "heads.safetensors",
               "text/config.json", "text/model.safetensors", "text/tokenizer.json"]  # fmt: skip


def model_folder(draw: random.Random, folder: Path) -> bool:
    """What predict.py does with a model, up to its first photograph."""
    import torch

    from retclip.evaluation.predict import Predictor

    name, place = draw.choice(MODEL_FILES), _template(folder, model_attacks.model)
    with _harmed(draw, place / name):
        Predictor(place, torch.device("cpu"), "fp32")
    return True


def text_encoder(draw: random.Random, folder: Path) -> bool:
    from retclip.models.pretrained import fetch_text_encoder

    place = _template(folder, model_attacks.bert)
    name = draw.choice(["config.json", "model.safetensors", "tokenizer.json", "vocab.txt"])
    with _harmed(draw, place / name):
        fetch_text_encoder("theirs", str(place), "main", folder / "encoder")
    return True


def weights(draw: random.Random, folder: Path) -> bool:
    """A torch file, new or of before 2020, or one of safetensors."""
    import torch
    from safetensors.torch import save_file

    from retclip.models.weights_file import read_weights, state_dict_in

    place = folder / draw.choice(["x.pth", "old.pth", "x.safetensors"])
    if not place.is_file():
        state = {f"blocks.{index}.weight": torch.randn(3, 3) for index in range(4)}
        if place.suffix == ".safetensors":
            save_file(state, place)
        else:
            torch.save({"model": state, "epoch": 3}, place, _use_new_zipfile_serialization=place.name != "old.pth")
    with _harmed(draw, place):
        state_dict_in(read_weights(place), place)
    return True


def hub(draw: random.Random, folder: Path) -> bool:
    """A repository that is fetched, each answer of which may be another than it should be."""
    shutil.rmtree(folder / "cache", ignore_errors=True)
    victim = folder / "victim"
    victim.write_text("precious")
    before = {path.name for path in folder.iterdir()} | {"cache"}
    with SmallHub(dict(hub_attacks.FILES)).serving() as answers:
        hub_attacks.use(answers, folder)
        for _ in range(draw.choice([1, 1, 2])):
            name = draw.choice(list(answers.files))
            match draw.randrange(5):
                case 0:
                    answers.listing = changed(draw, answers.info())
                case 1:
                    answers.tree = changed(draw, answers.files_of_the_tree())
                case 2:
                    header = draw.choice(["ETag", "X-Repo-Commit", "X-Linked-ETag", "X-Xet-Hash", "Content-Length",
                                          "Content-Encoding", "Link", "X-Linked-Size"])  # fmt: skip
                    words = ["", "../../x", f"{victim}", f'"{victim}"', "gzip", "-1", "9" * 30, "a" * 5000, "%2e%2e/x",
                             f'<{answers.address}/x>; rel="xet-auth"', "W/", "x", "0" * 40, "a" * 64]  # fmt: skip
                    answers.headers[name] = {header: draw.choice(words)}
                case 3:
                    answers.files[name] = damaged(draw, answers.files[name])
                case 4:
                    places = ["/", f"/there/{name}", f"{answers.address}/there/{WEIGHTS}", "//x.invalid/y", "file:///etc",
                              "http://[", f"/{MODEL}/resolve/main/{name}"]  # fmt: skip
                    answers.leads_to[name] = draw.choice(places)
        try:
            fetch_snapshot("key", "model", MODEL, draw.choice(["main", "0" * 40, answers.commit]), ["*"])
        finally:
            assert victim.read_text() == "precious"
            assert {path.name for path in folder.iterdir()} <= before
    return True


def _template(folder: Path, make: Callable[[Path], None]) -> Path:
    place = folder / make.__name__
    if not place.is_dir():
        make(place)
    return place


@contextlib.contextmanager
def _harmed(draw: random.Random, path: Path):
    """The file is another one meanwhile; a new file each time, since one that is mapped must not change."""
    good = path.read_bytes()
    bad = (changed if path.suffix == ".json" else damaged)(draw, good)
    path.unlink()
    path.write_bytes(bad)
    try:
        yield
    finally:
        path.unlink()
        path.write_bytes(good)


KINDS: dict[str, Callable[[random.Random, Path], bool]] = {
    "image": image,
    "model folder": model_folder,
    "text encoder": text_encoder,
    "weights": weights,
    "hub": hub,
}
# Of all cases: a photograph is what strangers send most.
SHARES = {"image": 0.6, "model folder": 0.12, "text encoder": 0.08, "weights": 0.1, "hub": 0.1}
