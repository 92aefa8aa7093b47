"""What of an encoder is trained changes neither which files are fetched nor their features, but is looked at there."""

import re

import pytest
from running import REPOSITORY, snakemake

WEIGHTS = (
    "model: {image_encoder: {architecture: ViT-B-32, weights: openai%s}, text_encoders: {mine: {source: a/b%s}}}\n"
)


def fetching(directory, config, image="", text=""):
    """The commands of a dry run that fetch encoders."""
    (directory / "my.yaml").write_text(WEIGHTS % (image, text) + config)
    arguments = ("-n", "-p", "--configfile", REPOSITORY / "config/demo.yaml", directory / "my.yaml", "--", "fetch")
    printed = snakemake(directory, *arguments).stdout
    return sorted(set(re.findall(r"fetch_(?:vision_weights|text_encoder)\.py .*", printed)))


@pytest.mark.slow
def test_they_are_checked_where_they_are_fetched_and_lie_where_they_lay(tmp_path):
    plain = fetching(tmp_path, "")
    assert len(plain) == 2
    given = fetching(tmp_path, "defaults: {lora_rank: 4}", ", train_last_layers: 2", ", train_last_layers: 3")
    assert [command.count("--adapted") for command in given] == [1, 1]
    assert [f"--train-last-layers {count}" in command for command, count in zip(given, (3, 2), strict=True)] == [
        True
    ] * 2
    bare = [re.sub(r" --train-last-layers \d| --adapted", "", command) for command in given]
    assert [command.split() for command in bare] == [command.split() for command in plain]
    searched = fetching(tmp_path, "phase2: {space: {lora_rank: [0, 8]}}")
    assert [command.count("--adapted") for command in searched] == [1, 1]
