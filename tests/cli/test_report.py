"""What the closing page says of the model beside its figures."""

from behavior_tasks.cli.report import about_model

MEASURED = {
    "candidate_model": {
        "heads": {"purchase": True, "amount": True, "next_token": True},
        "calibration": "platt",
        "calibration_reason": None,
    },
    "amount": {"models": {"candidate": {"mae": 1234.5, "gini": 0.4567, "total_ratio": 0.93, "examples": 80}}},
    "models": {"candidate": {"ece": 0.0123, "f1": 0.41234, "average_precision": 0.5}},
    "intervals": {"candidate": {"f1": [0.38, 0.45], "average_precision": None}},
    "resampling": {"confidence": 0.95},
    "slices": [
        {"slice": "history", "value": "returning", "examples": 900, "f1": 0.5},
        {"slice": "history", "value": "new", "examples": 1200, "f1": 0.21},
        {"slice": "gender", "value": "unknown", "examples": 9, "f1": None},
    ],
    "fairness": [
        {
            "attribute": "gender",
            "measure": "false_positive_rate",
            "gap": 0.08,
            "interval": [-0.01, 0.17],
            "lowest": "male",
            "highest": "female",
        },
        {
            "attribute": "gender",
            "measure": "ece",
            "gap": 0.01,
            "interval": [0.0, 0.02],
            "lowest": "male",
            "highest": "female",
        },
    ],
}
NOTHING = {"intervals": {"candidate": {"f1": None, "average_precision": None}}, "slices": [], "fairness": []}


def test_calibration_and_amounts_are_told() -> None:
    assert about_model({**MEASURED, **NOTHING}).plain == (
        "Calibration: Platt scaling; ECE on test 0.012\n"
        "Expected amount: mean absolute error 1,234.50, Gini 0.457, all together 93% of what was paid\n"
    )


def test_how_sure_where_weakest_and_the_largest_gap_are_told() -> None:
    assert about_model(MEASURED).plain.splitlines()[:3] == [
        "Language model: F1 0.412 (0.380 to 0.450); 95 % intervals by shopper",
        "Weakest slice: history new, F1 0.210 on 1,200 examples",
        "Largest gap: false positive rate of gender female is 0.080 (-0.010 to 0.170) above male",
    ]


def test_what_is_off_is_told_with_its_reason() -> None:
    model = {
        "heads": {"purchase": True, "amount": False, "next_token": False},
        "calibration": "off",
        "calibration_reason": "validation has 3 buyers and 90 non-buyers; 50 of each are needed",
    }
    changed = {"candidate_model": model, "amount": None, "models": {"candidate": {"ece": None}}}
    told = about_model({**MEASURED, **NOTHING, **changed})
    assert told.plain.splitlines() == [
        "Calibration: none (validation has 3 buyers and 90 non-buyers; 50 of each are needed); ECE on test –",
        "Head off: amount (no purchase on train states one)",
        "Head off: next token (the tokenizer has no mask token)",
    ]
