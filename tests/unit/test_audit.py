"""The audit finds what was planted, in a set of drawn fundi with known faults, and keeps quiet about a clean one."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageEnhance, ImageOps
from running import REPOSITORY

from retclip.data.audit import audit
from retclip.data.audit_texts import contradiction
from retclip.data.audit_warnings import warnings_of
from retclip.data.build import Settings, build
from retclip.data.source import Source

COPIES = 20
PATIENTS = 150
REAL = REPOSITORY.parent / "shared/data/srahim_dr"


def fundus(seed: int, eye: str, size: int = 160) -> Image.Image:
    """A disc-shaped photograph with an optic disc on its nasal side and a tree of vessels of its own."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size * 2 - 1
    pixels = np.zeros((size, size, 3), np.float32)
    inside = np.hypot(x, y) < 0.95
    pixels[inside] = np.array([170, 80, 40]) + generator.normal(0, 8, 3)
    center = (0.5 if eye == "right" else -0.5) + generator.normal(0, 0.03), generator.normal(0, 0.04)
    for _ in range(14):  # vessels: dark arcs out of the disc
        angle, bend, width = generator.uniform(0, 6.3), generator.uniform(-1.5, 1.5), generator.uniform(0.012, 0.03)
        along, reach = np.linspace(0, 1.6, 160), max(1, int(width * size / 2))
        px = center[0] + along * np.cos(angle + bend * along)
        py = center[1] + along * np.sin(angle + bend * along)
        within = (abs(px) < 1) & (abs(py) < 1)
        columns, rows = (((place[within] + 1) / 2 * size).astype(int).tolist() for place in (px, py))
        for column, row in zip(columns, rows, strict=True):
            pixels[max(row - reach, 0) : row + reach, max(column - reach, 0) : column + reach] *= 0.8
    pixels[np.hypot(x - center[0], y - center[1]) < 0.14] = (240, 210, 150)
    pixels[~inside] = 0
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def disguised(image: Image.Image, kind: str) -> Image.Image:
    """The same photograph as another file: re-encoded, cropped, flipped or brightened."""
    if kind == "crop":
        side = image.width
        image = image.crop((round(0.04 * side), round(0.03 * side), round(0.97 * side), round(0.98 * side)))
    if kind == "flip":
        image = ImageOps.mirror(image)
    if kind == "bright":
        image = ImageEnhance.Brightness(image).enhance(1.2)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=70)
    return Image.open(stream)


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> tuple[dict, Path]:
    """audit.json of a set with one fault of each kind."""
    folder = tmp_path_factory.mktemp("planted")
    rows = []
    for index in range(PATIENTS):
        label = ("Healthy", "Glaucoma", "Cataract")[index % 3]
        row = {
            "patient_id": f"P{index}",
            "split": ("train", "train", "val", "test")[index % 4],
            "age": str(40 + index % 37),
            "text": f"Report {index}: {label} in the eye.",
            "label_left": label,
            "label_right": label,
        }
        for eye in ("left", "right"):
            image = fundus(2 * index + (eye == "right"), eye)
            if index == 30:  # the eyes swapped
                image = fundus(2 * index + (eye == "left"), "left" if eye == "right" else "right")
            if label == "Cataract" and index % 2:  # half the cataracts have a white border
                image = ImageOps.expand(image, 12, "white")
            image.save(folder / f"{index}_{eye}.png")
            row[f"image_{eye}"] = f"{index}_{eye}.png"
        if label == "Glaucoma" and index % 2:  # a placeholder of one clinic
            row["age"] = "1"
        rows.append(row)
    rows[6]["text"] = "There is glaucoma with a deep cup."  # the labels say Healthy
    rows[9]["text"] = "Healthy eye, [laterality] to be filled in."
    for index in (index for index, row in enumerate(rows) if row["label_left"] == "Cataract" and row["split"] == "val"):
        rows[index]["split"] = "train"  # a class missing from val
    train = [index for index, row in enumerate(rows) if row["split"] == "train" and index != 30]
    test = [index for index, row in enumerate(rows) if row["split"] == "test"]
    for number in range(COPIES):
        source, target = train[number], test[number]
        kind = ("encode", "crop", "flip", "bright")[number % 4]
        disguised(Image.open(folder / f"{source}_left.png"), kind).save(folder / f"{target}_left.png")
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    settings = Settings(96, "raw", 0.2, 0.2, 0, "warn", None, 1, 2)
    build(Source("manifest", folder / "table.csv", folder), settings, folder / "out", folder / "state")
    encoder = wrong_vocabulary(folder / "encoder")
    (encoder / "source.json").write_text('{"license": "apache-2.0"}')
    frame = pd.read_parquet(folder / "out/samples.parquet")
    # the build refuses a patient in two splits, so this one is planted behind its back
    frame.loc[frame["sample_id"] == "P140", "patient_id"] = "P143"
    images = pd.read_parquet(folder / "out/pictures.parquet")
    fingerprint = json.loads((folder / "out/fingerprint.json").read_text())
    return audit(frame, images, fingerprint, {"chinese": encoder}, 77, "zero_shot_balanced_accuracy"), folder


