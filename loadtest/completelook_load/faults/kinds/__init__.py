"""Every fault by its name."""

from collections.abc import Callable
from dataclasses import dataclass

from completelook_load.faults.kinds import files, indexing, kills, load, network, pictures
from completelook_load.faults.stand import Stand
from completelook_load.faults.tally import Tally


@dataclass(frozen=True)
class Fault:
    """What is injected, in words, how, and how often."""

    text: str
    inject: Callable[[Stand, Tally, int], None]
    times: int = 20


FAULTS = {
    "kill-stub": Fault("a model's process is killed", kills.kill_stub),
    "kill-stub-at-once": Fault(
        "a model's process is killed at the first answer, again and again", kills.kill_stub_at_once
    ),
    "kill-server": Fault("tritonserver is killed", kills.kill_server),
    "kill-serve": Fault("`serve` is killed, and started anew", kills.kill_serve),
    "kill-index": Fault("`index` is killed at any moment, and run again", indexing.kill_index),
    "restart-under-index": Fault(
        "the server is restarted, or killed, while `index` runs", indexing.restart_under_index
    ),
    "full-disk": Fault("the disk is full while `index` writes", indexing.full_disk),
    "bad-pictures": Fault(
        "`index` over pictures that are broken, too large or none", pictures.bad_pictures, 40
    ),
    "slow-network": Fault("100 ms more each way", network.slow),
    "reset": Fault("connections are reset", network.reset),
    "half-open": Fault("a connection goes silent, new ones work", network.half_open),
    "black-hole": Fault("the network takes everything and passes nothing on", network.black_hole),
    "drip": Fault("a few bytes at a time", network.drip),
    "flips-in-catalog": Fault("a bit of a catalog is flipped", files.flip_catalog, 1000),
    "cuts-of-catalog": Fault("a catalog is cut off, every 4 KiB", files.cut_catalog, 1000),
    "flips-in-weights": Fault("a bit of a model's weights is flipped", files.flip_weights, 100),
    "rewritten-catalog": Fault("a catalog is replaced under its readers", files.rewrite, 100),
    "overwritten-catalog": Fault("`cp` over a catalog that is open", files.overwrite, 100),
    "overload": Fault("ten times the knee for a second", load.overload),
    "roll-out": Fault("another model takes the place under load", load.roll_out),
    "soak": Fault("15 minutes of load", load.soak, 15),
}
