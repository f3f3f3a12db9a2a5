"""Catalogue: the models on offer, made up here or read from a file in the platform's shape."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

from autopilot.simulator.faults import FAULT_MODEL_PREFIX, Fault
from autopilot.simulator.load import Fleet
from autopilot.simulator.wire import compact

_CREATED = 1771393340
_FEATURES = ("json_mode", "tools", "structured_outputs", "reasoning")
_SAMPLING = ("temperature", "top_p", "top_k", "repetition_penalty", "stop", "seed")
_TAO_PER_USD = 0.0052265
_ROUTING_SUFFIXES = (":latency", ":throughput")
_DEFAULT_CONTEXT = 131072
_COLD_FAULTS = frozenset({Fault.COLD_503, Fault.DISABLED_503})


def chute_id_for(name: str) -> str:
    """A chute id that stays the same from run to run."""
    return str(uuid5(NAMESPACE_DNS, f"{name}.simulator.invalid"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One listed model: `entry` is its row of the listing, the rest is what answering needs."""

    id: str
    chute_id: str
    owned_by: str
    context: int
    tee: bool
    entry: Mapping[str, Any]
    fleet: Fleet
    # The platform refuses evidence for chutes built with an older library.
    evidence_ready: bool = True


class Catalogue:
    """The models, found by what a client may write; the unlisted ones answer all the same."""

    def __init__(self, listed: Iterable[Model], unlisted: Iterable[Model] = ()) -> None:
        self.listed: Sequence[Model] = tuple(listed)
        self.models: Sequence[Model] = (*unlisted, *self.listed)
        # What is listed wins over what is not, and exact names over chute ids.
        self._by_name = {model.chute_id: model for model in self.models}
        self._by_name |= {model.id: model for model in self.models}
        listing = {"object": "list", "data": [dict(model.entry) for model in self.listed]}
        self.body = compact(listing)

    def find(self, name: str) -> Model | None:
        """The model of exactly this id or chute id."""
        return self._by_name.get(name)

    def resolve(self, spec: str) -> Model | None:
        """The model a request means: exact names first, then without one routing suffix."""
        found = self.find(spec)
        if found is not None:
            return found
        for suffix in _ROUTING_SUFFIXES:
            if spec.lower().endswith(suffix):
                return self.find(spec[: -len(suffix)])
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offer:
    name: str
    instances: int
    utilization: float
    owned_by: str = "vllm"
    context: int = _DEFAULT_CONTEXT
    output: int = 65536
    usd: tuple[float, float] = (0.1, 0.4)
    quantization: str = "fp8"
    features: tuple[str, ...] = _FEATURES
    inputs: tuple[str, ...] = ("text",)
    lacks: frozenset[str] = frozenset()
    evidence_ready: bool = True
    rate_limit: float = 0.0


_PRICES = frozenset({"price", "pricing"})
_LENGTHS = frozenset({"context_length", "max_output_length"})

# Utilization and instances are far enough apart that the order never hangs on rounding.
_OFFERS = (
    _Offer(name="sim/Alpha-70B-TEE", instances=12, utilization=0.18, usd=(0.2, 0.8)),
    _Offer(
        name="sim/Beta-120B-TEE",
        instances=9,
        utilization=0.27,
        owned_by="sglang",
        context=163840,
        usd=(0.19, 0.87),
    ),
    _Offer(
        name="sim/Gamma-32B",
        instances=8,
        utilization=0.35,
        owned_by="sglang",
        context=40960,
        output=40960,
        usd=(0.08, 0.24),
        quantization="bf16",
    ),
    _Offer(
        name="sim/Delta-VL-24B",
        instances=6,
        utilization=0.42,
        features=("json_mode", "tools", "structured_outputs"),
        inputs=("text", "image"),
        usd=(0.03, 0.11),
    ),
    _Offer(
        name="sim/Epsilon-235B-TEE",
        instances=5,
        utilization=0.5,
        context=262144,
        usd=(0.3, 1.2),
        evidence_ready=False,
    ),
    _Offer(
        name="sim/Zeta-8B",
        instances=4,
        utilization=0.55,
        owned_by="external",
        context=32768,
        lacks=_PRICES | _LENGTHS,
    ),
    _Offer(
        name="sim/Eta-Code-30B-TEE",
        instances=3,
        utilization=0.6,
        owned_by="sglang",
        lacks=frozenset({"supported_features", "supported_sampling_parameters", "quantization"}),
    ),
    _Offer(
        name="sim/Theta-400B-TEE",
        instances=2,
        utilization=0.7,
        context=1048576,
        usd=(0.5, 2.0),
    ),
)


