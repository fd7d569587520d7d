"""Behavior: a shop's behaviour log in, a language model that earns its promotion out.

The rooms stand in the order in which the data walks: base, data, examples, text, model, verdict, registry.
`pipeline` names the stages that lead through them; `cli` is what a person types.
"""

__version__ = "0.8.0"
