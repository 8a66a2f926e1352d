"""How the demo ends if it does not end well."""


class InputError(Exception):
    """The demo cannot be done on this input: exit status 2. The text is one line."""


class DemoFailure(Exception):
    """The nodes did not do what they promise: exit status 1. The text has one line or more."""
