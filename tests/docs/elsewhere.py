"""Commands of the documentation that are not run by its own tests: a pattern in, the test that runs such a command out.

They take minutes, start servers, or need another machine. The one thing to know: the first pattern that fits counts.
"""

import re

from tests.docs.commands import PROJECT, Command

ELSEWHERE: tuple[tuple[str, str, str], ...] = (
    ("make up|behavior up", "cli/test_services.py", "test_up_serves_both_pages_runs_the_dag_and_leaves_nothing"),
    (
        r"make run INPUT=five-rows\.csv",
        "dags/test_whole_run.py",
        "test_a_log_that_cannot_be_learned_from_ends_in_one_clear_message",
    ),
    (r"make (run|status)\b", "dags/test_whole_run.py", "test_a_run_on_a_simulated_shop_is_green_with_a_verdict"),
    # These run everything else, so nothing can run them; only whether they are there is asked.
    (r"make (test|test-slow|setup|check)$", "docs/test_commands.py", "test_every_command_can_be_typed"),
    (r"make docs$", "docs/test_site.py", "test_every_page_is_built_and_loads_nothing_from_elsewhere"),
    (
        r"behavior (run|score|watch) .*--airflow",
        "cli/test_services.py",
        "test_while_it_is_up_a_run_goes_to_its_scheduler_and_stands_in_both_pages",
    ),
    (
        r"behavior run .*model\.checkpoint=",
        "model/test_pretrained.py",
        "test_a_checkpoint_trains_and_scores_without_its_folder",
    ),
    (r"behavior run\b", "cli/test_commands.py", "test_a_run_and_the_same_again"),
    (r"behavior tune\b", "pipeline/test_tuning.py", "test_ctrl_c_keeps_the_study_and_says_how_to_go_on"),
    (r"behavior audit-leakage\b", "pipeline/test_audit.py", ""),
    (
        r"mlflow models serve\b|curl .*/invocations",
        "registry/test_package.py",
        "test_mlflow_serves_it_to_whoever_sends_json",
    ),
    (r"mlflow (server|db upgrade|gc)\b|pip install flask-wtf|export MLFLOW", "registry/test_auth_server.py", ""),
    (r"pip install behavior-tasks\[spark\]", "pipeline/test_engines.py", ""),
    (r"docker compose\b", "test_compose.py", ""),
    (r"make secrets\b", "test_secrets.py", ""),
    (r"make native\b|python -m scripts\.native\b", "cluster/test_cluster.py", ""),
    (r"behavior (doctor --deployment|wait\b)", "pipeline/test_deployment.py", ""),
    (r"make test-(soak|gpu)\b", "docs/test_commands.py", "test_every_command_can_be_typed"),
    (r"python -m pytest tests/cluster\b", "cluster/test_cluster.py", ""),
    (r"behavior erase (--shopper|--file|--request)", "pipeline/privacy/test_erase.py", ""),
    (r"behavior privacy rotate-key\b", "pipeline/test_rotation.py", ""),
    (
        r"python benchmarks/orchestration",
        "test_benchmarks.py",
        "test_the_orchestration_benchmark_reads_the_dags_and_runs_both_ways",
    ),
    (r"python benchmarks/page\b", "web/test_marketer_browser.py", ""),
    (r"python benchmarks/replay", "test_replay.py", "test_a_short_replay_lives_its_nights_once_and_tells_them_again"),
    (
        r"python benchmarks/(data|scale_plan)",
        "test_benchmarks.py",
        "test_the_data_benchmark_fills_its_tables_and_the_plan_is_computed_from_it",
    ),
    (r"python benchmarks/scoring", "test_benchmarks.py", "test_the_scoring_benchmark_compares_equal_probabilities"),
    (r"python benchmarks/score", "test_benchmarks.py", "test_the_benchmark_of_nights_asks_again_only_what_is_new"),
    (
        r"python benchmarks/encode",
        "test_benchmarks.py",
        "test_the_encoding_benchmark_finds_the_same_tokens_in_both_ways",
    ),
    (
        r"python benchmarks/quality",
        "test_benchmarks.py",
        "test_the_quality_benchmark_measures_every_model_on_the_same_examples",
    ),
    (
        r"python benchmarks/demand",
        "test_benchmarks.py",
        "test_demand_is_forecast_by_rolling_origin_beside_the_simple_methods",
    ),
    # No test has the hour that these take: only their options are asked.
    (
        r"python benchmarks/(training|sizes|recommend|risk|privacy|erasure|masking)",
        "docs/test_commands_run.py",
        "test_a_benchmark_knows_the_options_that_the_docs_give_it",
    ),
)
"""Pattern of what is typed, file of tests, and the test in it; without one, the whole file is about it."""


def run_elsewhere(command: Command) -> str | None:
    """Return the test that runs a command, or one like it; None where there is none."""
    typed = " ".join(command.words)
    return next((f"{file}::{test}" for pattern, file, test in ELSEWHERE if re.match(pattern, typed)), None)


def missing_tests() -> list[str]:
    """Return the tests of the table that do not exist."""
    missing = []
    for _, file, test in ELSEWHERE:
        path = PROJECT / "tests" / file
        if not path.is_file() or (test and f"def {test}(" not in path.read_text(encoding="utf-8")):
            missing.append(f"{file}::{test}")
    return missing
