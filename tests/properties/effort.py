"""How hard the property tests try: a quick, repeatable run by default, a deep and random one on request.

    QTNB_EFFORT=deep pytest tests/properties        # ten times the examples, new ones each time
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

SLOW_IS_FINE = [HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile("quick", max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=SLOW_IS_FINE)
settings.register_profile("deep", max_examples=600, deadline=None, database=None, print_blob=True, suppress_health_check=SLOW_IS_FINE)

EFFORT = settings.get_profile(os.environ.get("QTNB_EFFORT", "quick"))
