"""Wrong configs end in one sentence that names the key and says what to do."""

import copy
import json
import re

import pytest
from running import merged

from retclip.core import schemas
from retclip.core.config import HYPERPARAMETERS, check_config, configured_defaults, drop_nulls
from retclip.core.prompts import class_prompts
from retclip.core.renamed import in_new_words


def changed(path: str, value: object) -> dict:
    config = copy.deepcopy(merged("demo"))
    *parents, last = path.split(".")
    at = config
    for key in parents:
        at = at.setdefault(key, {})
    at[last] = value
    return config


def test_the_demo_is_right():
    config = check_config(merged("demo"))
    assert list(configured_defaults(config)) == list(HYPERPARAMETERS)


def test_null_deletes_a_key_at_every_depth():
    assert drop_nulls({"a": {"b": None, "c": 1}, "d": [None]}) == {"a": {"c": 1}, "d": [None]}


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("phase1.epoch", 3, r"phase1 has the unknown key 'epoch'; did you mean 'epochs'\?"),
        ("defaults.learning_rate", "1e-3", r"defaults\.learning_rate .*write 0\.001"),
        ("defaults.batch_size", 1.5, r"defaults\.batch_size"),
        ("phase2.trials", 20.0, r"phase2\.trials is 20\.0; it must be an integer"),
        ("data.image_encoding", "png", r"data\.image_encoding is 'png'; it must be one of raw, jpeg"),
        ("data.image_encoding", False, r"data\.image_encoding is False"),
        ("model.search_encoder", "bert", r"model\.search_encoder is 'bert'.*pubmedbert"),
        ("model.image_encoder", {"layers": 2, "width": 64}, r"model\.image_encoder needs an architecture.*patch_size"),
        ("lr_finder.start_lr", 1.0, r"lr_finder\.start_lr must be below"),
        ("phase2.trials", 1, r"confirm\.top_k is larger than phase2\.trials"),
        ("phase2.space.weight_decay", {"low": 0.3, "high": 0.1}, r"phase2\.space\.weight_decay: low must be below"),
        ("phase2.space.batch_size", {"low": 16, "high": 128}, r"phase2\.space\.batch_size: .* needs int: true"),
        ("phase2.space.batch_size", {"low": 1, "high": 9, "int": True}, r"low is 1; it must be at least 2"),
        ("phase2.space.learning_rate", {"low": -1, "high": 0.1}, r"low is -1; it must be above 0"),
        ("phase2.space.learning_rate", {"low": 0.1, "high": 5}, r"high is 5; it must be at most 1"),
        ("phase2.space.temperature", {"low": 0.1, "high": 1, "int": True}, r"phase2\.space\.temperature: int"),
        ("evaluation.prompts", "nowhere.yaml", r"evaluation\.prompts is nowhere\.yaml: no such file"),
        ("phase1.space.learning_rate", [], r"phase1\.space\.learning_rate"),
        ("seed", -1, r"seed"),
        ("run", "a/b", r"run"),
    ],
)
def test_one_sentence(key, value, said):
    with pytest.raises(ValueError, match=said) as caught:
        check_config(changed(key, value))
    assert "\n" not in str(caught.value)


