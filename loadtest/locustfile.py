"""Load for one Triton server, by locust over gRPC.

    locust -f loadtest/locustfile.py --headless -u 8 -r 8 -t 30s --host localhost:8001
    locust -f loadtest/locustfile.py --headless -t 30s --host localhost:8001 --arrival-rate 20

The first is closed: each of 8 users asks again when it has its answer. The second is open: requests
arrive at their rate whatever became of the earlier ones. `make loadtest` gives `--ramp`.
"""

from completelook_load.traffic.locust_users import Arrivals, Ramp, Visitors

__all__ = ["Arrivals", "Ramp", "Visitors"]
