"""What may be asked, and how: JSON, or a form that brings the photo."""

import json
from typing import Annotated, Any, TypeVar, get_origin

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from completelook.ranking import NO_STEERING, LookOptions, RankOptions, Rules, Steering, Variety

PHOTO = "image"  # the form's field for the picture
_MOST_FIELDS, _MOST_BOXES = 1_000, 100
_BOX = "left, top, right, bottom as fractions of the photo"
_DIGEST = r"^[0-9a-f]{64}$"

Share = Annotated[float, Field(ge=0, le=1)]


def _corners(given: Any) -> Any:
    """A form's `0.25,0.5,0.75,1` as JSON has it."""
    return given.split(",") if isinstance(given, str) else given


def _mapping(given: Any) -> Any:
    """A form's JSON text as JSON has it. Raises ValueError."""
    return json.loads(given) if isinstance(given, str) else given


RuleMapping = Annotated[dict[str, Any], BeforeValidator(_mapping)]
Box = Annotated[tuple[Share, Share, Share, Share], BeforeValidator(_corners)]


class Question(BaseModel):
    """A scene to ask about: a photo, the URL of one, or the token of one that was asked about."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    url: str | None = Field(None, max_length=2_000, description="Of a photo.")
    scene: str | None = Field(
        None,
        pattern=_DIGEST,
        description="The token of an answer: no photo, and no inference.",
    )
    ignore: list[Box] = Field(
        [], max_length=_MOST_BOXES, description=f"What does not count: {_BOX}."
    )
    focus: list[Box] = Field([], max_length=_MOST_BOXES, description=f"What alone does: {_BOX}.")

    def steering(self) -> Steering:
        """Which parts of the scene count. Raises UsageError."""
        # Nearly every question has none, and the areas of a Steering take a while to work out.
        return Steering(self.ignore, self.focus) if self.ignore or self.focus else NO_STEERING


class RankQuestion(Question):
    """The products of some categories that complement a scene best."""

    category: list[str] = Field([], description="Names; all categories where there is none.")
    top: int = Field(10, ge=1, le=1_000, description="Products of each category.")
    min_compatibility: Share | None = Field(None, description="Leave out what fits less.")
    where: list[str] = Field([], description="Conditions, such as `price<50`.")
    group_by: str | None = Field(None, description="A column: of equal values only the best.")
    fold_duplicates: bool = Field(False, description="Pictures that are nearly the same once.")
    diversity: Share = Field(0.0, description="How far the places differ among each other.")
    rules: RuleMapping | None = Field(
        None, description="In place of the shop's, in the form of a rules file; {} for none."
    )

    def options(self, rules: Rules) -> RankOptions:
        """As the client takes them, with a shop's rules. Raises UsageError, ConditionError."""
        return {
            "top": self.top,
            "min_compatibility": self.min_compatibility,
            "where": self.where,
            "variety": Variety(self.group_by, self.fold_duplicates, self.diversity),
            "steering": self.steering(),
            "rules": rules if self.rules is None else Rules.of(self.rules),
        }


class LookQuestion(Question):
    """One product of each of some categories, that suit the scene and one another."""

    category: list[str] = Field([], description="Names; all categories where there is none.")
    budget: float | None = Field(None, ge=0, description="What all together may cost.")
    more: float = Field(20.0, ge=0, description="How much more to spend is tried as well.")
    must: list[str] = Field([], description="Ids of products that are in it.")
    where: list[str] = Field([], description="Conditions, such as `price<50`.")
    price_column: str = Field("price", description="Where prices stand.")
    coherence: Share = Field(0.25, description="How much the distances to each other count.")

    def options(self) -> LookOptions:
        """As the client takes them. Raises UsageError, ConditionError."""
        return {
            "budget": self.budget,
            "more": self.more,
            "must": self.must,
            "where": self.where,
            "price_column": self.price_column,
            "coherence": self.coherence,
            "steering": self.steering(),
        }


class ExplainQuestion(Question):
    """What each part of a scene adds to the distance of some products."""

    product: list[str] = Field(min_length=1, max_length=100, description="Ids.")


Asked = TypeVar("Asked", bound=Question)


async def read(request: Request, kind: type[Asked]) -> tuple[Asked, bytes | None]:
    """A question and the photo that came with it; names exactly one scene.

    Raises HTTPException for a body that is none, RequestValidationError for one that asks nothing.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().casefold()
    photo = None
    if media_type == "multipart/form-data":
        async with request.form(max_files=1, max_fields=_MOST_FIELDS) as form:
            values = _form_values(form, kind)
            if isinstance(upload := values.pop(PHOTO, None), UploadFile):
                photo = await upload.read()
    elif media_type == "application/json":
        values = _json_values(await request.body())
    else:
        raise HTTPException(415, "expected multipart/form-data or application/json")
    try:
        question = kind.model_validate(values)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error
    given = [photo, question.url, question.scene]
    if sum(each is not None for each in given) != 1:
        fault = "expected one of: a file in the form's field 'image', 'url', 'scene'"
        raise RequestValidationError([{"loc": (), "msg": fault}])
    return question, photo


def _json_values(body: bytes) -> dict[str, Any]:
    try:
        values = json.loads(body)
        json.dumps(values, ensure_ascii=False).encode()  # Half a surrogate is no text.
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "the body is no JSON") from error
    if not isinstance(values, dict):
        raise HTTPException(400, "the body is no JSON object")
    return values


def _form_values(form: FormData, kind: type[Question]) -> dict[str, Any]:
    """The fields of a form; one that was left empty counts as one that is not there."""
    values: dict[str, Any] = {}
    for name in form:
        field = kind.model_fields.get(name)
        given = [each for each in form.getlist(name) if each != ""]
        is_list = field is not None and get_origin(field.annotation) is list
        if given:
            values[name] = given if is_list else given[-1]
    return values


def body_of(kind: type[Question]) -> dict[str, Any]:
    """How the OpenAPI page describes the body of a question."""
    schema = kind.model_json_schema()
    form = {name: _as_form(own) for name, own in schema["properties"].items()}
    photo = {"type": "string", "format": "binary", "description": "A photo of the scene."}
    one_of = [{"required": [name]} for name in ("url", "scene", PHOTO)]
    as_json = {**schema, "oneOf": one_of[:2]}
    as_form = {**schema, "properties": {PHOTO: photo, **form}, "oneOf": one_of}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": as_form},
                "application/json": {"schema": as_json},
            },
        }
    }


def _as_form(own: dict[str, Any]) -> dict[str, Any]:
    """The schema of a field as a form has it: texts, none of them null or a list of its own."""
    if own.get("items", {}).get("type") == "array":
        return {**own, "items": {"type": "string", "pattern": "^[^,]+(,[^,]+){3}$"}}
    if own.get("title") == "Rules":
        return {"type": "string", "contentMediaType": "application/json"}
    options = [each for each in own.get("anyOf", ()) if each != {"type": "null"}]
    return options[0] if options else own
