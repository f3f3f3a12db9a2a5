"""Makes `twistd autopilot-simulator` known; imports nothing of the simulator."""

from twisted.application.service import ServiceMaker

simulator = ServiceMaker(
    "Chutes Simulator",
    "autopilot.simulator.tap",
    "A faithful little Chutes to try the router against",
    "autopilot-simulator",
)
