"""How the demo ends other than well."""


class InputError(Exception):
    """What the user asked for cannot be done: exit status 2. The text is one line."""


class DemoFailure(Exception):
    """The masters did not do what they promise: exit status 1. The text says what, in one line or more."""
