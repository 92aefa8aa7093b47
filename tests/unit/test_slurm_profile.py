"""What `make plan` reads of the profile of a cluster."""

import pytest

from retclip.core.slurm_requests import shared_jobs


@pytest.mark.parametrize(
    ("text", "groups", "longest"),
    [
        ("group-components: [phase1=4, final=2]\ndefault-resources: {max_runtime: 24h}", {"phase1": 4, "final": 2},
         "24h"),
        ("group-components: {phase1: 4}\ndefault-resources: [runtime=20, max_runtime=60]", {"phase1": 4}, "60"),
        ("jobs: 50", {}, None),
        ("", {}, None),
    ],
)  # fmt: skip
def test_a_profile_says_how_many_share_a_job(tmp_path, text, groups, longest):
    profile = tmp_path / "config.yaml"
    assert shared_jobs(profile) == ({}, None)  # many have no cluster
    profile.write_text(text)
    assert shared_jobs(profile) == (groups, longest)


BROKEN = (
    "group-components: [phase1]",
    "group-components: [phase1=0]",
    "group-components: [phase1=x]",
    "- a",
    "a: [",
    "default-resources: 5",
)


@pytest.mark.parametrize("text", BROKEN)
def test_a_profile_that_cannot_be_read_is_a_sentence(tmp_path, text):
    profile = tmp_path / "config.yaml"
    profile.write_text(text)
    with pytest.raises(ValueError, match=r"config\.yaml: group-components or default-resources cannot be read: "):
        shared_jobs(profile)
