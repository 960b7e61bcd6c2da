"""Bodies that a client has compressed: gzip and deflate, unpacked up to a bound."""

import zlib

from taxiway.errors import MalformedRequest, PayloadTooLarge


def decompressed(body: bytes, content_encoding: bytes, body_bytes: int) -> bytes:
    """The body as it was before compression.

    Raises:
        MalformedRequest: another encoding, or the body is not of this one.
        PayloadTooLarge: more than `body_bytes` come out.
    """
    encoding = content_encoding.strip().lower()
    if encoding in (b"identity", b""):
        return body
    if encoding not in (b"gzip", b"x-gzip", b"deflate"):
        shown = encoding.decode("latin-1")[:20]
        raise MalformedRequest(f"content-encoding {shown} is not supported; send gzip, deflate or plain bytes")
    name = encoding.decode()
    decompressor = zlib.decompressobj(_deflate_bits(body) if name == "deflate" else zlib.MAX_WBITS | 16)
    try:
        unpacked = decompressor.decompress(body, body_bytes + 1)
    except zlib.error as error:
        raise MalformedRequest(f"the body is not {name}: {error}") from None
    if len(unpacked) > body_bytes:
        raise PayloadTooLarge(f"the body has more than {body_bytes} bytes after decompression")
    if not decompressor.eof:
        raise MalformedRequest(f"the {name} body is cut off")
    if decompressor.unused_data:
        raise MalformedRequest(f"{len(decompressor.unused_data)} bytes follow the end of the {name} body")
    return unpacked


def _deflate_bits(body: bytes) -> int:
    """What clients call deflate has zlib's header, two bytes that are a multiple of 31, or has not."""
    has_header = len(body) > 1 and body[0] & 15 == zlib.DEFLATED and int.from_bytes(body[:2]) % 31 == 0
    return zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS
