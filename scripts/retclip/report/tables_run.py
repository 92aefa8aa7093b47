"""Tables of how the run went: what it cost, how well the devices were used, what failed, and what it is made of."""

from collections.abc import Sequence

from retclip.report import formatting as wording
from retclip.report.cells import Table
from retclip.report.run_folder import RunFolder, Training


def cost(run: RunFolder) -> Table:
    """Trainings per stage, and the device time that they used, saved and lost."""
    stages = run.paid()
    rows = []
    for stage, trainings in stages.items():
        rows.append([wording.STAGE_NAMES[stage], *_cost(trainings)])
    everything = [training for trainings in stages.values() for training in trainings]
    rows.append(["all", *_cost(everything)])
    heads = ["stage", "trainings", "device time", "saved by stopping early", "lost in broken attempts", "devices",
             "samples per second", "failed"]  # fmt: skip
    return Table(heads, rows, frozenset([len(rows) - 1]))


def utilisation(run: RunFolder) -> Table:
    """Per stage: how busy the devices were, the most memory, and the share of time that was of no use."""
    rows = []
    for stage, trainings in run.paid().items():
        if not trainings:
            continue
        busy = sorted(t.metrics["utilization"] for t in trainings if t.metrics["utilization"] is not None)
        spent = sum(t.metrics["device_seconds"] for t in trainings)
        memory = max(t.metrics["peak_memory_bytes"] or 0 for t in trainings)
        lost = sum(t.metrics["lost_seconds"] for t in trainings)
        rows.append(
            [
                wording.STAGE_NAMES[stage],
                wording.percent(busy[len(busy) // 2]) if busy else "not measured",
                f"{memory / 2**30:.1f} GiB" if memory else "not measured",
                wording.percent(lost / (spent + lost)) if spent + lost else wording.NOTHING,
                str(sum(t.metrics["attempts"] for t in trainings)),
            ]
        )
    heads = ["stage", "device busy (median)", "most memory", "device time lost", "processes started"]
    return Table(heads, rows)


def failures(run: RunFolder) -> Table:
    """Trainings that did not run straight to their end: diverged, out of memory, stopped early, or broken off."""
    rows = []
    for stage, trainings in run.trainings().items():
        for training in trainings:
            metrics = training.metrics
            if metrics["status"] == "completed" and metrics["attempts"] <= 1:
                continue
            resumed = metrics["resumed_from"]
            rows.append(
                [
                    training.id,
                    wording.STAGE_NAMES[stage],
                    metrics["status"].replace("_", " "),
                    f"{metrics['epochs']} of {training.trial['hyperparameters']['epochs']}",
                    str(metrics["attempts"]),
                    wording.NOTHING if resumed is None else f"{resumed:g}",
                    wording.duration(metrics["lost_seconds"]),
                ]
            )
    heads = ["trial", "stage", "status", "epochs", "processes", "taken up at epoch", "device time lost"]
    return Table(heads, rows)


def provenance(run: RunFolder) -> Table:
    """What the run is made of: seeds, hashes, versions, devices."""
    trainings = [training for stage in run.trainings().values() for training in stage]
    rows = [["seed", str(run.config["seed"])]]
    if run.fingerprint is not None:
        rows.append(["data, sha256", run.fingerprint["sha256"]])
    if trainings:
        codes = sorted({training.metrics["code"] for training in trainings})
        seeds = sorted({training.trial["seed"] for training in trainings})
        devices = sorted({f"{training.metrics['device']}, {training.metrics['precision']}" for training in trainings})
        rows += [
            ["code of the trainings", ", ".join(codes)],
            ["seeds of the trainings", ", ".join(map(str, seeds))],
            ["commit of the trainings", ", ".join(commits(trainings))],
            ["devices", "; ".join(devices)],
            ["machines", "; ".join(machines(trainings))],
            *([name, version] for name, version in trainings[0].metrics["versions"].items()),
        ]
    if "best" in run.decisions and run.is_decided:
        rows.append(["winner's trial, sha256", run.winners(run.search_encoder)[0].metrics["trial_sha256"]])
    return Table(["what", "value"], rows)


def commits(trainings: Sequence[Training]) -> list[str]:
    """The commits of the code that trained, each once."""
    return sorted({training.metrics["commit"] or "not known: no git repository" for training in trainings})


def machines(trainings: Sequence[Training]) -> list[str]:
    """The machines that trained, each once."""
    return sorted({", ".join(f"{key} {value}" for key, value in t.metrics["machine"].items()) for t in trainings})


def _saved(training: Training) -> float:
    """Device seconds of the epochs that early stopping or a rung spared a training that went well."""
    metrics = training.metrics
    if metrics["status"] not in ("completed", "early_stopped") or not metrics["epochs"]:
        return 0.0
    spared = metrics["trial"]["hyperparameters"]["epochs"] - metrics["epochs"]
    return metrics["device_seconds"] / metrics["epochs"] * max(0, spared)


def _cost(trainings: list[Training]) -> list[str]:
    speeds = sorted(t.metrics["samples_per_second"] for t in trainings if t.metrics["samples_per_second"])
    broken = sum(t.metrics["status"] in ("diverged", "out_of_memory") for t in trainings)
    return [
        str(len(trainings)),
        wording.duration(sum(t.metrics["device_seconds"] for t in trainings)),
        wording.duration(sum(_saved(t) for t in trainings)),
        wording.duration(sum(t.metrics["lost_seconds"] for t in trainings)),
        ", ".join(sorted({t.metrics["device"] for t in trainings})),
        f"{speeds[len(speeds) // 2]:,.0f} (median)" if speeds else wording.NOTHING,
        str(broken),
    ]
