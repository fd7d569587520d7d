"""Which figures of an evaluation go to MLflow, and under which names."""

from behavior_tasks.pipeline.publish import flat_metrics


def test_the_candidates_figures_have_no_prefix_and_undefined_ones_are_left_out() -> None:
    measured = {
        "models": {"candidate": {"f1": 0.5, "roc_auc": None}, "boosting": {"f1": 0.4}},
        "best_possible": {"f1": 0.6},
        "amount": {"models": {"candidate": {"mae": 3.5, "gini": None, "total_ratio": 1.25, "examples": 80}}},
    }
    assert flat_metrics(measured) == {
        "test_f1": 0.5,
        "boosting_test_f1": 0.4,
        "best_possible_test_f1": 0.6,
        "test_amount_mae": 3.5,
        "test_amount_total_ratio": 1.25,
    }


def test_without_an_amount_head_there_is_no_figure_of_amounts() -> None:
    assert flat_metrics({"models": {"candidate": {"f1": 1.0}}, "best_possible": None, "amount": None}) == {
        "test_f1": 1.0
    }
