"""The one process-wide state: setting up, emitting whatever happens, forking, ending."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

import clew
from clew.emit import process, propagation, state
from clew.emit.context import Context
from clew.emit.record import Head
from clew.errors import ConfigError
from clew.spool.losses import read_losses
from clew.testing import CapturedEvents
from support.hostile import BadMessage
from support.programs import read_spool, run_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path) -> Iterator[None]:
    """Leave no trace in the process that runs the tests."""
    with process.isolated(spool_keep_free_bytes=0):
        yield


def messages(home: Path) -> list[list[str]]:
    """Read the messages of every producer of a program."""
    return [[event["message"] for event in events] for events in read_spool(home / "data" / "spool")]


def configure(path: Path, **told: Any) -> None:
    """Set up on a spool of the test's own."""
    clew.configure(**{"service": "test", "data_dir": path, "agent": "external", "segment_bytes": 1024 * 1024} | told)


def test_configuring_returns_the_settings_and_opens_the_spool(tmp_path: Path) -> None:
    """Trouble shows at once, not at the first event."""
    configure(tmp_path, environment="prod", version="1", level="INFO")

    assert (process.settings().service, process.settings().environment) == ("test", "prod")
    assert (process.is_enabled("INFO"), process.is_enabled("DEBUG")) == (True, False)
    assert len(list((tmp_path / "spool" / "test").iterdir())) == 1


def test_events_carry_the_service_its_environment_and_its_version(tmp_path: Path) -> None:
    """As they were configured."""
    configure(tmp_path, environment="prod", version="1")

    clew.get_logger().info("told")

    ((event,),) = read_spool(tmp_path / "spool")
    assert (event["service"], event["environment"], event["version"]) == ("test", "prod", "1")


def test_configuring_again_replaces_the_settings(tmp_path: Path) -> None:
    """Events go on in a new directory; the same settings again change nothing."""
    configure(tmp_path, service="first")
    clew.get_logger().info("1")
    configure(tmp_path, service="first")
    clew.get_logger().info("2")
    configure(tmp_path, service="second")
    clew.get_logger().info("3")

    found = {event["message"]: event["service"] for events in read_spool(tmp_path / "spool") for event in events}
    assert found == {"1": "first", "2": "first", "3": "second"}
    assert len(read_spool(tmp_path / "spool")) == 2


def test_settings_that_are_refused_leave_the_old_ones_in_force(tmp_path: Path) -> None:
    """A mistake in a second call loses nothing."""
    configure(tmp_path)

    with pytest.raises(ConfigError, match="the setting level is 'LOUD'"):
        clew.configure(level="loud")
    clew.get_logger().info("told")

    assert [event["message"] for event in read_spool(tmp_path / "spool")[0]] == ["told"]


def test_a_directory_that_cannot_be_written_to_stops_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The service starts; one line names the directory and the settings that would help."""
    (tmp_path / "file").touch()

    configure(tmp_path / "file")
    for _ in range(3):
        clew.get_logger().info("lost")

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("clew: no log can be opened, and events are lost until one can be: cannot create ")
    assert "set CLEW_SPOOL_DIR or CLEW_DATA_DIR" in line
    assert process._process.unopened.pending() == {"removed": 3}
    assert clew.flush() is False


def test_what_was_lost_is_counted_by_the_log_that_opens_at_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is in the file of losses and in an event, and events go on."""
    monkeypatch.setattr(state, "RETRY_OPEN_S", 0.0)
    blocked = tmp_path / "data"
    blocked.touch()
    configure(blocked)
    for _ in range(5):
        clew.get_logger().info("lost")

    blocked.unlink()
    clew.get_logger().info("kept")
    is_whole = clew.flush()
    clew.shutdown()

    (events,) = read_spool(blocked / "spool")
    (directory,) = (blocked / "spool" / "test").iterdir()
    assert [event["message"] for event in events] == ["kept", "events_dropped"]
    assert events[1]["context"]["dropped"] == {"removed": 5}
    assert read_losses(directory) == {"removed": 5}
    assert is_whole is False, "five of them are not on the disk"
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_between_two_attempts_no_event_tries_to_open(tmp_path: Path) -> None:
    """They are counted under the reason of the last attempt, and cost the caller next to nothing."""
    blocked = tmp_path / "data"
    blocked.touch()
    configure(blocked)

    blocked.unlink()
    clew.get_logger().info("lost")

    assert not blocked.exists()
    assert process._process.unopened.pending() == {"removed": 1}


