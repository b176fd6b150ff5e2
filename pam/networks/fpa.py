"""False Positive Attention: a dilated branch, with a larger receptive field, weights the encoder's features."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from pam.networks.backbone import Unet, at_least_one, one_of, placed
from pam.networks.blocks import Attention, ConvBlock, InstanceNorm, attend, conv1x1, conv3x3
from pam.networks.zoo import NETWORKS


class DilatedAttention(Attention):
    """A = σ(W3[W2[W1(X)]]), b c h w: expand, the same dilated convolution and norm twice, reduce (eq. 1)."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, *, dilation: int, expansion: int, depthwise: bool
    ) -> None:
        super().__init__()
        hidden = expansion * out_channels
        self.expand = conv1x1(in_channels, hidden, stride=stride)
        self.dilated = conv3x3(hidden, hidden, dilation=dilation, depthwise=depthwise)
        self.norm = InstanceNorm(hidden, affine=True)
        self.reduce = conv1x1(hidden, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.expand(x)
        for _ in range(2):  # section 3.3: repeated twice via parameter sharing
            x = functional.relu(self.norm(self.dilated(x)))
        weights: Tensor = self.reduce(x)
        return weights.sigmoid()


class FalsePositiveAttention(nn.Module):
    """Y = F·A + F, the main branch F and the dilated branch A both taken from X (eq. 1)."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, *, dilation: int, expansion: int, depthwise: bool
    ) -> None:
        super().__init__()
        self.main = ConvBlock(in_channels, out_channels, stride)
        self.attention = DilatedAttention(
            in_channels, out_channels, stride, dilation=dilation, expansion=expansion, depthwise=depthwise
        )

    def forward(self, x: Tensor) -> Tensor:
        return attend(self.main(x), self.attention(x))


@NETWORKS.register
def fpa(
    in_channels: int,
    *,
    width: int = 32,
    out_channels: int = 1,
    dilation: int = 9,
    expansion: int = 4,
    depthwise: bool = True,
    placement: str = "encoder",
) -> Unet:
    """U-net whose encoder attends to a larger receptive field (False Positive Attention).

    Source: Xu et al. (2020), eq. 1. Differs: none; Table 5's size (4.20 M) fixes what its text leaves open.
    """
    at_least_one(dilation=dilation, expansion=expansion)
    one_of("depthwise", depthwise, (False, True))

    def block(inputs: int, outputs: int, stride: int) -> nn.Module:
        return FalsePositiveAttention(
            inputs, outputs, stride, dilation=dilation, expansion=expansion, depthwise=depthwise
        )

    return Unet(
        in_channels,
        width=width,
        out_channels=out_channels,
        blocks=placed(block, placement, encoder=("encoder2", "encoder3", "encoder4", "bridge")),
        attention="mixed",
        placement=placement,
    )


@NETWORKS.register
def fpa_text(
    in_channels: int,
    *,
    width: int = 32,
    out_channels: int = 1,
    dilation: int = 9,
    expansion: int = 1,
    depthwise: bool = False,
    placement: str = "encoder",
) -> Unet:
    """False Positive Attention with the default of the paper's text: not depth-wise.

    Source: Xu et al. (2020), section 4.3. Differs: has 4.75 M parameters where Table 5 says 4.2 M.
    """
    return fpa(
        in_channels,
        width=width,
        out_channels=out_channels,
        dilation=dilation,
        expansion=expansion,
        depthwise=depthwise,
        placement=placement,
    )
