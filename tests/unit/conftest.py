"""Property tests that always try the same examples, keep no files, and don't fail because the machine is busy."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "inferd", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("inferd")
