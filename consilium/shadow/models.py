"""The models that may read in shadow, by name and version: those of CONSILIUM_SHADOW_MODELS, and the live ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clinical.errors import NotFound, PreconditionMissing
from model_runtime.engine import Array, Engine, LocalEngine, ModelState, Outputs
from model_runtime.graphs import MODEL
from model_runtime.library import Library
from model_runtime.manifest import Manifest
from model_runtime.signature import public_key

if TYPE_CHECKING:
    from consilium.wiring import House


@dataclass(frozen=True, slots=True)
class OneModel:
    """The engine of one version: readers ask for a model by the name in its manifest, which versions share."""

    engine: Engine
    key: str

    def run(
        self, _model: str, inputs: Mapping[str, Array], *, graph: str = MODEL, timeout_s: float | None = None
    ) -> Outputs:
        """See Engine."""
        return self.engine.run(self.key, inputs, graph=graph, timeout_s=timeout_s)

    def manifest(self, _model: str = "") -> Manifest:
        """See Engine."""
        return self.engine.manifest(self.key)

    def arrays(self, _model: str, key: str) -> Mapping[str, Array]:
        """See Engine."""
        return self.engine.arrays(self.key, key)

    def card(self, _model: str) -> str:
        """See Engine."""
        return self.engine.card(self.key)

    def ready(self) -> tuple[ModelState, ...]:
        """See Engine."""
        return tuple(one for one in self.engine.ready() if one.name == self.key)


@dataclass(frozen=True, slots=True)
class ShadowModels:
    """models: in the order in which they are asked; their keys are NAME@VERSION."""

    models: tuple[OneModel, ...]

    def named(self, wanted: str) -> OneModel:
        """Return the model of NAME@VERSION, or of NAME when one version of it is there.

        Raises NotFound, PreconditionMissing when several versions are meant or the model reads no images.
        """
        found = [one for one in self.models if wanted in (one.key, one.key.partition("@")[0])]
        if not found:
            there = ", ".join(one.key for one in self.models) or "none"
            raise NotFound(f"no image model has this name and version; there are: {there}")
        if len(found) > 1:
            raise PreconditionMissing("several versions are here: name one as NAME@VERSION")
        return found[0]


def shadow_models_of(house: "House") -> ShadowModels:
    """Return the image models of CONSILIUM_SHADOW_MODELS and of the models folder, each loaded at its first run.

    They run where CONSILIUM_SHADOW_PROVIDER says. A version that is in both folders is that of the live one.
    """
    settings = house.settings
    keys = [public_key(key) for key in settings.model_keys]
    folders = [settings.models, *([settings.shadow_models] if settings.shadow_models else [])]
    found: dict[str, OneModel] = {}
    for folder in folders:
        library = Library(folder, keys, by_version=True)
        engine = LocalEngine(library, house.shadow_placement)
        for key in library.names():
            if "@" in key and engine.manifest(key).modalities:
                found.setdefault(key, OneModel(engine, key))
    return ShadowModels(tuple(found.values()))
