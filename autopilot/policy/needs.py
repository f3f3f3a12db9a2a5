"""What a request needs of a model, as far as its body shows."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Sizes are generous estimates in tokens; everything else is what the body asks for outright.

    `prefix_tokens` of `prompt_tokens` were in the conversation before, and may be in a model's prompt
    cache. `structured`: an answer by a JSON schema; `json_mode`: any JSON object. `parameters` are the
    sampling parameters that the body sets.
    """

    prompt_tokens: int = 0
    prefix_tokens: int = 0
    completion_tokens: int = 0
    images: bool = False
    tools: bool = False
    structured: bool = False
    json_mode: bool = False
    parameters: frozenset[str] = frozenset()
