"""make cancel ends what a killed snakemake left in a real queue: in a path with blanks, by a link, with --directory."""

import subprocess
import sys
import time

import pytest
from running import ENVIRONMENT, REPOSITORY

pytestmark = pytest.mark.slow


def test_make_cancel_finds_the_jobs_of_a_killed_snakemake(lab, tmp_path, small_config):
    work, link = tmp_path / "my run | über", tmp_path / "a link"
    work.mkdir()
    link.symlink_to(work)
    command = [sys.executable, "-m", "snakemake", "--profile", "slurm", "--directory", str(link), *small_config]
    before = set(lab.queue("PENDING"))
    with lab.drained():
        own = subprocess.run(
            ["sbatch", "--parsable", "--job-name=mine", "--output=/dev/null", "-D", work, "--wrap=sleep 300"],
            check=True, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip
        process = subprocess.Popen(
            [*command, "--", "results/small/data/fingerprint.json"], env=ENVIRONMENT, cwd=REPOSITORY,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 120
            while not (jobs := set(lab.queue("PENDING")) - before - {own}):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.2)
        finally:
            process.kill()
            process.wait()
        try:
            asked = subprocess.run(["make", "cancel"], cwd=REPOSITORY, capture_output=True, text=True)
            assert asked.returncode != 0
            assert f"not cancelled: {len(jobs)} jobs of {work}" in asked.stdout
            done = subprocess.run(["make", "cancel", f"DIR={link}"], cwd=REPOSITORY, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            assert f"cancelled {len(jobs)} jobs of {work}" in done.stdout
            assert set(lab.queue("PENDING")) - before == {own}
            assert jobs <= set(lab.queue("CANCELLED"))
        finally:
            subprocess.run(["scancel", own], check=True)
