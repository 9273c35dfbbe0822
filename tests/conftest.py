"""For all tests: hypothesis judges by what happens, never by how long it took on a busy machine.

The gate tries the same examples every time: whether a change passes is no matter of luck. Elsewhere new ones are
drawn each time, and what they find is mended here.
"""

import os

from hypothesis import HealthCheck, settings

# How fast examples are drawn, too, says more of the machine than of the test.
UNHURRIED = [HealthCheck.too_slow, HealthCheck.filter_too_much]
settings.register_profile("patient", deadline=None, suppress_health_check=UNHURRIED)
settings.register_profile("gate", deadline=None, suppress_health_check=UNHURRIED, derandomize=True, database=None)
settings.load_profile("gate" if os.environ.get("CI") else "patient")
