"""A table whose texts belong to other patients, through the whole pipeline: the page must say so, whatever the linear
probe says."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from running import snakemake

pytestmark = pytest.mark.slow


def test_texts_of_other_patients_are_reported_as_chance(demo_data, small_config, tmp_path):
    table = pd.read_csv(demo_data / "manifest.csv", dtype=str, keep_default_na=False)
    texts = [name for name in table if name.startswith("text")]
    table[texts] = table.loc[np.random.default_rng(0).permutation(len(table)), texts].to_numpy()
    table.to_csv(tmp_path / "table.csv", index=False)
    own = {
        "run": "others",
        "data": {
            "source": "manifest",
            "manifest": str(tmp_path / "table.csv"),
            "image_root": str(demo_data / "images"),
        },
        "model": {"text_encoders": {"bert_base": None}},
        "phase1": {"space": {"learning_rate": [3e-3]}},
        "phase2": {"trials": 1},
        "confirm": {"top_k": 0},
        "final": {"epochs": 3},
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own))
    snakemake(tmp_path / "work", *small_config, tmp_path / "own.yaml")
    results = tmp_path / "work/results/others"
    page = (results / "report/index.html").read_text()
    assert "Nothing was learned that is better than chance" in page
    winner = json.loads((results / "final/pubmedbert-s2001/evaluation.json").read_text())
    zero_shot, probe = (winner[name]["zero_shot_balanced_accuracy"] for name in ("zero_shot", "linear_probe"))
    assert zero_shot["low"] <= winner["levels"]["chance"]["zero_shot_balanced_accuracy"]
    # pictures and labels still belong together, so the probe looks fine
    assert probe["low"] > 2 * winner["levels"]["chance"]["zero_shot_balanced_accuracy"]
