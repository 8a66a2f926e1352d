"""The interface of a program: configuration, replica, changes feed, status, metrics and callbacks."""
