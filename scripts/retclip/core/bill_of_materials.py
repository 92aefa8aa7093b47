"""What the environment is made of, as CycloneDX 1.6 describes software: a bill of materials of requirements.lock."""

import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

from retclip.core.io import file_sha256
from retclip.core.licenses import license_of
from retclip.core.locked_packages import OURS, LockedPackage, locked_packages

US = "retclip-tune"


def bill_of_materials(lock: Path) -> dict[str, Any]:
    """The document: each package with its version, the hashes of its files, its license, and what it needs.

    Licenses are those of the packages that are installed here; a lock serves other systems, too.
    """
    packages = locked_packages(lock)
    versions: dict[str, list[str]] = {OURS: [US]}  # some packages have one for each system or Python
    for package in packages:
        versions.setdefault(package.name, []).append(_reference(package))
    needs: dict[str, set[str]] = {reference: set() for references in versions.values() for reference in references}
    for package in packages:
        for who in package.needed_by:
            for reference in versions[who]:
                needs[reference].add(_reference(package))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.UUID(file_sha256(lock)[:32])}",
        "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": US, "name": US}},
        "components": [_component(package) for package in packages],
        "dependencies": [{"ref": reference, "dependsOn": sorted(used)} for reference, used in needs.items()],
    }


def _component(package: LockedPackage) -> dict[str, Any]:
    marker = {"properties": [{"name": "marker", "value": package.marker}]} if package.marker else {}
    return {
        "type": "library",
        "bom-ref": _reference(package),
        "name": package.name,
        "version": package.version,
        "purl": f"pkg:pypi/{package.name}@{quote(package.version)}",
        "hashes": [{"alg": "SHA-256", "content": digest} for digest in package.hashes],
        "licenses": [{"license": {"name": license_of(package.name)}}],
        **marker,
    }


def _reference(package: LockedPackage) -> str:
    return f"{package.name}=={package.version}"
