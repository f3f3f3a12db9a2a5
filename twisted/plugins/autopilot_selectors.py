"""The selectors that come with Autopilot. Other packages add theirs in a file like this one."""

from autopilot.selectors.capacity import Capacity

capacity = Capacity()