def test_without_a_spool_the_application_goes_on(tmp_path: Path) -> None:
    """Emitting without ``configure`` says one line, one more at the end with what was lost, and never raises."""
    program = """
        import clew
        for n in range(100):
            clew.get_logger().info("told", n=n)
            with clew.span("work"):
                pass
        print("went on", clew.flush())
    """
    (tmp_path / "file").touch()

    ended = run_program(tmp_path / "home", program, CLEW_DATA_DIR=str(tmp_path / "file"))

    assert (ended.status, ended.said) == (0, "went on False\n")
    first, last = ended.complaints
    assert first.startswith("clew: no log can be opened, and events are lost until one can be: cannot create")
    assert last.endswith("no log could be opened to report them: 300 (removed)")


def test_without_descriptors_events_are_counted_until_there_are_some(tmp_path: Path) -> None:
    """No file can be opened: nothing is raised; the log that opens at last, here at the end, counts them."""
    program = """
        import os, resource, clew
        log = clew.get_logger()
        log.info("first")  # opens, and imports what that takes
        clew.shutdown()
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        taken = []
        while True:
            try:
                taken.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                break
        for n in range(50):
            log.info("lost")
        print(clew.flush())
        for fd in taken:
            os.close(fd)
    """

    ended = run_program(tmp_path, program)

    assert (ended.status, ended.said) == (0, "False\n")
    assert len(ended.complaints) == 1
    first, last = read_spool(tmp_path / "data" / "spool")
    assert [event["message"] for event in first] == ["first"]
    assert [(event["message"], event["context"]["dropped"]) for event in last] == [
        ("events_dropped", {"too_many_files": 50})
    ]


def test_another_user_may_not_write_and_loses_nothing_unnoticed(tmp_path: Path) -> None:
    """A service that has given up its rights starts, and counts."""
    if os.geteuid() != 0:
        pytest.skip("only root may become another user")
    program = """
        import os, sys, clew
        log = clew.get_logger()
        log.info("first")
        clew.shutdown()
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        clew.configure(service="other")
        for n in range(7):
            log.info("lost")
        print(clew.flush())
    """

    ended = run_program(tmp_path, program)

    assert (ended.status, ended.said) == (0, "False\n")
    first, last = ended.complaints
    assert "set CLEW_SPOOL_DIR or CLEW_DATA_DIR" in first
    assert last.endswith("7 (permission)")


def test_without_inodes_events_are_counted_until_there_are_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mount_disk: Callable[[Path, str], Path]
) -> None:
    """A full table of inodes is told from a full disk."""
    monkeypatch.setattr(state, "RETRY_OPEN_S", 0.0)
    disk = mount_disk(tmp_path / "disk", "16m,nr_inodes=40")
    taken: list[Path] = []
    with contextlib.suppress(OSError):
        while True:
            taken.append(disk / f"file{len(taken)}")
            taken[-1].touch()

    configure(disk)
    for _ in range(4):
        clew.get_logger().info("lost")
    for path in taken:
        path.unlink(missing_ok=True)
    clew.get_logger().info("kept")
    clew.shutdown()

    (directory,) = (disk / "spool" / "test").iterdir()
    assert read_losses(directory) == {"no_inodes": 4}


def test_a_child_counts_its_own_losses_only(tmp_path: Path) -> None:
    """What its parent lost before the fork is told by the parent."""
    program = """
        import os, clew
        log = clew.get_logger()
        log.info("lost")
        child = os.fork()
        if child == 0:
            whole = clew.flush()
            log.info("lost"), log.info("lost")
            print(whole, clew.emit.process._process.unopened.pending(), flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        print(clew.flush(), clew.emit.process._process.unopened.pending())
    """
    (tmp_path / "file").touch()

    ended = run_program(tmp_path / "home", program, CLEW_DATA_DIR=str(tmp_path / "file"))

    assert ended.said.splitlines() == ["True {'removed': 2}", "False {'removed': 1}"]


