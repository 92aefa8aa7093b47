"""One trial of a W&B sweep, called by `wandb agent`: plans it, trains it, and logs it to the agent's run.

  wandb_trial.py --setup results/demo/sweep/setup.json --learning_rate=0.001 --batch_size=32 --warmup_steps=10 ...

It is a trial like any other of the run: the same data, adjustments, state (a trial that was stopped resumes) and files,
in results/{run}/sweep/{run id}. One process on one device: start one agent for each GPU.
"""

import argparse
import os
import re
from pathlib import Path
from typing import Any

from retclip.core.hyperparameters import HYPERPARAMETERS
from retclip.core.io import read_json, sha256_of, write_json
from retclip.core.logs import log, run_entry
from retclip.core.preprocessing import with_weights_settings
from retclip.core.prompts import class_prompts
from retclip.core.schemas import check
from retclip.core.trial import Trial
from retclip.metrics.metrics_document import Metrics
from retclip.search.budget import plan
from retclip.search.wandb_runs import Place, log_run

RUN_ID = re.compile("[A-Za-z0-9_-]{1,128}")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setup", type=read_json, required=True, help="JSON that make wandb-sweep wrote")
    for name, declared in HYPERPARAMETERS.items():
        parser.add_argument(f"--{name}", help=f"as configured: {declared.about}".replace("%", "%%"))
    options = parser.parse_args(arguments)

    setup, base = options.setup, options.setup["specification"]["values"]
    given = {name: getattr(options, name) for name in HYPERPARAMETERS if getattr(options, name) is not None}
    values = {**base, **{name: _read(name, text) for name, text in given.items()}}
    run_id = os.environ.get("WANDB_RUN_ID") or sha256_of(values)[:8]
    if not RUN_ID.fullmatch(run_id):
        raise ValueError(f"WANDB_RUN_ID is {run_id[:60]!r}; letters, digits, dash and underscore make a run's folder.")
    folder = Path(setup["folder"]) / run_id
    trial = _plan(setup, values, folder.name)
    write_json(folder / "trial.json", trial.to_dict())

    import train_trial

    image_weights = ["--image-weights", setup["image_weights"]] if setup["image_weights"] else []
    train_trial.main(["--trial", str(folder / "trial.json"), "--data-dir", setup["data_dir"], "--encoder-dir",
                      setup["encoder_dir"], *image_weights, "--state-dir", setup["state_dir"], "--code", setup["code"],
                      "--device", setup["device"], "--kept-weights-gb", str(setup["kept_weights_gb"]), "--output-dir",
                      str(folder)])  # fmt: skip

    import pandas as pd

    metrics, files = Metrics.read(folder / "metrics.json"), [folder / "metrics.json", folder / "history.csv"]
    history = pd.read_csv(files[1]) if files[1].stat().st_size > 1 else pd.DataFrame()
    place = Place(None, Path(setup["folder"]), setup["project"], setup["group"], folder.name, None)
    outcome = log_run(place, metrics, history, files)
    write_json(folder / "tracking.json", outcome)
    score = metrics.val.scores[trial.selection_metric]
    log(f"{folder.name}: {metrics.status}, {trial.selection_metric} {score}; W&B: {outcome['mode']}")


def _plan(setup: dict[str, Any], values: dict[str, Any], identifier: str) -> Trial:
    """The trial of the values, checked."""
    fingerprint = read_json(Path(setup["data_dir"]) / "fingerprint.json")
    prompts = class_prompts(Path(setup["prompts"]), fingerprint["classes"])
    counts = {name: split["samples"] for name, split in fingerprint["splits"].items()}
    weights = Path(setup["image_weights"]) if setup["image_weights"] else None
    image_encoder = with_weights_settings(setup["specification"]["image_encoder"], weights)
    own = {"id": f"sweep-{identifier}", "image_encoder": image_encoder, "class_prompts": prompts}
    trial = plan({**setup["specification"], **own}, values, counts)
    check(trial.to_dict(), "trial", f"sweep {identifier}")
    return trial


def _read(name: str, text: str) -> Any:
    """A flag's text as a value of the hyperparameter; W&B writes 64.0 where it drew from a range."""
    kind = HYPERPARAMETERS[name].kind
    if kind == "boolean":
        return text.lower() == "true"
    try:
        if kind == "integer":
            return round(float(text))
        return float(text) if kind == "number" else text
    except ValueError:
        raise ValueError(f"--{name} is {text!r}, which is no number.") from None


if __name__ == "__main__":
    run_entry(main)