@pytest.mark.slow
def test_the_audit_names_the_license_of_each_encoder(planted):
    assert planted[0]["licenses"] == {"text encoder chinese": "apache-2.0"}


def wrong_vocabulary(folder: Path) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder.mkdir()
    words = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "眼", "底", "in", "the"])}
    tokenizer = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def warned(document: dict, *words: str) -> bool:
    return any(all(word in warning for word in words) for warning in document["warnings"])


@pytest.mark.slow
def test_copies_across_splits(planted):
    document, _ = planted
    near = document["duplicates"]["near"]
    assert near["across_splits"] == COPIES
    assert near["groups"] == COPIES  # and nothing else
    assert near["across_patients"] == COPIES
    assert warned(document, f"{COPIES} groups of photographs of one eye are in several splits")


@pytest.mark.slow
def test_shortcuts(planted):
    document, _ = planted
    assert document["shortcuts"]["border color"]["by_class"]["Cataract"] > 0.6
    (border, *_) = document["shortcuts"]["border color"]["giveaways"]
    assert border["class"] == "Cataract"
    (age,) = document["shortcuts"]["age"]["giveaways"]
    assert (age["value"], age["class"]) == ("1", "Glaucoma")
    assert warned(document, "age = 1 is", "Glaucoma", "gives the class away")
    assert warned(document, "border_red =", "Cataract", "gives the class away")
    assert document["shortcuts"]["brightness"]["by_class"]["Glaucoma"] < 0.7


@pytest.mark.slow
def test_swapped_eyes(planted):
    document, _ = planted
    assert document["sides"]["swapped"] == {"count": 1, "sample_ids": ["P30"]}
    assert warned(document, "1 samples seem to have left and right eye swapped")


@pytest.mark.slow
def test_sentences(planted):
    document, _ = planted
    assert document["texts"]["contradictory"] == {"count": 1, "sample_ids": ["P6"], "kinds": {"finding": 1}}
    assert document["texts"]["unfilled"]["sample_ids"] == ["P9"]
    assert warned(document, "a text that their labels deny")


@pytest.mark.slow
def test_patients_classes_and_vocabulary(planted):
    document, _ = planted
    assert document["patients_in_two_splits"] == 1
    assert warned(document, "1 patients are in more than one split")
    assert warned(document, "The val split has no example of Cataract")
    assert document["tokens"]["chinese"]["unknown"] > 0.5
    assert warned(document, "chinese", "unknown to this vocabulary")


@pytest.mark.slow
def test_what_several_labels_mean_is_said(planted):
    document, _ = planted
    assert not warned(document, "several labels")
    (said,) = (line for line in warnings_of({**document, "several_labels": 3}) if "several labels" in line)
    assert said.startswith("3 samples have several labels")
    assert "on test they are scored class by class" in said
    assert "the choices on validation leave them out" in said


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["multi_label_macro_auroc", "image_to_text_recall_at_10"])
def test_a_choice_that_knows_several_labels_leaves_nobody_out(planted, metric):
    document, _ = planted
    found = warnings_of({**document, "several_labels": 3, "selection_metric": metric})
    assert not any("leave them out" in line for line in found)


@pytest.mark.slow
def test_samples_without_labels_are_said_to_be_scored_where_they_are(planted):
    """Retrieval counts every sample, labeled or not."""
    document, _ = planted
    found = warnings_of({**document, "unlabeled_samples": 4, "never_scored": 2})
    assert "4 samples have no label: they train, and retrieval alone scores them." in found
    assert not any("never scored" in line or "not scored" in line for line in found)


