"""What is installed: a bill of materials that says what the lock says, licenses of packages and encoders, faults."""

import json
import os
import re
import subprocess
import sys

import pytest
from running import ENVIRONMENT, REPOSITORY

from retclip.core.licenses import UNKNOWN, encoder_licenses, license_of, packages_by_license
from retclip.core.locked_packages import locked_packages

sys.path.insert(0, str(REPOSITORY / "scripts"))
LOCK = REPOSITORY / "requirements.lock"


@pytest.fixture(scope="module")
def bill(tmp_path_factory) -> dict:
    import write_sbom

    path = tmp_path_factory.mktemp("sbom") / "sbom.cdx.json"
    write_sbom.main(["--output", str(path)])
    return json.loads(path.read_text())


def test_every_package_version_and_hash_of_the_lock_is_in_the_bill_and_nothing_else(bill):
    locked: dict[tuple[str, str], set[str]] = {}
    for line in LOCK.read_text().splitlines():  # by another reading than the product's
        if found := re.match(r"([a-z0-9._-]+)==([^ ;]+)", line):
            hashes = locked.setdefault(found.groups(), set())
        elif found := re.search(r"--hash=sha256:([0-9a-f]{64})", line):
            hashes.add(found[1])
    listed = {(one["name"], one["version"]): {h["content"] for h in one["hashes"]} for one in bill["components"]}
    assert len(listed) == len(bill["components"]) > 100
    assert listed == locked
    assert all(hashes for hashes in listed.values())


def test_the_bill_is_one_of_cyclonedx(bill):
    """As its specification 1.6 wants it; the same lock gives the same bill, but for where it was made."""
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", bill["serialNumber"])
    assert bill["metadata"]["component"]["name"] == "retclip-tune"
    references = [one["bom-ref"] for one in bill["components"]]
    assert len(set(references)) == len(references)
    for one in bill["components"]:
        assert one["type"] == "library"
        assert one["purl"] == f"pkg:pypi/{one['name']}@{one['version'].replace('+', '%2B')}"
        assert {entry["alg"] for entry in one["hashes"]} == {"SHA-256"}
        assert all(entry["license"]["name"] for entry in one["licenses"])
    known = {*references, bill["metadata"]["component"]["bom-ref"]}
    for entry in bill["dependencies"]:
        assert {entry["ref"], *entry["dependsOn"]} <= known
    needs = {entry["ref"]: entry["dependsOn"] for entry in bill["dependencies"]}
    names = {one["bom-ref"]: one["name"] for one in bill["components"]}
    own = {names[ref] for ref in needs[bill["metadata"]["component"]["bom-ref"]]}
    wanted = re.findall(r"^([A-Za-z][\w-]*)", (REPOSITORY / "envs/requirements.in").read_text(), re.MULTILINE)
    assert own == {name.lower().replace("_", "-") for name in wanted}


def test_licenses_are_those_of_the_packages():
    assert license_of("pyyaml") == "MIT"
    assert "BSD" in license_of("scipy")
    assert license_of("no-such-package") == UNKNOWN
    found = packages_by_license()
    installed = [name for names in found.values() for name in names]
    assert len(installed) == len(set(installed))
    assert {"torch", "snakemake", "pydicom"} <= set(installed) <= {one.name for one in locked_packages(LOCK)}
    assert all(len(name) < 200 and "\n" not in name for name in found)
    assert len(found.get(UNKNOWN, [])) < 10


def test_a_license_of_an_encoder_is_what_its_card_says(tmp_path):
    (tmp_path / "known").mkdir()
    (tmp_path / "known/source.json").write_text('{"license": "mit"}')
    (tmp_path / "unknown").mkdir()
    (tmp_path / "unknown/source.json").write_text('{"license": null}')
    (tmp_path / "weights.json").write_text('{"source": {"name": "x", "license": "cc-by-nc-4.0"}}')
    folders = {name: tmp_path / name for name in ("known", "unknown", "gone")}
    assert encoder_licenses(folders, tmp_path / "weights.safetensors") == {
        "text encoder known": "mit",
        "text encoder unknown": UNKNOWN,
        "text encoder gone": UNKNOWN,
        "initial weights of the image encoder": "cc-by-nc-4.0",
    }


@pytest.mark.slow
def test_an_audit_that_cannot_ask_says_so_and_fails(tmp_path):
    """Neither an installer without a network, nor a service that knows none of the packages, means that all is well."""
    before = set(tmp_path.iterdir())
    nothing = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "TMPDIR": str(tmp_path)}
    done = subprocess.run(["bash", str(REPOSITORY / "envs/audit_packages.sh")], env={**ENVIRONMENT, **nothing},
                          capture_output=True, text=True, cwd=tmp_path)  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: pip-audit cannot be installed")
    assert set(tmp_path.iterdir()) == before


ANSWERS = {
    "all well": ({"name": "a", "version": "1", "vulns": []}, 0, "none of 1 packages has a known vulnerability"),
    "one is vulnerable": (
        {"name": "a", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2"]}]}, 1, "error: a 1: PYSEC-1"
    ),
    "one could not be asked": ({"name": "a", "skip_reason": "not found"}, 1, "error: 1 of 1 packages could not be"),
}  # fmt: skip


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_of_the_service_is_read(tmp_path, answer):
    package, code, said = ANSWERS[answer]
    (tmp_path / "found.json").write_text(json.dumps({"dependencies": [package], "fixes": []}))
    done = subprocess.run([sys.executable, str(REPOSITORY / "envs/read_advisories.py"), str(tmp_path / "found.json")],
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == code, done.stderr
    assert (done.stdout + done.stderr).splitlines()[-1].startswith(said)
