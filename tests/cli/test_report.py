"""What the closing page says of the model beside its figures."""

from behavior_tasks.cli.report import about_model

MEASURED = {
    "candidate_model": {
        "heads": {"purchase": True, "amount": True, "next_token": True},
        "calibration": "platt",
        "calibration_reason": None,
    },
    "amount": {"mae": 1234.5, "gini": 0.4567, "examples": 80},
    "models": {"candidate": {"ece": 0.0123}},
}


def test_calibration_and_amounts_are_told() -> None:
    assert about_model(MEASURED).plain == (
        "Calibration: Platt scaling; ECE on test 0.012\nExpected amount: mean absolute error 1,234.50, Gini 0.457\n"
    )


def test_what_is_off_is_told_with_its_reason() -> None:
    model = {
        "heads": {"purchase": True, "amount": False, "next_token": False},
        "calibration": "off",
        "calibration_reason": "validation has 3 buyers and 90 non-buyers; 50 of each are needed",
    }
    told = about_model({**MEASURED, "candidate_model": model, "amount": None, "models": {"candidate": {"ece": None}}})
    assert told.plain.splitlines() == [
        "Calibration: none (validation has 3 buyers and 90 non-buyers; 50 of each are needed); ECE on test –",
        "Head off: amount (no purchase on train states one)",
        "Head off: next token (the tokenizer has no mask token)",
    ]
