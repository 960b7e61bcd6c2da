"""What a scoring job is going to do, decided and checked before anything starts."""

from dataclasses import dataclass

import pyarrow as pa

from batch.files import InputFile, list_files, read_footers
from batch.pieces import Piece, cut
from batch.schema import check_inputs, part_schema, wanted_columns
from batch.settings import ScoreSettings
from taxiway.package import ModelPackage
from taxiway.registry import ModelVersion, Registry


@dataclass(frozen=True)
class Plan:
    """One job: an immutable model version, the input's files and how they are cut."""

    settings: ScoreSettings
    version: ModelVersion
    package: ModelPackage
    files: tuple[InputFile, ...]
    pieces: tuple[Piece, ...]
    schema: pa.Schema

    @property
    def rows(self) -> int:
        return sum(piece.rows for piece in self.pieces)

    def describe(self) -> str:
        read = {
            column.name: column.dtype for file in self.files for column in wanted_columns(self.package, file.schema)
        }
        features = self.package.features
        return "\n".join(
            [
                f"model    {self.version.uri} ({self.settings.model})",
                f"input    {self.settings.input}: {len(self.files)} files, {self.rows:,} rows",
                f"pieces   {len(self.pieces)} of at most {self.settings.piece_rows:,} rows",
                f"reads    {', '.join(f'{name} {dtype}' for name, dtype in read.items())}",
                f"features {f'{features.service}: {len(features.columns)} columns' if features else 'none'}",
                f"output   {self.settings.output}: {', '.join(self.schema.names)}",
            ]
        )


def make_plan(settings: ScoreSettings) -> Plan:
    """Resolves the model once, so that an alias that moves meanwhile can't mix versions; reads every footer.

    Raises:
        ConfigError: the input does not fit the model.
        RegistryError: there is no such model.
        PackageError: the model version is no Taxiway package.
    """
    registry = Registry(settings.registry)
    version = registry.resolve(settings.model)
    files = read_footers(list_files(settings.input))
    package = registry.load(version).package
    check_inputs(files, package, settings)
    schema = part_schema(files, package, settings)
    return Plan(settings, version, package, files, cut(files, settings.piece_rows), schema)
