"""The ground every room stands on: user errors, configuration, schema, timeline, artifacts, engine, progress."""
