"""What may stand in a rules file, key by key; docs/rules.md has a row for each. A message never holds a value."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

KINDS = ("SEG", "SR", "SEG-FRACTIONAL", "SR-VIEWER", "SC", "KO", "PDF", "PM")


def _kind(value: str) -> str:
    if value not in {"*", *KINDS}:
        raise ValueError(f"expected a kind of result: {', '.join(KINDS)}, or * for all")
    return value


Text = Annotated[str, Field(min_length=1, max_length=64)]
Texts = Annotated[tuple[Text, ...], Field(min_length=1, max_length=64)]
Names = Annotated[tuple[Text, ...], Field(max_length=64)]
BodyPartText = Annotated[str, Field(pattern=r"^[A-Z0-9_ ]{1,16}$")]
Kind = Annotated[str, AfterValidator(_kind)]


class _Entry(BaseModel):
    # Not strict: TOML has arrays, and we keep tuples. Its texts and numbers are never taken for one another.
    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=False)


class WhenEntry(_Entry):
    """Clauses; each is a list of texts of which one must fit."""

    modality: Texts | None = None
    body_part: Texts | None = None
    view: Texts | None = None
    calling_ae: Texts | None = None
    description: Texts | None = None


class ReadEntry(_Entry):
    """One `[[read]]`."""

    name: Text
    models: Names
    when: WhenEntry = WhenEntry()
    unless: WhenEntry | None = None


class SendEntry(_Entry):
    """One `[[send]]`."""

    name: Text
    kinds: Annotated[tuple[Kind, ...], Field(min_length=1)] = ("*",)
    models: Annotated[Names, Field(min_length=1)] = ("*",)
    to: Names


class StudyWhenEntry(_Entry):
    """Clauses about a study: one of its modalities, one of its senders."""

    modality: Texts | None = None
    calling_ae: Texts | None = None


class CompleteEntry(_Entry):
    """One `[[complete]]`."""

    name: Text
    when: StudyWhenEntry = StudyWhenEntry()
    quiet_s: Annotated[float, Field(ge=0.1, le=3600)] | None = None
    images: Annotated[int, Field(ge=1, le=100_000)] | None = None
    series: Annotated[int, Field(ge=1, le=10_000)] | None = None
    release_s: Annotated[float, Field(ge=0, le=3600)] | None = None
    missing_s: Annotated[float, Field(ge=0.1, le=86_400)] | None = None
    incomplete: Literal["read", "hold"] = "read"
    late: Literal["new version", "ignore"] = "new version"


class PriorEntry(_Entry):
    """One `[[prior]]`."""

    name: Text
    archive: Text
    when: StudyWhenEntry = StudyWhenEntry()
    modality: Texts | None = None
    description: Texts | None = None
    body_part: Annotated[tuple[BodyPartText, ...], Field(min_length=1, max_length=64)] | None = None
    most: Annotated[int, Field(ge=1, le=20)] = 2
    years: Annotated[float, Field(gt=0, le=100)] = 5.0
    objects: Annotated[int, Field(ge=1, le=20_000)] = 2000
    by: Literal["move", "get"] = "move"


class WorkitemWhenEntry(_Entry):
    """Clauses about a step of a worklist elsewhere."""

    code: Texts | None = None
    station: Texts | None = None
    procedure: Texts | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not (self.code or self.station or self.procedure):
            raise ValueError("expected code, station or procedure: else every step of the worklist would be taken")
        return self


class WorkitemEntry(_Entry):
    """One `[[workitem]]`."""

    name: Text
    when: WorkitemWhenEntry
    models: Annotated[Names, Field(min_length=1)] = ("*",)
    archive: Text | None = None
    by: Literal["move", "get"] = "move"


class HoldEntry(_Entry):
    """The table `[hold]`."""

    test_images: bool = True
    changed_identity: bool = True
    chart: bool = True
    order: bool = True
    laterality: Annotated[tuple[BodyPartText, ...], Field(max_length=64)] = ("BREAST",)


class RulesEntry(_Entry):
    """The whole file."""

    version: Literal[1]
    unmatched: Literal["every model", "no model"] = "every model"
    shadow: Names = ()
    read: tuple[ReadEntry, ...] = ()
    send: tuple[SendEntry, ...] = ()
    complete: tuple[CompleteEntry, ...] = ()
    hold: HoldEntry = HoldEntry()
    prior: tuple[PriorEntry, ...] = ()
    workitem: tuple[WorkitemEntry, ...] = ()
