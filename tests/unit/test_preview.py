"""What make plan reads before any job: every row, and whether each file is there; no pixel."""

import json
import re
import time

import pytest
from running import BUILD, merged
from small_tables import GOOD, build, forty_patients, write

import plan_run
from retclip.core.config import drop_nulls
from retclip.data.preview import preview


@pytest.fixture
def folder(tmp_path):
    return forty_patients(tmp_path)


def seen(folder, **changes):
    settings = {**BUILD, "image_size": 24, "max_bad_fraction": 0.2, **changes}
    tests = folder / "tests.csv"
    return preview(settings, folder / "table.csv", folder / "images", tests if tests.is_file() else None, None)


@pytest.mark.parametrize("splits", [False, True])
def test_the_plan_knows_the_samples_of_the_build(folder, capsys, splits):
    """The same splits, classes and eyes, to the last sample, from the same table."""
    heads = "patient_id,image,eye,label,text" + (",split" if splits else "")
    named = [f",{('train', 'Training', 'valid', 'test')[i // 2 % 4]}" if splits else "" for i in range(GOOD)]
    texts = ["" if i % 5 else f"Report {i}" for i in range(GOOD)]
    rows = [f"P{i // 2},{i}.png,{('left', 'right')[i % 2]},{'abc'[i // 2 % 3]},{texts[i]}{named[i]}"
            for i in range(GOOD)]  # fmt: skip
    rows[-1] = rows[-1].replace("39.png", "gone.png")
    write(folder, heads, rows)
    found = seen(folder)
    code, said = build(folder, capsys)
    assert code == 0, said
    fingerprint = json.loads((folder / "out/fingerprint.json").read_text())
    assert found.counts == {name: entry["samples"] for name, entry in fingerprint["splits"].items()}
    assert found.classes == len(fingerprint["classes"])
    text = "\n".join(found.lines)
    assert len(found.lines) <= 10 + len(found.notes)
    for name, entry in fingerprint["splits"].items():
        assert re.search(rf"samples.*{name} {entry['samples']}\b", text)
        assert re.search(rf"patients.*{name} {entry['patients']}\b", text)
    for label in "abc":
        numbers = "/".join(str(fingerprint["splits"][name]["per_class"][label]) for name in ("train", "val", "test"))
        assert f"{label} {numbers}" in text
    eyes = [sum(entry["eyes"][side] for entry in fingerprint["splits"].values()) for side in ("left", "right")]
    assert f"{eyes[0]} left, {eyes[1]} right" in text
    assert "refused" in text
    assert "1 of 40 rows (line 41: the image file does not exist)" in text
    assert all(len(line) <= 160 for line in found.lines)


def test_missing_files_stop_the_plan(folder):
    for index in range(GOOD):
        (folder / f"images/{index}.png").rename(folder / f"images/{index}.jpeg")
    with pytest.raises(ValueError, match=r"the image file does not exist; it does with the ending \.jpeg"):
        seen(folder)


def test_what_the_build_would_refuse_the_plan_refuses(folder):
    write(folder, "patient_id,image,label", [f"P{i},{i}.png,a" for i in range(GOOD)])
    with pytest.raises(ValueError, match="with one class there is nothing to tell apart"):
        seen(folder)
    write(folder, "patient_id,image,label,split", [f"P{i},{i}.png,{'ab'[i % 2]},train" for i in range(GOOD)])
    with pytest.raises(ValueError, match="the test split is empty"):
        seen(folder)
    write(folder, "patient_id,image,label,split",
          [f"P{i // 2},{i}.png,{'ab'[i % 2]},{('train', 'test', 'val')[i % 3]}" for i in range(GOOD)])  # fmt: skip
    with pytest.raises(ValueError, match=r"split is another than that of an earlier row|patients are in more than one"):
        seen(folder)


def test_a_photograph_of_two_patients_is_named_with_its_lines(folder):
    """A slip in the table, which the audit would find once the pixels are read: a copy in train, one in test."""
    write(
        folder, "patient_id,image,label", [f"P{i},{i - i % 2 if i < 4 else i}.png,{'ab'[i % 2]}" for i in range(GOOD)]
    )
    assert (
        "2 image files are named by several patients (the first in lines 2 and 3): one photograph would be in several "
        "splits." in seen(folder).notes
    )
    write(folder, "patient_id,image,label", [f"P{i // 2},{i}.png,{'ab'[i // 2 % 2]}" for i in range(GOOD)])
    assert seen(folder).notes == []


def test_external_data_need_no_training_split(folder):
    write(folder, "patient_id,image,label", [f"P{i},{i}.png,{'ab'[i % 2]}" for i in range(GOOD)])
    found = seen(folder, only_test=True)
    assert found.counts == {"test": GOOD}


@pytest.mark.parametrize(
    ("heads", "row", "sentence"),
    [
        ("patient_id,image,label", "P{i},{i}.png,a", "with one class there is nothing to tell apart; leave the label"),
        ("patient_id,image,text", "P{i},{i}.png,", "no sample has a text or a label; there is nothing to evaluate on"),
    ],
)
def test_external_data_that_score_nothing_are_refused(folder, capsys, heads, row, sentence):
    """By the plan and by the build; of one class alone every unit would be named rightly."""
    write(folder, heads, [row.format(i=i) for i in range(GOOD)])
    with pytest.raises(ValueError, match=sentence):
        seen(folder, only_test=True)
    code, said = build(folder, capsys, only_test=True, test_fraction=1, val_fraction=0)
    assert code == 1
    assert sentence in said


