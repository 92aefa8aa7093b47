"""What is known of how fast a run trains, before it has trained: by find_lr on its data, or by check_gpu on none."""

import math
from pathlib import Path
from typing import Any, NamedTuple

from retclip.core.config import Config
from retclip.core.io import read_json
from retclip.search.jobs import cached_networks, specification
from retclip.search.threads import speed_up

# Of a trial specification, what decides the arithmetic of a step.
SAME = ("text_encoder_settings", "image_encoder", "image_size")
SAME_VALUES = ("freeze", "lora_rank", "context_length", "precision", "augment")


class Speed(NamedTuple):
    """samples_per_second: of one thread on a CPU. measured_by: find_lr or check_gpu. device: cuda or cpu."""

    samples_per_second: float
    device: str
    measured_by: str


def known_speed(config: Config, results_dir: Path) -> Speed | None:
    """find_lr's, which trained on the data itself; check_gpu's before that, and where it alone had a GPU."""
    measured, checked = results_dir / "find_lr/suggestion.json", results_dir / "check_gpu.json"
    found = []
    if measured.is_file():
        document = read_json(measured)
        several = speed_up(document.get("threads", 1)) if document["device"] == "cpu" else 1
        found.append(Speed(document["samples_per_second"] / several, document["device"], "find_lr"))
    if checked.is_file() and (of_check := checked_speed(config, read_json(checked))):
        found.append(of_check)
    return min(found, key=lambda speed: speed.device != "cuda", default=None)


def measured_speed(config: Config, results_dir: Path) -> float | None:
    """Samples a second of known_speed; None, too, where the file is of an earlier version: its job makes it again."""
    try:
        speed = known_speed(config, results_dir)
    except (ValueError, KeyError):
        return None
    return speed.samples_per_second if speed else None


def checked_speed(config: Config, document: dict[str, Any]) -> Speed | None:
    """Of check_gpu.json, at the batch size nearest to the default one; None where it is of other encoders, or where
    this run reads features that are computed once."""
    mine, checked = specification(config, "check_gpu", "check_gpu", {}), document["specification"]
    same = all(mine[name] == checked.get(name) for name in SAME) and all(
        mine["values"][name] == checked["values"].get(name) for name in SAME_VALUES
    )
    if document["speed"] is None or not same or cached_networks(config):
        return None
    sizes = document["speed"]["samples_per_second"]
    nearest = min(sizes, key=lambda size: abs(math.log(int(size) / mine["values"]["batch_size"])))
    return Speed(sizes[nearest], document["speed"]["device"], "check_gpu")
