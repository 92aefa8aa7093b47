"""Trains one trial as its trial.json says, resumably, and writes its metrics, history and predictions.

The state under --state-dir outlives a killed job: started again, the training resumes from it. What is
already complete there, for whichever trial, is only published again, without torch; with other class prompts, or for
want of the exported model, the weights that were kept are scored again, without a step.

Two GPUs, one training run:
  lease_gpus.py --gpus 2 -- python -m torch.distributed.run --standalone --nproc-per-node 2 scripts/train_trial.py ...
"""

import argparse
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from retclip.core import slurm
from retclip.core.gpu_lease import lease
from retclip.core.io import read_json, whole_folder, write_csv, write_json, write_parquet
from retclip.core.logs import log, nice_to_know, run_entry
from retclip.core.trial import Trial
from retclip.metrics.metrics_document import Metrics
from retclip.training import distributed
from retclip.training.checkpoint import StateFolder, bound_weights, state_key


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trial", type=Path, required=True, help="trial.json")
    parser.add_argument("--data-dir", type=Path, required=True, help="samples, LMDBs and fingerprint.json")
    parser.add_argument("--encoder-dir", type=Path, required=True, help="the text encoder's folder")
    parser.add_argument("--image-weights", type=Path, help="initial weights of the image encoder")
    parser.add_argument(
        "--image-features", type=Path, nargs="*", default=[], help="of a frozen image encoder, by cache_features"
    )
    parser.add_argument(
        "--text-features", type=Path, nargs="*", default=[], help="of a frozen text encoder, by cache_features"
    )
    parser.add_argument("--state-dir", type=Path, required=True, help="results/{run}/state")
    parser.add_argument("--code", required=True, help="hash of the training code, part of the state's key")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--save-seconds", type=float, default=60, help="between two checkpoints (default: 60)")
    parser.add_argument("--kept-weights-gb", type=float, default=50, help="of all finished training runs (default: 50)")
    parser.add_argument("--gradient-checkpointing", choices=("true", "false"), default="false", help="(default: false)")
    parser.add_argument("--export", action="store_true", help="also write the trained model to OUTPUT_DIR/model")
    parser.add_argument("--output-dir", type=Path, required=True, help="for metrics.json and its companions")
    options = parser.parse_args(arguments)

    slurm.stop_at_once()
    trial = Trial.read(options.trial)
    fingerprint = read_json(options.data_dir / "fingerprint.json")
    data = {name: fingerprint["splits"][name]["sha256"] for name in ("train", "val")}
    encoder = read_json(options.encoder_dir / "source.json")
    folder = StateFolder(options.state_dir, state_key(trial, data, encoder, options.code))
    first, kept = distributed.rank() == 0, (options.state_dir, options.kept_weights_gb)
    # before the folder's lock: no process may wait for a GPU while others wait for its lock; a complete one needs none
    if not folder.is_complete(trial, options.export):
        lease(options.device)
    with distributed.joined(), folder.locked() if first else nullcontext():
        complete = distributed.from_first(folder.is_complete(trial, options.export))
        stop_requested = False
        if not complete:
            stop_requested = _train(trial, fingerprint, data, folder, options)
        elif first:
            log(f"{trial.id}: this trial is already complete; publishing its results")
        if first:
            folder.publish(trial, options.output_dir, options.export)
            # the results are published: tidying up may wait for the next training
            nice_to_know("the size of all kept weights", lambda: bound_weights(*kept), None)
    # the snakemake around this process got the signal, too, and takes the job for failed: its next start publishes
    if first and stop_requested and slurm.requeue():
        sys.exit(slurm.STOPPED)


