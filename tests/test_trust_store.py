"""The trust store: what counts as empty, and that the service says so once at the start."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from OpenSSL import SSL
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher

from autopilot.interfaces import ISelector
from autopilot.selectors.capacity import Capacity
from autopilot.service import make_service
from autopilot.settings import load
from autopilot.trust_store import TrustStoreCheck, trust_store_problem
from tests.certificates import Authority

FILE, DIRECTORY = "SSL_CERT_FILE", "SSL_CERT_DIR"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "bundle.pem"
    path.write_bytes(Authority().certificate_pem)
    return path


@pytest.fixture
def said() -> "list[LogEvent]":
    return []


@pytest.fixture(autouse=True)
def _listening(said: list[LogEvent], request: pytest.FixtureRequest) -> None:
    observer = cast("ILogObserver", said.append)
    globalLogPublisher.addObserver(observer)
    request.addfinalizer(lambda: globalLogPublisher.removeObserver(observer))  # noqa: PT021


def _missing(path: Path) -> Path:
    return path / "missing"


def _empty_file(path: Path) -> Path:
    (path / "empty").write_bytes(b"")
    return path / "empty"


def _no_certificate(path: Path) -> Path:
    (path / "text").write_bytes(b"nothing of the sort\n")
    return path / "text"


@pytest.mark.parametrize("make", [_missing, _empty_file, _no_certificate])
def test_a_file_without_a_certificate_is_an_empty_store(
    make: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(DIRECTORY, raising=False)
    monkeypatch.setenv(FILE, str(make(tmp_path)))
    problem = trust_store_problem()
    assert problem is not None
    assert "ca-certificates" in problem


def test_a_file_with_a_certificate_is_a_store(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(DIRECTORY, raising=False)
    monkeypatch.setenv(FILE, str(bundle))
    assert trust_store_problem() is None


@pytest.mark.parametrize(
    ("name", "found"), [("0a1b2c3d.0", True), ("bundle.pem", False), ("README", False)]
)
def test_a_directory_is_a_store_if_openssl_would_find_something_in_it(
    name: str, *, found: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_bytes(b"")
    monkeypatch.delenv(FILE, raising=False)
    monkeypatch.setenv(DIRECTORY, f"/nowhere:{tmp_path}")
    assert (trust_store_problem() is None) is found


def test_an_empty_variable_does_not_mean_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "0a1b2c3d.0").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(FILE, "")
    monkeypatch.setenv(DIRECTORY, "")
    assert trust_store_problem() is not None


def test_without_the_variables_the_places_are_those_that_pyopenssl_would_load(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(FILE, raising=False)
    monkeypatch.delenv(DIRECTORY, raising=False)
    empty = bundle.with_name("empty")
    empty.write_bytes(b"")
    monkeypatch.setattr(SSL, "_CERTIFICATE_PATH_LOCATIONS", [])
    monkeypatch.setattr(SSL, "_CERTIFICATE_FILE_LOCATIONS", [str(empty)])
    assert trust_store_problem() is not None
    monkeypatch.setattr(SSL, "_CERTIFICATE_FILE_LOCATIONS", ["/nowhere", str(bundle)])
    assert trust_store_problem() is None


@pytest.mark.parametrize(
    ("urls", "complaints"),
    [
        (["http://a", "http://b"], 0),
        (["http://a", "https://b"], 1),
        (["https://a", "HTTPS://b"], 1),
    ],
)
def test_it_is_said_once_at_the_start_and_only_if_tls_is_wanted(
    urls: list[str],
    complaints: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    said: list[LogEvent],
) -> None:
    monkeypatch.delenv(DIRECTORY, raising=False)
    monkeypatch.setenv(FILE, str(tmp_path / "missing"))
    check = TrustStoreCheck(urls)
    assert said == []
    check.startService()
    events = [(event["event"], event["log_level"].name) for event in said]
    assert events == [("tls_configuration_error", "error")] * complaints


def test_a_store_that_is_well_is_not_mentioned(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, said: list[LogEvent]
) -> None:
    monkeypatch.setenv(FILE, str(bundle))
    TrustStoreCheck(["https://a"]).startService()
    assert said == []


@pytest.mark.parametrize("name", ["BACKEND_BASE_URL", "MODELS_URL", "UTILIZATION_URL"])
def test_the_service_looks_for_each_url_that_it_calls(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[LogEvent]
) -> None:
    monkeypatch.delenv(DIRECTORY, raising=False)
    monkeypatch.setenv(FILE, str(tmp_path / "missing"))
    urls = dict.fromkeys(["BACKEND_BASE_URL", "MODELS_URL", "UTILIZATION_URL"], "http://a.test")
    service = make_service(
        load(urls | {name: "https://a.test"}),
        {"capacity": ISelector(Capacity())},
        MemoryReactorClock(),
    )
    (check,) = (child for child in service if isinstance(child, TrustStoreCheck))
    check.startService()
    assert [event["event"] for event in said] == ["tls_configuration_error"]
