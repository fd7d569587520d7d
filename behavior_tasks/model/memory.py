"""Out of memory: an error in, whether less at once would have fitted out."""

import torch
from accelerate.utils.memory import should_reduce_batch_size

from behavior_tasks.base.errors import UserError

CPU_WORDS = "not enough memory"
"""What torch says on a CPU on some systems; accelerate knows the other ways of saying it."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error of torch says that memory ran out."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or should_reduce_batch_size(error) or CPU_WORDS in str(error)


def one_example_does_not_fit(tokens: int, found: str) -> UserError:
    """Return the error for a memory in which not even one example can be learned from."""
    return UserError(
        "The memory is too small to train on even one example at a time.",
        found=f"{tokens} tokens in one example: {found.splitlines()[0] if found else 'out of memory'}",
        expected="room for the network, its optimiser and one example",
        next_step="set train.gradient_checkpointing=true, lower model.max_tokens, or take a smaller model "
        "(model.size, model.checkpoint)",
    )