def test_a_missing_column_is_found_in_the_header(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("patient,image,label\n1,a.jpg,x\n")
    config = merged()
    config["data"].update(manifest=str(table), image_root=str(tmp_path))
    with pytest.raises(ValueError, match=r"lacks the column patient_id; it has patient, image, label"):
        check_config(config)
    table.write_text("patient_id;image;label\n1;a.jpg;x\n")
    check_config(config)
    config["data"]["image_root"] = str(tmp_path / "gone")
    with pytest.raises(ValueError, match=r"data\.image_root is .*: no such folder"):
        check_config(config)
    config["data"]["manifest"] = str(tmp_path / "gone.csv")
    with pytest.raises(ValueError, match=r"data\.manifest is .*: no such file"):
        check_config(config)


def test_old_keys_are_read_for_one_version_with_a_warning_that_names_the_new_ones():
    config = merged("demo")
    config["model"].update(vision={"architecture": None, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
                           long_texts="tail", freeze="vision")  # fmt: skip
    config["phase2"]["space"]["freeze"] = ["none", "vision", "both"]
    fresh, told = in_new_words(config)
    clean = check_config(fresh)
    assert clean["model"]["image_encoder"] == {
        "layers": 2,
        "width": 64,
        "head_width": 32,
        "patch_size": 16,
        "embed_dim": 128,
    }
    assert clean["model"]["truncation_side"] == "left"
    assert clean["model"]["freeze"] == "image"
    assert clean["phase2"]["space"]["freeze"] == ["none", "image", "both"]
    assert [line.removeprefix("config: ").split(";")[0] for line in told] == [
        "model.vision is now called model.image_encoder",
        "model.long_texts is now called model.truncation_side",
        "tail of model.truncation_side is now called left",
        "vision of model.freeze is now called image",
        "vision of phase2.space.freeze is now called image",
    ]
    assert "vision" in config["model"], "what was given is left as it is"


@pytest.mark.parametrize("wrong", [{}, {"model": None}, {"model": 3}, {"model": {"vision": 3, "freeze": [1, {}]}},
                                   {"phase1": {"space": []}}])  # fmt: skip
def test_old_keys_of_a_malformed_config_are_left_to_the_schema(wrong):
    in_new_words(wrong)


@pytest.mark.parametrize("overlay", ["demo", "laptop", "test_mode", "wide"])
def test_shipped_overlays_fit_the_schema(overlay):
    schemas.check(drop_nulls(merged(overlay)), "config", overlay)


def test_every_key_of_the_schema_is_described():
    def undescribed(schema: dict, path: str) -> list[str]:
        found = []
        for name, entry in schema.get("properties", {}).items():
            if "description" not in entry and "properties" not in entry and "$ref" not in entry:
                found.append(f"{path}{name}")
            found += undescribed(entry, f"{path}{name}.")
        return found

    assert undescribed(schemas.load("config"), "") == []


def test_a_numeric_text_is_shown_as_yaml_wants_it():
    assert json.loads(schemas._as_yaml_number("1e-7").replace(".0e", "e")) == 1e-7
    assert schemas._as_yaml_number("1e-7") == "1.0e-07"


def test_a_class_without_prompts_is_named_by_a_template_with_a_warning(tmp_path, capsys):
    (tmp_path / "prompts.yaml").write_text("Healthy: [A healthy retina.]\n")
    found = class_prompts(tmp_path / "prompts.yaml", ["Healthy", "Drusen"])
    assert found["Healthy"] == ["A healthy retina."]
    assert found["Drusen"][0] == "A fundus photograph showing Drusen."
    assert "has no prompts for the class 'Drusen': using a template" in capsys.readouterr().err


def test_the_reference_is_fresh():
    import config_reference

    assert config_reference.README.read_text() == config_reference.reference(), "run make reference"


def test_the_blocks_of_the_schemas_are_fresh():
    from schema_blocks import BLOCKS, regenerated_schemas

    texts = [text for _, text in regenerated_schemas()]
    assert all(path.read_text() == text for path, text in regenerated_schemas()), "run make reference"
    for name in BLOCKS:
        assert sum(f": {name}\n" in text for text in texts) == 1, name


def test_what_is_searched_by_factors_has_a_value_to_multiply():
    for name, declared in HYPERPARAMETERS.items():
        assert not (declared.searched and declared.is_numeric and declared.default is None), name
        assert (declared.kind == "choice") == bool(declared.choices), name


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("selection.metric", "accuracy", "selection.metric is 'accuracy'; did you mean zero_shot_accuracy?"),
        ("selection.metric", "zero_shot_f1", "selection.metric is 'zero_shot_f1'; did you mean zero_shot_macro_f1?"),
        ("selection.metric", "xxxx", "selection.metric is 'xxxx'; it must be one of zero_shot_accuracy, "),
        ("run", 2024, "run is 2024; it must be a string. Put it in quotes."),
        ("evaluation.ordered_classes", ["a", 2], "evaluation.ordered_classes.1 is 2; it must be a string. Put it in "),
    ],
)
def test_one_short_sentence_says_what_to_write(key, value, sentence):
    config = merged("demo")
    *path, last = key.split(".")
    place = config
    for name in path:
        place = place[name]
    place[last] = value
    with pytest.raises(ValueError, match=re.escape(sentence)) as refused:
        check_config(config)
    assert len(str(refused.value)) <= 300
