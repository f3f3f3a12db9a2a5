"""What one request asks for: a model or several, and the wishes of suffixes, body and header fields.

`provider` is read in routed modes only: a direct request forwards it as it is, for the platform to judge.
"""

from collections.abc import Collection
from dataclasses import dataclass

from autopilot.policy.catalog import Catalog
from autopilot.policy.chatbody import ChatBody
from autopilot.policy.errors import Code, Refusal
from autopilot.policy.headers import Fields
from autopilot.policy.modelspec import Direct, ModelSpec, parse_model
from autopilot.policy.provider_member import provider_wishes
from autopilot.policy.wish_headers import Accepted, header_wishes
from autopilot.policy.wishes import NOTHING, Wishes, listed, merge


@dataclass(frozen=True, slots=True)
class Asked:
    """Whom a request asks for, and how."""

    spec: ModelSpec
    wishes: Wishes = NOTHING


def read_asked(
    body: ChatBody,
    fields: Fields,
    *,
    aliases: Collection[str],
    catalog: Catalog,
    max_items: int,
    accepted: Accepted,
) -> Asked:
    """What `body`, sent with header `fields`, asks for.

    Raises:
        Refusal: see `parse_model`, `provider_wishes`, `header_wishes` and `merge`.
    """
    spec, suffixes = parse_model(
        body.model, models=body.models, aliases=aliases, catalog=catalog, max_items=max_items
    )
    said = [*suffixes, *header_wishes(fields, accepted)]
    if body.provider_at is not None and not isinstance(spec, Direct):
        # Of all its members only one can be said elsewhere as well.
        said.append(("'provider.sort'", provider_wishes(body.provider, catalog)))
    if not said:
        return Asked(spec)
    wishes = merge(said)
    ordered = wishes.sort is not None and not isinstance(spec, Direct)
    if ordered and wishes.sort not in accepted.selectors:
        raise Refusal(
            Code.INVALID_WISH,
            f"The request asks for an order by {wishes.sort}, for which no selector is installed. "
            f"Those installed are: {listed(sorted(accepted.selectors))}.",
        )
    return Asked(spec, wishes)
