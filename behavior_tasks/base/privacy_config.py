"""The settings of privacy: what protects the people of the log, beyond their pseudonyms.

In comes the `privacy` section of a YAML file; out comes a frozen section. The one thing to know: nothing here is on
by default that would change what a model learns.
"""

from behavior_tasks.base.section import Section


class PrivacyConfig(Section):
    """Differential privacy, coarsening, small groups, retention and erasure."""
