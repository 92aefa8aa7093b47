"""A table whose texts belong to other patients, through the whole pipeline: the page must say so, whatever the linear
probe says; and must not say so of the same table with its own texts."""

import html
import json
import re

import numpy as np
import pandas as pd
import pytest
import yaml
from running import snakemake

pytestmark = pytest.mark.slow
CHANCE = "Nothing was learned that is better than chance"
# near the demo's winner; every trial of every stage is this one training run, which four epochs suffice for
RECIPE = {"learning_rate": 4e-3, "batch_size": 32, "warmup_steps": 5, "weight_decay": 0.1, "temperature": 0.2}
SPACE = {name: [value] for name, value in RECIPE.items()}


def test_texts_of_other_patients_are_reported_as_chance(demo_data, small_config, tmp_path):
    table = pd.read_csv(demo_data / "manifest.csv", dtype=str, keep_default_na=False)
    own = {
        "run": "texts",
        "data": {
            "source": "manifest",
            "manifest": str(tmp_path / "table.csv"),
            "image_root": str(demo_data / "images"),
        },
        "model": {"text_encoders": {"bert_base": None}},
        "defaults": {**RECIPE, "epochs": 4},
        "phase1": {"epochs": 4, "space": SPACE},
        "phase2": {"trials": 1, "epochs": 4, "space": SPACE},
        "confirm": {"top_k": 0},
        "final": {"epochs": 4},
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own))
    results = tmp_path / "work/results/texts"

    def reported() -> tuple[str, dict]:
        """The page's first paragraph, and the winner's evaluation."""
        table.to_csv(tmp_path / "table.csv", index=False)
        snakemake(tmp_path / "work", *small_config, tmp_path / "own.yaml")
        page = (results / "report/index.html").read_text()
        lead = re.search(r'<p class="lead[^>]*>(.*?)</p>', page, re.DOTALL)
        return html.unescape(lead[1]), json.loads((results / "final/pubmedbert-s2001/evaluation.json").read_text())

    lead, winner = reported()
    assert CHANCE not in lead
    chance = winner["levels"]["chance"]["zero_shot_balanced_accuracy"]
    assert winner["zero_shot"]["zero_shot_balanced_accuracy"]["low"] > 3 * chance

    # the pictures are prepared already, so the same run once more costs little
    texts = [name for name in table if name.startswith("text")]
    table[texts] = table.loc[np.random.default_rng(0).permutation(len(table)), texts].to_numpy()
    lead, winner = reported()
    assert CHANCE in lead
    zero_shot, probe = (winner[name]["zero_shot_balanced_accuracy"] for name in ("zero_shot", "linear_probe"))
    assert zero_shot["low"] <= chance
    # pictures and labels still belong together, so the probe looks fine
    assert probe["low"] > 2 * chance
