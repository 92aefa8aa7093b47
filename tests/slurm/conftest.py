"""One Slurm for all tests that want one."""

import pytest
from slurm.lab import Lab, why_not


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    reason = why_not()
    if reason:
        pytest.skip(reason)
    lab = Lab(tmp_path_factory.mktemp("slurm"))
    try:
        lab.start()
        yield lab
    finally:
        lab.stop()
