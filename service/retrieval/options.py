"""What a client may ask for, with its ranges, and how it may be written."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from certify import Guarantee, Method, Rule
from models import Stop
from service.errors import InvalidOption


def _is_object(value: object) -> object:
    if not isinstance(value, dict):
        raise ValueError('must be a JSON object, such as {"label": "cat"}')
    return value


class RetrieveOptions(BaseModel):
    """The options of one query. One that is None is not given: it has its default.

    Types are strict: neither `true` nor `"1"` nor 1.0 is the whole number 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    top_k: Annotated[int, Field(ge=1, description="How many neighbours to return.")] = 1
    guarantee: Annotated[
        Guarantee,
        Field(
            description="What must hold: the neighbour keeps its label, is the same item, or stays among the"
            " `within_k` nearest."
        ),
    ] = "label"
    within_k: Annotated[
        int | None,
        Field(ge=1, description="With guarantee `within`: among how many the item has to stay; default 5."),
    ] = None
    rule: Annotated[
        Rule,
        Field(
            description="What answers: the nearest neighbour of g(x), or the majority of the noisy copies."
        ),
    ] = "embedding"
    method: Annotated[
        Method, Field(description="Which bound computes the radius. Rule vote has the method cdf only.")
    ] = "cdf"
    alpha: Annotated[
        float | None, Field(ge=1e-300, lt=1, description="Probability that the certificate may be wrong.")
    ] = None
    target_radius: Annotated[
        float | None,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="Stop as soon as this radius is certified, or does not look within reach.",
        ),
    ] = None
    max_samples: Annotated[
        int | None,
        Field(
            ge=2, description="The most Monte Carlo samples: more can give a larger radius, and take longer."
        ),
    ] = None
    min_gain: Annotated[
        float | None,
        Field(
            ge=0,
            lt=1,
            description="Stop when twice the samples are not expected to add this share of the radius; 0 uses"
            " max_samples.",
        ),
    ] = None
    deadline_ms: Annotated[
        int | None,
        Field(ge=1, le=86_400_000, description="Answer by then, with the radius that is certified so far."),
    ] = None
    explain: Annotated[
        bool, Field(description="Tell what limits the radius, and what more samples may bring.")
    ] = False
    gallery: Annotated[
        str | None, Field(description="Which of the named galleries answers; none: all items.")
    ] = None
    filter: Annotated[
        dict[str, Any] | None,
        BeforeValidator(_is_object),
        Field(
            description="Which items answer, as MongoDB writes it: conditions on `id`, `label` and"
            " `metadata.NAME`, with `$eq $ne $in $nin $gt $gte $lt $lte $prefix $exists` and"
            " `$and $or $not`; docs/api.md.",
            json_schema_extra={"examples": [{"label": "3", "metadata.price": {"$lt": 10}}]},
        ),
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _only_what_is_given(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        known = cls.model_fields
        return {name: value for name, value in given.items() if value is not None or name not in known}

    def stop(self) -> Stop:
        """The deadline, counted from now."""
        return Stop(None if self.deadline_ms is None else self.deadline_ms / 1000)


_FLAGS = frozenset(name for name, field in RetrieveOptions.model_fields.items() if field.annotation is bool)
_OBJECTS = frozenset({"filter"})
_NUMBERS = frozenset(
    name
    for name, field in RetrieveOptions.model_fields.items()
    if {int, float} & {field.annotation, *get_args(field.annotation)}
)
# As JSON writes a number: no sign but a minus, no space, no underscore, no name such as `nan`.
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
# No number that means anything here is longer; Python itself refuses whole numbers of more than 4,300 digits.
_LONGEST_NUMBER = 400
_MOST_ERRORS = 16


def from_text(name: str, text: str) -> Any:
    """The value of option `name` that came as text, in a query string or a form; None if it is empty.

    A text that should be a number, `true` or `false`, or a JSON object, and is not stays what it is, for
    `parse_options` to refuse.
    """
    if not text:
        return None
    if name in _FLAGS:
        return {"true": True, "false": False}.get(text, text)
    if name in _OBJECTS:
        try:
            return json.loads(text, object_pairs_hook=once)
        except (ValueError, RecursionError):
            return text
    if name not in _NUMBERS or len(text) > _LONGEST_NUMBER or not _NUMBER.fullmatch(text):
        return text
    number: int | float = json.loads(text)
    return number if isinstance(number, int) or math.isfinite(number) else text


def once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The pairs by name; `InvalidOption` if a name comes twice."""
    named: dict[str, Any] = {}
    for name, value in pairs:
        if name in named:
            raise InvalidOption((name, "given more than once: which one is meant?"))
        named[name] = value
    return named


def parse_options(given: Mapping[str, Any]) -> RetrieveOptions:
    """Validated options; `InvalidOption` names those that are unknown or out of range, the first of many."""
    known = RetrieveOptions.model_fields
    unknown = f"unknown option; known ones: {', '.join(known)}"
    wrong = [(name, unknown) for name in given if name not in known]
    try:
        options = RetrieveOptions.model_validate({name: given[name] for name in known if name in given})
    except ValidationError as error:
        wrong = [
            (".".join(map(str, e["loc"])), e["msg"].removeprefix("Value error, ")) for e in error.errors()
        ] + wrong
    if wrong:
        raise InvalidOption(*wrong[:_MOST_ERRORS])
    return options
