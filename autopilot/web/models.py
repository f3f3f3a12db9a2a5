"""The catalogue as OpenAI's model list, rendered once per catalogue."""

import json
from collections.abc import Iterator, Sequence

from autopilot.policy.catalog import Catalog
from autopilot.policy.errors import Code, Refusal
from autopilot.policy.picture import Picture
from autopilot.policy.rules import FREE, Rules


class ModelList:
    """Renders `/v1/models` and its entries: the aliases first, then the platform's own documents.

    What `rules` do not allow is not listed, as it cannot be asked for.
    """

    def __init__(self, aliases: Sequence[str], rules: Rules = FREE) -> None:
        self._rules = rules
        self._aliases = {alias: _alias_document(alias) for alias in aliases}
        self._rendered: tuple[Catalog, bytes] | None = None

    def list(self, picture: Picture) -> bytes:
        """The whole list.

        Raises:
            Refusal: `not_ready` before the first catalogue.
        """
        catalog = _known(picture)
        if self._rendered is None or self._rendered[0] is not catalog:
            entries = [*self._aliases.values(), *self._others(catalog)]
            body = b'{"object":"list","data":[' + b",".join(entries) + b"]}"
            self._rendered = (catalog, body)
        return self._rendered[1]

    def one(self, picture: Picture, model_id: str) -> bytes:
        """One entry.

        Raises:
            Refusal: `not_ready` before the first catalogue, `not_found` for an id that is not in it.
        """
        catalog = _known(picture)
        if model_id in self._aliases:
            return self._aliases[model_id]
        model = catalog.by_id.get(model_id)
        if model is None or not self._rules.allows(model.id, model):
            raise Refusal(
                Code.NOT_FOUND, "The catalogue has no model of this id. GET /v1/models lists all."
            )
        return model.document

    def _others(self, catalog: Catalog) -> Iterator[bytes]:
        return (
            model.document
            for model in catalog.models
            if model.id not in self._aliases and self._rules.allows(model.id, model)
        )


def _known(picture: Picture) -> Catalog:
    if picture.catalog_fetched_at is None:
        raise Refusal(Code.NOT_READY, "The model catalogue has not been fetched yet.")
    return picture.catalog


def _alias_document(alias: str) -> bytes:
    document = {"id": alias, "object": "model", "created": 0, "owned_by": "chutes-autopilot"}
    return json.dumps(document, separators=(",", ":")).encode("ascii")
