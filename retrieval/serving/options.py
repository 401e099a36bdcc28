"""What a search service may be told, by `serve run` (where every value is a text) or by a config file."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..errors import VideoIndexError
from ..storage.sharding import shard_uris

# A dead process is found at the next check, and another one started; a busy one has time to answer.
QUICK_CHECKS: dict[str, Any] = {"health_check_period_s": 1.0, "health_check_timeout_s": 10.0}


@dataclass(frozen=True)
class ServingOptions:
    """How an index is served.

    Attributes:
        model: folder or Hub id of the model that made the index; every node must be able to load it.
        shards: URIs of tables of one index, as `dmae shard` makes them; one URI serves the whole index.
        replicas: processes that hold each shard. With two, a dead one costs no answer.
        encoders: processes that turn queries into features.
        timeout: seconds that a shard may take before the others answer without it.
        retries: how often a question is put again to another replica of a shard whose process died.
        shard_cpus, shard_memory: what each shard's process reserves on its node (CPUs, bytes).
        encoder_cpus, encoder_gpus: what each encoder reserves. ingress_cpus: what the HTTP side reserves.
        candidates: videos that stage two scores per shard (see `SearchLimits`); None for the default.
        storage_options: of the object store that holds the shards.
    """

    model: str
    shards: tuple[str, ...]
    replicas: int = 1
    encoders: int = 1
    timeout: float = 5.0
    retries: int = 1
    shard_cpus: float = 1.0
    shard_memory: float = 0.0
    encoder_cpus: float = 1.0
    encoder_gpus: float = 0.0
    ingress_cpus: float = 0.5
    candidates: int | None = None
    storage_options: dict | None = None

    @classmethod
    def of(cls, args: Mapping) -> "ServingOptions":
        """The options in a mapping of texts or plain values.

        Raises:
            VideoIndexError: one that is unknown, missing or of the wrong kind.
        """
        known = {field.name: field for field in fields(cls)}
        unknown = [name for name in args if name not in known]
        if unknown:
            raise VideoIndexError(f"no option {unknown[0]!r} of the search service; there is {', '.join(known)}")
        missing = [name for name in ("model", "shards") if not args.get(name)]
        if missing:
            raise VideoIndexError(f"the search service needs {' and '.join(missing)}: give {missing[0]}=…")
        given: dict[str, Any] = {name: _value(known[name], value) for name, value in args.items()}
        return cls(**given)

    def __post_init__(self):
        for name, least in (("replicas", 1), ("encoders", 1), ("retries", 0)):
            if getattr(self, name) < least:
                raise VideoIndexError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not self.timeout > 0:
            raise VideoIndexError(f"timeout must be seconds above 0, got {self.timeout}")


def _value(field, value):
    if field.name == "shards":
        patterns = value.split(",") if isinstance(value, str) else list(value)
        return tuple(uri for pattern in patterns for uri in shard_uris(pattern.strip()))
    if field.name in ("model", "storage_options"):
        return value
    try:
        return float(value) if field.type is float else int(value)
    except (TypeError, ValueError):
        raise VideoIndexError(f"{field.name} must be a number, got {value!r}") from None
