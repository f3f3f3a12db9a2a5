"""Makes `twistd autopilot` known. Imports nothing of the router: twistd reads every plug-in."""

from twisted.application.service import ServiceMaker

autopilot = ServiceMaker(
    "Chutes Autopilot",
    "autopilot.tap",
    "Route OpenAI-compatible requests to the best Chutes model",
    "autopilot",
)
