"""Each fault of the proxy, seen from both ends of real connections."""

import contextlib
import os
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from sqlalchemy.engine import make_url

from tests.chaos.proxy import Proxy, Way, proxied

SILENCE_SECONDS = 0.3
LIMIT_SECONDS = 20.0


class Echo(socketserver.ThreadingTCPServer):
    """Remembers what it gets, and sends it back unless it is `mute`."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        self.mute = False
        self.heard: list[bytes] = []
        self.ended = threading.Semaphore(0)
        super().__init__(("127.0.0.1", 0), self._Handler)

    class _Handler(socketserver.BaseRequestHandler):
        server: "Echo"

        def handle(self) -> None:
            said = b""
            with contextlib.suppress(OSError):
                while data := self.request.recv(65536):
                    said += data
                    if not self.server.mute:
                        self.request.sendall(data)
            self.server.heard.append(said)
            self.server.ended.release()


@pytest.fixture
def echo() -> Iterator[Echo]:
    with Echo() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with proxied(("127.0.0.1", echo.server_address[1])) as running:
        yield running


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=LIMIT_SECONDS)


def received(end: socket.socket, size: int) -> bytes:
    """That many bytes, or fewer if the connection ends before, one way or the other."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while len(found) < size and (data := end.recv(size - len(found))):
            found += data
    return found


def said_back(end: socket.socket, words: bytes) -> bytes:
    end.sendall(words)
    return received(end, len(words))


def assert_reset(proxy: Proxy) -> None:
    """A new connection is reset: while it is still being made, or at the first read."""

    def read_one() -> None:
        with connect(proxy) as end:
            end.recv(1)

    with pytest.raises(ConnectionResetError):
        read_one()


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def assert_silent(end: socket.socket) -> None:
    end.settimeout(SILENCE_SECONDS)
    with pytest.raises(TimeoutError):
        end.recv(1)
    end.settimeout(LIMIT_SECONDS)


def test_bytes_pass_unchanged_both_ways(proxy: Proxy, echo: Echo) -> None:
    words = os.urandom(1 << 20)
    with connect(proxy) as end:
        # More than all the buffers between: it must be read while it is sent.
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(received, end, len(words))
            end.sendall(words)
            assert answer.result() == words
        assert said_back(end, b"more") == b"more"
        assert proxy.connections == 1
    eventually(lambda: proxy.connections == 0)
    assert echo.ended.acquire(timeout=LIMIT_SECONDS)
    assert echo.heard == [words + b"more"]
    assert proxy.cuts == 0


def test_an_end_of_one_way_leaves_the_other_open(proxy: Proxy) -> None:
    with connect(proxy) as end:
        end.sendall(b"last words")
        end.shutdown(socket.SHUT_WR)
        assert received(end, 100) == b"last words"


def test_connections_do_not_mix(proxy: Proxy) -> None:
    def talk(number: int) -> bool:
        with connect(proxy) as end:
            return all(
                said_back(end, b"%d-%d" % (number, i)) == b"%d-%d" % (number, i) for i in range(10)
            )

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(talk, range(16)))


def test_a_delay_is_paid_each_way(proxy: Proxy) -> None:
    with connect(proxy) as end:
        assert said_back(end, b"quick") == b"quick"
        proxy.delay(0.2)
        began = time.monotonic()
        assert said_back(end, b"slow") == b"slow"
        assert time.monotonic() - began >= 0.4


def test_a_reset_is_felt_at_both_ends_and_is_over(proxy: Proxy, echo: Echo) -> None:
    with connect(proxy) as end:
        assert said_back(end, b"before") == b"before"
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            end.recv(1)
    assert echo.ended.acquire(timeout=LIMIT_SECONDS)
    assert proxy.connections == 0
    with connect(proxy) as end:
        assert said_back(end, b"after") == b"after"


def test_a_server_that_is_down_resets_old_and_new(proxy: Proxy, echo: Echo) -> None:
    with connect(proxy) as old:
        assert said_back(old, b"before") == b"before"
        proxy.refuse()
        with pytest.raises(ConnectionResetError):
            old.recv(1)
    assert_reset(proxy)
    proxy.forward()
    with connect(proxy) as end:
        assert said_back(end, b"after") == b"after"
    eventually(lambda: len(echo.heard) == 2)
    assert sorted(echo.heard) == [b"after", b"before"]


@contextlib.contextmanager
def in_the_dark(proxy: Proxy, old: socket.socket) -> Iterator[socket.socket]:
    """A second connection; what both have said is held back."""
    assert said_back(old, b"before") == b"before"
    proxy.black_hole()
    with connect(proxy) as new:
        for end in (old, new):
            end.sendall(b"into the dark")
            assert_silent(end)
        yield new


def test_what_silence_held_back_is_lost_where_the_line_is_refused_next(
    proxy: Proxy, echo: Echo
) -> None:
    with connect(proxy) as old, in_the_dark(proxy, old) as new:
        proxy.refuse()
        for end in (old, new):
            with pytest.raises(ConnectionResetError):
                end.recv(1)
    assert echo.ended.acquire(timeout=LIMIT_SECONDS)
    assert echo.heard == [b"before"]


def test_a_black_hole_is_silent_and_loses_nothing_when_it_ends(proxy: Proxy) -> None:
    with connect(proxy) as old, in_the_dark(proxy, old) as new:
        proxy.forward()
        for end in (old, new):
            assert received(end, 13) == b"into the dark"


