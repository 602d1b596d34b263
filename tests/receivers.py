"""Who is told of alarms: servers on this computer that note what reaches them, and answer as they are bidden."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Answer = int | str | Callable[[], None]  # a status, "hang", "drip", "307 <where>", or what is done before hanging


@dataclass
class Post:
    """A request that arrived."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def key(self) -> str:
        return self.headers["idempotency-key"]


@dataclass
class Receiver:
    """An HTTP server; `answers` are given one by one, then 200."""

    port: int
    posts: list[Post] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    always: Answer = 200
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def target(self) -> str:
        return f"webhook:{self.url}"

    @property
    def kinds(self) -> list[str]:
        return [post.json["kind"] for post in self.posts]


@contextmanager
def receiving(port: int = 0) -> Iterator[Receiver]:
    """A receiver on a free port, or on this one."""
    receiver = Receiver(port)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.posts.append(Post(self.path, headers, body))
            self.give(receiver.answers.pop(0) if receiver.answers else receiver.always)

        def give(self, answer: Answer) -> None:
            if answer == "hang":
                receiver.over.wait(60)
                return
            if answer == "drip":  # a byte now and then, so that no time-out between two bytes is reached
                while not receiver.over.wait(0.1):
                    self.wfile.write(b"H")
                    self.wfile.flush()
                return
            if isinstance(answer, str):
                status, _, where = answer.partition(" ")
                self.send_response(int(status))
                self.send_header("Location", where)
            else:
                assert isinstance(answer, int)
                self.send_response(answer)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Quiet."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *args: Any) -> None:
            """A client that goes away, or is killed, is part of the tests."""

    server = Server(("127.0.0.1", port), Handler)
    receiver.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.over.set()
        server.shutdown()
        server.server_close()


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


# --- MQTT ------------------------------------------------------------------------------------------------------------


def mosquitto() -> str | None:
    """The program of Debian's package mosquitto; None where it is absent."""
    return shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")


@contextmanager
def broker(folder: Path, password: str | None = None) -> Iterator[int]:
    """A real broker on a free port, yielded; with a password, its user is `ad`."""
    program, port = mosquitto(), free_port()
    assert program is not None
    lines = [f"listener {port} 127.0.0.1", f"allow_anonymous {'true' if password is None else 'false'}"]
    if password is not None:
        users = folder / "users"
        made = ["mosquitto_passwd", "-b", "-c", str(users), "ad", password]
        subprocess.run(made, check=True, capture_output=True)
        users.chmod(0o644)
        lines.append(f"password_file {users}")
    (folder / "mosquitto.conf").write_text("\n".join([*lines, "user root", ""]))
    said = (folder / "mosquitto.log").open("wb")
    process = subprocess.Popen([program, "-c", str(folder / "mosquitto.conf")], stdout=said, stderr=said)
    try:
        for _ in range(500):
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.01)
        else:
            raise AssertionError((folder / "mosquitto.log").read_text())
        yield port
    finally:
        process.terminate()
        process.wait(10)
        said.close()


def heard(port: int, topics: str, count: int, seconds: float = 20) -> list[tuple[str, bool, Any]]:
    """Topic, whether it was kept by the broker, and document, of the first `count` messages that a subscriber gets."""
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    found: list[tuple[str, bool, Any]] = []
    full = threading.Event()

    def take(client: Any, data: Any, message: Any) -> None:
        found.append((message.topic, message.retain, json.loads(message.payload)))
        if len(found) >= count:
            full.set()

    client = Client(CallbackAPIVersion.VERSION2)
    client.on_connect = lambda client, *rest: client.subscribe(topics, qos=1)
    client.on_message = take
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        assert full.wait(seconds), found
    finally:
        client.disconnect()
        client.loop_stop()
    return found
