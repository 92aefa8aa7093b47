"""What the audit warns of reaches the terminal of the run, also where the audit runs on a node of a cluster."""

import json
import shutil

import pytest
import yaml
from running import REPOSITORY, snakemake

pytestmark = pytest.mark.slow
AUDIT = "results/small/data/audit.json"


@pytest.fixture(scope="module")
def audited(small_config, tmp_path_factory):
    """The working directory of an audit that ran here, and the flag and files of its config."""
    folder = tmp_path_factory.mktemp("audited")
    (folder / "own.yaml").write_text(yaml.safe_dump({"data": {"demo_patients": 60}}))
    config = [*small_config, folder / "own.yaml"]
    snakemake(folder / "work", *config, "--", AUDIT)
    return folder / "work", config


@pytest.mark.parametrize("quiet", [(), ("--quiet", "all")], ids=["as it is", "quiet"])
def test_warnings_of_a_job_elsewhere_are_seen_once(audited, tmp_path, quiet):
    finished, config = audited
    shutil.copytree(finished, tmp_path / "work")
    done = snakemake(
        tmp_path / "work", *config, "--executor", "elsewhere", "--jobs", 2,
        "--seconds-between-status-checks", 1, *quiet, "--forcerun", "audit_data",
        "--", AUDIT, environment={"PYTHONPATH": str(REPOSITORY / "tests/remote")},
    )  # fmt: skip
    warnings = json.loads((tmp_path / "work" / AUDIT).read_text())["warnings"]
    assert warnings
    assert list((tmp_path / "work").glob("job-*.log")), "no job ran elsewhere"
    seen = done.stdout + done.stderr
    assert seen.count(warnings[0]) == 1
    assert len([line for line in seen.splitlines() if "warning: " in line]) == min(10, len(warnings))
