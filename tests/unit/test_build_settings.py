"""--settings of build_lmdb: what the config says arrives whole, and a mistake in it is one sentence."""

import json

import pytest
from running import BUILD, merged

from retclip.core.config import drop_nulls
from retclip.core.data_settings import build_settings
from retclip.data.settings import SETTINGS, read_settings

GIVEN = {**BUILD, "image_size": 24}
OTHER = {"str": "all", "int": 7, "bool": True, "list": ["text_de"], "dict": {"eye": "side"}, "float": 0.25}


def other(name: str) -> object:
    """A value that no default has."""
    setting = SETTINGS[name]
    return setting.choices[-1] if setting.choices else OTHER[setting.kind[-1].__name__]


@pytest.mark.parametrize("name", SETTINGS)
def test_every_key_is_used(name):
    assert read_settings(json.dumps({**GIVEN, name: other(name)}))[name] == other(name)


def test_what_the_config_says_can_be_read():
    config = drop_nulls(merged())
    config["data"].update(patient_id={"pattern": "(P.)_"}, report_section="Findings")
    config["model"]["text_encoders"]["german"] = {"source": "x", "texts": {"left": "text_de", "right": "text_right"}}
    found = read_settings(json.dumps(build_settings(config)))
    expected = {"patient_id": "pattern:(P.)_", "report_section": "Findings", "text_columns": ["text_de"],
                "only_test": False, "val_fraction": config["data"]["val_fraction"]}  # fmt: skip
    assert {name: found[name] for name in expected} == expected


def test_an_external_test_set_keeps_all_its_patients():
    config = drop_nulls(merged("demo"))
    config["evaluation"]["external_tests"] = {"clinic": {"source": "odir", "manifest": "t.csv", "image_root": "i"}}
    found = read_settings(json.dumps(build_settings(config, "clinic")))
    expected = {"source": "odir", "image_pattern": "{patient_id}_{eye}.jpg", "test_fraction": 1, "val_fraction": 0,
                "near_duplicates": "ignore", "only_test": True}  # fmt: skip
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "--settings is no JSON"),
        ("[1]", "is no mapping"),
        (json.dumps({**GIVEN, "colour": 1}), "unknown key colour; the keys are source"),
        (json.dumps(BUILD), r"lacks image_size \(pixels, square\)"),
        (json.dumps({**GIVEN, "image_size": "24"}), 'image_size is "24"; it must be a whole number'),
        (json.dumps({**GIVEN, "image_size": True}), "image_size is true; it must be a whole number"),
        (json.dumps({**GIVEN, "text_columns": [1]}), r"text_columns is \[1\]; it must be a list of texts"),
        (json.dumps({**GIVEN, "image_encoding": "png"}), 'image_encoding is "png"; it must be one of raw, jpeg'),
    ],
)
def test_a_mistake_is_one_sentence(text, said):
    with pytest.raises(ValueError, match=said) as caught:
        read_settings(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 300