def _train(
    trial: Trial,
    fingerprint: dict[str, Any],
    data: dict[str, str],
    folder: StateFolder,
    options: argparse.Namespace,
) -> bool:
    """Trains, or scores kept weights, and writes the results into the state folder; returns whether a stop request came
    too late."""
    import pandas as pd

    from retclip.loading.dataset import Split
    from retclip.loading.device import choose_device, choose_precision
    from retclip.loading.feature_cache import frozen_features, serves
    from retclip.models.factory import build_model
    from retclip.models.text_encoder import load_tokenizer, refuse_longer
    from retclip.training.compiled_steps import compile_encoders, failures_named
    from retclip.training.rescoring import keep_weights, rescore, restore_weights
    from retclip.training.results import training_metrics
    from retclip.training.trainer import Trainer

    hyperparameters, budget = trial.hyperparameters, trial.budget
    device = choose_device(options.device)
    precision = choose_precision(hyperparameters["precision"], device)
    encoder = read_json(options.encoder_dir / "source.json")
    cached = {"image": options.image_features, "text": options.text_features}
    tokenize = load_tokenizer(options.encoder_dir, trial.text_encoder_settings.truncation_side)
    read = partial(
        Split,
        options.data_dir,
        fingerprint=fingerprint,
        tokenize=tokenize,
        context_length=hyperparameters["context_length"],
        seed=trial.seed,
        text_columns=trial.text_encoder_settings.texts,
        frozen=frozen_features(cached, trial, fingerprint, encoder, precision),
    )
    val = read("val", samples=budget.val_samples)
    model = build_model(trial, options.encoder_dir, options.image_weights)
    refuse_longer(model.bert, trial.text_encoder, hyperparameters["context_length"])
    kept = folder.kept_weights(budget.stop_epoch)
    scored = folder.scored(trial)
    if distributed.from_first(scored is not None and restore_weights(model, kept)):
        if distributed.rank() == 0:
            assert scored is not None
            log(f"{trial.id}: these weights are trained already; scoring them with this trial's class prompts")
            _write(trial, folder, model, options, *rescore(scored, trial, model, val, tokenize, device, precision))
        return False

    if options.gradient_checkpointing == "true":
        model.enable_gradient_checkpointing()
    fraction = trial.subset.fraction if trial.subset else None
    train = read("train", samples=budget.train_samples, shuffle_texts=trial.shuffled_texts, fraction=fraction)
    assert len(train) <= budget.train_samples
    if distributed.rank() == 0:
        log(f"{trial.id}: {len(train)} samples, {budget.total_steps} steps on {device} in {precision}")
    if hyperparameters["compile"]:
        served = [which for which, files in cached.items() if files and serves(which, hyperparameters)]
        compile_encoders(model, device, options.state_dir, served)
    trainer = Trainer(trial, model, train, val, tokenize, device, precision, folder, options.save_seconds)
    with failures_named(hyperparameters["compile"]):
        outcome = trainer.run()
    if outcome is None:
        return trainer.stop_requested

    metrics = training_metrics(trial, outcome, device, precision, len(train), data, options.code)
    keep_weights(model, kept)
    _write(trial, folder, model, options, metrics, pd.DataFrame(outcome.progress.history), outcome.predictions)
    if not trainer.can_resume:
        folder.drop_checkpoint()
    return trainer.stop_requested


def _write(
    trial: Trial,
    folder: StateFolder,
    model: Any,
    options: argparse.Namespace,
    metrics: Metrics,
    history: Any,
    predictions: Any,
) -> None:
    """The trial's results, whole or not there at all."""
    from retclip.models.export import export_model

    results, data = folder.results(trial), read_json(options.data_dir / "fingerprint.json")
    results.mkdir(exist_ok=True)
    if options.export:
        with whole_folder(results / "model") as temporary:
            export_model(
                model,
                temporary,
                image_encoder=trial.image_encoder,
                tokenizer_folder=options.encoder_dir,
                image_size=trial.image_size,
                class_prompts=trial.class_prompts,
                trial=trial,
                data=data,
                val=metrics.val,
            )
    write_csv(results / "history.csv", history)
    write_parquet(results / "val_predictions.parquet", predictions, data["classes"])
    write_json(results / "metrics.json", metrics.to_dict())
    folder.complete(trial)


if __name__ == "__main__":
    run_entry(main)
