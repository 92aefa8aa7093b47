"""Who may read what is written: patient data their owner alone, or his group; all else whoever the umask lets."""

import os
from pathlib import Path

SHARED = "RETCLIP_SHARED"  # what rules/common.smk sets to privacy.shared: owner or group
GROUP_WRITES = 0o020


def shared_mode() -> int:
    """Of a file that holds no patient: as the umask has it."""
    return 0o666 & ~_umask()


def private_mode() -> int:
    """Of a file with patients: 0600; 0640 with privacy.shared: group, 0660 where the umask lets a group write, too."""
    if not _umask() & GROUP_WRITES:
        return 0o660
    return 0o640 if os.environ.get(SHARED) == "group" else 0o600


def private_folder(path: str | Path) -> None:
    """Makes a folder for patient data that is closed to others. One that is there keeps its mode: who made it chose it,
    and the files in it are closed by themselves."""
    folder = Path(path)
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        mode = private_mode()
        folder.chmod(mode | (mode >> 2 & 0o111))  # who may read it may enter it


def _umask() -> int:
    found = os.umask(0o077)
    os.umask(found)
    return found
