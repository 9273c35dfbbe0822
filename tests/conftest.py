"""For all tests: hypothesis judges by what happens, never by how long it took on a busy machine."""

from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
