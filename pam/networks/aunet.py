"""Attention U-net: additive gates weight the positions of each skip."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from pam.networks.backbone import Unet, one_of
from pam.networks.blocks import Attention, InstanceNorm, attend, conv1x1
from pam.networks.zoo import NETWORKS


class AdditiveAttention(Attention):
    """a = σ(IN(1×1(ReLU(IN(1×1 deeper) + IN(1×1 skip))))), b 1 h w; the norms have no scale and shift."""

    def __init__(self, skip_channels: int, deeper_channels: int) -> None:
        super().__init__()
        hidden = max(1, skip_channels // 2)
        self.query = conv1x1(deeper_channels, hidden, bias=True)
        self.key = conv1x1(skip_channels, hidden, bias=True)
        self.reduce = conv1x1(hidden, 1, bias=True)
        self.norm_query, self.norm_key = InstanceNorm(hidden), InstanceNorm(hidden)
        self.norm = InstanceNorm(1)

    def forward(self, skip: Tensor, deeper: Tensor) -> Tensor:
        both = functional.relu(self.norm_query(self.query(deeper)) + self.norm_key(self.key(skip)))
        weights: Tensor = self.norm(self.reduce(both))
        return weights.sigmoid()


class GatedSkip(nn.Module):
    """a·skip + skip."""

    def __init__(self, skip_channels: int, deeper_channels: int) -> None:
        super().__init__()
        self.attention = AdditiveAttention(skip_channels, deeper_channels)

    def forward(self, skip: Tensor, deeper: Tensor) -> Tensor:
        return attend(skip, self.attention(skip, deeper))


@NETWORKS.register
def aunet(in_channels: int, *, width: int = 32, out_channels: int = 1, placement: str = "decoder") -> Unet:
    """Attention U-net: the deeper feature tells each skip's positions what to pass on.

    Source: Oktay et al. (2018). Differs: the gated skip is added to the skip; instance norm without scale and shift.
    """
    one_of("placement", placement, ("decoder",))  # a gate needs a deeper feature, which only the decoder has
    return Unet(
        in_channels,
        width=width,
        out_channels=out_channels,
        gate=GatedSkip,
        attention="spatial",
        placement=placement,
    )
