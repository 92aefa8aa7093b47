"""How a site's sbatch wants to be asked: from the words of a profile's default resources to those of the plugin."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

FORMS = "--gpus=N, --gpus=TYPE:N, --gres=gpu:N, --gres=gpu:TYPE:N, --gpus-per-node=N, --gpus-per-node=TYPE:N or none"
FORM = re.compile(r"--(gpus|gpus-per-node|gres=gpu)[=:](?:([\w.-]+):)?N")
# what default resources say of jobs with GPUs alone -> the plugin's resource
OF_GPU_JOBS = {
    "gpu_partition": "slurm_partition",
    "gpu_account": "slurm_account",
    "gpu_qos": "qos",
    "gpu_constraint": "constraint",
}
OWN = (*OF_GPU_JOBS, "gpu_request")
# resources by which the plugin asks for GPUs: as defaults they would reach every job
ASKING = ("gpu", "gpus", "gpu_model", "gres", "slurm_extra")


def gpu_flags(request: str, gpus: int) -> dict[str, int | str]:
    """The plugin's resources of a job that needs `gpus` GPUs. request: how sbatch is asked, with N for their number.

    Raises ValueError for a request that is none of FORMS, or that the plugin cannot pass on.
    """
    if request == "none":
        return {"gpu": 0}
    found = FORM.fullmatch(request)
    if found is None or (found[1] != "gres=gpu" and found[2] == "gpu"):
        raise ValueError(f"default-resources: gpu_request is {request}; give {_meant(request) or FORMS}.")
    flag, model = found[1], found[2]
    # the plugin checks what it passes on, and takes no type with a dash
    if model and "-" in model and flag != "gpus-per-node":
        raise ValueError(
            f"default-resources: gpu_request is {request}, but the Slurm plugin takes no type with a dash there; "
            f"give --gpus-per-node={model}:N."
        )
    number = f"{model}:{gpus}" if model else str(gpus)
    # torchrun starts its processes on one node, and --gpus=2 may mean one GPU on each of two
    nodes: dict[str, int | str] = {"nodes": 1} if gpus > 1 else {}
    if flag == "gpus":
        return {"gpu": gpus, **({"gpu_model": model} if model else {}), **nodes}
    if flag == "gres=gpu":
        return {"gpu": 0, "gres": f"gpu:{number}", **nodes}
    return {"gpu": 0, "slurm_extra": f"--gpus-per-node={number}", **nodes}


def refuse_gpus_for_all(defaults: Mapping[str, str]) -> None:
    """Raises ValueError where default resources would give jobs a GPU that need none, or name what nothing reads.

    defaults: name -> as it was typed.
    """
    for name, typed in defaults.items():
        if name in ASKING and "gpu" in f"{name}={typed}":
            raise ValueError(
                f"default-resources: {name} would ask for GPUs for jobs that use none; say gpu_request instead, which "
                "reaches only jobs with GPUs, such as gpu_request: --gres=gpu:a100:N."
            )
        if name.startswith("gpu_") and name not in OWN:
            raise ValueError(f"default-resources: nothing reads {name}; of jobs with GPUs there are {', '.join(OWN)}.")


def refuse_lost_request(request: str, replaced: Iterable[str]) -> None:
    """Raises ValueError where a rule would lose its GPU. replaced: rules whose slurm_extra set-resources replaces."""
    if request.startswith("--gpus-per-node"):
        for rule in replaced:
            raise ValueError(
                f"set-resources: slurm_extra of {rule} would replace {request}, and the job would get no GPU; "
                "say it as slurm_extra of default-resources, to which each job's own is added."
            )


def without_accounts(has_account: bool, missing: set[str]) -> str | None:
    """What to do where the plugin would call a command of Slurm's that is not here; None where it would not.

    has_account: default resources name one. missing: those of sacct and sacctmgr that are not in PATH.
    """
    called = missing & ({"sacctmgr"} if has_account else {"sacct"})
    if not called:
        return None
    name = called.pop()
    # an account that was given is looked up by sacctmgr
    advice = "" if has_account or "sacctmgr" in missing else "name yours as slurm_account of default-resources, or "
    return (
        f"Slurm's plugin asks {name} for your account, and there is no {name} here: {advice}put an executable file "
        f"{name} with the lines `#!/bin/sh` and `exit 1` into a folder of your PATH."
    )


def shared_jobs(profile: Path) -> tuple[dict[str, int], object]:
    """Group -> how many of its jobs share one, and max_runtime, as a profile's file has them; nothing where there is no
    such file. Raises ValueError where they cannot be read."""
    if not profile.is_file():
        return {}, None
    try:
        said = yaml.safe_load(profile.read_text(encoding="utf-8")) or {}
        groups = {name: int(str(count)) for name, count in _pairs(said.get("group-components")).items()}
        if few := [name for name, count in groups.items() if count < 1]:
            raise ValueError(f"{few[0]} is {groups[few[0]]}; give a whole number above 0")
        return groups, _pairs(said.get("default-resources")).get("max_runtime")
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"{profile}: group-components or default-resources cannot be read: {reason}") from error


def _pairs(said: Mapping[str, object] | list[str] | None) -> Mapping[str, object]:
    """A profile has them as a mapping, or as a list of NAME=VALUE."""
    if isinstance(said, Mapping):
        return said
    return dict(entry.split("=", 1) for entry in said or ())


def _meant(request: str) -> str | None:
    """The form of FORMS that somebody meant who gave a number for N, or a gres in the words of --gpus."""
    candidate = re.sub(r"([=:])\d+$", r"\1N", request)
    candidate = re.sub(r"^--gpus(?:-per-node)?=gpu:", "--gres=gpu:", candidate)
    candidate = re.sub(r"^--gres=(?!gpu[:=])", "--gres=gpu:", candidate)
    return candidate if FORM.fullmatch(candidate) else None
