"""How many generated cases a property test tries: RETCLIP_FUZZ=10000 for a night."""

import os

from hypothesis import HealthCheck, settings

CASES = int(os.environ.get("RETCLIP_FUZZ", "500"))
fuzz = settings(
    max_examples=CASES,
    deadline=None,
    derandomize=CASES <= 500,  # the same cases in every CI; new ones at night
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
