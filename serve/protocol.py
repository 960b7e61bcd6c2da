"""uvicorn's HTTP protocol with a bound on a request's head, and our form for what is no HTTP."""

from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from taxiway.protocols.open_inference import encode_error

MAX_HEAD_BYTES = 65_536
"""Request line and headers. A head that arrives in one read may be as large as that read (256 KiB)."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """Counts the bytes since the last complete head or piece of body."""

    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            message = f"request line and headers have more than {MAX_HEAD_BYTES} bytes"
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, message)

    def on_headers_complete(self) -> None:
        self._head_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        self._refuse(HTTPStatus.BAD_REQUEST, "this is not an HTTP request")

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        body = encode_error(message)
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
