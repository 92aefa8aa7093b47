"""What make share gives away holds nothing private; where something private is in it, nothing is given away."""

import html
import json
import sys

import pandas as pd
import pytest
from running import REPOSITORY, merged

from retclip.core.logs import run_entry
from retclip.report.privacy import shown_config

sys.path.insert(0, str(REPOSITORY / "scripts"))
TEXT = "Left eye: drusen and a small haemorrhage beside the disc, seen by Doctor Who in May."
SECRETS = {
    "an id": "PAT-00817",
    "an image path": "site_a/IMG_00817.png",
    "a name of an image": "IMG_00817",
    "a text": TEXT,
    "a text in capitals": TEXT.upper(),
    "a text as HTML": html.escape(TEXT.replace("Doctor", 'the "Doctor"')).replace("the &quot;Doctor&quot;", "Doctor"),
    "the table": "/data/eye clinic/table.csv",
    "the table as JSON": json.dumps("/data/eye clinic/table.csv"),
    "the table in an address": "file:///data/eye%20clinic/table.csv",
    "the image folder": "/data/eye clinic/images",
    "the hub": "clinic/private-images",
    "the pattern of names": "{site}/IMG_{number:05d}.png",
    "the pattern of ids": "(PAT-[0-9]+)_",
    "local weights": "/home/doe/retfound.pth",
    "a local encoder": "/home/doe/bert",
}
PLACES = ("report/index.html", "report/methods.md", "report/tables/x.csv", "report/figures/a.svg",
          "phase1/leaderboard.csv")  # fmt: skip


def config() -> dict:
    found = merged("demo") | {"privacy": {"private": True, "shared": "owner"}}
    found["data"] |= {"manifest": SECRETS["the table"], "image_root": SECRETS["the image folder"],
                      "hub_dataset": {"source": SECRETS["the hub"], "revision": "main"},
                      "image_pattern": SECRETS["the pattern of names"],
                      "patient_id": {"pattern": SECRETS["the pattern of ids"]}}  # fmt: skip
    found["model"]["image_encoder"] = {"architecture": "timm/resnet10t", "weights": SECRETS["local weights"]}
    found["model"]["text_encoders"]["mine"] = {"source": SECRETS["a local encoder"]}
    return found


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "results/clinic"
    for place in (*PLACES, "final/mine-s1/model/README.md", "data/fingerprint.json"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text("{}" if place.endswith("json") else "Scores of 12 models, PAT and 817 of them.\n")
    (folder / "final/mine-s1/model/class_prompts.json").write_text(json.dumps({"a": ["A fundus photograph."]}))
    (folder / "run.json").write_text(json.dumps({"config": config()}))
    pd.DataFrame(
        {
            "sample_id": ["PAT-00817", "12"],
            "patient_id": ["PAT-00817", "12"],
            "text": [TEXT, ""],
            "source_left": [SECRETS["an image path"], "b.png"],
        }
    ).to_parquet(folder / "data/samples.parquet")
    return folder


def shared(run, capsys) -> tuple[int, str]:
    import share_run

    try:
        run_entry(share_run.main, ["--run-folder", str(run), "--output-folder", str(run.with_name("given"))])
    except SystemExit as stop:
        return int(stop.code or 0), capsys.readouterr().err
    return 0, capsys.readouterr().out


def test_what_is_clean_is_given(run, capsys):
    code, said = shared(run, capsys)
    assert code == 0, said
    assert "2 ids are short" in said
    assert {path.name for path in run.with_name("given").iterdir()} == {"report", "phase1", "final"}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("secret", SECRETS)
def test_what_is_private_is_not_given(run, capsys, secret, place):
    (run / place).write_text(f"model,note\nx,before {SECRETS[secret]} behind\n")
    code, said = shared(run, capsys)
    assert code == 1, said
    assert place in said
    assert SECRETS[secret] not in said
    assert not run.with_name("given").exists()


def test_a_model_does_not_tell_where_its_encoder_lay(run, capsys):
    card = run / "final/mine-s1/model/README.md"
    card.write_text(f"Text encoder: mine ({SECRETS['a local encoder']}), weights {SECRETS['local weights']}")
    code, said = shared(run, capsys)
    assert code == 0, said
    assert (run.with_name("given") / "final/mine-s1/model/README.md").read_text().count("(private)") == 2
    assert SECRETS["local weights"] in card.read_text()


def test_the_page_shows_no_place_and_no_pattern():
    shown = json.dumps(shown_config(config()))
    for name in list(SECRETS)[6:]:
        assert json.dumps(SECRETS[name])[1:-1] not in shown, name
    public = config() | {"privacy": {"private": False}}
    assert shown_config(public) == public
