"""U-net with concurrent spatial and channel squeeze and excitation (scSE)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from pam.networks.backbone import Unet, placed
from pam.networks.blocks import Attention, conv1x1, followed_by
from pam.networks.zoo import NETWORKS

REDUCTION = 8


class SpatialExcitation(Attention):
    """σ(1×1→1), b 1 h w."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = conv1x1(channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        weights: Tensor = self.squeeze(x)
        return weights.sigmoid()


class ChannelExcitation(Attention):
    """σ(1×1(ReLU(1×1 of the mean over positions))), b c 1 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // REDUCTION)
        self.squeeze = conv1x1(channels, hidden)
        self.excite = conv1x1(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean(dim=(2, 3), keepdim=True)
        weights: Tensor = self.excite(functional.relu(self.squeeze(pooled)))
        return weights.sigmoid()


class SqueezeExcitation(nn.Module):
    """x·spatial + x·channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spatial = SpatialExcitation(channels)
        self.channel = ChannelExcitation(channels)

    def forward(self, x: Tensor) -> Tensor:
        excited: Tensor = x * (self.spatial(x) + self.channel(x))
        return excited


@NETWORKS.register
def cscunet(in_channels: int, *, width: int = 32, out_channels: int = 1, placement: str = "both") -> Unet:
    """U-net with scSE after the three outer encoder blocks and the three decoder blocks.

    Source: Roy et al. (2018). Differs: channel reduction 8, no biases.
    """
    blocks = placed(followed_by(SqueezeExcitation), placement, encoder=("encoder1", "encoder2", "encoder3"))
    return Unet(
        in_channels, width=width, out_channels=out_channels, blocks=blocks, attention="mixed", placement=placement
    )
