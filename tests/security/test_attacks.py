"""Strangers' files and settings end in a sentence, within bounds of time and memory."""

import importlib

import pytest
from security.attacks import ROOMS, check

CASES = [(room, name) for room in ROOMS for name in importlib.import_module(f"security.{room}").ATTACKS]


@pytest.mark.slow
@pytest.mark.parametrize(("room", "name"), CASES, ids=[f"{room}: {name}" for room, name in CASES])
def test_an_attack_ends_in_a_sentence(tmp_path, record_property, room, name):
    check(room, name, tmp_path, record_property)
