import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taxiway.errors import MalformedRequest, PayloadTooLarge, RequestError
from taxiway.protocols.content_encoding import decompressed


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


@given(st.binary(max_size=200))
def test_a_body_is_what_it_was_before_it_was_compressed(body: bytes) -> None:
    packed = {
        b"gzip": gzip.compress(body),
        b"x-gzip": gzip.compress(body),
        b"GZIP ": gzip.compress(body),
        b"deflate": zlib.compress(body),
        b"identity": body,
        b"": body,
    }
    for encoding, sent in packed.items():
        assert decompressed(sent, encoding, 200) == body


@pytest.mark.parametrize("level", [0, 1, 6, 9])
def test_deflate_is_read_with_and_without_its_header(level: int) -> None:
    """RFC 9110 says with; some clients leave it out."""
    assert decompressed(zlib.compress(b"body", level), b"deflate", 10) == b"body"
    assert decompressed(raw_deflate(b"body"), b"deflate", 10) == b"body"


def test_a_body_may_be_exactly_as_large_as_the_bound() -> None:
    for encoding, pack in ((b"gzip", gzip.compress), (b"deflate", zlib.compress), (b"deflate", raw_deflate)):
        assert decompressed(pack(bytes(1000)), encoding, 1000) == bytes(1000)
        with pytest.raises(PayloadTooLarge, match="more than 999 bytes after decompression"):
            decompressed(pack(bytes(1000)), encoding, 999)


@pytest.mark.parametrize(
    ("encoding", "body", "complaint"),
    [
        (b"br", b"x", "content-encoding br is not supported"),
        (b"gzip, gzip", b"x", "content-encoding gzip, gzip is not supported"),
        (b"gzip", b"12345", "the body is not gzip"),
        (b"gzip", b"", "the gzip body is cut off"),
        (b"deflate", b"", "the deflate body is cut off"),
        (b"gzip", gzip.compress(b"{}", mtime=0)[:-9], "the gzip body is cut off"),
        (b"gzip", gzip.compress(b"{}", mtime=0) + b"more", "4 bytes follow the end of the gzip body"),
        (b"deflate", zlib.compress(b"{}") + b"more", "4 bytes follow the end of the deflate body"),
    ],
)
def test_what_can_not_be_unpacked_is_refused(encoding: bytes, body: bytes, complaint: str) -> None:
    with pytest.raises(MalformedRequest, match=complaint):
        decompressed(body, encoding, 1000)


@given(st.sampled_from([b"gzip", b"deflate"]), st.binary(max_size=60))
def test_any_bytes_are_unpacked_or_refused(encoding: bytes, body: bytes) -> None:
    try:
        assert len(decompressed(body, encoding, 1000)) <= 1000
    except RequestError as error:
        str(error).encode()
