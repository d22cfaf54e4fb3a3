"""The ``Tensor`` and its operations by topic; the public names are gathered in ``gemel``."""
