"""What a training is for and how one may end: words that files record, so that nothing is read off a name."""

# Statuses of metrics.json that leave a training without a score; both are results.
FAILED = ("diverged", "out_of_memory")
