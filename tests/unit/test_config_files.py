"""Config files as people write them: a key that stands twice is never half read, and what is no YAML has its line."""

import pytest
from running import REPOSITORY, entry

from retclip.core.bounded import read_yaml

REPEATED = {
    "run: a\nseed: 1\nrun: b\n": "line 3: the key run stands in line 1 already",
    "data: {manifest: a.csv}\nseed: 1\ndata:\n  image_size: 64\n": "line 3: the key data stands in line 1 already",
    "data:\n  values:\n    label: {0: A, 1: B, 0: C}\n": "line 3: the key 0 stands in line 3 already",
    "data:\n  values:\n    label: {0: A, 1: B, 0.0: C}\n": "line 3: the key 0.0 stands in line 3 already",
    "1: a\n2: b\n0x1: c\n": "line 3: the key 0x1 stands in line 1 already",
    "data:\n- {a: 1}\n- {b: 1, b: 1}\n": "line 3: the key b stands in line 3 already",
}
WHOLE = (
    "a: {b: 1}\nc: {b: 1}\n",
    "a: &a {b: 1, d: 2}\nc: {<<: *a, b: 3}\n",  # what a merge brings, the mapping may say otherwise
    "a: &a {b: 1}\nc: &c {b: 2}\nd: {<<: [*a, *c]}\n",
    "1: a\n'1': b\n",
)
NO_YAML = {
    "training:\n\taugment: false\n": "line 2: found ",
    "defaults:\n   batch_size: 32\n  epochs: 3\n": "line 3: (expected|did not find expected) ",
    "run: a: b\n": "line 1: mapping values are not allowed",
    "seed: 1\n---\nseed: 2\n": "line 2: ",
}


@pytest.mark.parametrize("text", REPEATED)
def test_a_key_that_stands_twice_is_named_with_both_lines(tmp_path, text):
    (tmp_path / "my.yaml").write_text(text)
    with pytest.raises(ValueError, match=rf"my\.yaml: {REPEATED[text]}"):
        read_yaml(tmp_path / "my.yaml")


@pytest.mark.parametrize("text", WHOLE)
def test_keys_of_other_mappings_are_no_repetition(tmp_path, text):
    (tmp_path / "my.yaml").write_text(text)
    assert read_yaml(tmp_path / "my.yaml")


@pytest.mark.parametrize("text", NO_YAML)
def test_what_is_no_yaml_is_named_with_its_line(tmp_path, text):
    (tmp_path / "my.yaml").write_text(text)
    with pytest.raises(ValueError, match=rf"my\.yaml: cannot be read as YAML \({NO_YAML[text]}.*\)\.$"):
        read_yaml(tmp_path / "my.yaml")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"seed: 1\n\tx: 2\n", "my.yaml: cannot be read as YAML (line 2: found "),
        ("seed: 1\n".encode("utf-16"), "my.yaml: is not in UTF-8"),
        (b"", "my.yaml: has no keys; a config is a mapping of keys to values."),
        (b"- seed\n", "my.yaml: has no keys; a config is a mapping of keys to values."),
        (b"seed: 1\nseed: 2\n", "my.yaml: line 2: the key seed stands in line 1 already"),
    ],
)
def test_make_says_what_snakemake_would_not_read(tmp_path, content, sentence):
    (tmp_path / "my.yaml").write_bytes(content)
    done = entry("check_config_files", REPOSITORY / "config/demo.yaml", tmp_path / "my.yaml", check=False)
    assert done.returncode == 1
    assert f"{tmp_path}/{sentence}" in done.stderr
    assert done.stderr.count("\n") == 1


def test_make_reads_the_files_before_snakemake_does():
    text = (REPOSITORY / "Makefile").read_text()
    macro = text[text.index("configfiles = ") :].split("\n\n")[0]
    assert "scripts/check_config_files.py" in macro