@pytest.mark.parametrize("emits", ["pass", "log.info('child')"])
@pytest.mark.parametrize(("gone", "is_whole"), [("pass", True), ("shutil.rmtree(spool)", False)])
@pytest.mark.parametrize("fork", ["os.fork", "ctypes.PyDLL(None).fork"])
def test_a_daemon_answers_for_what_it_inherited(
    tmp_path: Path, emits: str, gone: str, is_whole: bool, fork: str
) -> None:
    """Its parent is gone at once; the child brings its events to the disk, or says that it cannot."""
    program = f"""
        import ctypes, os, shutil, clew
        clew.configure(service="daemon", flush_interval_s=60)
        log = clew.get_logger()
        log.info("parent")
        spool = clew.emit.process.settings().spool_dir
        reading, writing = os.pipe()
        if {fork}():
            os.close(writing)
            os.read(reading, 1)
            os._exit(0)
        {gone}
        {emits}
        print(clew.flush(), flush=True)
        os.close(writing)
        os._exit(0)
    """

    ended = run_program(tmp_path, program)

    assert ended.said == f"{is_whole}\n"


def test_flushing_is_false_for_good_after_a_loss(tmp_path: Path) -> None:
    """An event that was dropped is on no disk, in this log or in one that was closed since."""
    configure(tmp_path, max_event_bytes=64 * 1024, segment_bytes=1024 * 1024)
    clew.get_logger().info("told")
    before = clew.flush()
    writer = process._process.writer
    assert writer is not None
    writer.append(b"x" * 2 * 1024 * 1024)

    after = clew.flush()
    clew.shutdown()

    assert (before, after, clew.flush()) == (True, False, False)


@pytest.mark.parametrize("agent", ["in-process", "auto"])
def test_a_machine_that_cannot_ship_stops_nobody(tmp_path: Path, agent: str) -> None:
    """The agent cannot be started: one line says so, and the events wait."""
    program = f"""
        import clew
        clew.configure(service="app", agent="{agent}", sinks=["console"])
        clew.get_logger().info("told")
        print("went on")
    """
    (tmp_path / "data").mkdir()
    (tmp_path / "spool").mkdir(mode=0o700)
    (tmp_path / "spool" / ".agents").touch()

    ended = run_program(tmp_path, program, CLEW_SPOOL_DIR=str(tmp_path / "spool"))

    assert ended.status == 0
    assert ended.said.splitlines()[-1] == "went on"
    assert len(ended.complaints) == 1
    assert [[event["message"] for event in events] for events in read_spool(tmp_path / "spool")] == [["told"]]


def test_an_agent_that_the_settings_rule_out_is_refused(tmp_path: Path) -> None:
    """There is no sink to ship to: a mistake of the settings, not of the machine."""
    with pytest.raises(ConfigError):
        configure(tmp_path, agent="in-process")


def test_a_bad_setting_of_the_environment_never_stops_the_application(tmp_path: Path) -> None:
    """Without ``configure`` it is said once; with it, it is raised."""
    program = """
        import clew
        log = clew.get_logger()
        log.info("1"), log.info("2")
        try:
            clew.configure()
        except clew.ClewError as error:
            print(error)
    """

    ended = run_program(tmp_path, program, CLEW_LEVEL="loud")

    assert ended.status == 0
    assert ended.said.startswith("the setting level is 'LOUD' (from the environment)")
    first, last = ended.complaints
    assert "the setting level is 'LOUD'" in first
    assert last.endswith("2 (not_open)")


def test_without_any_setting_events_wait_in_the_home_directory(tmp_path: Path) -> None:
    """Nothing is configured and no agent runs: they are kept, and one line says where and what ships them."""
    program = """
        import clew
        for n in range(3):
            clew.get_logger().info("told", n=n)
    """

    ended = run_program(tmp_path, program, CLEW_DATA_DIR="", CLEW_AGENT="")

    spool = tmp_path / ".local" / "share" / "clew" / "spool"
    assert ended.status == 0
    assert [event["context"]["n"] for event in read_spool(spool)[0]] == [0, 1, 2]
    (line,) = ended.complaints
    assert str(spool) in line
    assert "`clew up` ships" in line
    assert (spool.stat().st_mode & 0o777) == 0o700


def test_the_level_holds_from_the_very_first_event_on(tmp_path: Path) -> None:
    """The settings are not known yet when it is emitted, and it is judged all the same."""
    program = """
        import clew
        log = clew.get_logger()
        log.info("1"), log.info("2"), log.error("3")
    """

    run_program(tmp_path, program, CLEW_LEVEL="ERROR")

    assert messages(tmp_path) == [["3"]]


