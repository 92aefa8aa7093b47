"""The configs of config/README.md for tables of public data sets: each as it is printed, on a table of its shape."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml
from PIL import Image
from running import REPOSITORY, merge, merged

from retclip.core.config import check_config
from retclip.core.data_settings import build_settings

GRADES = {"No DR", "Mild NPDR", "Moderate NPDR", "Severe NPDR", "PDR"}
ROWS = 40


def documented() -> dict[str, str]:
    """Data set -> its YAML, from the document itself."""
    text = (REPOSITORY / "config/README.md").read_text(encoding="utf-8")
    part = text.split("<!-- public tables -->")[1].split("<!-- end of public tables -->")[0]
    blocks = re.findall(r"```yaml\n(# ([\w-]+).*?)```", part, re.DOTALL)
    return {name: block for block, name in blocks}


def brset(i):
    return f"img{i:05d},{i // 2},Canon CR,{40 + i // 2}.0,{1 + i % 2},{1 + i % 2},{i // 2 % 5},1", f"img{i:05d}.jpg"


def rfmid(i):
    flags = [int(i % 8 == place) for place in range(1, 8)]
    if i % 8 == 1:
        flags[4] = 1  # retinopathy and myopia
    return ",".join(map(str, [i + 1, int(any(flags)), *flags])), f"{i + 1}.png"


def idrid(i):
    return f"IDRiD_{i + 1:03d},{i % 5},{i % 3},,,,,,,,,", f"IDRiD_{i + 1:03d}.jpg"


def eyepacs(i):
    name = f"{10 + i // 2}_{('left', 'right')[i % 2]}"
    return f"{name},{i % 5}", f"{name}.jpeg"


def aptos(i):
    return f"{i:012x},{i % 5}", f"{i:012x}.png"


def messidor(i):
    name = f"20051020_{43800 + i}_0100_PP.png"
    return f"{name},{'' if i == 7 else i % 5},0,{int(i != 7)}", name


def papila(i):
    name = f"RET{2 + i // 2:03d}{('OD', 'OS')[i % 2]}.jpg"
    return f"#{2 + i // 2:03d},{name},{50 + i // 2},{i // 2 % 2},{i // 2 % 3}", name


def fives(i):
    letter = "ADGN"[i * 4 // ROWS]
    return f"{letter},{i + 1},1,1,1", f"{i + 1}_{letter}.png"


def airogs(i):
    return f"TRAIN{i:06d},{('NRG', 'RG')[i % 3 == 0]}", f"TRAIN{i:06d}.jpg"


KEYWORDS = ("normal fundus", "cataract", "moderate non proliferative retinopathy", "glaucoma，myopia retinopathy")
FLAGS = ("1,0,0,0,0,0,0,0", "0,0,0,1,0,0,0,0", "0,1,0,0,0,0,0,0", "0,0,1,0,0,0,1,0")


def odir(i):
    place = i // 2 % 4
    names = f"{i // 2}_left.jpg,{i // 2}_right.jpg,{KEYWORDS[place]},{KEYWORDS[place]}"
    row = f"{i // 2},{50 + i // 2},Female,{names},{FLAGS[place]}"
    return row if i % 2 else None, f"{i // 2}_{('left', 'right')[i % 2]}.jpg"


# data set -> header, the row and the image file of each photograph, the classes, and whether eyes are scored
SHAPES = {
    "BRSET": ("image_id,patient_id,camera,patient_age,patient_sex,exam_eye,DR_ICDR,focus", brset, GRADES, "eye"),
    "RFMiD": ("ID,Disease_Risk,DR,ARMD,MH,DN,MYA,BRVO,TSLN", rfmid,
              {"Normal", "Diabetic retinopathy", "Age-related macular degeneration", "MH", "DN", "Myopia", "BRVO",
               "TSLN"}, "patient"),
    "IDRiD": ("Image name,Retinopathy grade,Risk of macular edema ,,,,,,,,,", idrid, GRADES, "patient"),
    "EyePACS": ("image,level", eyepacs, GRADES, "eye"),
    "APTOS": ("id_code,diagnosis", aptos, GRADES, "patient"),
    "Messidor-2": ("image_id,adjudicated_dr_grade,adjudicated_dme,adjudicated_gradable", messidor, GRADES, "patient"),
    "PAPILA": ("ID,Image,Age,Gender,Diagnosis", papila, {"Healthy", "Glaucoma", "Glaucoma suspect"}, "eye"),
    "FIVES": ("Disease,Number,IC,Blur,LC", fives,
              {"Age-related macular degeneration", "Diabetic retinopathy", "Glaucoma", "Normal"}, "patient"),
    "ODIR": ("ID,Patient Age,Patient Sex,Left-Fundus,Right-Fundus,Left-Diagnostic Keywords,Right-Diagnostic Keywords,"
             "N,D,G,C,A,H,M,O", odir, {"Normal", "Cataract", "Diabetic Retinopathy", "Glaucoma", "Myopia"}, "eye"),
    "AIROGS": ("challenge_id,class", airogs, {"Referable glaucoma", "No referable glaucoma"}, "patient"),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_a_config_of_four_lines_reads_a_public_table(tmp_path, monkeypatch, capsys, name):
    import build_lmdb

    text = documented()[name]
    assert len(text.strip().splitlines()) <= 5  # the first is the comment that names it
    head, shape, classes, level = SHAPES[name]
    config = merged()
    merge(config, yaml.safe_load(text))
    config["data"]["class_map"] = str(REPOSITORY / "config/odir_classes.yaml")
    monkeypatch.chdir(tmp_path)
    data = config["data"]
    Path(data["image_root"]).mkdir(parents=True)
    rows = [shape(i) for i in range(ROWS)]
    Path(data["manifest"]).write_text("\n".join([head, *(row for row, _ in rows if row)]) + "\n", encoding="utf-8")
    for index, (_, image) in enumerate(rows):
        drawn = Image.new("RGB", (40, 40))
        drawn.paste((150 + index, 90, 40), (4, 4, 36, 36))
        drawn.save(Path(data["image_root"], image), "PNG")
    clean = check_config(config)
    settings = {**build_settings(clean), "image_size": 24, "near_duplicates": "ignore"}
    flags = ["--settings", json.dumps(settings), "--manifest", data["manifest"], "--image-root", data["image_root"],
             "--class-map", data["class_map"], "--work-dir", "state", "--output-dir", "out"]  # fmt: skip
    build_lmdb.main(flags)
    fingerprint = json.loads(Path("out/fingerprint.json").read_text())
    assert fingerprint["quarantined"] == []
    assert fingerprint["label_level"] == level
    frame = pd.read_parquet("out/samples.parquet")
    labels = set("|".join(frame["label"]).split("|")) - {""}
    assert labels == classes
    assert fingerprint["reconciliation"]["counts"]["images"]["used"] == ROWS
    assert len(frame) == (ROWS // 2 if level == "eye" else ROWS)
    if level == "eye":
        assert frame["eyes"].eq("both").all()
    if name == "RFMiD":
        assert "Diabetic retinopathy|Myopia" in set(frame["label"])
    said = capsys.readouterr().err
    assert "bare numbers" not in said
    assert "nothing uses" not in said or name == "BRSET"


def test_every_public_table_is_documented():
    assert set(documented()) == set(SHAPES)
