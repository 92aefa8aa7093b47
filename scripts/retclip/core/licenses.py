"""Under which licenses packages and encoders may be used, as they say it themselves."""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

from retclip.core.io import is_file, read_json
from retclip.core.locked_packages import locked_packages
from retclip.core.preprocessing import settings_path
from retclip.core.provenance import REPOSITORY

UNKNOWN = "unknown: ask"
LONGEST = 60  # letters of a name; what is longer is the license itself


def license_of(package: str) -> str:
    """Of an installed package: the expression of its metadata, else its own words, else what it is classified as."""
    said = _metadata(package)
    if said is None:
        return UNKNOWN
    expression = said.get("License-Expression")
    classes = [line.split(" :: ")[-1] for line in said.get_all("Classifier") or [] if line.startswith("License :: ")]
    lines = [line.strip() for line in (said.get("License") or "").splitlines() if line.strip()]
    own = lines[0] if lines and (len(lines) == 1 or "license" in lines[0].lower()) else ""
    known = own if len(own) <= LONGEST else ""
    return expression or known or ", ".join(name for name in classes if name != "OSI Approved") or UNKNOWN


def packages_by_license() -> dict[str, list[str]]:
    """License -> packages of the lock that are installed here, in the order of the alphabet."""
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(package.name for package in locked_packages(REPOSITORY / "requirements.lock")):
        if _metadata(name) is not None:
            found.setdefault(license_of(name), []).append(name)
    return dict(sorted(found.items()))


def encoder_licenses(text_encoders: Mapping[str, Path], image_weights: Path | None) -> dict[str, str]:
    """What -> its license, as the card on the hub names it. text_encoders: name -> folder with source.json.
    image_weights: the file of the initial weights, None where training starts from random ones."""
    sources = {f"text encoder {name}": folder / "source.json" for name, folder in text_encoders.items()}
    found = {what: read_json(path) if is_file(path) else {} for what, path in sources.items()}
    if image_weights is not None:
        found["initial weights of the image encoder"] = read_json(settings_path(image_weights)).get("source", {})
    return {what: str(source.get("license") or UNKNOWN) for what, source in found.items()}


def _metadata(package: str) -> Any:
    """An email message; None where the package is not installed."""
    try:
        return metadata(package)
    except PackageNotFoundError:
        return None