@pytest.mark.parametrize(
    ("fork", "how"),
    [("os.fork", "by Python, which runs its hooks"), ("ctypes.PyDLL(None).fork", "in C, which runs none")],
)
def test_a_forked_child_emits_into_a_directory_of_its_own(tmp_path: Path, fork: str, how: str) -> None:
    """Parent and child go on emitting, each into its own log, and nobody's events are lost or doubled."""
    program = f"""
        import ctypes, os, warnings, clew
        warnings.filterwarnings("ignore", "This process .* is multi-threaded")  # from 3.12 on, of any fork beside a thread
        clew.configure(service="forks")
        log = clew.get_logger()
        log.info("before")
        child = {fork}()
        for n in range(100):
            log.info("child" if child == 0 else "parent")
        if child == 0:
            clew.shutdown()
            os._exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """

    ended = run_program(tmp_path, program)

    assert (ended.status, ended.said, ended.complaints) == (0, "7\n", []), how
    parent, child = messages(tmp_path)
    assert parent == ["before"] + ["parent"] * 100
    assert child == ["child"] * 100


def test_workers_that_are_forked_before_the_first_event_have_a_log_each(tmp_path: Path) -> None:
    """The way of multiprocessing and of prefork servers."""
    program = """
        import multiprocessing, clew

        def work(n):
            clew.get_logger().info("told", n=n)

        if __name__ == "__main__":
            context = multiprocessing.get_context("fork")
            workers = [context.Process(target=work, args=(n,)) for n in range(4)]
            [worker.start() for worker in workers]
            [worker.join() for worker in workers]
    """

    ended = run_program(tmp_path, program)

    assert (ended.status, ended.complaints) == (0, [])
    assert messages(tmp_path) == [["told"]] * 4


def test_emitting_from_a_signal_handler_loses_nothing(tmp_path: Path) -> None:
    """A handler that emits while an emit is under way, thousands of times."""
    program = """
        import signal, clew
        clew.configure(service="signals", segment_bytes=1024 * 1024)
        log = clew.get_logger()
        rung = 0

        def ring(number, frame):
            global rung
            rung += 1
            log.info("rung", n=rung)

        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
        emitted = 0
        while rung < 300:
            log.info("told", n=emitted, odd={1, 2})
            emitted += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(emitted, rung)
    """

    ended = run_program(tmp_path, program)

    assert (ended.status, ended.complaints) == (0, [])
    emitted, rung = map(int, ended.said.split())
    (events,) = read_spool(tmp_path / "data" / "spool")
    for message, count in (("told", emitted), ("rung", rung)):
        numbers = sorted(event["context"]["n"] for event in events if event["message"] == message)
        assert numbers[0] in {0, 1}
        assert numbers == list(range(numbers[0], numbers[0] + count))


def test_a_signal_that_emits_while_the_spool_is_opened_does_not_open_a_second_one(tmp_path: Path) -> None:
    """The first event of all is interrupted by one."""
    program = """
        import signal, clew
        log = clew.get_logger()

        def ring(number, frame):
            log.info("rung")

        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
        log.info("told")
        signal.setitimer(signal.ITIMER_REAL, 0)
    """

    ended = run_program(tmp_path, program)

    assert (ended.status, ended.complaints) == (0, [])
    (found,) = messages(tmp_path)
    assert "told" in found


def test_emitting_from_a_finaliser_during_an_emit_loses_nothing(tmp_path: Path) -> None:
    """The collector may run ``__del__`` in the middle of any allocation."""
    program = """
        import gc, clew
        clew.configure(service="finalisers")
        log = clew.get_logger()
        died = 0

        class Dies:
            def __init__(self):
                self.me = self

            def __del__(self):
                global died
                died += 1
                log.info("died", n=died)

        gc.set_threshold(1)
        for n in range(500):
            Dies()
            log.info("told", n=n, odd=[{"set": {n}}])
        gc.collect()
        print(died)
    """

    ended = run_program(tmp_path, program)

    assert (ended.status, ended.complaints) == (0, [])
    (events,) = read_spool(tmp_path / "data" / "spool")
    told = [event["context"]["n"] for event in events if event["message"] == "told"]
    died = sorted(event["context"]["n"] for event in events if event["message"] == "died")
    assert told == list(range(500))
    assert died == list(range(1, int(ended.said) + 1))


