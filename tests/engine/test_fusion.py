"""What fusion must not do."""
from __future__ import annotations

import numpy as np
import pytest

import gemel
from gemel.engine.base.flags import override


@pytest.mark.parametrize("tier", ["0", "1"])
@pytest.mark.parametrize("taps", [2, 3, 5])
def test_a_value_needed_at_several_places_is_not_absorbed_at_one(taps, tier):
    x = np.arange(6 * 17, dtype=np.float32).reshape(6, 17)
    with override(TIER=tier):
        doubled = gemel.tensor(x) * 2
        total = doubled[:, 0:10]
        for at in range(1, taps):
            total = total + doubled[:, at:at + 10]
        found = total.numpy()
    np.testing.assert_array_equal(found, sum(2 * x[:, at:at + 10] for at in range(taps)))
