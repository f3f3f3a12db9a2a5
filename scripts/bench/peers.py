"""The gateways that `make bench` compares ours with; run as a script, it tries each of them once."""

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from peer import MODEL, Absent, NotStartedError, Peer
from peer_gateways import LiteLlm, Portkey, Smg, VllmRouter
from peer_proxies import HaProxy, Nginx
from peer_trial import Trial
from processes import ROOT

__all__ = ["PEERS", "Absent", "NotStartedError", "Peer", "upstream_files"]

PEERS: tuple[Peer, ...] = (Nginx(), HaProxy(), VllmRouter(), Smg(), LiteLlm(), Portkey())


def upstream_files() -> dict[str, str]:
    """What peers ask an upstream for before they use it: the file's name in its --root, and its text."""
    model = {"id": MODEL, "object": "model", "created": 1_700_000_000, "owned_by": "bench"}
    return {"_v1_models": json.dumps({"object": "list", "data": [model]})}


def main() -> int:
    """Install each peer, ask each a question and for a stream; the exit code says if all were well."""
    names = [peer.name for peer in PEERS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="PEER", help=f"of {', '.join(names)}")
    chosen = parser.parse_args().names or names
    if strangers := sorted(set(chosen) - set(names)):
        parser.error(f"there is no peer {', '.join(strangers)}")
    home = ROOT / ".bench"
    well = True
    with TemporaryDirectory() as folder:
        trial = Trial(Path(folder), upstream_files())
        if unready := trial.prepare():
            print(f"the upstream cannot be compiled: {unready.reason}", file=sys.stderr)
            return 1
        for peer in (peer for peer in PEERS if peer.name in chosen):
            wrong = _try(peer, trial, home)
            well = well and not wrong
    return 0 if well else 1


def _try(peer: Peer, trial: Trial, home: Path) -> bool:
    """Say how the peer does; whether anything is wrong."""
    version = peer.install(home)
    if isinstance(version, Absent):
        print(f"{peer.name}: absent: {version.reason}", flush=True)
        return True
    plain = trial.plain(peer, home=home)
    tls = trial.tls(peer, home=home) if peer.speaks_tls else "not spoken"
    print(f"{peer.name} {version}: {plain or 'ok'}; TLS: {tls or 'ok'}", flush=True)
    return bool(plain or (tls and peer.speaks_tls))


if __name__ == "__main__":
    sys.exit(main())
