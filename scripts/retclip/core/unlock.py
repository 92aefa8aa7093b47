"""How a folder that a killed snakemake left locked is unlocked, in the words that this snakemake was started with."""

import logging
import os
import shlex
import shutil
import sys
from collections.abc import Sequence

# the end of the sentence in which snakemake refuses a locked folder
LOCKED = "It can be removed with the --unlock argument."


def unlock_command(arguments: Sequence[str]) -> str:
    """The command that removes the lock, for the folder where snakemake was started. arguments: its sys.argv.

    Without the config files of the run, snakemake does not know which run it is.
    """
    program = os.path.basename(arguments[0])
    words = [program]
    if program == "__main__.py":
        words = [sys.executable, "-m", "snakemake"]
    elif shutil.which(program) != arguments[0]:
        words = [arguments[0]]
    given = [word for word in arguments[1:] if word != "--unlock"]
    # the flag comes first where a -- makes targets of all that follows
    end = given.index("--") if "--" in given else len(given)
    return shlex.join([*words, *given[:end], "--unlock", *given[end:]])


class UnlockHint(logging.Filter):
    """Completes snakemake's sentence on a locked folder by the command."""

    def __init__(self, command: str) -> None:
        super().__init__()
        self.command = command

    def filter(self, record: logging.LogRecord) -> bool:
        text = str(record.msg)
        if LOCKED in text:
            record.msg = text.replace(LOCKED, f"{LOCKED} Here: {self.command}")
        return True
