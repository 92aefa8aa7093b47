"""A whole run on data whose every eye has several labels: trained, chosen and reported by what knows several labels."""

import json

import pandas as pd
import pytest
import yaml
from running import entry, snakemake

pytestmark = pytest.mark.slow
PATIENTS = 150
METRIC = "multi_label_macro_auroc"


def test_data_where_every_eye_has_several_labels(small_config, tmp_path):
    entry("make_demo_data", "--patients", PATIENTS, "--seed", 3, "--threads", 2,
          "--output-manifest", tmp_path / "drawn.csv", "--output-images", tmp_path / "images")  # fmt: skip
    table = pd.read_csv(tmp_path / "drawn.csv", dtype=str, keep_default_na=False)
    for side in ("left", "right"):
        table[f"label_{side}"] += [("|Clear media", "|Hazy media")[i % 2] for i in table.index]
    table.to_csv(tmp_path / "table.csv", index=False)
    data = {"source": "manifest", "manifest": str(tmp_path / "table.csv"), "image_root": str(tmp_path / "images"),
            "demo_patients": None}  # fmt: skip
    overlay = {"run": "several", "data": data, "selection": {"metric": METRIC}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(overlay))
    snakemake(tmp_path / "work", *small_config, tmp_path / "own.yaml")
    results = tmp_path / "work/results/several"
    fingerprint = json.loads((results / "data/fingerprint.json").read_text())
    assert {"Clear media", "Hazy media"} < set(fingerprint["classes"])
    assert not any("|" in name for name in fingerprint["classes"])
    counts = fingerprint["splits"]["train"]["per_class"]
    assert min(counts["Clear media"], counts["Hazy media"]) > 0
    for stage in ("phase1", "phase2"):
        board = pd.read_csv(results / stage / "leaderboard.csv")
        assert board["metric"].between(0, 1).all()
        assert board["standard_error"].gt(0).all()
        assert board["chance"].eq(0.5).all()
    history = pd.concat(pd.read_csv(path) for path in (results / "phase2").glob("*/history.csv"))
    assert history[METRIC].notna().all()
    best = json.loads((results / "best.json").read_text())
    assert best["metric_name"] == METRIC
    evaluation = json.loads((results / "final/pubmedbert-s2001/evaluation.json").read_text())
    assert evaluation["multi_label"]["units"] == evaluation["counts"]["scored"] > 0
    page = (results / "report/index.html").read_text()
    assert "macro AUROC over all labels" in page
