"""Who may read what is written: patient data their owner alone, or his group; all else whoever the umask lets."""

import os
import stat
from pathlib import Path

SHARED = "RETCLIP_SHARED"  # privacy.shared, for every job of a run
GROUP_WRITES = 0o020


def share_with(who: str) -> None:
    """Whom this process, and all that it starts, lets read patient data: owner or group, as privacy.shared says."""
    os.environ[SHARED] = who


def shared_mode() -> int:
    """Of a file that holds no patient: as the umask has it."""
    return 0o666 & ~umask()


def private_mode() -> int:
    """Of a file with patients: 0600; 0640 with privacy.shared: group, 0660 where the umask lets a group write, too."""
    if not umask() & GROUP_WRITES:
        return 0o660
    return 0o640 if os.environ.get(SHARED) == "group" else 0o600


def private_folder(path: str | Path) -> None:
    """Makes a folder for patient data that is closed to others. One that is there keeps its mode: who made it chose it,
    and the files in it are closed by themselves."""
    folder = Path(path)
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        close_folder(folder)


def close_folder(folder: Path) -> None:
    """A folder of files with patients: who may read those may enter it."""
    mode = private_mode()
    # what is made in it belongs to the group of a shared folder, as the folder does
    folder.chmod(mode | (mode >> 2 & 0o111) | (folder.stat().st_mode & stat.S_ISGID))


def umask() -> int:
    """This process's own, which can be read by setting it alone."""
    found = os.umask(0o077)
    os.umask(found)
    return found