def test_not_even_an_end_leaves_a_black_hole(proxy: Proxy, echo: Echo) -> None:
    with connect(proxy) as end:
        assert said_back(end, b"before") == b"before"
        proxy.black_hole()
    assert not echo.ended.acquire(timeout=SILENCE_SECONDS)
    proxy.forward()
    assert echo.ended.acquire(timeout=LIMIT_SECONDS)


def test_a_reset_reaches_who_waits_in_a_black_hole(proxy: Proxy) -> None:
    proxy.black_hole()
    with connect(proxy) as end:
        end.sendall(b"into the dark")
        assert_silent(end)
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            end.recv(1)


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_an_answer_is_cut_after_so_many_bytes(proxy: Proxy, size: int) -> None:
    words = os.urandom(size + 1)
    with connect(proxy) as end:
        assert said_back(end, b"before") == b"before"  # does not count
        proxy.cut_after(Way.RECEIVED, size)
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(received, end, len(words))
            with contextlib.suppress(OSError):
                end.sendall(words)
            assert answer.result() == words[:size]
    assert proxy.cuts == 1


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_request_is_cut_after_so_many_bytes(proxy: Proxy, echo: Echo, size: int) -> None:
    words = os.urandom(size + 1)
    echo.mute = True  # else its own answer may fail first, and it would read no further
    with connect(proxy) as end:
        proxy.cut_after(Way.SENT, size)
        with contextlib.suppress(OSError):
            end.sendall(words)
        assert echo.ended.acquire(timeout=LIMIT_SECONDS)
    assert echo.heard == [words[:size]]
    eventually(lambda: proxy.cuts == 1)


def test_each_connection_is_cut_after_its_own_bytes(proxy: Proxy) -> None:
    proxy.cut_after(Way.RECEIVED, 3)
    for _ in range(2):
        with connect(proxy) as end:
            end.sendall(b"abcdef")
            assert received(end, 6) == b"abc"
    proxy.forward()
    with connect(proxy) as end:
        assert said_back(end, b"abcdef") == b"abcdef"


@pytest.mark.parametrize("pieces", [(b"xx COMMIT;",), (b"xx COM", b"MIT;")])
def test_the_answer_to_given_words_never_comes(
    proxy: Proxy, echo: Echo, pieces: tuple[bytes, ...]
) -> None:
    proxy.cut_at(b"COMMIT")
    with connect(proxy) as end:
        assert said_back(end, b"BEGIN;") == b"BEGIN;"
        for piece in pieces[:-1]:
            assert said_back(end, piece) == piece
        end.sendall(pieces[-1])
        assert received(end, 100) == b""
    assert echo.ended.acquire(timeout=LIMIT_SECONDS)
    assert echo.heard == [b"BEGIN;" + b"".join(pieces)]
    assert proxy.cuts == 1


@pytest.mark.parametrize("told", [b"BEGIN; claimed; COMMIT", b"BEGIN; cla|imed; COM|MIT"])
def test_only_the_words_after_others_are_cut_at_and_once(
    proxy: Proxy, echo: Echo, told: bytes
) -> None:
    proxy.cut_at(b"COMMIT", after=b"claimed", once=True)
    pieces = told.split(b"|")
    with connect(proxy) as first, connect(proxy) as second:
        for end in (first, second):
            assert said_back(end, b"BEGIN; COMMIT; ") == b"BEGIN; COMMIT; "
        for piece in pieces[:-1]:
            assert said_back(first, piece) == piece
        first.sendall(pieces[-1])
        assert received(first, 100) == b""
        whole = b"".join(pieces)
        assert said_back(second, whole) == whole
    assert proxy.cuts == 1


def test_an_absent_target_resets_and_the_proxy_goes_on() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # a port that is taken, and where nobody listens
        with proxied(held.getsockname()) as proxy:
            for _ in range(2):
                assert_reset(proxy)


@pytest.mark.parametrize("fault", [Proxy.forward, Proxy.black_hole])
def test_leaving_ends_everything(echo: Echo, fault: Callable[[Proxy], None]) -> None:
    before = threading.active_count()

    def fail_inside() -> None:
        with proxied(("127.0.0.1", echo.server_address[1])) as proxy:
            ports.append(proxy.port)
            ends.append(connect(proxy))
            assert said_back(ends[0], b"before") == b"before"
            fault(proxy)
            raise KeyError("mine")

    ports: list[int] = []
    ends: list[socket.socket] = []
    with pytest.raises(KeyError, match="mine"):
        fail_inside()
    with ends[0], pytest.raises(ConnectionResetError):
        ends[0].recv(1)
    assert echo.ended.acquire(timeout=LIMIT_SECONDS)
    assert not [each for each in threading.enumerate() if each.name == "fault-proxy"]
    eventually(lambda: threading.active_count() <= before)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", ports[0]), timeout=LIMIT_SECONDS)


@pytest.mark.services
def test_postgresql_keeps_a_commit_whose_answer_was_cut(postgres_url: str) -> None:
    url = make_url(postgres_url.replace("postgresql+psycopg", "postgresql"))
    assert url.host is not None
    assert url.port is not None
    direct = url.render_as_string(hide_password=False)
    with psycopg.connect(direct, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (n int)")
    with proxied((url.host, url.port)) as proxy:
        through = url.set(port=proxy.port).render_as_string(hide_password=False)
        with contextlib.closing(psycopg.connect(through)) as connection:
            connection.execute("INSERT INTO kept VALUES (1)")
            proxy.cut_at(b"COMMIT")
            with pytest.raises(psycopg.OperationalError):
                connection.commit()
        assert proxy.cuts == 1
    with psycopg.connect(direct) as connection:
        assert connection.execute("SELECT n FROM kept").fetchall() == [(1,)]
