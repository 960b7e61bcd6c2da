"""Writes the Python modules of the .proto files beside them (`--check`: says whether they are current)."""

import base64
import sys
import tempfile
import textwrap
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

ROOT = Path(__file__).parent.parent
PROTOS = ("taxiway/protocols/open_inference.proto",)

MODULE = '''"""The messages of {proto}, written by configs/protos.py."""

# In a pool of its own: tritonclient and KServe's SDK register the same full names in the default pool, which takes
# each name once, so that one process could not hold both. Without protoc's own Python code there is also no bond to
# the versions of protobuf and grpcio that wrote it.

import base64

from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

DESCRIPTOR = DescriptorPool().AddSerializedFile(
    base64.b64decode(
{descriptor}
    )
)
_MESSAGES = DESCRIPTOR.message_types_by_name

{messages}
'''
STUB_HEADER = """# Written by configs/protos.py.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="type-arg"
"""


def main() -> int:
    """Exit status 1 when `--check` finds a module that is not what its .proto says."""
    stale = []
    for proto in PROTOS:
        for path, text in generated(proto).items():
            if "--check" in sys.argv:
                stale += [str(path)] if not path.is_file() or path.read_text() != text else []
            else:
                path.write_text(text)
    if stale:
        print(f"not current: {', '.join(stale)}; run `python configs/protos.py`", file=sys.stderr)
    return len(stale) and 1


def generated(proto: str) -> dict[Path, str]:
    """The text of each module."""
    module = (ROOT / proto).with_name(f"{Path(proto).stem}_pb2.py")
    with tempfile.TemporaryDirectory() as folder:
        descriptors = Path(folder, "descriptors")
        arguments = [f"-I{ROOT}", f"--descriptor_set_out={descriptors}", f"--pyi_out={folder}", str(ROOT / proto)]
        if protoc.main(["protoc", *arguments]) != 0:
            raise SystemExit(f"{proto}: protoc says above what is wrong")
        [file] = FileDescriptorSet.FromString(descriptors.read_bytes()).file
        stub = Path(folder, proto).with_name(module.name + "i").read_text()
    return {module: _module(file), module.with_suffix(".pyi"): STUB_HEADER + stub}


def _module(file: FileDescriptorProto) -> str:
    encoded = textwrap.wrap(base64.b64encode(file.SerializeToString()).decode(), 100)
    return MODULE.format(
        proto=file.name,
        descriptor="\n".join(f'        "{line}"' for line in encoded),
        messages="\n".join(
            f'{message.name} = GetMessageClass(_MESSAGES["{message.name}"])' for message in file.message_type
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