def test_the_plan_names_the_external_data_that_it_refuses(folder):
    others = folder / "others.csv"
    others.write_text("patient_id,image,label\n" + "\n".join(f"P{i},{i}.png,a" for i in range(GOOD)))
    config = drop_nulls(merged("laptop"))
    config["data"].update(manifest=str(folder / "table.csv"), image_root=str(folder / "images"))
    clinic = {"source": "manifest", "manifest": str(others), "image_root": str(folder / "images")}
    config["evaluation"]["external_tests"] = {"clinic": clinic}
    arguments = ["--config", json.dumps(config), "--training-runs", "{}", "--results-dir", str(folder / "results")]
    with pytest.raises(ValueError, match=r"^external data set clinic: all labels are \['a'\]"):
        plan_run.main([*arguments, "--image-root", str(folder / "images"), "--code", "0"])


def plan(folder, *flags, **evaluation):
    """What the plan of the laptop's run says of the table, as Snakefile starts it."""
    config = drop_nulls(merged("laptop"))
    config["data"].update(manifest=str(folder / "table.csv"), image_root=str(folder / "images"))
    config["evaluation"].update(evaluation)
    arguments = ["--config", json.dumps(config), "--training-runs", "{}", "--results-dir", str(folder / "results")]
    plan_run.main([*arguments, "--image-root", str(folder / "images"), "--code", "0", *flags])


def test_the_plan_names_classes_without_prompts(folder, capsys):
    """With the name that was meant: only logs of training and evaluation said so."""
    write(folder, "patient_id,image,label",
          [f"P{i},{i}.png,{('Glaucoma', 'Myopia', 'Healthy')[i % 3]}" for i in range(GOOD)])  # fmt: skip
    (folder / "mine.yaml").write_text("Glaucome: [A large cup.]\nMyopia: [A tigroid fundus.]\nDrusen: [Drusen.]\n")
    plan(folder, "--prompts", str(folder / "mine.yaml"))
    assert (
        "warning: evaluation.prompts: 2 classes have no descriptions (Glaucoma, Healthy), and get a template; did you "
        "mean Glaucoma by Glaucome?" in capsys.readouterr().out
    )
    (folder / "mine.yaml").write_text("".join(f"{name}: [X.]\n" for name in ("Glaucoma", "Myopia", "Healthy", "More")))
    plan(folder, "--prompts", str(folder / "mine.yaml"))
    assert "evaluation.prompts" not in capsys.readouterr().out


def test_the_plan_names_ordered_classes_that_the_data_has_not(folder, capsys):
    plan(folder, ordered_classes=["a", "b", "Severe"])
    assert (
        "warning: evaluation.ordered_classes: the data has no class Severe; its classes are a, b."
        in capsys.readouterr().out
    )
    plan(folder, ordered_classes=["B", "a"])  # as classes of the data are one in any spelling
    assert "ordered_classes" not in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"^config: evaluation.ordered_classes names the class b twice \(b, B\)\.$"):
        plan(folder, ordered_classes=["a", "b", "B"])
    with pytest.raises(ValueError, match=r"^config: evaluation.ordered_classes: the data has no class C, D; its "
                       r"classes are a, b: without two of them there is no quadratic kappa\.$"):  # fmt: skip
        plan(folder, ordered_classes=["C", "b", "D"])


def test_the_plan_names_a_folder_or_file_of_weights_that_is_not_there(folder):
    """The fetch would say so too, once the run has begun."""
    config = drop_nulls(merged("laptop"))
    config["data"].update(manifest=str(folder / "table.csv"), image_root=str(folder / "images"))
    model = config["model"]
    (folder / "here").mkdir()

    def plan_with(weights, source):
        model["image_encoder"]["weights"] = weights
        model["search_encoder"], model["text_encoders"] = "mine", {"mine": {"source": source}}
        dirs = {"mine": str(folder / "fetched")}
        places = {"results-dir": folder / "results", "image-root": folder / "images",
                  "encoder-dirs": json.dumps(dirs), "image-weights": folder / "vision.safetensors"}  # fmt: skip
        flags = [f"--{name}={place}" for name, place in places.items()]
        plan_run.main(["--config", json.dumps(config), "--training-runs", "{}", "--code", "0", *flags])

    for known in ("timm", "openai", "hf-hub:owner/name", str(folder / "here"), "weights.pth"):
        if known == "weights.pth":  # of what is fetched, the source may be gone
            (folder / "vision.safetensors").touch()
        plan_with(known, "owner/name")
    (folder / "vision.safetensors").unlink()
    with pytest.raises(ValueError, match=r"^config: model\.image_encoder\.weights is weights\.pth: no such file\.$"):
        plan_with("weights.pth", "owner/name")
    sentence = r"^config: model\.text_encoders\.mine\.source is \./gone: neither a folder nor a hub id\.$"
    with pytest.raises(ValueError, match=sentence):
        plan_with("timm", "./gone")
    (folder / "fetched").mkdir()
    plan_with("timm", "./gone")


@pytest.mark.slow
def test_a_hundred_thousand_rows_take_seconds(tmp_path):
    """Processor time, since other work may share the machine."""
    rows = ["patient_id,image,eye,label,text"]
    for folder in range(100):
        (tmp_path / f"images/{folder:02d}").mkdir(parents=True)
    for i in range(100_000):
        path = f"{i % 100:02d}/{i}.jpg"
        (tmp_path / "images" / path).write_bytes(b"\xff\xd8")
        rows.append(
            f'P{i // 2},{path},{("left", "right")[i % 2]},{"abcdefgh"[i // 2 % 8]},"FINDINGS:\n{i} drusen, soft"'
        )
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    started = time.process_time()
    found = seen(tmp_path)
    assert sum(found.counts.values()) == 50_000
    assert time.process_time() - started < 20
