"""training.compile: the same losses, resumed bit for bit, compiled once for all lengths of texts, kept on the disk."""

import json
import shutil

import forked
import numpy as np
import pytest
import torch
from compiled_training import CPU, EPOCHS, HALF_WAY, STEPS, model, split_in, train, trained_in_a_process, write_data
from documents import VALUES, trial_of

from retclip.training.checkpoint import state_key
from retclip.training.compiled_steps import compile_encoders, own_folder

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


@pytest.mark.parametrize("broken", ["absent", pytest.param("fails", marks=pytest.mark.slow)])
def test_a_machine_that_cannot_compile_is_refused_in_a_sentence(data_dir, tmp_path, monkeypatch, broken):
    """Before the first step where there is no compiler, in it where the compiler fails; never trained uncompiled."""
    from torch._inductor import config, cpp_builder

    compiler = tmp_path / "c++"
    if broken == "fails":
        compiler.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "g++ 1" || exit 1\n')
        compiler.chmod(0o755)
    search = cpp_builder.cpp_compiler_search.__wrapped__  # which remembers what it found
    monkeypatch.setattr(cpp_builder, "cpp_compiler_search", search)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    wanted = pytest.raises(ValueError, match=r"training\.compile: .*set training\.compile to false\.$")
    with config.patch("cpp.cxx", (str(compiler),)), wanted as refused:
        train(split_in(data_dir), tmp_path / "run", True)
    assert len(str(refused.value)) <= 300
    assert ("no C++ compiler" in str(refused.value)) == (broken == "absent")


def test_what_others_could_write_is_not_run(tmp_path):
    folder = own_folder(tmp_path)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert own_folder(tmp_path) == folder
    folder.chmod(0o770)
    with pytest.raises(ValueError, match="others may write there"):
        own_folder(tmp_path)
    folder.rmdir()
    (tmp_path / "theirs").mkdir()
    folder.symlink_to(tmp_path / "theirs")
    with pytest.raises(ValueError, match="others may write there"):
        own_folder(tmp_path)


def test_steps_that_run_no_encoder_compile_nothing(tmp_path, capsys):
    net = model()
    compile_encoders(net, CPU, tmp_path, cached=("image", "text"))
    assert "nothing is compiled" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_state_is_resumed_by_trials_that_compile_as_it_does():
    trials = [trial_of(hyperparameters={**VALUES, "compile": compiled}) for compiled in (False, True)]
    assert len({state_key(trial, {}, {}, "c") for trial in trials}) == 2
