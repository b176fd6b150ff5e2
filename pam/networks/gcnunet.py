"""U-net with global-context blocks."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from pam.networks.backbone import Unet, placed
from pam.networks.blocks import Attention, attend, conv1x1, followed_by
from pam.networks.zoo import NETWORKS

REDUCTION = 8


class PositionAttention(Attention):
    """Softmax of a 1×1→1 map over all positions, b 1 h w; sums to 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.score = conv1x1(channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.score(x)
        return scores.flatten(2).softmax(dim=2).view_as(scores)


class ContextAttention(Attention):
    """1×1(ReLU(norm(1×1 context))), b c 1 1, of the context vector b c 1 1.

    The norm is a layer norm: instance norm would make of a single position nothing but its shift.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // REDUCTION)
        self.squeeze = conv1x1(channels, hidden)
        self.norm = nn.LayerNorm([hidden, 1, 1])
        self.excite = conv1x1(hidden, channels)

    def forward(self, context: Tensor) -> Tensor:
        weights: Tensor = self.excite(functional.relu(self.norm(self.squeeze(context))))
        return weights


class GlobalContext(nn.Module):
    """context·x + x."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.position = PositionAttention(channels)
        self.channel = ContextAttention(channels)

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.flatten(2) @ self.position(x).flatten(2).transpose(1, 2)  # b c 1
        return attend(x, self.channel(pooled.unsqueeze(3)))


@NETWORKS.register
def gcnunet(in_channels: int, *, width: int = 32, out_channels: int = 1, placement: str = "encoder") -> Unet:
    """U-net with global-context blocks after the three outer encoder blocks and the bridge.

    Source: Cao et al. (2019). Differs: the context multiplies the features (and is added to them), no biases.
    """
    stages = ("encoder1", "encoder2", "encoder3", "bridge")
    blocks = placed(followed_by(GlobalContext), placement, encoder=stages)
    return Unet(
        in_channels, width=width, out_channels=out_channels, blocks=blocks, attention="self", placement=placement
    )
