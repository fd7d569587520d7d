"""The registry: what a run gave, kept in MLflow; which version is champion; who promoted it, when and why."""
