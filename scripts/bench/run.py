"""The bench: gateways side by side before one upstream, what each costs and how long it takes."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import programs
from accounting import GATEWAY_CORE
from figures import Bench, chunk_cost, request_cost
from ours import Autopilot, Direct, files
from peers import PEERS, Peer, upstream_files
from processes import free_ports
from programs import HOME


def main() -> int:
    """Run it; the exit code is 0 when all that was asked for could be measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", metavar="PEER[,PEER]", default="", help="these gateways")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a window")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--router", type=Path, help="a checkout of the router to measure")
    options = parser.parse_args()
    router = Autopilot(checkout=options.router.resolve()) if options.router else Autopilot()
    everybody: tuple[Peer, ...] = (Direct(), router, *PEERS)
    only = {part.strip() for part in options.only.split(",") if part.strip()}
    chosen = [peer for peer in everybody if not only or peer.name in only]
    programs.build()
    with programs.upstream(
        files=upstream_files() | files(), certificate=None, ca=None, log=HOME / "upstream.log"
    ) as upstream:
        for _ in range(options.rounds):
            for peer in chosen:
                (port,) = free_ports(1)
                home = HOME / peer.name
                with peer.running(
                    port=port,
                    upstream=upstream.port,
                    ca=None,
                    home=home,
                    log=HOME / f"{peer.name}.log",
                    cpu=GATEWAY_CORE,
                ) as pids:
                    bench = Bench(
                        peer=peer,
                        port=port if pids else upstream.port,
                        pids=pids or [upstream.pid],
                        upstream=upstream,
                        seconds=options.seconds,
                    )
                    seen = chunk_cost(bench) | request_cost(bench)
                    print(peer.name, {k: round(v, 2) for k, v in seen.items()}, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
