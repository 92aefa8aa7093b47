"""training.compile: the same losses, resumed bit for bit, compiled once for texts of every length and kept on the disk."""

import json
import shutil

import forked
import numpy as np
import pytest
import torch
from compiled_training import EPOCHS, HALF_WAY, STEPS, split_in, train, trained_in_a_process, write_data

needs_compiler = pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler: install g++")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    return folder


@pytest.fixture(scope="module")
def trained(data_dir, tmp_path_factory):
    """first: compiled with nothing on the disk; second: resumed in another process; plain: without compiling."""
    folder = tmp_path_factory.mktemp("compiled")
    found = {"folder": folder}
    for what in ("first", "second"):
        process = forked.start(trained_in_a_process, data_dir, folder, what)
        process.join()
        assert process.exitcode == 0, what
        found[what] = json.loads((folder / f"{what}.json").read_text())
        found[what]["weights"] = torch.load(folder / f"{what}.pt")
    losses, trainer = train(split_in(data_dir), folder / "plain", False)
    return {**found, "plain": {"losses": losses, "weights": trainer.model.state_dict()}}


@needs_compiler
@pytest.mark.slow
def test_a_compiled_training_has_the_losses_of_a_plain_one(trained):
    """Dropout is the same, too, and no weight has another name."""
    first, plain = trained["first"], trained["plain"]
    assert len(plain["losses"]) == EPOCHS * STEPS
    np.testing.assert_allclose(first["losses"], plain["losses"], rtol=1e-4)
    assert first["weights"].keys() == plain["weights"].keys()


@needs_compiler
@pytest.mark.slow
def test_texts_of_all_lengths_and_validation_compile_nothing_more(trained):
    assert trained["first"]["graphs"] == 2


@needs_compiler
@pytest.mark.slow
def test_a_compiled_training_resumes_bit_for_bit(trained):
    first, second = trained["first"], trained["second"]
    assert second["losses"] == first["losses"][HALF_WAY:]
    assert second["val_loss"] == first["val_loss"]
    for name, value in first["weights"].items():
        assert torch.equal(value, second["weights"][name]), name


@needs_compiler
@pytest.mark.slow
def test_another_process_takes_what_was_compiled_from_the_disk(trained):
    first, second = trained["first"], trained["second"]
    assert first["miss"] > 0
    assert (second["miss"], second["hit"]) == (0, first["miss"])
    (folder,) = (trained["folder"] / "compiled").iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
