"""The rules that every section of the configuration keeps, and where a dotted name leads.

In come plain values from YAML, the command line or a form; out come frozen models. The one thing to know: an
unknown key is refused, never ignored.
"""

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo


class Section(BaseModel):
    """Common rules: values never change, unknown keys are refused, every field says what it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def fields_in(sections: Mapping[str, type[Section]]) -> dict[str, FieldInfo]:
    """Return every dotted key with its field. A part that can be off, such as `privacy.dp`, is told by its own keys.

    Args:
        sections: name → its model.
    """
    fields: dict[str, FieldInfo] = {}
    for name, section in sections.items():
        for key, field in section.model_fields.items():
            part = _section_in(field) if field.default is None else None
            if part is None:
                fields[f"{name}.{key}"] = field
            else:
                fields |= {f"{name}.{key}.{inner}": of for inner, of in part.model_fields.items()}
    return fields


def path_in(sections: Mapping[str, type[Section]], dotted: str) -> tuple[str, ...]:
    """Return the keys that lead to a dotted setting; dots within the key of a table stay."""
    name, _, rest = dotted.partition(".")
    if not rest:
        return (name,)
    path, section = [name], sections.get(name)
    while section is not None and "." in rest:
        key, _, inner = rest.partition(".")
        section = _section_in(section.model_fields[key]) if key in section.model_fields else None
        if section is not None:
            path.append(key)
            rest = inner
    return (*path, rest)


def put(raw: Mapping[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Return nested settings with another value at the end of a path.

    >>> put({"train": {"epochs": 3}}, ("train", "seed"), 1)
    {'train': {'epochs': 3, 'seed': 1}}
    """
    key, *rest = path
    if not rest:
        return {**raw, key: value}
    inner = raw.get(key)
    return {**raw, key: put(inner if isinstance(inner, Mapping) else {}, tuple(rest), value)}


def _section_in(field: FieldInfo) -> type[Section] | None:
    """Return the section that a field holds, if it holds one."""
    kinds = (field.annotation, *get_args(field.annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)), None)
