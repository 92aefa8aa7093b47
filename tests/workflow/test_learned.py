"""Whether a demo's models learned anything from the texts is told rightly, on reports as they are and shuffled.

RETCLIP_SEEDS=20 trains as many of each; a pair takes half a minute on one idle core.
"""

import json
import os

import pandas as pd
import pytest
from conftest import training_arguments
from running import entry

from retclip.metrics import nulls

pytestmark = pytest.mark.slow
METRIC = "zero_shot_balanced_accuracy"
SEEDS = int(os.environ.get("RETCLIP_SEEDS", "2"))
# Of models that learned nothing, with a chance of .05 each: more happen in one of a hundred runs of this test.
MOST_WRONG = {True: 1 + SEEDS // 10, False: 0}


@pytest.mark.parametrize("shuffled", [False, True], ids=["as they are", "shuffled"])
def test_what_was_learned_is_told(demo_data, plan_demo_trial, tmp_path, shuffled):
    wrong = 0
    for seed in range(1, SEEDS + 1):
        trial = plan_demo_trial(tmp_path / f"t{seed}", shuffled_texts=shuffled, seed=seed)
        entry("train_trial", *training_arguments(demo_data, trial, tmp_path / "state"))
        table = pd.read_parquet(trial.parent / "val_predictions.parquet")
        val = json.loads((trial.parent / "metrics.json").read_text())["val"]
        found = nulls.judge(METRIC, [[table]], [val["levels"]["chance"][METRIC]])[0]
        print(
            f"seed {seed}: {val[METRIC]:.3f}, without learning {found.low:.3f} to {found.high:.3f}, p {found.p_value:.4f}"
        )
        wrong += found.is_learned == shuffled
    print(f"{'shuffled' if shuffled else 'as they are'}: told wrongly in {wrong} of {SEEDS}")
    assert wrong <= MOST_WRONG[shuffled]
