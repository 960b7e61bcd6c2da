"""The `args` of a Taxiway application in a `serve run` file."""

from pydantic import Field, model_validator

from taxiway.settings import FeatureStoreSettings, FileSettings, RegistrySettings, Settings


class ListenerSettings(Settings):
    """Where the ingress replicas listen: all replicas of a node share the port."""

    host: str = "0.0.0.0"  # noqa: S104 - in a pod every interface is the pod's own
    port: int = Field(default=8000, ge=1, le=65535)
    drain_s: float = Field(default=10.0, ge=0, description="how long a leaving replica waits for open connections")


class LimitSettings(Settings):
    """What one request and one replica take at most."""

    body_bytes: int = Field(default=8_388_608, ge=1)
    rows: int = Field(default=10_000, ge=1, description="rows of one request")
    batch_rows: int = Field(default=1_024, ge=1, description="rows of one call of the model")
    queue_rows: int = Field(default=20_000, ge=1, description="rows waiting in one replica; over it requests get 503")


class ReplicaSettings(Settings):
    """How Ray Serve runs the ingress."""

    replicas: int = Field(default=1, ge=1)
    cpus: float = Field(default=1.0, gt=0)


class EndpointSettings(Settings):
    """A public route and the registered model behind it."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    model: str = Field(description="models:/NAME@ALIAS or models:/NAME/VERSION")


class ServeSettings(FileSettings):
    """The `args` of an application in a `serve run` file."""

    endpoints: tuple[EndpointSettings, ...] = Field(min_length=1)
    registry: RegistrySettings = Field(default_factory=RegistrySettings)
    feature_store: FeatureStoreSettings | None = None
    listener: ListenerSettings = ListenerSettings()
    limits: LimitSettings = LimitSettings()
    ingress: ReplicaSettings = ReplicaSettings()

    @model_validator(mode="after")
    def _unique_names(self) -> "ServeSettings":
        names = [endpoint.name for endpoint in self.endpoints]
        if len(set(names)) < len(names):
            raise ValueError("two endpoints have the same name; names must differ")
        return self
