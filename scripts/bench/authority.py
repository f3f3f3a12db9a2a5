"""An authority for the TLS upstream, as the lab has one, written to files that programs can read."""

from pathlib import Path

from lab_certificates import Certificates
from OpenSSL import crypto


class Authority:
    """`certificate` is what gateways trust; `server` holds localhost's certificate and its key.

    Both are made anew for each run and are of no use after it.
    """

    def __init__(self, folder: Path) -> None:
        for old in folder.glob("*.pem"):
            old.unlink()
        certificates = Certificates(folder)
        self.certificate = certificates.authority
        options = certificates.options("good")
        if options.certificate is None or options.privateKey is None:
            raise RuntimeError("the lab's authority issued nothing")
        self.server = folder / "server.pem"
        self.server.touch(mode=0o600)
        self.server.write_bytes(
            crypto.dump_certificate(crypto.FILETYPE_PEM, options.certificate)
            + crypto.dump_privatekey(crypto.FILETYPE_PEM, options.privateKey)
        )
