"""The HTTP server: one for both services, with a log of every request and faults on demand."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import parse_qsl, unquote, urlsplit

from twinkle.testing.loopback_hub import huggingface, modelscope
from twinkle.testing.loopback_hub.answer import Answer, Question
from twinkle.testing.loopback_hub.fault import Fault
from twinkle.testing.loopback_hub.state import HubState, Request


@dataclass
class LoopbackHub(HubState):
    """Both services on one port of 127.0.0.1. Use it as a context manager."""

    stopping: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> LoopbackHub:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def endpoint(self) -> str:
        """The address."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, question: Question) -> Answer:
        """What the service gives; anything that it does not know is 404."""
        with self.lock:
            found = modelscope.answer(self, question)
            if found is None:
                found = huggingface.answer(self, question)
            return found or Answer(status=404, body=b"no such route")


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else self._chunked()
        line = f"{self.command} {self.path}"
        with self.hub.lock:
            self.hub.log.append(Request(method=self.command, path=self.path, authorization=self.headers.get("Authorization")))
        early = self.hub.fault(line, ("status", "redirect"))
        if early is not None:
            headers = dict(early.headers) | ({"Location": early.location} if early.kind == "redirect" else {})
            self._send(Answer(status=302 if early.kind == "redirect" else early.status, headers=headers), line)
            return
        question = Question(
            method=self.command,
            path=unquote(parts.path),
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=body,
        )
        self._send(self.hub.answer(question), line)

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = _serve

    def _chunked(self) -> bytes:
        if (self.headers.get("Transfer-Encoding") or "").lower() != "chunked":
            return b""
        body = b""
        while size := int(self.rfile.readline().strip() or b"0", 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _send(self, answer: Answer, line: str) -> None:
        kinds = ("flip", "truncate", "wrong_length", "slow", "endless")
        fault = self.hub.fault(line, kinds) if answer.is_file and self.command != "HEAD" else None
        body = answer.body
        if fault is not None and fault.kind == "flip":
            body = bytes([body[0] ^ 1]) + body[1:]
        announced = len(body) + (1 if fault is not None and fault.kind == "wrong_length" else 0)
        is_endless = fault is not None and fault.kind == "endless"
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if is_endless:
            self.send_header("Transfer-Encoding", "chunked")
        elif "Content-Length" not in answer.headers:
            self.send_header("Content-Length", str(announced))
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            self._write(body, fault)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client left, as it should where a fault is too much

    def _write(self, body: bytes, fault: Fault | None) -> None:
        kind = None if fault is None else fault.kind
        if kind in ("truncate", "wrong_length"):
            self.wfile.write(body[: len(body) // 2] if kind == "truncate" else body)
            self.close_connection = True
        elif kind == "slow":
            assert fault is not None
            for index in range(len(body)):
                self.wfile.write(body[index : index + 1])
                self.wfile.flush()
                time.sleep(fault.pause_s)
        elif kind == "endless":
            block = b"x" * (1 << 20)
            for _ in range(1 << 10):
                if self.hub.stopping.is_set():
                    break
                self.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))
            self.close_connection = True
        else:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Silent: the log is :attr:`LoopbackHub.log`."""
