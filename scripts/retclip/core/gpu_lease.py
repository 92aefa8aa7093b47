"""A job's own GPUs, for as long as it lives: every job of a machine, of any run and user, leases before it computes.

Two locks for each GPU, both freed by the kernel however their processes end: one held by whoever chose it, and one by
whoever computes on it. They are the same process but under torchrun, whose parent chooses: its processes keep a GPU
even where that parent was killed. Nothing here imports torch: CUDA must wake up when the choice is made.
"""

import os
import random
import re
import stat
import time
from contextlib import suppress
from pathlib import Path

from retclip.core import slurm
from retclip.core.gpus import VISIBLE, Gpu, counts_differ, memory_mib, visible
from retclip.core.lock_owner import waited_too_long
from retclip.core.locks import Lock, owner_of, try_hold
from retclip.core.logs import log

# The same for all users and sessions of a machine, as $TMPDIR and $XDG_RUNTIME_DIR are not. Anyone may lock there, as
# in /tmp itself; nothing is ever written into these files or read from them.
FOLDER = Path("/tmp/retclip-gpus")
OPEN = 0o1777
# Tells the processes of torchrun whose lease is theirs: the number of the process that holds it.
HOLDER = "RETCLIP_GPUS_LEASED_BY"
# Seconds between two tries for a free GPU; drawn each time, so that no two jobs stay in step.
WAIT_SECONDS = (0.5, 1.5)
LONGEST_WAIT_SECONDS = 7 * 86400.0  # in all, for GPUs that others have
# A GPU with more of its memory in use is another one's who knows nothing of leases (a notebook, say).
CROWDED = 0.1

_choices: list[Lock] = []
_uses: list[Lock] = []


def lease(device: str, count: int = 1) -> None:
    """Takes `count` GPUs for the rest of this process's life and hides all others from CUDA; waits until so many are
    free, and holds none while it waits. Call it before torch is made to use a GPU.

    Nothing happens for the device `cpu`, where this machine has no GPU that may be used, where the process has its
    lease already, and where Slurm gave this job just as many. Raises ValueError where there are too few.
    """
    if device == "cpu" or _uses or _is_lent():
        return
    gpus = visible()
    several = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if not gpus or (slurm.gpus_given() and len(gpus) == max(count, several)):
        return
    if several > 1:
        raise ValueError(
            f"{several} processes need GPUs that were leased for all of them: start them with "
            f"scripts/lease_gpus.py --gpus {several} -- python -m torch.distributed.run ..."
        )
    if len(gpus) < count:
        known = f" ({VISIBLE}={os.environ[VISIBLE]})" if VISIBLE in os.environ else ""
        raise ValueError(
            f"training.gpus is {count}, but {len(gpus)} GPU{'s' * (len(gpus) > 1)} can be used here{known}: lower "
            "training.gpus, or make more of them visible."
        )
    chosen = _wait_for(gpus, count)
    os.environ[VISIBLE] = ",".join(gpu.word for gpu in chosen)
    os.environ[HOLDER] = str(os.getpid())


def lend() -> None:
    """Leaves this process's GPUs to the command that takes its place: the choice stays with that command, which
    computes nothing, and the use with the processes that it starts."""
    for lock in _uses:
        lock.release()
    for lock in _choices:
        if lock.descriptor is not None:
            os.set_inheritable(lock.descriptor, True)


def is_leased() -> bool:
    """Whether this process computes on GPUs that are its own: by a lease, by that of its parent, or by Slurm."""
    return bool(_uses) or HOLDER in os.environ or slurm.gpus_given() is not None


