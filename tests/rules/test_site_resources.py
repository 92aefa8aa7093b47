"""What a site says of its resources, in every form that Snakemake takes, as the real Snakemake answers."""

import re

import pytest
import yaml
from running import REPOSITORY, snakemake

# of build_lmdb, which asks for 6400 MB and 240 minutes
REQUESTED = (6400, 240)


def found(tmp_path, *arguments: object, rule: str = "build_lmdb") -> tuple[int, int]:
    """mem_mb and runtime of the rule's job in a dry run of the demo."""
    done = snakemake(tmp_path, "--dry-run", "--configfile", REPOSITORY / "config/demo.yaml", *arguments)
    assert "Traceback" not in done.stdout + done.stderr
    job = done.stdout.split(f"rule {rule}:")[1].split("\n\n")[0]
    resources = dict(word.split("=", 1) for word in re.search(r"resources: (.*)", job)[1].split(", "))
    return int(resources["mem_mb"]), int(resources["runtime"])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], REQUESTED),
        (["--default-resources"], REQUESTED),
        (["--default-resources", "slurm_partition=gpu"], REQUESTED),
        (["--default-resources", "slurm_partition='gpu'", "mem_mb=1000", "runtime=10"], REQUESTED),
        (["--default-resources", "mem_mb=1000"], REQUESTED),
        (["--default-resources", "mem=1GB", "runtime=1h"], REQUESTED),
        (["--default-resources", "max_mem_mb=3000"], (3000, 240)),
        (["--default-resources", "max_runtime=100"], (6400, 100)),
        (["--default-resources", "max_mem_mb='3000'", "max_runtime='100'"], (3000, 100)),
        (["--default-resources", "max_mem_mb=3G", "max_runtime=1h"], (3000, 60)),
        (["--default-resources", "max_mem_mb=3 * 1000", "max_runtime=2d"], (3000, 240)),
        (["--default-resources", "max_mem_mb=attempt * 3000"], (3000, 240)),
        (["--resources", "mem_mb=3000"], (3000, 240)),
        (["--set-resources", "build_lmdb:mem_mb=9000", "build_lmdb:runtime=7"], (9000, 7)),
        (["--set-resources", "train_final:mem_mb=9000"], REQUESTED),
        (["--set-resources", "build_lmdb:mem_mb=9000", "--default-resources", "mem_mb=1000"], (9000, 240)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_resources_of_a_site(tmp_path, arguments, expected):
    assert found(tmp_path, *arguments) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"default-resources": {"slurm_partition": "'cpu'"}}, REQUESTED),
        ({"default-resources": {"mem_mb": 1000, "runtime": "1h"}}, REQUESTED),
        ({"default-resources": {"max_mem_mb": "3G", "max_runtime": "100"}}, (3000, 100)),
        ({"default-resources": ["slurm_partition=cpu", "max_mem_mb=3000"]}, (3000, 240)),
        ({"executor": "slurm", "jobs": 10}, REQUESTED),
        ({"executor": "slurm", "jobs": 10, "default-resources": {"slurm_account": "'mine'"}}, REQUESTED),
    ],
    ids=str,
)
def test_profile_of_a_site(tmp_path, content, expected):
    (tmp_path / "profile").mkdir()
    (tmp_path / "profile/config.yaml").write_text(yaml.safe_dump(content))
    assert found(tmp_path, "--profile", tmp_path / "profile") == expected


@pytest.mark.parametrize("name", ["slurm", "local"])
def test_profile_of_ours(tmp_path, name):
    assert found(tmp_path, "--profile", REPOSITORY / name) == REQUESTED


def test_a_dry_run_with_defaults_plans_every_training(tmp_path):
    """Training runs ask for what their plan says, which is not there yet."""
    done = snakemake(tmp_path, "--dry-run", "--configfile", REPOSITORY / "config/demo.yaml",
                     "--default-resources", "slurm_partition=gpu")  # fmt: skip
    assert "train_final" in done.stdout
    assert "mem_mb=<TBD>" in done.stdout


@pytest.mark.parametrize("given", ["max_mem_mb=much", "max_mem_mb=0", "max_runtime=input.size_mb", "max_mem_mb=-1"])
def test_a_limit_that_is_none_is_one_sentence(tmp_path, given):
    done = snakemake(tmp_path, "--dry-run", "--configfile", REPOSITORY / "config/demo.yaml",
                     "--default-resources", given, check=False)  # fmt: skip
    assert done.returncode
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    assert given.split("=")[0] in said
