"""A finished run again, from what it recorded of itself."""

import json

import pytest
import yaml
from reliability.faults import MOMENTS
from running import REPOSITORY, entry, merged

from retclip.core.config import check_config
from retclip.core.recorded import compared_scores, overlay_of

BASE = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())


def laid_over(base: dict, overlay: dict) -> dict:
    """As Snakemake merges config files."""
    return {**base, **{
        key: laid_over(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        for key, value in overlay.items()
    }}  # fmt: skip


@pytest.mark.parametrize("names", [("demo",), ("demo", "wide")])
def test_a_recorded_config_gives_itself_again(names):
    """Keys that an overlay had deleted stay deleted."""
    checked = check_config(merged(*names))
    checked["data"]["class_map"] = str(REPOSITORY / checked["data"]["class_map"])  # as the Snakefile finds it
    again = check_config(laid_over(BASE, overlay_of(checked, BASE)))
    assert again == checked


@pytest.mark.slow
def test_what_a_run_recorded_is_a_config(small_run):
    recorded = json.loads((small_run / "results/small/run.json").read_text())["config"]
    again = check_config(laid_over(BASE, overlay_of(recorded, BASE)))
    with_paths = {"data", "evaluation"}  # made to hold anywhere, and so others
    assert {key: again[key] for key in recorded.keys() - with_paths} == {
        key: recorded[key] for key in recorded.keys() - with_paths
    }


def test_a_score_that_differs_is_named(small_run, tmp_path):
    results = small_run / "results/small"
    everything, different = compared_scores(results, results)
    assert everything == len([*results.glob("*/*/metrics.json"), *results.glob("*/*/evaluation.json")])
    assert different == []
    for path in results.glob("*/*/*.json"):
        (tmp_path / path.relative_to(results)).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path.relative_to(results)).write_bytes(path.read_bytes())
    (tmp_path / "phase1/baseline/metrics.json").unlink()
    path = tmp_path / "final/baseline-s2001/metrics.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "train_loss": 0.0}))
    path = tmp_path / "final/baseline-s2001/evaluation.json"  # the same scores, made on another machine
    path.write_text(json.dumps({**json.loads(path.read_text()), "commit": None, "machine": {"cores": 64}}))
    equal, different = compared_scores(results, tmp_path)
    assert equal == everything - 2
    assert different == ["final/baseline-s2001/metrics.json: train_loss", "phase1/baseline/metrics.json is missing"]


@pytest.mark.slow
@pytest.mark.skipif(MOMENTS == 1, reason="a whole run once more: make test-reliability")
def test_a_run_is_reproduced(small_run, tmp_path):
    done = entry("reproduce_run", "--run-folder", small_run / "results/small", "--output-dir", tmp_path / "again",
                 "--cores", 2)  # fmt: skip
    assert "different" not in done.stdout
    assert "files of scores are equal" in done.stdout
