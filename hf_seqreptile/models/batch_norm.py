"""BatchNorm, which normalises by the examples of a micro-batch while it trains."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def freeze_batch_norm(model: nn.Module) -> None:
    """Make BatchNorm layers normalise by their running statistics, which stay as they are, while training too."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.register_forward_pre_hook(_use_statistics)


def normalises_by_batch(model: nn.Module) -> bool:
    """Whether a layer normalises by the examples of a micro-batch while the model trains."""
    return any(
        isinstance(module, _BatchNorm) and _use_statistics not in module._forward_pre_hooks.values()
        for module in model.modules()
    )


def _use_statistics(module: nn.Module, inputs: object) -> None:
    # Whatever `train()` of the whole model says.
    module.eval()