@pytest.mark.parametrize("gone", ["sys.stderr.close()", "os.close(2)", "sys.stderr = None", "del sys.stderr"])
def test_without_a_stderr_nothing_is_said_and_nothing_raised(tmp_path: Path, gone: str) -> None:
    """Neither a closed one nor none at all; and the line does not turn up on stdout instead."""
    program = f"""
        import os, sys, clew
        {gone}
        clew.get_logger().info("told")
        print("went on")
    """
    (tmp_path / "file").touch()

    ended = run_program(tmp_path / "home", program, CLEW_DATA_DIR=str(tmp_path / "file"))

    assert ended.said == "went on\n"
    assert ended.status == 0


def test_a_failure_is_said_once_for_each_kind_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever its message, and even if it has none to give."""
    configure(tmp_path)

    class Later:
        def __getattribute__(self, name: str) -> Any:
            raise BadMessage

    for timestamp in (object(), 5j, Later()):
        process.emit(Head(timestamp, "log", "INFO", "told"), {}, None, Context())  # pyright: ignore[reportArgumentType]

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("clew: an event could not be emitted: TypeError: ")
    (directory,) = (tmp_path / "spool" / "test").iterdir()
    clew.shutdown()
    assert read_losses(directory) == {"unencodable": 3}


def test_after_shutdown_the_next_event_opens_the_spool_anew(tmp_path: Path) -> None:
    """Nothing emitted late is lost."""
    configure(tmp_path)
    clew.get_logger().info("1")

    clew.shutdown()
    clew.shutdown()
    clew.get_logger().info("2")

    assert [[event["message"] for event in events] for events in read_spool(tmp_path / "spool")] == [["1"], ["2"]]


def test_events_of_exit_handlers_are_kept(tmp_path: Path) -> None:
    """Also of one that runs after ours."""
    program = """
        import atexit, clew
        log = clew.get_logger()
        atexit.register(log.info, "last")
        clew.configure(service="exits")
        atexit.register(log.info, "first")
        log.info("told")
    """

    ended = run_program(tmp_path, program)

    assert ended.status == 0
    assert [message for found in messages(tmp_path) for message in found] == ["told", "first", "last"]


def test_a_process_that_ends_in_good_order_says_so(tmp_path: Path) -> None:
    """Its directory is marked closed, and tells who wrote there."""
    ended = run_program(tmp_path, "import clew; clew.configure(service='good'); clew.get_logger().info('told')")

    (directory,) = (tmp_path / "data" / "spool" / "good").iterdir()
    assert ended.status == 0
    assert (directory / "closed").exists()
    assert json.loads((directory / "producer.json").read_bytes())["service"] == "good"


def test_flushing_brings_everything_to_the_disk(tmp_path: Path) -> None:
    """True when it is there, also when there was nothing to bring."""
    assert clew.flush() is True
    configure(tmp_path, flush_interval_s=60.0)
    clew.get_logger().info("told")

    assert clew.flush() is True
    assert clew.flush(0.0) is False


def test_threads_that_emit_while_the_settings_change_are_accounted_for(tmp_path: Path) -> None:
    """Every event is on some spool or counted as lost to a closed one; nothing is said, nothing raised."""
    configure(tmp_path, service="s0")
    log, emitted, is_done = clew.get_logger(), [0, 0], threading.Event()

    def work(thread: int) -> None:
        while not is_done.is_set():
            log.info("told")
            emitted[thread] += 1

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for n in range(1, 20):
        configure(tmp_path, service=f"s{n}")
    is_done.set()
    for thread in threads:
        thread.join()
    clew.shutdown()

    kept = sum(len(events) for events in read_spool(tmp_path / "spool"))
    lost = sum(sum(read_losses(path).values()) for path in (tmp_path / "spool").glob("s*/*"))
    unopened = sum(process._process.unopened.pending().values())
    assert kept + lost + unopened == sum(emitted)
    assert kept > 0


def test_an_isolated_block_leaves_the_spool_around_it_open(tmp_path: Path) -> None:
    """What was configured goes on afterwards, in the same directory, with the same settings and patches."""
    configure(tmp_path / "outer", service="outer")
    clew.get_logger().info("1")
    patched = dict(propagation._originals)

    with process.isolated(data_dir=tmp_path / "inner", agent="external"):
        clew.configure(service="inner", data_dir=tmp_path / "elsewhere", propagate=["threads"])
        clew.get_logger().info("2")
        assert set(propagation._originals) == {"executors", "threads"}
    clew.get_logger().info("3")

    assert [[e["message"] for e in events] for events in read_spool(tmp_path / "outer" / "spool")] == [["1", "3"]]
    assert [[e["message"] for e in events] for events in read_spool(tmp_path / "inner" / "spool")] == [["2"]]
    assert not (tmp_path / "elsewhere").exists()
    assert set(propagation._originals) == set(patched) == {"executors"}


def test_an_isolated_block_ends_with_what_it_opened(tmp_path: Path) -> None:
    """Also when it fails; and without settings around it none are left behind, nor any patch."""
    with pytest.raises(KeyError), process.isolated(data_dir=tmp_path, agent="external"):  # noqa: PT012
        clew.configure(service="inner")
        raise KeyError

    assert process._process.settings is None
    assert list(tmp_path.glob("spool/inner/*/closed"))
    assert not propagation._originals


def test_capturing_sees_events_of_an_application_that_configures_itself() -> None:
    """The block's spool holds, whatever the application asks for."""
    with CapturedEvents() as captured:
        clew.configure(service="app", agent="auto", dsn="postgresql://127.0.0.1:1/none")
        clew.get_logger().info("told")

    assert [(event["service"], event["message"]) for event in captured.logs()] == [("app", "told")]