@pytest.mark.slow
def test_warnings_name_no_patient(planted):
    document, _ = planted
    assert not any(name in warning for warning in document["warnings"] for name in ("P30", "P6 ", "P9 ", ".png"))


@pytest.mark.slow
def test_group_keeps_copies_in_one_split(planted):
    _, folder = planted
    table = pd.read_csv(folder / "table.csv", dtype=str).drop(columns="split")
    table.to_csv(folder / "unsplit.csv", index=False)
    for policy, parted in (("warn", True), ("group", False)):
        settings = Settings(96, "raw", 0.2, 0.2, 0, policy, None, 1, 2)
        build(Source("manifest", folder / "unsplit.csv", folder), settings, folder / policy, folder / "state")
        frame = pd.read_parquet(folder / policy / "samples.parquet")
        images = pd.read_parquet(folder / policy / "pictures.parquet").merge(frame, on="sample_id")
        splits = images[images["near_duplicates"] >= 0].groupby("near_duplicates")["split"].nunique()
        assert bool((splits > 1).any()) == parted
    settings = settings._replace(near_duplicates="drop")
    build(Source("manifest", folder / "unsplit.csv", folder), settings, folder / "drop", folder / "state")
    assert len(pd.read_parquet(folder / "drop/samples.parquet")) == PATIENTS - COPIES


CLASSES = ["Healthy", "Glaucoma", "Diabetic Retinopathy", "No DR", "Mild DR"]


@pytest.mark.parametrize(
    ("labels", "texts", "said"),
    [
        (("Healthy", "Healthy"), ("Glaucoma is present.", "", ""), "finding"),
        (("Healthy", "Healthy"), ("No sign of glaucoma or diabetic retinopathy.", "", ""), ""),
        (("Healthy", "Healthy"), ("At risk of glaucoma.", "", ""), ""),
        (("Glaucoma", "Healthy"), ("Bilateral glaucoma.", "", ""), "both eyes"),
        (("Glaucoma", "Glaucoma"), ("Bilateral glaucoma.", "", ""), ""),
        (("Glaucoma", "Healthy"), ("x", "Cupping in the right eye.", "Normal."), "side"),
        (("Glaucoma", "Healthy"), ("x", "Cupping of the left eye.", "Healthy."), ""),
        (("Glaucoma", "Healthy"), ("x", "Healthy disc.", "y"), "finding"),
        (("No DR", "No DR"), ("No DR seen.", "", ""), ""),
        (("Mild DR", "Mild DR"), ("Mild DR.", "", ""), ""),
        (("", ""), ("Glaucoma.", "", ""), ""),
    ],
)
def test_contradictions(labels, texts, said):
    text, left, right = texts
    row = {"text": text, "text_left": left or text, "text_right": right or text,
           "label": "|".join(filter(None, labels)), "label_left": labels[0], "label_right": labels[1]}  # fmt: skip
    assert contradiction(row, CLASSES) == said


@pytest.mark.slow
def test_one_eye_under_two_ids_in_real_photographs(tmp_path):
    """The public set of 298 ids has three pairs of photographs of one eye; hashes of images find none of them."""
    if not (REAL / "labels.csv").is_file():
        pytest.skip("the real photographs are not here")
    table = pd.read_csv(REAL / "labels.csv", dtype=str, keep_default_na=False).rename(columns={"path": "image"})
    few = table[table["patient_id"].isin({"P155", "P058", "P237", "P067", *(f"P{n:03d}" for n in range(1, 60))})]
    few[["patient_id", "image", "eye", "label"]].to_csv(tmp_path / "table.csv", index=False)
    settings = Settings(224, "raw", 0.2, 0.2, 0, "warn", None, 1, 2)
    build(Source("manifest", tmp_path / "table.csv", REAL), settings, tmp_path / "out", tmp_path / "state")
    images = pd.read_parquet(tmp_path / "out/pictures.parquet")
    groups = images[images["near_duplicates"] >= 0].groupby("near_duplicates")
    found = sorted(tuple(f"{row.sample_id}/{row.eye}" for row in members.itertuples()) for _, members in groups)
    assert found == [("P058/right", "P155/right"), ("P067/left", "P237/left"), ("P067/right", "P237/right")]
