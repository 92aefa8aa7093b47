"""Whole runs on data without labels, and on data whose patients nobody knows."""

import base64
import json

import pandas as pd
import pytest
import yaml
from running import entry, snakemake

pytestmark = pytest.mark.slow
PATIENTS = 150


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A drawn table and its images."""
    folder = tmp_path_factory.mktemp("drawn")
    entry("make_demo_data", "--patients", PATIENTS, "--seed", 3, "--threads", 2,
          "--output-manifest", folder / "manifest.csv", "--output-images", folder / "images")  # fmt: skip
    return folder


def run(folder, small_config, overlay: dict) -> None:
    (folder / "own.yaml").write_text(yaml.safe_dump(overlay))
    snakemake(folder / "work", *small_config, folder / "own.yaml")


def test_upstreams_tsv_without_labels_ranks_by_retrieval(drawn, small_config, tmp_path):
    table = pd.read_csv(drawn / "manifest.csv", dtype=str, keep_default_na=False)
    (tmp_path / "set").mkdir()
    images, texts = [], []
    for number, row in enumerate(table.to_dict("records")):
        sides = [base64.urlsafe_b64encode((drawn / "images" / row[f"image_{side}"]).read_bytes()).decode()
                 for side in ("left", "right")]  # fmt: skip
        images.append("\t".join([row["patient_id"], *sides]))
        texts.append(json.dumps({"text_id": number, "text": row["text"], "image_ids": [row["patient_id"]]}))
    (tmp_path / "set/train_imgs.tsv").write_text("\n".join(images) + "\n")
    (tmp_path / "set/train_texts.jsonl").write_text("\n".join(texts) + "\n")
    data = {"source": "retclip_tsv", "manifest": str(tmp_path / "set"), "demo_patients": None}
    run(tmp_path, small_config, {"run": "tsv", "data": data, "selection": {"metric": "image_to_text_recall_at_10"}})
    results = tmp_path / "work/results/tsv"
    audit = json.loads((results / "data/audit.json").read_text())
    assert audit["label_level"] == "none"
    assert sum(split["samples"] for split in audit["splits"].values()) == PATIENTS
    board = pd.read_csv(results / "phase2/leaderboard.csv")
    assert board["metric"].notna().all()
    evaluation = json.loads((results / "final/pubmedbert-s2001/evaluation.json").read_text())
    assert 0 <= evaluation["retrieval"]["image_to_text_recall_at_10"]["value"] <= 1
    assert (results / "report/index.html").is_file()


def test_prompts_of_unknown_patients(drawn, small_config, tmp_path):
    table = pd.read_csv(drawn / "manifest.csv", dtype=str, keep_default_na=False)
    prompts = pd.DataFrame({"dataset_index": table.index, "label": table["label_left"], "prompt": table["text_left"]})
    prompts.to_csv(tmp_path / "prompts.csv", index=False)
    (tmp_path / "images/train").mkdir(parents=True)
    for index, row in enumerate(table.to_dict("records")):
        (tmp_path / f"images/train/{index}.jpg").write_bytes((drawn / "images" / row["image_left"]).read_bytes())
    data = {"source": "prompts", "manifest": str(tmp_path / "prompts.csv"), "image_root": str(tmp_path / "images"),
            "patient_id": "none", "demo_patients": None, "near_duplicates": "group"}  # fmt: skip
    run(tmp_path, small_config, {"run": "prompts", "data": data, "privacy": {"private": True}})
    results = tmp_path / "work/results/prompts"
    audit = json.loads((results / "data/audit.json").read_text())
    assert any("Patients are not known" in warning for warning in audit["warnings"])
    assert audit["eyes"] == {"unknown": PATIENTS}
    page = (results / "report/index.html").read_text()
    assert "Patients are not known" in page
    assert str(tmp_path) not in page
