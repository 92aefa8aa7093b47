"""Whether this user can run in a folder that others use, too: before anything runs, in one sentence."""

import os
from pathlib import Path

from retclip.core.lock_owner import user_name
from retclip.core.modes import umask

FULL_BYTES = 1 << 20
# Of snakemake, below the working folder; whoever runs first makes them.
SNAKEMAKE = (".snakemake", ".snakemake/locks", ".snakemake/metadata", ".snakemake/incomplete", ".snakemake/log")
GROUP_WRITES = 0o020


def refuse_working_folder(results: Path) -> None:
    """Raises ValueError where the working folder, or what a run needs in it, cannot be written. results: this run's."""
    here, advice = Path(), "run in a folder of your own: --directory /scratch/me/run"
    found = os.statvfs(here)
    if found.f_flag & os.ST_RDONLY:
        raise ValueError(f"{here.absolute()}: is read-only; {advice}.")
    if found.f_files and not found.f_favail:
        raise ValueError(f"{here.absolute()}: takes no more files: no inodes are left (df -i); {advice}.")
    if found.f_bavail * found.f_frsize < FULL_BYTES:
        raise ValueError(f"{here.absolute()}: is full (df -h); make room, or {advice}.")
    wanted = (here, *map(Path, SNAKEMAKE), results.parent, results, results / "state", Path("resources"))
    for folder in wanted:
        if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
            raise ValueError(
                f"{folder.absolute()}: belongs to {owner(folder)}, and you may not write there; have the working "
                f"folder opened by chmod -R g+rwX,g+s, and set umask 002, both of you; or {advice}."
            )


def shared_warning() -> str | None:
    """One sentence where another user's working folder is shared with this one, who would write what nobody else can
    change; None advice, and for root."""
    status, mask = os.stat("."), umask()
    if os.geteuid() in (0, status.st_uid) or not status.st_mode & GROUP_WRITES or not mask & GROUP_WRITES:
        return None
    return (
        f"warning: {owner(Path())} shares this folder with you, and your umask is {mask:03o}: nobody else can change "
        "what you write. Set umask 002 first."
    )


def owner(path: Path) -> str:
    """The name of whoever owns a file, or the number where the machine knows no name."""
    number = path.stat().st_uid
    return user_name(number) or f"user {number}"
