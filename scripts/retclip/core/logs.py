"""What a person sees of a running entry: one line per interval, and one sentence per mistake."""

import os
import sys
import time
from collections.abc import Callable

_started = time.monotonic()


def seconds_since_start() -> float:
    """Wall seconds since this process began to import our code."""
    return time.monotonic() - _started


def say(text: str) -> None:
    """Prints one progress line to stderr, led by the seconds since the process started."""
    print(f"[{seconds_since_start():7.1f} s] {text}", file=sys.stderr, flush=True)


def run_entry(main: Callable[[list[str] | None], None], arguments: list[str] | None = None) -> None:
    """Runs an entry's main. A user's mistake (ValueError, a missing file) ends it with one sentence, exit 1.

    Any other exception is our bug and keeps its traceback. RETCLIP_TRACEBACK=1 shows every traceback.
    """
    if os.environ.get("RETCLIP_TRACEBACK"):
        main(arguments)
        return
    try:
        main(arguments)
    except (ValueError, FileNotFoundError, PermissionError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
