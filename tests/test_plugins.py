"""What twistd and `twisted.plugin` find, and that finding and building start nothing."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from twisted.application.service import IService, IServiceMaker
from twisted.internet import reactor
from twisted.internet.interfaces import IReactorFDSet, IReactorTime
from twisted.plugin import getPlugins
from zope.interface.verify import verifyObject

from autopilot import __version__, tap
from autopilot.interfaces import ISelector
from autopilot.selectors import finding
from autopilot.selectors.capacity import Capacity
from autopilot.selectors.finding import SelectorError, UnknownSelectorError, find_selectors
from autopilot.service import AutopilotService
from autopilot.setting_table import SPECS
from autopilot.testing import AlphabeticSelector
from autopilot.web.listener import Listener

Environ = Callable[[dict[str, str]], None]


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> Environ:
    """Sets the environment to the given settings and no other."""

    def set_environ(settings: dict[str, str]) -> None:
        for spec in SPECS:
            monkeypatch.delenv(spec.name, raising=False)
        for name, value in settings.items():
            monkeypatch.setenv(name, value)

    set_environ({})
    return set_environ


def exit_text() -> str:
    with pytest.raises(SystemExit) as caught:
        tap.makeService(tap.Options())
    # A text is written to stderr, and the exit status is then 1.
    assert isinstance(caught.value.code, str)
    return caught.value.code


def test_every_selector_found_is_one_and_has_a_name_of_its_own() -> None:
    found = list(getPlugins(ISelector))
    for selector in found:
        assert verifyObject(ISelector, selector)
        assert selector.name == selector.name.lower()
    names = [selector.name for selector in found]
    assert "capacity" in names
    assert len(names) == len(set(names))


def test_the_default_selector_is_found_by_its_name() -> None:
    assert isinstance(find_selectors("capacity")["capacity"], Capacity)


@pytest.mark.parametrize("name", ["clairvoyant", "", "Capacity"])
def test_an_unknown_selector_is_refused_with_the_list_of_those_found(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(_interface: object) -> list[object]:
        return [Capacity(), AlphabeticSelector()]

    monkeypatch.setattr(finding, "getPlugins", found)
    with pytest.raises(UnknownSelectorError) as caught:
        find_selectors(name)
    assert repr(name) in str(caught.value)
    assert str(caught.value).endswith("the selectors found are: alphabetic, capacity")
    assert find_selectors("alphabetic").keys() == {"alphabetic", "capacity"}


def test_two_selectors_of_one_name_are_refused_and_both_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Capital(AlphabeticSelector):
        name = "Capacity"

    monkeypatch.setattr(finding, "getPlugins", lambda _interface: [Capacity(), Capital()])
    with pytest.raises(SelectorError) as caught:
        find_selectors("capacity")
    assert "autopilot.selectors.capacity.Capacity and " in str(caught.value)
    assert "Capital" in str(caught.value)


def test_where_no_selector_is_installed_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "getPlugins", lambda _interface: [])
    with pytest.raises(UnknownSelectorError, match="found are: none"):
        find_selectors("capacity")


def test_twistd_knows_the_router() -> None:
    (plugin,) = (p for p in getPlugins(IServiceMaker) if p.tapname == "autopilot")
    assert plugin.options is tap.Options
    assert plugin.makeService is tap.makeService


def test_the_service_is_built_without_being_started(environ: Environ) -> None:
    environ({"LISTEN_ADDR": "127.0.0.1:1", "MODELS_URL": "http://127.0.0.1:1/"})
    time, descriptors = IReactorTime(reactor), IReactorFDSet(reactor)
    calls, readers = time.getDelayedCalls(), descriptors.getReaders()
    service = tap.makeService(tap.Options())
    assert isinstance(service, AutopilotService)
    assert verifyObject(IService, service)
    children = cast("list[IService]", list(service))
    assert not any(child.running for child in [service, *children])
    assert [child.port for child in children if isinstance(child, Listener)] == [None]
    assert time.getDelayedCalls() == calls
    assert set(descriptors.getReaders()) == set(readers)


def test_bad_settings_stop_the_start_with_every_fault(environ: Environ) -> None:
    environ({"MAX_ATTEMPTS": "0", "LOG_FORMAT": "xml", "LISTEN_ADDR": "here"})
    lines = exit_text().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("autopilot: LISTEN_ADDR='here'")
    assert lines[1].startswith("MAX_ATTEMPTS='0'")
    assert lines[2].startswith("LOG_FORMAT='xml'")


def test_an_unknown_selector_stops_the_start(environ: Environ) -> None:
    environ({"SELECTOR": "clairvoyant"})
    assert exit_text().startswith("autopilot: SELECTOR='clairvoyant' is not accepted: ")
    assert "capacity" in exit_text()


def test_an_unknown_selector_is_listed_among_the_other_faults(environ: Environ) -> None:
    environ({"MAX_ATTEMPTS": "0", "SELECTOR": "clairvoyant"})
    text = exit_text()
    assert "MAX_ATTEMPTS" in text
    assert "clairvoyant" in text


def test_the_help_lists_every_setting() -> None:
    usage = tap.Options().getUsage()
    for spec in SPECS:
        assert f"{spec.name}={spec.default}\n" in usage


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        tap.Options().parseOptions(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"chutes-autopilot {__version__}\n"


def run(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    names = {spec.name for spec in SPECS}
    environ = {name: value for name, value in os.environ.items() if name not in names}
    return subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, *words],
        cwd=Path(__file__).parents[1],
        env=environ | settings,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_plugins_and_the_tap_do_not_install_a_reactor() -> None:
    source = (
        "import sys\n"
        "from twisted.application.service import IServiceMaker\n"
        "from twisted.plugin import getPlugins\n"
        "from autopilot.interfaces import ISelector\n"
        "(maker,) = (p for p in getPlugins(IServiceMaker) if p.tapname == 'autopilot')\n"
        "maker.options\n"
        "list(getPlugins(ISelector))\n"
        "print('twisted.internet.reactor' in sys.modules)\n"
    )
    done = run("-c", source)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_twistd_exits_with_every_fault_and_no_traceback(tmp_path: Path) -> None:
    twistd = "from twisted.scripts.twistd import run; run()"
    log = f"--logfile={tmp_path / 'log'}"
    words = ("-c", twistd, "-n", "--pidfile=", log, "autopilot")
    done = run(*words, MAX_ATTEMPTS="0", LOG_FORMAT="xml")
    assert done.returncode == 1
    assert [line.partition("=")[0] for line in done.stderr.splitlines()] == [
        "autopilot: MAX_ATTEMPTS",
        "LOG_FORMAT",
    ]
