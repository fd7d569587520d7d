from pathlib import Path

from matplotlib.image import imread

from behavior_tasks.base.figures import DOTS_PER_INCH
from behavior_tasks.model.curves import PANEL_INCHES, plot_learning_curve, plot_loss
from behavior_tasks.model.work_folder import Epoch
from tests.model.test_live import EPOCH

PANEL = int(PANEL_INCHES[0] * DOTS_PER_INCH)


def epochs(**changes: float | None) -> list[Epoch]:
    falling = [{"train_loss": 0.9 / n, "purchase_loss": 0.6 / n} for n in (1, 2, 3)]
    return [Epoch(epoch=n, step=10 * n, **(EPOCH | part | changes)) for n, part in enumerate(falling, start=1)]


def test_there_is_a_panel_for_every_loss_that_was_trained_on(tmp_path: Path) -> None:
    plot_loss(tmp_path / "all.png", epochs())
    assert imread(tmp_path / "all.png").shape[1] == 3 * PANEL
    plot_loss(tmp_path / "off.png", epochs(next_token_loss=0.0, amount_loss=None))
    assert imread(tmp_path / "off.png").shape[1] == PANEL


def test_one_epoch_makes_a_plot_and_the_same_epochs_the_same_bytes(tmp_path: Path) -> None:
    for name in ("once", "again"):
        plot_loss(tmp_path / name, epochs()[:1])
    assert (tmp_path / "once").read_bytes() == (tmp_path / "again").read_bytes()
    plot_loss(tmp_path / "other", epochs(validation_loss=0.7)[:1])
    assert (tmp_path / "other").read_bytes() != (tmp_path / "once").read_bytes()


def test_the_learning_curve_shows_validation_and_the_epoch_that_was_kept(tmp_path: Path) -> None:
    flat = epochs()
    rising = [epoch.model_copy(update={"validation_average_precision": 0.1 * epoch.epoch}) for epoch in flat]
    pictures = {}
    for name, shown in (("flat", flat), ("rising", rising), ("again", rising), ("losses", epochs(purchase_loss=0.1))):
        plot_learning_curve(tmp_path / name, shown)
        pictures[name] = (tmp_path / name).read_bytes()
    assert pictures["rising"] == pictures["again"] != pictures["flat"]
    assert pictures["losses"] == pictures["flat"], "losses have a plot of their own"
