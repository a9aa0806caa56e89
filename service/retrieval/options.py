"""What a client may ask for, with its ranges."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from certify import Guarantee, Method, Rule
from models import Stop
from service.errors import InvalidOption


class RetrieveOptions(BaseModel):
    """The options of one query; None means the default of the installation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    top_k: Annotated[int, Field(ge=1, description="How many neighbours to return.")] = 1
    guarantee: Annotated[
        Guarantee, Field(description="What must not change: the label of the neighbour, or the very item.")
    ] = "label"
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

    def stop(self) -> Stop:
        """The deadline, counted from now."""
        return Stop(None if self.deadline_ms is None else self.deadline_ms / 1000)


def parse_options(given: dict[str, Any]) -> RetrieveOptions:
    """Validated options; `InvalidOption` names every one that is unknown or out of range."""
    try:
        return RetrieveOptions.model_validate(given)
    except ValidationError as error:
        unknown = f"unknown option; known ones: {', '.join(RetrieveOptions.model_fields)}"
        raise InvalidOption(
            *(
                (".".join(map(str, e["loc"])), unknown if e["type"] == "extra_forbidden" else e["msg"])
                for e in error.errors()[:16]
            )
        ) from error
