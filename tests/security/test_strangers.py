"""Random damage to images, DICOM, model folders, weights and answers of a hub: used, or refused in a sentence.

200 cases in CI; `make test-security FUZZ=10000` for a night, RETCLIP_FUZZ_FROM=... for others than the first.
"""

import json
import os
from pathlib import Path

import pytest
from security.attacks import exit_code
from security.strangers import KINDS, MOST_MEGABYTES, SECONDS, SHARES

CASES = int(os.environ.get("RETCLIP_FUZZ", "200"))
FIRST = int(os.environ.get("RETCLIP_FUZZ_FROM", "0"))
TOGETHER = 500  # cases of a process


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_what_strangers_send_is_used_or_refused_in_a_sentence(tmp_path, kind):
    last = FIRST + max(10, round(CASES * SHARES[kind]))
    faults, used = [], 0
    for first in range(FIRST, last, TOGETHER):
        numbers = range(first, min(first + TOGETHER, last))
        folder = tmp_path / str(first)
        folder.mkdir()
        code = exit_code(_run, (kind, numbers.start, numbers.stop, str(folder)), SECONDS * 20 + len(numbers))
        if code or not (folder / "found.json").is_file():
            faults.append(f"{(folder / 'at_hand').read_text()}: ended its process ({code})")
            continue
        found = json.loads((folder / "found.json").read_text())
        faults += found["faults"]
        used += found["used"]
        assert found["megabytes"] <= MOST_MEGABYTES, numbers
    assert not faults, f"{len(faults)} faults\n" + "\n".join(faults[:20])
    assert 0 < used < last - FIRST  # else nothing was damaged, or all of it too much


def _run(kind: str, first: int, last: int, folder: str) -> None:
    from security.strangers import run_cases

    run_cases(kind, range(first, last), Path(folder))
