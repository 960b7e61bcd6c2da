"""Where a retraining's labels lie: a path, or a file of a DVC repository."""

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from taxiway.settings import Settings


class DvcSettings(Settings):
    """A file that DVC tracks."""

    repo: str = Field(default=".", min_length=1, description="a folder, or the URL of a git repository")
    path: str = Field(min_length=1, description="of the file inside the repository")
    rev: str | None = Field(
        default=None,
        min_length=1,
        description="a commit, tag or branch; null: the working tree of a folder, the default branch of a URL",
    )


class LabelsSettings(Settings):
    """One of two places."""

    path: str | None = Field(default=None, description="a Parquet file, or a folder of such files; may be a URI")
    dvc: DvcSettings | None = Field(
        default=None, description="a Parquet file of a DVC repository, fetched when it is due"
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.path is None) == (self.dvc is None):
            raise ValueError("expected the path of a Parquet file, or `dvc` with repo, path and rev")
        return self


def _path(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


LabelsField = Annotated[LabelsSettings, BeforeValidator(_path, json_schema_input_type=str | LabelsSettings)]
"""A settings field: a path alone stands for the mapping."""