def _wait_for(gpus: list[Gpu], count: int) -> list[Gpu]:
    memory = memory_mib()
    crowded = {gpu: memory[gpu.uuid] for gpu in gpus if gpu.uuid in memory}
    crowded = {gpu: (used, total) for gpu, (used, total) in crowded.items() if used > CROWDED * total}
    order = sorted(gpus, key=lambda gpu: gpu in crowded)
    waits, began = False, time.monotonic()
    while not (chosen := _take(order, count)):
        if not waits:
            log(f"other jobs have {'this GPU' if len(gpus) == 1 else f'these {len(gpus)} GPUs'}: {_waiting(count)}")
        waits = True
        if time.monotonic() - began > LONGEST_WAIT_SECONDS:
            path = _path(order[0], "lock")
            raise ValueError(waited_too_long(path, owner_of(path), LONGEST_WAIT_SECONDS))
        time.sleep(random.uniform(*WAIT_SECONDS))
    if any(gpu.word.isdecimal() for gpu in chosen) and counts_differ():
        log("CUDA counts unlike GPUs by speed, and this lease by slot: set CUDA_DEVICE_ORDER=PCI_BUS_ID, or name UUIDs")
    for gpu in chosen:
        log(f"leased GPU {gpu.number}, {gpu.model or 'of unknown model'} ({gpu.uuid})")
        # those that were crowded when we came; our predecessor's memory was its own
        if gpu in crowded and not waits:
            used, total = crowded[gpu]
            log(f"beware: other processes hold {used / 1024:.1f} of its {total / 1024:.1f} GiB and know of no lease")
    return chosen


def _waiting(count: int) -> str:
    return f"waiting for {'a free one' if count == 1 else f'{count} free ones'} (locks in {FOLDER})"


def _take(gpus: list[Gpu], count: int) -> list[Gpu]:
    """The first `count` GPUs that nobody has, locked; none where there are fewer."""
    taken: dict[Gpu, tuple[Lock, Lock]] = {}
    for gpu in gpus:
        choice = _hold(_path(gpu, "lock"))
        use = _hold(_path(gpu, "use")) if choice else None
        if choice and use:
            taken[gpu] = choice, use
        elif choice:
            choice.release()
        if len(taken) == count:
            _choices.extend(choice for choice, _ in taken.values())
            _uses.extend(use for _, use in taken.values())
            return list(taken)
    for choice, use in taken.values():
        use.release()
        choice.release()
    return []


def _is_lent() -> bool:
    """Whether a process above this one leased its GPUs; locks the use of them where nobody above computes itself."""
    holder = os.environ.get(HOLDER, "")
    if not holder.isdecimal():
        return False
    own = visible()
    mine = own[int(os.environ.get("LOCAL_RANK", 0)) :][:1] if "LOCAL_RANK" in os.environ else own
    locks = [lock for gpu in mine if (lock := _hold(_path(gpu, "use")))]
    # looked at now that they are ours: as long as it lives nobody else can have chosen them
    if int(holder) not in _lineage():
        for lock in locks:
            lock.release()
        return False
    _uses.extend(locks)
    return True


def _names() -> set[str]:
    try:
        return set(os.listdir(FOLDER)) if os.access(FOLDER, os.X_OK, effective_ids=True) else set()
    except OSError:
        return set()


def _lineage() -> set[int]:
    """The numbers of this process, its parent, and so on."""
    found, pid = {os.getpid()}, os.getpid()
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
        found.add(pid)
    return found


def _path(gpu: Gpu, kind: str) -> Path:
    """Named by UUID, since a number means another GPU in each container; numbers are Slurm's own within its job."""
    place = f"slurm-{os.environ['SLURM_JOB_ID']}-{slurm.gpus_given()}-" if slurm.gpus_given() else ""
    return FOLDER / re.sub(r"[^\w.-]", "_", f"{place}{gpu.uuid}.{kind}")


def _hold(path: Path) -> Lock | None:
    """The lock, in a folder that all users of the machine share; never through a symbolic link."""
    with suppress(FileExistsError):
        FOLDER.mkdir()
    found = FOLDER.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise ValueError(f"{FOLDER}: locks of GPUs belong in a folder, not behind a symbolic link; delete it.")
    if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) != OPEN:
        FOLDER.chmod(OPEN)  # which the umask, or a process killed right here, has left closed to others
    try:
        lock = try_hold(path)
    except (PermissionError, FileNotFoundError):
        if path.name in _names():  # another user has just made it
            return None
        raise ValueError(
            f"{FOLDER}: is another user's, and closed to you; have it opened: chmod {OPEN:o} {FOLDER}"
        ) from None
    if lock is not None and lock.descriptor is not None:
        made = os.fstat(lock.descriptor)
        # others have to open what they wait for, whatever this user's umask; never a file that was laid in its place
        if made.st_uid == os.getuid() and made.st_size == 0 and made.st_nlink == 1:
            os.fchmod(lock.descriptor, 0o644)
    return lock
