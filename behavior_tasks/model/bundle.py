"""The model bundle: the best epoch's weights in; a folder out that scores by itself, wherever it is copied."""

import shutil

import numpy as np
import torch
from safetensors.torch import load_file

from behavior_tasks.model.calibration import fit_decision
from behavior_tasks.model.checkpoint import MODEL_PREFIX, save_tensors
from behavior_tasks.model.network import BehaviorModel, save_model
from behavior_tasks.model.training_data import TrainingData
from behavior_tasks.model.work_folder import TrainingJob, WorkFolder

VALIDATION_LOGITS = "validation_logits"


def save_best(work: WorkFolder, model: BehaviorModel, logits: np.ndarray) -> None:
    """Keep the weights of the best epoch so far, with what they say of validation."""
    tensors = {MODEL_PREFIX + name: tensor for name, tensor in model.state_dict().items()}
    save_tensors(work.best, tensors | {VALIDATION_LOGITS: torch.from_numpy(logits)})


def write_bundle(work: WorkFolder, job: TrainingJob, model: BehaviorModel, data: TrainingData) -> None:
    """Write the self-contained bundle of the best epoch into the work folder, in place of an older one."""
    tensors = load_file(work.best)
    logits = tensors.pop(VALIDATION_LOGITS).numpy()
    model.load_state_dict({name.removeprefix(MODEL_PREFIX): tensor for name, tensor in tensors.items()})
    partial = work.root / "bundle.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    save_model(model, partial, max_tokens=job.model.max_tokens)
    shutil.copytree(job.tokens / "tokenizer", partial / "tokenizer")
    shutil.copyfile(job.text_settings, partial / "text.json")
    rows = data.validation_rows
    fit_decision(
        data.labels[rows],
        logits,
        data.weights[rows],
        calibration=job.model.calibration,
        prior_offset=data.prior_offset,
        policy=job.decision,
    ).save(partial)
    shutil.rmtree(work.bundle, ignore_errors=True)
    partial.rename(work.bundle)
