"""What a job on a node of a cluster was to show reaches the terminal of the snakemake that submitted it."""

import logging
import re
import sys
from collections.abc import Mapping
from pathlib import Path

# snakemake's sentence on a job that has ended well
FINISHED = re.compile(r"Finished jobid: \d+ \(Rule: (\w+)\)")


class ShownLogs(logging.Filter):
    """Prints the log of a rule's job once the job has finished. logs: rule -> its log; hides no record."""

    def __init__(self, logs: Mapping[str, str]) -> None:
        super().__init__()
        self.logs = logs

    def filter(self, record: logging.LogRecord) -> bool:
        finished = FINISHED.match(str(record.msg))
        if finished and finished[1] in self.logs:
            path = Path(self.logs[finished[1]])
            # a network file system may show it later than the job's results
            text = path.read_text(encoding="utf-8") if path.is_file() else f"{finished[1]}: see {path}\n"
            print(text, end="", file=sys.stderr, flush=True)
        return True