@pytest.mark.parametrize("options", ["", "-W error"])
def test_events_of_finalisers_are_kept_when_the_interpreter_ends(tmp_path: Path, options: str) -> None:
    """After every exit handler, when nothing can be imported and no thread started any more."""
    program = """
        import clew, sys
        log = clew.get_logger()

        class Late:
            def __del__(self):
                assert sys.is_finalizing()
                log.info("1")
                log.warning("%d", 2, n=object())
                with clew.span("3"):
                    pass
                try:
                    raise ValueError("told")
                except ValueError:
                    log.exception("4")

        clew.configure(service="late")
        log.info("0")
        late = Late()
        late.itself = late
    """

    ended = run_program(tmp_path, program, PYTHONWARNINGS=options.removeprefix("-W "))

    assert (ended.status, ended.complaints) == (0, [])
    assert sorted(message for found in messages(tmp_path) for message in found) == ["0", "1", "2", "3", "3", "4"]
    assert all((directory / "closed").exists() for directory in (tmp_path / "data" / "spool" / "late").iterdir())


@pytest.mark.parametrize("first", ["pass", "import threading; threading.late = late"])
def test_a_finaliser_that_comes_too_late_raises_nothing(tmp_path: Path, first: str) -> None:
    """In a process that never emitted nothing can be imported any more, and near the very end clew is gone itself."""
    program = f"""
        import clew
        log = clew.get_logger()

        class Late:
            def __del__(self):
                log.info("1")

        late = Late()
        late.itself = late
        {first}
    """

    ended = run_program(tmp_path, program)

    assert ended.status == 0
    assert all(line.startswith("clew: ") for line in ended.complaints)


@pytest.mark.parametrize(
    "gone",
    [
        "clew.emit.logger",
        "clew.emit.process",
        "clew.emit.state",
        "clew.emit.record",
        "clew.emit.context",
        "clew.emit.spans",
    ],
)
def test_a_module_that_the_interpreter_has_cleared_raises_nothing(tmp_path: Path, gone: str) -> None:
    """The globals of a module are None near the end; who emits then gets no traceback."""
    program = f"""
        import clew, os, sys
        log, span = clew.get_logger(), clew.span("work")
        clew.configure(service="late")
        log.info("0")
        cleared = sys.modules["{gone}"].__dict__
        for name in [name for name in cleared if name != "__builtins__"]:
            cleared[name] = None
        log.info("1")
        log.error("%s", 2, exc_info=True)
        with span:
            pass
        print("went on", flush=True)
        os._exit(0)
    """

    ended = run_program(tmp_path, program)

    assert ended.said == "went on\n"
    assert all(line.startswith("clew: ") for line in ended.complaints)


@pytest.mark.parametrize("timeout", [float("inf"), float("nan"), -1, 0, 10**400, True])
def test_flushing_takes_any_number(tmp_path: Path, timeout: float) -> None:
    """Odd ones are waited for as far as that can be done."""
    configure(tmp_path)
    clew.get_logger().info("told")

    assert clew.flush(timeout) in {True, False}


@pytest.mark.parametrize("timeout", [None, "5", object()])
def test_flushing_refuses_what_is_no_number(tmp_path: Path, timeout: Any) -> None:
    """It says what it was given."""
    configure(tmp_path)

    with pytest.raises(TypeError, match=r"timeout is .*, not a number of seconds"):
        clew.flush(timeout)
