"""U-net with convolutional block attention modules (CBAM)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pam.networks.backbone import Unet, placed
from pam.networks.blocks import Attention, conv1x1, conv3x3, followed_by
from pam.networks.zoo import NETWORKS

REDUCTION = 16


class ChannelAttention(Attention):
    """σ(MLP(mean over positions) + MLP(maximum over positions)), b c 1 1; both share one MLP."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // REDUCTION)
        self.squeeze = conv1x1(channels, hidden)
        self.excite = conv1x1(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        hidden_mean = functional.relu(self.squeeze(x.mean(dim=(2, 3), keepdim=True)))
        hidden_max = functional.relu(self.squeeze(x.amax(dim=(2, 3), keepdim=True)))
        weights: Tensor = self.excite(hidden_mean + hidden_max)  # the second layer is linear: once for both
        return weights.sigmoid()


class SpatialAttention(Attention):
    """σ(3×3 on the mean and maximum over channels), b 1 h w."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv3x3(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        weights: Tensor = self.conv(pooled)
        return weights.sigmoid()


class BlockAttention(nn.Module):
    """Channels first, then positions; the block's output is added to what they leave of it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel = ChannelAttention(channels)
        self.spatial = SpatialAttention()

    def forward(self, x: Tensor) -> Tensor:
        refined = x * self.channel(x)
        return torch.addcmul(x, refined, self.spatial(refined))


@NETWORKS.register
def cbamunet(in_channels: int, *, width: int = 32, out_channels: int = 1, placement: str = "encoder") -> Unet:
    """U-net with CBAM after the three outer encoder blocks and the bridge.

    Source: Woo et al. (2018). Differs: spatial kernel 3×3, the block's output is added, no biases.
    """
    stages = ("encoder1", "encoder2", "encoder3", "bridge")
    blocks = placed(followed_by(BlockAttention), placement, encoder=stages)
    return Unet(
        in_channels, width=width, out_channels=out_channels, blocks=blocks, attention="mixed", placement=placement
    )
