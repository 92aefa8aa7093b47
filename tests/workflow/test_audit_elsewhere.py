"""What the audit warns of reaches the terminal of the run, also where the audit runs on a node of a cluster."""

import json

import pytest
import yaml
from running import REPOSITORY, snakemake

pytestmark = pytest.mark.slow
AUDIT = "results/small/data/audit.json"


@pytest.mark.parametrize("quiet", [(), ("--quiet", "all")], ids=["as it is", "quiet"])
def test_warnings_of_a_job_elsewhere_are_seen_once(small_config, tmp_path, quiet):
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"data": {"demo_patients": 60}}))
    done = snakemake(
        tmp_path / "work", *small_config, tmp_path / "own.yaml", "--executor", "elsewhere", "--jobs", 2,
        "--seconds-between-status-checks", 1, *quiet,
        "--", AUDIT, environment={"PYTHONPATH": str(REPOSITORY / "tests/remote")},
    )  # fmt: skip
    warnings = json.loads((tmp_path / "work" / AUDIT).read_text())["warnings"]
    assert warnings
    assert list((tmp_path / "work").glob("job-*.log")), "no job ran elsewhere"
    seen = done.stdout + done.stderr
    assert seen.count(warnings[0]) == 1
    assert len([line for line in seen.splitlines() if "warning: " in line]) == min(10, len(warnings))
