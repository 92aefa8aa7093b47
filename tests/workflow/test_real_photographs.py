"""The same pipeline on real fundus photographs, with tiny towers and few trials. The pictures are not ours to ship:
set RETCLIP_REAL_DATA to the folder of the public set (labels.csv and images/), or the test is skipped."""

import html
import importlib.util
import json
import os
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml
from first_screens import assert_first_screen_is_true
from running import REPOSITORY, snakemake

pytestmark = pytest.mark.slow
PLACES = (os.environ.get("RETCLIP_REAL_DATA"), REPOSITORY.parent / "shared/data/srahim_dr")


def test_real_photographs(tmp_path):
    folder = next((Path(place) for place in PLACES if place and Path(place, "labels.csv").is_file()), None)
    if folder is None:
        pytest.skip("no real photographs: set RETCLIP_REAL_DATA to a folder with labels.csv and images/")
    script = Path(__file__).with_name("make_srahim_manifest.py")
    spec = importlib.util.spec_from_file_location("make_srahim_manifest", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.make_manifest(folder, tmp_path / "manifest.csv")
    overlay = {
        "run": "real",
        "data": {"source": "manifest", "manifest": str(tmp_path / "manifest.csv"), "image_root": str(folder),
                 "demo_patients": None},
        "model": {"text_encoders": {"bert_base": None, "biobert": None}},
        "phase1": {"epochs": 1, "space": {"learning_rate": [3e-3], "batch_size": [32], "warmup_steps": [2]}},
        "phase2": {"trials": 2, "epochs": 1, "space": {"learning_rate": {"times_best": [0.5, 1.0]},
                   "batch_size": "from_best", "warmup_steps": [2], "weight_decay": [0.1], "temperature": [0.1, 0.2]}},
        "confirm": {"top_k": 0},
        "final": {"epochs": 2},
        "lr_finder": {"num_iter": 20},
        "privacy": {"private": True},
    }  # fmt: skip
    (tmp_path / "real.yaml").write_text(yaml.safe_dump(overlay))
    work = tmp_path / "work"
    snakemake(work, "--configfile", REPOSITORY / "config/demo.yaml", tmp_path / "real.yaml")
    results = work / "results/real"
    audit = json.loads((results / "data/audit.json").read_text())
    assert sum(split["patients"] for split in audit["splits"].values()) == 298
    assert sum(split["images"] for split in audit["splits"].values()) == 596
    assert audit["patients_in_two_splits"] == 0
    assert audit["label_level"] == "eye"
    assert len(json.loads((results / "data/fingerprint.json").read_text())["classes"]) == 10
    evaluation = json.loads((results / "final/pubmedbert-s2001/evaluation.json").read_text())
    score = evaluation["zero_shot"]["zero_shot_balanced_accuracy"]
    assert score["low"] <= score["value"] <= score["high"]
    assert evaluation["counts"]["scored"] == 2 * evaluation["counts"]["patients"]
    # what can be said of so few patients: every class with its patients
    assert sum(row["count"] for row in evaluation["per_class"]) == evaluation["counts"]["scored"]
    assert min(row["patients"] for row in evaluation["per_class"]) < 10
    assert evaluation["retrieval"] == {}
    assert "made from the labels" in evaluation["retrieval_omitted"]
    assert_first_screen_is_true(results, results / "report/index.html")
    page = html.unescape((results / "report/index.html").read_text())
    said = page[page.index("Limitations</h2>") :]
    said = said[: said.index("</section>")]
    counts = {row["class"]: row["count"] for row in evaluation["per_class"]}
    few = {row["class"]: row["patients"] for row in evaluation["per_class"] if 0 < row["patients"] < 10}
    shares = f"{len(few) / sum(count > 0 for count in counts.values()):.0%}"
    for sentence in (
        f"Of 298 patients, {evaluation['counts']['patients']} are in the test split and scored, with "
        f"{evaluation['counts']['scored']} eyes",
        f"balanced accuracy with pubmedbert has a 95 % CI of {score['low']:.3f} to {score['high']:.3f}",
        f"{len(few)} classes have fewer than 10 test patients, so that one of them moves the recall by about a tenth "
        f"or more: {', '.join(f'{name} ({count})' for name, count in few.items())}.",
        f"{shares} of it rests on these {sum(counts[name] for name in few)} of {sum(counts.values())} samples",
        "the scores hold for these patients and cameras",
        "no evidence that a model is fit for care",
    ):
        assert sentence in said
    # where no trial beats chance, the default config is kept, and stands beside itself
    assert re.search(r"detects a gain of 0\.\d{3} or more|do not differ in any test sample, so the gain", said)
    samples = pd.read_parquet(results / "data/samples.parquet")
    patients = {value for name in ("sample_id", "patient_id", "source_left", "source_right") for value in samples[name]}
    for place in (results / "report", results / "logs", work / ".snakemake/log"):
        # a figure's PNG shows what its SVG says, and four letters are found in any compressed bytes
        for path in (path for path in place.rglob("*") if path.is_file() and path.suffix != ".png"):
            content = path.read_text(errors="replace")
            # the plotting script is not ours and knows no patient, but it has every short word
            content = re.sub(r'<script type="text/plain".*?</script>', "", content, flags=re.DOTALL)
            assert not [name for name in patients if name in content], path
            if place.name == "report":
                assert str(folder) not in content, path
