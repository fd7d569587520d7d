"""The rules that every section of the configuration keeps.

In come plain values from YAML, the command line or a form; out come frozen models. The one thing to know: an
unknown key is refused, never ignored.
"""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Common rules: values never change, unknown keys are refused, every field says what it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")
