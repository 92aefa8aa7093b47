"""Names of classes in files that people write, prompts, class maps and lists: as they are written there, however YAML
reads them, and those of the data in whatever spelling."""

import pytest

from retclip.core.prompts import TEMPLATES, class_prompts, note_on_prompts, prompts_hash
from retclip.core.spelling import in_words_of
from retclip.data.sources.odir import read_class_map
from retclip.evaluation.predict import read_classes


@pytest.mark.parametrize("name", ["No", "yes", "0", "1.50", "1e3", "null", "~", "2024-01-01", "0x1F", "1_000", "off"])
def test_a_class_is_called_what_its_key_says(tmp_path, name):
    """YAML takes bare words for booleans, numbers, dates and nothing."""
    file = tmp_path / "prompts.yaml"
    file.write_text(f"{name}: [A sentence.]\nGlaucoma: [Another.]\n")
    assert class_prompts(file, ["Glaucoma", name]) == {"Glaucoma": ["Another."], name: ["A sentence."]}
    assert note_on_prompts(file, ["Glaucoma", name]) == ""
    assert read_classes(file, tmp_path) == {name: ["A sentence."], "Glaucoma": ["Another."]}
    file.write_text(f"{name}: [a keyword]\nGlaucoma: [glaucoma*]\n")
    assert read_class_map(file) == [("a keyword", name), ("glaucoma*", "Glaucoma")]


def test_numbers_that_are_one_to_yaml_are_two_classes(tmp_path):
    file = tmp_path / "prompts.yaml"
    file.write_text("No: [None.]\n0: [Zero.]\n")
    assert class_prompts(file, ["0", "No"]) == {"0": ["Zero."], "No": ["None."]}
    assert prompts_hash(file)


@pytest.mark.parametrize("label", ["diabetic  retinopathy", "DIABETIC RETINOPATHY", "Diabetic\u00a0Retinopathy"])
def test_a_class_has_the_prompts_of_its_name_in_any_spelling(tmp_path, label):
    """As classes of the data that differ so are one class."""
    file = tmp_path / "prompts.yaml"
    file.write_text("Diabetic Retinopathy: [Blot haemorrhages.]\nDrusen: [Drusen.]\n")
    assert class_prompts(file, [label]) == {label: ["Blot haemorrhages."]}
    assert note_on_prompts(file, [label, "Drusen"]) == ""
    assert "1 class has no descriptions (Drusens)" in note_on_prompts(file, [label, "Drusens"])


def test_prompts_of_one_class_stand_in_one_place(tmp_path):
    file = tmp_path / "prompts.yaml"
    file.write_text("No DR: [Normal.]\nMyopia: [Tigroid.]\nno  dr: [Healthy.]\n")
    with pytest.raises(ValueError, match=r"the classes 'No DR' and 'no  dr' are one, .* write them as one\.$"):
        class_prompts(file, ["No DR"])


def test_a_list_of_names_takes_the_prompts_that_the_model_knows(tmp_path):
    (tmp_path / "class_prompts.json").write_text('{"No DR": ["Normal."], "Myopia": ["Tigroid."]}')
    names = tmp_path / "names.txt"
    names.write_text("myopia\nDrusen\n")
    assert read_classes(names, tmp_path) == {
        "myopia": ["Tigroid."],
        "Drusen": [template.format(label="Drusen") for template in TEMPLATES],
    }


@pytest.mark.parametrize(("name", "content"), [("names.yaml", "{}"), ("names.txt", " \n"), ("names.yaml", "' ': [x]")])
def test_a_list_of_no_names_is_refused(tmp_path, name, content):
    (tmp_path / "class_prompts.json").write_text("{}")
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=r"names no class|a class has no name"):
        read_classes(tmp_path / name, tmp_path)


def test_names_in_the_words_of_other_data():
    """Thresholds and orders of classes that another data set spells in its own way."""
    known = in_words_of(["no dr", "Mild DR"])
    assert [known(name) for name in ("No DR", "Mild  DR", "Severe DR")] == ["no dr", "Mild DR", "Severe DR"]
