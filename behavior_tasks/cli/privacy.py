"""`behavior privacy …`: the commands of who answers for the people in the log."""

import typer

from behavior_tasks.cli import privacy_anonymity, privacy_budget, privacy_retention, privacy_rotate, privacy_scan

privacy = typer.Typer(
    name="privacy",
    help="What is held about people, what it costs them, and what goes when.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
privacy.command("scan")(privacy_scan.scan)
privacy.command("anonymity")(privacy_anonymity.anonymity)
privacy.command("budget")(privacy_budget.budget)
privacy.command("retention")(privacy_retention.retention)
privacy.command("rotate-key")(privacy_rotate.rotate_key)
