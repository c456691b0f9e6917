"""Who decides in which way a request is answered, from what was seen of link, server and device.

Every policy is a `Chooser` of `optc.runtime.split.client`; the simulator of `optc.driver.split` runs the same ones.
"""

from __future__ import annotations

from optc.runtime.split.control.costs import Preference, WayCosts, ways_of
from optc.runtime.split.control.predictive import ModelPredictive

__all__ = ["ModelPredictive", "Preference", "WayCosts", "ways_of"]