def healthy_models(slots: int) -> list[Model]:
    """Eight models that answer, each with more free capacity than the next."""
    return [_offered(offer, slots) for offer in _OFFERS]


def fault_models(slots: int) -> list[Model]:
    """One model for each fault; they rank behind all that are healthy."""
    offers = (
        _Offer(
            name=FAULT_MODEL_PREFIX + fault,
            instances=0 if fault in _COLD_FAULTS else 1,
            utilization=1.0,
            # A busy healthy model may sink below zero: these start lower still.
            rate_limit=1.0,
        )
        for fault in Fault
    )
    return [_offered(offer, slots) for offer in offers]


def _offered(offer: _Offer, slots: int) -> Model:
    cached = offer.usd[0] / 2
    tee = offer.name.endswith("-TEE")
    chute_id = chute_id_for(offer.name)
    entry: dict[str, Any] = {
        "id": offer.name,
        "root": offer.name.removesuffix("-TEE"),
        "price": {
            "input": _price(offer.usd[0]),
            "output": _price(offer.usd[1]),
            "input_cache_read": _price(cached),
        },
        "object": "model",
        "parent": None,
        "created": _CREATED,
        "pricing": {
            "prompt": offer.usd[0],
            "completion": offer.usd[1],
            "input_cache_read": cached,
        },
        "chute_id": chute_id,
        "owned_by": offer.owned_by,
        "quantization": offer.quantization,
        "max_model_len": offer.context,
        "context_length": offer.context,
        "input_modalities": list(offer.inputs),
        "max_output_length": offer.output,
        "output_modalities": ["text"],
        "supported_features": list(offer.features),
        "confidential_compute": tee,
        "supported_sampling_parameters": list(_SAMPLING),
    }
    return Model(
        id=offer.name,
        chute_id=chute_id,
        owned_by=offer.owned_by,
        context=offer.context,
        tee=tee,
        entry={key: value for key, value in entry.items() if key not in offer.lacks},
        fleet=Fleet(
            instances=offer.instances,
            slots=slots,
            background=offer.utilization,
            background_rate_limit=offer.rate_limit,
        ),
        evidence_ready=offer.evidence_ready,
    )


def _price(usd: float) -> dict[str, float]:
    return {"tao": usd * _TAO_PER_USD, "usd": usd}


def listed_models(entries: Sequence[Mapping[str, Any]], slots: int) -> list[Model]:
    """Models from a listing, each busier and smaller than the one before it."""
    return [
        _listed(
            entry,
            Fleet(
                instances=2 + (len(entries) - place) // 4,
                slots=slots,
                background=0.1 + 0.8 * place / len(entries),
            ),
        )
        for place, entry in enumerate(entries)
    ]


def _listed(entry: Mapping[str, Any], fleet: Fleet) -> Model:
    name = str(entry["id"])
    context = entry.get("max_model_len")
    return Model(
        id=name,
        chute_id=str(entry.get("chute_id") or chute_id_for(name)),
        owned_by=str(entry.get("owned_by")),
        context=context if isinstance(context, int) else _DEFAULT_CONTEXT,
        tee=entry.get("confidential_compute") is True,
        entry=entry,
        fleet=fleet,
    )
