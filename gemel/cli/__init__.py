"""The ``gemel`` command."""
