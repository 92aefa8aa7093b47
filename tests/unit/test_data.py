"""From tables and image files to stores: real JPEG and PNG files, as people have them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from retclip.data import build, samples, splits
from retclip.data.audit import audit
from retclip.data.images import load_fundus
from retclip.data.source import Source
from retclip.data.sources.registry import read_source
from retclip.data.store import Store, encode, write_store
from retclip.demo.patients import CLASSES, invent_patient, make_patient


def fundus(path: Path, width: int = 300, height: int = 200, center: tuple[int, int] = (150, 100), radius: int = 80):
    """A reddish disc on black, with a bright spot left of its middle."""
    y, x = np.mgrid[:height, :width]
    image = np.zeros((height, width, 3), np.uint8)
    image[np.hypot(x - center[0], y - center[1]) < radius] = (180, 90, 40)
    image[np.hypot(x - center[0] + radius // 2, y - center[1]) < radius // 6] = (250, 230, 180)
    Image.fromarray(image).save(path, quality=95)
    return image


# --- images ------------------------------------------------------------------------------------------------


def test_the_fundus_fills_the_crop(tmp_path):
    fundus(tmp_path / "a.jpg")
    image = load_fundus(tmp_path / "a.jpg", 64)
    assert image.shape == (64, 64, 3)
    assert image.dtype == np.uint8
    assert (image[32] > 40).any(1).mean() > 0.95
    assert image[32, 14:18].mean() > image[32, 46:50].mean() + 50


def test_exif_orientation_is_obeyed(tmp_path):
    fundus(tmp_path / "a.png")
    image = Image.open(tmp_path / "a.png").rotate(90, expand=True)
    exif = image.getexif()
    exif[0x0112] = 6  # show it turned clockwise by 90 degrees
    image.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    upright, turned = load_fundus(tmp_path / "a.png", 64), load_fundus(tmp_path / "turned.jpg", 64)
    assert np.abs(upright.astype(int) - turned.astype(int)).mean() < 4


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    image = fundus(tmp_path / "a.png")
    if mode == "I;16":
        Image.fromarray(image[..., 0].astype(np.uint16) * 256).save(tmp_path / "b.png")
    else:
        Image.fromarray(image).convert(mode).save(tmp_path / f"b.{'tif' if mode == 'CMYK' else 'png'}")
    found = load_fundus(next(tmp_path.glob("b.*")), 32)
    assert found.shape == (32, 32, 3)
    assert found[16, 16].max() > 100


def test_what_is_no_image_is_said(tmp_path):
    fundus(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "empty.jpg").write_bytes(b"")
    for name, said in (("cut", "cannot be read"), ("text", "cannot be read"), ("empty", "empty"), ("no", "not exist")):
        with pytest.raises(ValueError, match=said):
            load_fundus(tmp_path / f"{name}.jpg", 32)


# --- the store -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("encoding", "tolerance"), [("raw", 0), ("jpeg", 6)])
def test_the_store_gives_back_what_was_put(tmp_path, encoding, tolerance):
    fundus(tmp_path / "a.png")
    image = load_fundus(tmp_path / "a.png", 48)
    path = tmp_path / "train.lmdb"
    images = [("s1/left", encode(image, encoding)), ("s1/right", encode(image[:, ::-1], encoding))]
    write_store(path, images, 2, 48, encoding)
    before = path.stat()
    store = Store(path, before.st_size)
    found = store.get_many(["s1/right", "s1/left"])
    assert np.abs(found[1].astype(int) - image).max() <= tolerance * 4
    assert np.abs(found[1].astype(int) - image).mean() <= tolerance
    assert np.abs(found[0].astype(int) - image[:, ::-1]).mean() <= tolerance
    with pytest.raises(KeyError, match="s2/left"):
        store.get("s2/left")
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert [item.name for item in tmp_path.iterdir() if "lock" in item.name] == []


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_a_damaged_image_is_told_without_its_patient(tmp_path, encoding):
    image = encode(np.zeros((8, 8, 3), np.uint8), encoding)
    path = tmp_path / "train.lmdb"
    write_store(path, [("a/left", image), ("Jane Roe/left", image[:100])], 2, 8, encoding)
    store = Store(path, path.stat().st_size)
    assert store.get("a/left").max() == 0
    said = r"train\.lmdb: image 2 of the 2 asked for is damaged; delete the file and run again"
    with pytest.raises(ValueError, match=said) as error:
        store.get_many(["a/left", "Jane Roe/left"])
    assert "Jane" not in str(error.value)


def test_a_truncated_store_is_refused_before_it_is_opened(tmp_path):
    image = np.zeros((8, 8, 3), np.uint8)
    path = tmp_path / "train.lmdb"
    write_store(path, [("a/left", image.tobytes())], 1, 8, "raw")
    size = path.stat().st_size
    with path.open("r+b") as stream:
        stream.truncate(size // 2)
    with pytest.raises(ValueError, match=rf"has {size // 2} bytes, but fingerprint.json says {size}"):
        Store(path, size)


# --- tables --------------------------------------------------------------------------------------------------


def table(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_one_row_an_eye(tmp_path):
    for name in ("a", "b", "c"):
        fundus(tmp_path / f"{name}.jpg")
    path = table(
        tmp_path,
        "patient_id,image,eye,label\nP1,a.jpg,left,No DR\nP1,b.jpg,OD,Mild DR\nP2,c.jpg,,No DR\n",
    )
    frame, problems = read_source(Source("manifest", path, tmp_path))
    assert problems == []
    first, second = frame.to_dict("records")
    assert (first["sample_id"], first["eyes"], first["label_left"], first["label_right"]) == (
        "P1",
        "both",
        "No DR",
        "Mild DR",
    )
    assert (second["eyes"], second["label"]) == ("unknown", "No DR")
    filled, from_labels = samples.fill_texts(frame, None)
    assert from_labels
    assert filled["text_left"][0] == "A fundus photograph of the left eye showing No DR."
    assert "Mild DR" in filled["text"][0]
    assert "No DR" in filled["text"][1]


def test_bad_rows_are_named_by_line_and_reason(tmp_path):
    fundus(tmp_path / "a.jpg")
    path = table(
        tmp_path,
        "patient_id,image,eye,label\nP1,a.jpg,left,x\nP1,a.jpg,left,x\nP2,gone.jpg,left,y\n\n"
        ",a.jpg,left,y\nP3,../a.jpg,left,y\nP4,a.jpg,up,y\n",
    )
    frame, problems = read_source(Source("manifest", path, tmp_path))
    assert frame["sample_id"].tolist() == ["P1"]
    said = {problem["row"]: problem["reason"] for problem in problems}
    assert said.keys() == {3, 4, 6, 7, 8}
    for line, reason in ((3, "duplicate"), (4, "does not exist"), (6, "patient_id is empty"), (7, "leads out of"),
                         (8, "the eye is no eye's name")):  # fmt: skip
        assert reason in said[line]


@pytest.mark.parametrize("separator", [",", ";"])
def test_spreadsheets_and_their_separators(tmp_path, separator):
    fundus(tmp_path / "ä 1.jpg")
    rows = [["patient_id", "image_left", "text"], ["P1", "ä 1.jpg", "Befund: normal"]]
    path = tmp_path / "table.csv"
    path.write_bytes("\r\n".join(separator.join(row) for row in rows).encode("utf-8-sig"))
    frame, problems = read_source(Source("manifest", path, tmp_path))
    assert problems == []
    assert frame["text"].tolist() == ["Befund: normal"]
    assert frame["eyes"].tolist() == ["left"]


def test_a_missing_column_is_named(tmp_path):
    with pytest.raises(ValueError, match="lacks the column patient_id"):
        read_source(Source("manifest", table(tmp_path, "id,image\n1,a.jpg\n"), tmp_path))
    with pytest.raises(ValueError, match="lacks the column one of image, image_left, image_right"):
        read_source(Source("manifest", table(tmp_path, "patient_id,label\n1,a\n"), tmp_path))


# --- splits --------------------------------------------------------------------------------------------------


def patients(count: int, per_patient: int = 1) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    rows = []
    for index in range(count):
        label = generator.choice(["a", "b", "c"], p=[0.7, 0.25, 0.05])
        rows += [{"sample_id": f"s{index}-{k}", "patient_id": f"p{index}", "label": label, "label_left": "",
                  "label_right": ""} for k in range(per_patient)]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_patient_is_in_one_split_and_every_label_in_all():
    frame = patients(300, per_patient=2)
    frame["split"] = splits.assign_splits(frame, 0.2, 0.1, seed=1)
    assert (frame.groupby("patient_id")["split"].nunique() == 1).all()
    assert set(frame.groupby("split")["label"].nunique()) == {3}
    shares = frame["split"].value_counts(normalize=True)
    assert abs(shares["test"] - 0.2) < 0.05
    assert abs(shares["val"] - 0.08) < 0.04


def test_a_new_patient_moves_no_other():
    few, many = patients(200), patients(260)
    first = dict(zip(few["patient_id"], splits.assign_splits(few, 0.2, 0.1, 1), strict=True))
    second = dict(zip(many["patient_id"], splits.assign_splits(many, 0.2, 0.1, 1), strict=True))
    moved = [patient for patient in first if first[patient] != second[patient]]
    assert moved == []


def test_a_subset_is_stratified_seeded_and_nested():
    frame = patients(300)
    small, large = (set(splits.stratified_subset(frame, n, 1)) for n in (30, 100))
    assert small < large
    assert len(large) == 100
    assert set(frame["label"].iloc[sorted(small)]) == {"a", "b", "c"}
    shares = frame["label"].iloc[sorted(large)].value_counts(normalize=True)
    assert abs(shares["a"] - (frame["label"] == "a").mean()) < 0.05
    assert set(splits.stratified_subset(frame, 100, 2)) != large


# --- the whole build -----------------------------------------------------------------------------------------


def small_set(folder: Path, count: int = 24) -> Path:
    rows = ["patient_id,image_left,image_right,label_left,label_right,text"]
    for index in range(count):
        for side in ("left", "right"):
            fundus(folder / f"{index}_{side}.png", center=(140 + index % 9, 100), radius=60 + index % 20)
        label = ("a", "b")[index % 2]
        rows.append(f"P{index},{index}_left.png,{index}_right.png,{label},{label},Report {index} on {label}.")
    return table(folder, "\n".join(rows) + "\n")


def build_set(
    folder: Path, path: Path, output: Path, max_bad_fraction: float = 0.1, near_duplicates: str = "ignore", **source
) -> dict:
    settings = build.Settings(32, "raw", 0.2, 0.2, max_bad_fraction, near_duplicates, None, 1, 2)
    build.build(Source("manifest", path, folder, **source), settings, output, output.with_suffix(".state"))
    return json.loads((output / "fingerprint.json").read_text())


def test_build_writes_what_the_design_says(tmp_path):
    path = small_set(tmp_path)
    fingerprint = build_set(tmp_path, path, tmp_path / "out")
    assert fingerprint["classes"] == ["a", "b"]
    assert fingerprint["label_level"] == "eye"
    everything = pd.read_parquet(tmp_path / "out/samples.parquet")
    parts = [pd.read_parquet(tmp_path / f"out/samples_{split}.parquet") for split in ("train", "val", "test")]
    assert sorted(everything["sample_id"]) == sorted(pd.concat(parts)["sample_id"])
    for split, part in zip(("train", "val", "test"), parts, strict=True):
        store = Store(tmp_path / f"out/{split}.lmdb", fingerprint["splits"][split]["lmdb_bytes"])
        for name in part["sample_id"]:
            number = name.removeprefix("P")
            assert np.array_equal(store.get(f"{name}/left"), load_fundus(tmp_path / f"{number}_left.png", 32))
    images = pd.read_parquet(tmp_path / "out/pictures.parquet")
    document = audit(everything, images, fingerprint, {}, 77, "zero_shot_balanced_accuracy")
    assert document["patients_in_two_splits"] == 0
    assert document["splits"]["train"]["images"] == 2 * len(parts[0])


@pytest.mark.slow
def test_the_same_table_gives_the_same_fingerprint(tmp_path):
    path = small_set(tmp_path)
    first, second = build_set(tmp_path, path, tmp_path / "a"), build_set(tmp_path, path, tmp_path / "b")
    assert first == second
    (tmp_path / "3_left.png").write_bytes((tmp_path / "5_left.png").read_bytes())
    assert build_set(tmp_path, path, tmp_path / "c")["sha256"] != first["sha256"]


def test_a_bad_image_is_set_aside_and_its_fellow_eye_kept(tmp_path):
    path = small_set(tmp_path)
    (tmp_path / "4_right.png").write_bytes(b"broken")
    fingerprint = build_set(tmp_path, path, tmp_path / "out")
    assert fingerprint["quarantined"] == [{"row": 6, "reason": pytest.approx(fingerprint["quarantined"][0]["reason"])}]
    row = pd.read_parquet(tmp_path / "out/samples.parquet").set_index("sample_id").loc["P4"]
    assert (row["eyes"], row["label_right"], row["source_right"]) == ("left", "", "")


def test_too_many_bad_rows_stop_the_build(tmp_path):
    path = small_set(tmp_path)
    (tmp_path / "4_right.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"1 of 24 rows cannot be used.*line 6"):
        build_set(tmp_path, path, tmp_path / "out", max_bad_fraction=0.01)


def test_a_patient_in_two_splits_is_refused(tmp_path):
    fundus(tmp_path / "a.jpg")
    path = table(
        tmp_path,
        "sample_id,patient_id,image,eye,label,split\n1,P1,a.jpg,left,x,train\n2,P1,a.jpg,right,x,test\n"
        "3,P2,a.jpg,left,y,val\n",
    )
    with pytest.raises(ValueError, match=r"1 patients are in more than one split \(the first: lines 2, 3\)"):
        build_set(tmp_path, path, tmp_path / "out")


# --- the demo ------------------------------------------------------------------------------------------------


def test_patient_i_depends_on_seed_and_i_alone(tmp_path):
    assert invent_patient(1, 500) == invent_patient(1, 500)
    assert [invent_patient(1, i) for i in range(30)] != [invent_patient(2, i) for i in range(30)]
    first, second = (make_patient(1, 7, tmp_path) for _ in range(2))
    assert first == second


def test_the_demo_is_long_tailed_and_its_eyes_can_differ():
    drawn = [invent_patient(1, index) for index in range(1000)]
    counts = pd.Series([eye.label for pair in drawn for eye in pair]).value_counts()
    assert set(counts.index) == set(CLASSES)
    assert counts.max() > 15 * counts.min()
    assert 0.1 < np.mean([left.label != right.label for left, right in drawn]) < 0.5
    assert np.std([left.severity for left, _ in drawn]) > 0.1


def test_the_discs_of_two_eyes_are_mirrored(tmp_path):
    """The optic disc, the brightest place, lies on the nasal side: right in a right eye's photograph."""
    columns = {"left": [], "right": []}
    for index in range(400):
        left, right = invent_patient(1, index)
        if left.label == right.label == "Healthy":
            make_patient(1, index, tmp_path)
            for side, found in columns.items():
                image = np.asarray(Image.open(tmp_path / f"demo{index:05d}_{side}.jpg").convert("RGB"), float)[..., 1]
                smooth = image.reshape(24, 8, 24, 8).mean((1, 3))
                found.append(np.unravel_index(smooth.argmax(), smooth.shape)[1])
    assert len(columns["left"]) > 20
    assert np.mean(columns["right"]) > 13
    assert np.mean(columns["left"]) < 10
