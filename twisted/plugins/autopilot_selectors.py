"""The selectors that come with Autopilot. Other packages add theirs in a file like this one."""

from autopilot.selectors.balanced import Balanced
from autopilot.selectors.capacity import Capacity
from autopilot.selectors.cost import Cost
from autopilot.selectors.latency import Latency
from autopilot.selectors.throughput import Throughput

balanced = Balanced()
capacity = Capacity()
cost = Cost()
latency = Latency()
throughput = Throughput()
