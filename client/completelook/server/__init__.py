"""A tritonserver of one's own, without a container: for a laptop, the demo and the tests."""

from completelook.server.access import owners_headers
from completelook.server.embedded import EmbeddedServer
from completelook.server.installation import TUNING
from completelook.server.ports import claim_ports
from completelook.server.processes import bound_to_this_process
from completelook.server.serve import serve_until_stopped

__all__ = [
    "TUNING",
    "EmbeddedServer",
    "bound_to_this_process",
    "claim_ports",
    "owners_headers",
    "serve_until_stopped",
]
