"""Every form of data that people have, made small and real by the test, and the real prompts where they lie."""

import base64
import dataclasses
import io
import json
import pickle
import re
from pathlib import Path

import lmdb
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFilter
from running import REPOSITORY

from retclip.core.source_facts import SourceFacts, all_source_facts, source_facts
from retclip.data.build import Settings, build
from retclip.data.samples import section
from retclip.data.source import Source
from retclip.data.sources.registry import SOURCES, read_source
from retclip.data.store import Store

REAL_PROMPTS = REPOSITORY.parent / "shared/data/retclip_prompts_test.csv"


def image(seed: int = 0, size: int = 48) -> Image.Image:
    """A reddish disc with a spot of its own on black."""
    y, x = np.mgrid[:size, :size]
    pixels = np.zeros((size, size, 3), np.uint8)
    pixels[np.hypot(x - size / 2, y - size / 2) < size * 0.45] = (180, 90, 40)
    generator = np.random.default_rng(seed)
    pixels[tuple(generator.integers(size // 4, 3 * size // 4, 2))] = 255
    return Image.fromarray(pixels)


def encoded(seed: int, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image(seed).save(stream, kind)
    return stream.getvalue()


def built(source: Source, output: Path, **changes) -> tuple[dict, pd.DataFrame]:
    settings = Settings(**{"image_size": 32, "image_encoding": "raw", "test_fraction": 0.2, "val_fraction": 0.2,
                           "max_bad_fraction": 0.2, "near_duplicates": "ignore", "report_section": None, "seed": 1,
                           "threads": 1, **changes})  # fmt: skip
    build(source, settings, output, output.with_suffix(".state"))
    return json.loads((output / "fingerprint.json").read_text()), pd.read_parquet(output / "samples.parquet")


# --- declarations ----------------------------------------------------------------------------------------------


def test_core_and_the_workflow_read_what_the_modules_declare():
    for name, form in SOURCES.items():
        facts = {fact.name: getattr(form, fact.name) for fact in dataclasses.fields(SourceFacts)}
        assert source_facts(name) == SourceFacts(**facts), name
    assert list(all_source_facts()) == list(SOURCES)


def test_a_form_of_data_is_named_in_its_own_module_alone():
    """So that a new one is one new module. The name of our own table is that of a key, too, so it is not looked for."""
    asked = re.compile(r"""["'](odir|retclip_\w+)["']|(data|DATA)\["source"\] *[!=]=|\["source"\]\.startswith""")
    scripts = REPOSITORY / "scripts"
    for folder in (REPOSITORY / "rules", scripts, scripts / "retclip/core", scripts / "retclip/data"):
        for path in (*folder.glob("*.smk"), *folder.glob("*.py")):
            assert not asked.search(path.read_text()), path


def test_a_location_inside_a_file_is_only_what_its_own_reader_made(tmp_path):
    """In any other table such a cell is no path of an image."""
    image().save(tmp_path / "own.png")
    (tmp_path / "table.csv").write_text("patient_id,image,label\n1,lmdb://imgs?left+00,a\n2,own.png,a\n")
    frame, problems = read_source(Source("manifest", tmp_path / "table.csv", tmp_path))
    assert list(frame["patient_id"]) == ["2"]
    said = "the image path names a place inside another file, or on the net"
    assert [(problem["row"], problem["reason"]) for problem in problems] == [(2, said)]


# --- prompts: an index into a public data set, a label, a sentence --------------------------------------------


def test_prompts_with_a_table_per_split(tmp_path):
    for split, count in (("train", 12), ("test", 4)):
        (tmp_path / "images" / split).mkdir(parents=True)
        rows = [
            {"dataset_index": i, "label": "ab"[i % 2], "prompt": f"Finding {i}, {'ab'[i % 2]}."} for i in range(count)
        ]
        pd.DataFrame(rows).to_csv(tmp_path / f"{split}.csv", index=False)
        for i in range(count):
            image(i + 50 * (split == "test")).save(tmp_path / f"images/{split}/{i:03d}.{'png' if i % 2 else 'jpg'}")
    source = Source("prompts", tmp_path / "train.csv", tmp_path / "images", tmp_path / "test.csv", "none",
                    "{split}/{dataset_index:03d}.*")  # fmt: skip
    fingerprint, frame = built(source, tmp_path / "out")
    assert fingerprint["label_level"] == "patient"
    assert not fingerprint["patients_known"]
    assert {name: entry["samples"] for name, entry in fingerprint["splits"].items()}["test"] == 4
    row = frame.set_index("sample_id").loc["test-3"]
    assert (row["text"], row["label"], row["eyes"]) == ("Finding 3, b.", "b", "unknown")
    assert (frame["split"] == "train").sum() + (frame["split"] == "val").sum() == 12


@pytest.mark.slow
def test_the_real_prompts(tmp_path):
    """All 3,253 sentences; drawn images stand in for the data set's, which are not ours."""
    if not REAL_PROMPTS.is_file():
        pytest.skip("the real prompts are not here")
    table = pd.read_csv(REAL_PROMPTS)
    folder = tmp_path / "images/train"
    folder.mkdir(parents=True)
    drawn = [encoded(seed) for seed in range(40)]
    for index in table["dataset_index"]:
        (folder / f"{index}.png").write_bytes(drawn[index % 40])
    source = Source("prompts", REAL_PROMPTS, tmp_path / "images", None, "none", "{split}/{dataset_index}.*")
    fingerprint, frame = built(source, tmp_path / "out", image_size=16, threads=2)
    assert len(frame) == 3253
    assert fingerprint["quarantined"] == []
    assert len(fingerprint["classes"]) == 10
    # the table is sorted by class; the splits are not
    for entry in fingerprint["splits"].values():
        assert min(entry["per_class"].values()) >= 1
    shares = [
        fingerprint["splits"][s]["per_class"]["Glaucoma"] / fingerprint["splits"][s]["samples"]
        for s in ("train", "test")
    ]
    assert shares[0] == pytest.approx(576 / 3253, abs=0.03)
    assert shares[1] == pytest.approx(576 / 3253, abs=0.06)


# --- odir: keywords per eye ------------------------------------------------------------------------------------

ODIR_CLASSES = """
Normal: [normal fundus]
ignore: [lens dust]
Diabetic Retinopathy: ["*proliferative retinopathy*"]
Myopia: [pathological myopia]
"""


def odir(folder: Path, left: str, right: str) -> Source:
    (folder / "classes.yaml").write_text(ODIR_CLASSES)
    rows = ["patient_id,age,sex,left_keywords,right_keywords,prompt_left,prompt_right,prompt_patient"]
    for index in range(10):
        words = (left, right) if index == 0 else (("normal fundus", "pathological myopia")[index % 2],) * 2
        quoted = ",".join(f'"{word}"' for word in words)
        rows.append(f'{index},{50 + index},Female,{quoted},Left {index}.,Right {index}.,"Patient {index}, both."')
        for eye in ("left", "right"):
            image(2 * index + (eye == "left")).save(folder / f"{index}_{eye}.jpg")
    (folder / "odir.csv").write_text("\n".join(rows) + "\n")
    return Source("odir", folder / "odir.csv", folder, class_map=folder / "classes.yaml",
                  image_pattern="{patient_id}_{eye}.jpg")  # fmt: skip


def test_odir_keywords_become_classes_of_each_eye(tmp_path):
    source = odir(tmp_path, "lens dust，moderate non proliferative retinopathy", "normal fundus, pathological myopia")
    frame, problems = read_source(source)
    assert problems == []
    first = frame.iloc[0]
    assert (first["label_left"], first["label_right"]) == ("Diabetic Retinopathy", "Myopia")
    assert (first["text_left"], first["text"], first["age"], first["sex"]) == (
        "Left 0.",
        "Patient 0, both.",
        "50",
        "Female",
    )
    assert frame["eyes"].eq("both").all()
    fingerprint, _ = built(source, tmp_path / "out")
    assert fingerprint["label_level"] == "eye"
    assert fingerprint["text_level"] == "eye"


def test_odir_several_diseases_of_an_eye(tmp_path):
    source = odir(tmp_path, "pathological myopia,mild non proliferative retinopathy", "lens dust")
    first = read_source(source)[0].iloc[0]
    assert first["label_left"] == "Myopia|Diabetic Retinopathy"
    assert first["label_right"] == ""


def test_an_unknown_keyword_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"classes\.yaml: 1 keywords of the table are in no class \(drusen\)"):
        read_source(odir(tmp_path, "drusen", "normal fundus"))


def test_the_shipped_class_map_can_be_read():
    from retclip.data.sources.odir import label_of, read_class_map

    classes = read_class_map(REPOSITORY / "config/odir_classes.yaml")
    assert label_of("normal fundus，lens dust", classes) == "Normal"
    assert label_of("cataract,dry age-related macular degeneration", classes) == (
        "Cataract|Age-related Macular Degeneration"
    )
    assert label_of("severe nonproliferative retinopathy", classes) == "Diabetic Retinopathy"
    assert label_of("epiretinal membrane", classes) == "Other"


# --- upstream's formats ------------------------------------------------------------------------------------------


def upstream_tsv(folder: Path) -> Path:
    folder.mkdir()
    for split, count in (("train", 8), ("valid", 3), ("test", 3)):
        lines, texts = [], []
        for index in range(count):
            sides = [base64.urlsafe_b64encode(encoded(10 * index + side, "JPEG")).decode() for side in (0, 1)]
            lines.append("\t".join([f"{split}{index}", *sides]))
            texts.append(
                json.dumps({"text_id": index, "text": f"Report {split} {index}.", "image_ids": [f"{split}{index}"]})
            )
        (folder / f"{split}_imgs.tsv").write_text("\n".join(lines) + "\n")
        (folder / f"{split}_texts.jsonl").write_text("\n".join(texts) + "\n")
    return folder


def upstream_lmdb(folder: Path, evil: bytes | None = None) -> Path:
    for split, count in (("train", 8), ("valid", 3), ("test", 3)):
        for name in ("pairs", "imgs"):
            (folder / split / name).mkdir(parents=True)
        pairs = lmdb.open(str(folder / split / "pairs"), map_size=1 << 24, sync=False)
        with pairs.begin(write=True) as transaction:
            for index in range(count):
                value = pickle.dumps((f"{split}{index}", index, f"Report {split} {index}."))
                transaction.put(str(index).encode(), evil if evil and index == 0 else value)
            transaction.put(b"num_samples", str(count).encode())
        pairs.close()
        images = lmdb.open(str(folder / split / "imgs"), map_size=1 << 24, sync=False)
        with images.begin(write=True) as transaction:
            for index in range(count):
                sides = tuple(base64.urlsafe_b64encode(encoded(10 * index + side, "JPEG")) for side in (0, 1))
                transaction.put(f"{split}{index}".encode(), pickle.dumps(sides))
            transaction.put(b"num_images", str(count).encode())
        images.close()
    return folder


@pytest.mark.parametrize(("kind", "make"), [("retclip_tsv", upstream_tsv), ("retclip_lmdb", upstream_lmdb)])
def test_upstreams_formats(tmp_path, kind, make):
    folder = make(tmp_path / "set")
    fingerprint, frame = built(Source(kind, folder, folder), tmp_path / "out")
    assert fingerprint["label_level"] == "none"
    assert {name: entry["samples"] for name, entry in fingerprint["splits"].items()} == {
        "train": 8,
        "val": 3,
        "test": 3,
    }
    row = frame[frame["patient_id"] == "train2"].iloc[0]
    assert (row["text"], row["eyes"]) == ("Report train 2.", "both")
    store = Store(tmp_path / "out/train.lmdb", fingerprint["splits"]["train"]["lmdb_bytes"])
    left, right = store.get_many([f"{row['sample_id']}/left", f"{row['sample_id']}/right"])
    assert left.max() > 100
    assert not np.array_equal(left, right)


class Evil:
    def __reduce__(self):
        return (Path("/tmp/never-made-by-a-pickle").touch, ())


@pytest.mark.parametrize("evil", [pickle.dumps(Evil()), b"cos\nsystem\n(S'true'\ntR.", b"\x80\x04garbage",
                                  pickle.dumps(["a", "list"]), pickle.dumps(("only", "two"))])  # fmt: skip
def test_a_pickle_cannot_run_code(tmp_path, evil):
    folder = upstream_lmdb(tmp_path / "set", evil)
    frame, problems = read_source(Source("retclip_lmdb", folder, folder))
    assert not Path("/tmp/never-made-by-a-pickle").exists()
    assert len(problems) == 3
    assert all(problem["reason"].startswith("pairs: ") for problem in problems)
    assert len(frame) == 14  # the patients whose pair was bad keep their images


# --- the manifest's further ways -------------------------------------------------------------------------------


def manifest(folder: Path, rows: list[dict]) -> Path:
    for index, row in enumerate(rows):
        for column in ("image", "image_left", "image_right"):
            if row.get(column):
                (folder / row[column]).parent.mkdir(exist_ok=True)
                image(hash((column, index)) % 2**31).save(folder / row[column])
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


def test_the_patient_may_stand_in_the_file_name(tmp_path):
    rows = [
        {"image": f"P{i // 2:02d}_{'LR'[i % 2]}.png", "eye": ("left", "right")[i % 2], "label": "ab"[i // 2 % 2]}
        for i in range(8)
    ]
    source = Source("manifest", manifest(tmp_path, rows), tmp_path, patient_id=r"pattern:(P\d+)_")
    frame, problems = read_source(source)
    assert problems == []
    assert frame["patient_id"].tolist() == ["P00", "P01", "P02", "P03"]
    assert frame["eyes"].eq("both").all()
    wrong = source._replace(patient_id=r"pattern:(X\d+)_")
    with pytest.raises(ValueError, match=r"no row can be used.*does not match data.patient_id's pattern"):
        read_source(wrong)


@pytest.mark.parametrize(("rule", "samples"), [("all", 3), ("first", 1), ("best", 1)])
def test_several_images_of_an_eye(tmp_path, rule, samples):
    rows = [{"patient_id": f"P{i}", "image": f"{i}.png", "eye": "left", "label": "ab"[i % 2]} for i in range(12)]
    rows += [{"patient_id": "P0", "image": f"more{k}.png", "eye": "left", "label": "a"} for k in range(2)]
    table = manifest(tmp_path, rows)
    # of P0's three images the second is the sharp one
    stripes = np.asarray(image(0)) * (np.arange(48) // 4 % 2)[None, :, None].astype(np.uint8)
    for name, blur in (("0.png", 3), ("more0.png", 0), ("more1.png", 2)):
        Image.fromarray(stripes).filter(ImageFilter.GaussianBlur(blur)).save(tmp_path / name)
    fingerprint, frame = built(Source("manifest", table, tmp_path, eye_images=rule), tmp_path / "out")
    own = frame[frame["patient_id"] == "P0"]
    assert len(own) == samples
    assert own["split"].nunique() == 1
    chosen = {"all": "0.png", "first": "0.png", "best": "more0.png"}[rule]
    assert own["source_left"].iloc[0] == chosen
    split = own["split"].iloc[0]
    store = Store(tmp_path / f"out/{split}.lmdb", fingerprint["splits"][split]["lmdb_bytes"])
    assert store.get(f"{own['sample_id'].iloc[0]}/left").shape == (32, 32, 3)


def test_a_second_language_and_a_section(tmp_path):
    rows = [{"patient_id": f"P{i}", "image_left": f"{i}.png", "label": "ab"[i % 2],
             "text": f"History: long. Impression: finding {i}. Plan: none", "text_de": f"Befund {i}"}
            for i in range(12)]  # fmt: skip
    source = Source("manifest", manifest(tmp_path, rows), tmp_path, text_columns=("text_de",))
    _, frame = built(source, tmp_path / "out", report_section="Impression")
    assert frame["text_de"].str.startswith("Befund").all()
    assert frame.set_index("patient_id").loc["P3", "text"].startswith("finding 3.")


def test_sections_of_reports():
    report = "Findings:\nDrusen in both eyes.\n\nImpression:\nDry AMD.\nRecommendation: review"
    assert section(report, "Impression") == "Dry AMD."
    assert section(report, "findings") == "Drusen in both eyes."
    assert section("No headings at all.", "Impression") == "No headings at all."


def test_dicom_and_pages_of_tiff(tmp_path):
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    from retclip.data.images import load_fundus

    for index, side in enumerate("LR"):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        dataset.PatientName, dataset.ImageLaterality = "Doe^Jane", side
        dataset.Rows = dataset.Columns = 48
        dataset.SamplesPerPixel, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 1, 16, 12, 11
        dataset.PhotometricInterpretation, dataset.PixelRepresentation = "MONOCHROME2", 0
        gray = np.asarray(image(index).convert("L"), dtype=np.uint16) * 16
        dataset.PixelData = gray.tobytes()
        pydicom.dcmwrite(tmp_path / f"{side}.dcm", dataset, enforce_file_format=True)
    plain = load_fundus(tmp_path / "L.dcm", 32).astype(int)
    assert abs(plain[16, 4].mean() - np.asarray(image(0).convert("L"))[24, 6]) < 12
    (tmp_path / "table.csv").write_text("patient_id,image,label\nP,L.dcm,a\nP,R.dcm,a\n")
    frame, _ = read_source(Source("manifest", tmp_path / "table.csv", tmp_path))
    assert frame["eyes"].tolist() == ["both"]
    assert frame["source_right"].tolist() == ["R.dcm"]
    assert "Doe" not in frame.to_csv()
    thumbnail = image(9).resize((8, 8))
    thumbnail.save(tmp_path / "pages.tif", save_all=True, append_images=[image(4)])
    image(4).save(tmp_path / "page.tif")
    assert np.array_equal(load_fundus(tmp_path / "pages.tif", 48), load_fundus(tmp_path / "page.tif", 48))
