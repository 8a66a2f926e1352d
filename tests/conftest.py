"""What holds for every test."""

from hypothesis import settings

# A loaded machine must not fail a test: nothing here is judged by how long it took.
settings.register_profile("default", deadline=None, print_blob=True)
settings.load_profile("default")
