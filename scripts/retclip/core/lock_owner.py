"""Who holds a lock, as far as this machine can tell, and the sentence that ends a wait for him."""

import os
from pathlib import Path
from typing import NamedTuple


class Owner(NamedTuple):
    """user: its number. process: None where it is none of this machine's, or cannot be seen."""

    user: int | None
    process: int | None

    def __str__(self) -> str:
        if self.user is None:
            return "a process that cannot be seen from here"
        where = "on another machine" if self.process is None else f"process {self.process}"
        return f"user {user_name(self.user) or self.user} ({where})"


def owner_of_flock(path: Path) -> Owner:
    """By the kernel's list of locks; one that another machine has set in a file system is not on it."""
    try:
        found = path.stat()
        place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if fields[1] == "FLOCK" and fields[5] == place:
                return owner_of_process(int(fields[4]))
    except (OSError, ValueError, IndexError):  # as another system may write it
        pass
    return Owner(None, None)


def owner_of_process(pid: int) -> Owner:
    """A process of this machine; nobody, where it has ended or belongs to another container."""
    try:
        return Owner(os.stat(f"/proc/{pid}").st_uid, pid)
    except OSError:
        return Owner(None, None)


def waited_too_long(path: Path, owner: Owner, seconds: float) -> str:
    """One sentence for a wait that was given up after so many seconds."""
    return (
        f"{path}: {owner} has held this lock for more than {seconds / 3600:.3g} h; have that process ended "
        "(deleting the file would let two write), then run again."
    )


def user_name(user: int) -> str | None:
    """None where this machine knows no name for the number."""
    import pwd

    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return None
