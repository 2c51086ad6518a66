"""Small networks with the structures of well-known ones, for graph_parity.py: name -> (module, inputs, opset)."""
import os
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

RESNET20 = Path(os.environ.get("WRING_DATA", Path(__file__).resolve().parents[3] / "shared/data")) / "resnet-cifar10/resnet20.safetensors"


def conv_bn(inputs, outputs, kernel=3, stride=1, groups=1, act=nn.ReLU):
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([act()] if act else []))


class BasicBlock(nn.Module):
    """He et al. 2016; the shortcut pads channels with zeros (option A), as ResNets for CIFAR do."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.stride, self.extra = stride, outputs - inputs

    def forward(self, x):
        shortcut = x
        if self.extra:
            shortcut = F.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, self.extra // 2, self.extra - self.extra // 2))
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + shortcut)


class Head(nn.Module):
    def __init__(self, features, classes=10):
        super().__init__()
        self.fc = nn.Linear(features, classes)

    def forward(self, x):
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class CifarResNet(nn.Module):
    def __init__(self, width, blocks):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.layer1 = nn.Sequential(*(BasicBlock(width, width, 1) for _ in range(blocks)))
        self.layer2 = nn.Sequential(BasicBlock(width, 2 * width, 2), *(BasicBlock(2 * width, 2 * width, 1) for _ in range(blocks - 1)))
        self.layer3 = nn.Sequential(BasicBlock(2 * width, 4 * width, 2), *(BasicBlock(4 * width, 4 * width, 1) for _ in range(blocks - 1)))
        self.linear = nn.Linear(4 * width, 10)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.linear(F.avg_pool2d(x, x.size(3)).flatten(1))


def resnet():
    return CifarResNet(8, 1)


def resnet20():
    """With the weights that were trained on CIFAR-10."""
    net = CifarResNet(16, 3)
    net.load_state_dict(load_file(RESNET20))
    return net


class Bottleneck(nn.Module):
    def __init__(self, inputs, width, outputs, stride=1, groups=1):
        super().__init__()
        self.body = nn.Sequential(conv_bn(inputs, width, 1), conv_bn(width, width, 3, stride, groups), conv_bn(width, outputs, 1, act=None))
        self.short = conv_bn(inputs, outputs, 1, stride, act=None)

    def forward(self, x):
        return F.relu(self.body(x) + self.short(x))


def resnet_bottleneck():
    return nn.Sequential(conv_bn(3, 16, 7, 2), nn.MaxPool2d(3, 2, 1), Bottleneck(16, 8, 32), Bottleneck(32, 8, 32, 2), Head(32))


def resnext():
    return nn.Sequential(conv_bn(3, 16), Bottleneck(16, 16, 32, groups=4), Bottleneck(32, 16, 32, 2, groups=8), Head(32))


def vgg():
    return nn.Sequential(conv_bn(3, 8), nn.MaxPool2d(2, 2), conv_bn(8, 16), nn.MaxPool2d(2, 2), nn.Flatten(), nn.Linear(16 * 64, 32), nn.ReLU(), nn.Linear(32, 10))


class DenseLayer(nn.Module):
    def __init__(self, inputs, growth):
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, growth, 3, padding=1, bias=False)

    def forward(self, x):
        return torch.cat([x, self.conv(F.relu(self.norm(x)))], 1)


def densenet():
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), DenseLayer(8, 4), DenseLayer(12, 4), nn.BatchNorm2d(16), nn.ReLU(),
                         nn.Conv2d(16, 8, 1, bias=False), nn.AvgPool2d(2), DenseLayer(8, 4), DenseLayer(12, 4), nn.BatchNorm2d(16), nn.ReLU(), Head(16))


class SqueezeExcite(nn.Module):
    def __init__(self, channels, inner, act, gate):
        super().__init__()
        self.down, self.up, self.act, self.gate = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1), act(), gate()

    def forward(self, x):
        return x * self.gate(self.up(self.act(self.down(F.adaptive_avg_pool2d(x, 1)))))


class Inverted(nn.Module):
    """Sandler et al. 2018; with squeeze-excite that of MobileNetV3 and EfficientNet."""

    def __init__(self, inputs, outputs, stride, expand, act, gate=None):
        super().__init__()
        wide = inputs * expand
        body = [conv_bn(inputs, wide, 1, act=act), conv_bn(wide, wide, 3, stride, wide, act)]
        if gate:
            body.append(SqueezeExcite(wide, wide // 4, act if act is nn.SiLU else nn.ReLU, gate))
        self.body, self.residual = nn.Sequential(*body, conv_bn(wide, outputs, 1, act=None)), stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.body(x) if self.residual else self.body(x)


def inverted_net(act, gate=None):
    return nn.Sequential(conv_bn(3, 8, 3, 2, act=act), Inverted(8, 8, 1, 2, act, gate), Inverted(8, 12, 2, 3, act, gate), Inverted(12, 12, 1, 2, act, gate),
                         conv_bn(12, 24, 1, act=act), Head(24))


class UNet(nn.Module):
    def __init__(self, bilinear):
        super().__init__()
        self.down1, self.down2, self.down3 = conv_bn(3, 8), conv_bn(8, 16), conv_bn(16, 16)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True) if bilinear else nn.ConvTranspose2d(16, 16, 2, 2)
        self.up2 = nn.Upsample(scale_factor=2, mode="bilinear") if bilinear else nn.ConvTranspose2d(16, 8, 3, 2, 1, 1)
        self.mix1, self.mix2, self.out = conv_bn(32, 16), conv_bn((16 if bilinear else 8) + 8, 8), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        c = self.down3(F.max_pool2d(b, 2))
        y = self.mix1(torch.cat([self.up(c), b], 1))
        return self.out(self.mix2(torch.cat([self.up2(y), a], 1)))


class CrossStage(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.mix_in, self.body, self.mix_out = conv_bn(channels, channels, 1, act=nn.SiLU), conv_bn(channels // 2, channels // 2, act=nn.SiLU), conv_bn(channels * 3 // 2, channels, 1, act=nn.SiLU)

    def forward(self, x):
        a, b = self.mix_in(x).chunk(2, 1)
        return self.mix_out(torch.cat([a, b, b + self.body(b)], 1))


class Yolo(nn.Module):
    """Backbone, spatial pyramid, top-down neck and two heads, as in YOLOv5 and v8."""

    def __init__(self):
        super().__init__()
        self.stem, self.stage1, self.stage2 = conv_bn(3, 8, 3, 2, act=nn.SiLU), nn.Sequential(conv_bn(8, 16, 3, 2, act=nn.SiLU), CrossStage(16)), nn.Sequential(conv_bn(16, 16, 3, 2, act=nn.SiLU), CrossStage(16))
        self.pool, self.mix, self.neck = nn.MaxPool2d(5, 1, 2), conv_bn(64, 16, 1, act=nn.SiLU), conv_bn(32, 16, act=nn.SiLU)
        self.heads = nn.ModuleList([nn.Conv2d(16, 14, 1), nn.Conv2d(16, 14, 1)])

    def forward(self, x):
        a = self.stage1(self.stem(x))
        b = self.stage2(a)
        pools = [b]
        for _ in range(3):
            pools.append(self.pool(pools[-1]))
        b = self.mix(torch.cat(pools, 1))
        a = self.neck(torch.cat([F.interpolate(b, scale_factor=2.0, mode="nearest"), a], 1))
        outputs = []
        for head, y in zip(self.heads, (a, b)):
            y = head(y)
            n, _, h, w = y.shape
            y = y.view(n, 2, 7, h, w).permute(0, 1, 3, 4, 2).sigmoid()
            outputs.append(torch.cat([y[..., :2] * 2 - 0.5, (y[..., 2:4] * 2) ** 2, y[..., 4:]], -1).reshape(n, -1, 7))
        return torch.cat(outputs, 1)


class Attention(nn.Module):
    def __init__(self, width, heads, causal=False):
        super().__init__()
        self.qkv, self.out, self.heads, self.causal = nn.Linear(width, 3 * width), nn.Linear(width, width), heads, causal

    def forward(self, x, bias=None):
        n, t, c = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        scores = q @ k.transpose(-2, -1) * (c // self.heads) ** -0.5
        if bias is not None:
            scores = scores + bias
        if self.causal:
            scores = scores.masked_fill(torch.ones(t, t, dtype=torch.bool).triu(1), float("-inf"))
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, c))


class Encoder(nn.Module):
    def __init__(self, width, heads, causal=False):
        super().__init__()
        self.norm1, self.attention, self.norm2 = nn.LayerNorm(width), Attention(width, heads, causal), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch, self.token = nn.Conv2d(3, 24, 8, 8), nn.Parameter(torch.randn(1, 1, 24))
        self.position, self.blocks = nn.Parameter(torch.randn(1, 17, 24)), nn.Sequential(Encoder(24, 3), Encoder(24, 3))
        self.norm, self.head = nn.LayerNorm(24), nn.Linear(24, 10)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        return self.head(self.norm(self.blocks(x))[:, 0])


class SwinBlock(nn.Module):
    """Liu et al. 2021: attention within windows that a roll shifts, with a table of biases."""

    def __init__(self, width, heads, window, shift):
        super().__init__()
        self.norm1, self.attention, self.norm2 = nn.LayerNorm(width), Attention(width, heads), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.table = nn.Parameter(torch.randn((2 * window - 1) ** 2, heads) * 0.1)
        at = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
        step = (at[:, :, None] - at[:, None, :]) + window - 1
        self.register_buffer("index", step[0] * (2 * window - 1) + step[1])
        self.window, self.shift = window, shift

    def forward(self, x):
        n, h, w, c = x.shape
        y = torch.roll(self.norm1(x), (-self.shift, -self.shift), (1, 2))
        m = self.window
        y = y.view(n, h // m, m, w // m, m, c).transpose(2, 3).reshape(-1, m * m, c)
        y = self.attention(y, self.table[self.index].permute(2, 0, 1))
        y = y.view(n, h // m, w // m, m, m, c).transpose(2, 3).reshape(n, h, w, c)
        x = x + torch.roll(y, (self.shift, self.shift), (1, 2))
        return x + self.mlp(self.norm2(x))


class Swin(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch, self.block1, self.block2 = nn.Conv2d(3, 16, 4, 4), SwinBlock(16, 2, 4, 0), SwinBlock(16, 2, 4, 2)
        self.merge_norm, self.merge, self.head = nn.LayerNorm(64), nn.Linear(64, 32, bias=False), nn.Linear(32, 10)

    def forward(self, x):
        x = self.block2(self.block1(self.patch(x).permute(0, 2, 3, 1)))
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)
        return self.head(self.merge(self.merge_norm(x)).mean((1, 2)))


class Gpt(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(50, 24), nn.Embedding(16, 24)
        self.blocks, self.norm, self.head = nn.Sequential(Encoder(24, 3, True), Encoder(24, 3, True)), nn.LayerNorm(24), nn.Linear(24, 50, bias=False)

    def forward(self, ids):
        return self.head(self.norm(self.blocks(self.tokens(ids) + self.positions(torch.arange(ids.shape[1])))))


def bert():
    import transformers
    config = transformers.BertConfig(vocab_size=60, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=48, max_position_embeddings=32, pad_token_id=None,
                                     hidden_dropout_prob=0, attention_probs_dropout_prob=0, attn_implementation="eager")

    class Bert(nn.Module):
        def __init__(self):
            super().__init__()
            self.bert = transformers.BertModel(config, add_pooling_layer=False)

        def forward(self, ids, mask):
            return self.bert(input_ids=ids, attention_mask=mask, return_dict=False)[0]

    return Bert()


class Recurrent(nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        self.tokens = nn.Embedding(40, 12)
        self.rnn, self.head = kind(12, 10, num_layers=2, batch_first=True, **options), nn.LazyLinear(5)

    def forward(self, ids):
        return self.head(self.rnn(self.tokens(ids))[0]).mean(1)


class Inception(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = conv_bn(8, 4, 1), nn.Sequential(conv_bn(8, 4, 1), conv_bn(4, 6, 5)), conv_bn(8, 4, 1)
        self.d = nn.Conv2d(8, 4, (1, 7), padding=(0, 3))
        self.pool = nn.AvgPool2d(3, 1, 1, count_include_pad=False)

    def forward(self, x):
        return torch.cat([self.a(x), self.b(x), self.c(self.pool(x)), self.d(x)], 1)


class Shuffle(nn.Module):
    """Ma et al. 2018: half the channels pass, then both halves are shuffled."""

    def __init__(self, channels):
        super().__init__()
        half = channels // 2
        self.body = nn.Sequential(conv_bn(half, half, 1), conv_bn(half, half, 3, 1, half, None), conv_bn(half, half, 1))

    def forward(self, x):
        a, b = x.chunk(2, 1)
        y = torch.cat([a, self.body(b)], 1)
        n, c, h, w = y.shape
        return y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class Fire(nn.Module):
    def __init__(self, inputs, inner, outputs):
        super().__init__()
        self.squeeze, self.one, self.three = nn.Conv2d(inputs, inner, 1), nn.Conv2d(inner, outputs, 1), nn.Conv2d(inner, outputs, 3, padding=1)

    def forward(self, x):
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.one(x)), F.relu(self.three(x))], 1)


class ConvNeXtBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.depth, self.norm, self.up, self.down = nn.Conv2d(width, width, 7, padding=3, groups=width), nn.LayerNorm(width, 1e-6), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.5))

    def forward(self, x):
        y = self.norm(self.depth(x).permute(0, 2, 3, 1))
        return x + (self.scale * self.down(F.gelu(self.up(y)))).permute(0, 3, 1, 2)


def norms():
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(4, 8), nn.Mish(), nn.Conv2d(8, 8, 3, padding=1), nn.InstanceNorm2d(8, affine=True), nn.Hardtanh(),
                         nn.LocalResponseNorm(3, 0.1), Head(8))


class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch, self.norm1, self.norm2, self.head = nn.Conv2d(3, 16, 8, 8), nn.LayerNorm(16), nn.LayerNorm(16), nn.Linear(16, 10)
        self.tokens, self.channels = nn.Sequential(nn.Linear(16, 24), nn.GELU(), nn.Linear(24, 16)), nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return self.head((x + self.channels(self.norm2(x))).mean(1))


class WaveNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.start, self.end = nn.Conv1d(2, 8, 1), nn.Conv1d(8, 3, 1)
        self.gates = nn.ModuleList(nn.Conv1d(8, 16, 2, dilation=2 ** i) for i in range(3))
        self.mixes = nn.ModuleList(nn.Conv1d(8, 8, 1) for _ in range(3))

    def forward(self, x):
        x = self.start(x)
        for i, (gate, mix) in enumerate(zip(self.gates, self.mixes)):
            a, b = gate(F.pad(x, (2 ** i, 0))).chunk(2, 1)
            x = x + mix(a.tanh() * b.sigmoid())
        return self.end(x)


def conv3d():
    return nn.Sequential(nn.Conv3d(1, 6, 3, padding=1), nn.BatchNorm3d(6), nn.ReLU(), nn.MaxPool3d(2), nn.Conv3d(6, 8, 3, 2, 1), nn.Softplus(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(8, 4))


def super_resolution():
    return nn.Sequential(nn.Conv2d(3, 8, 5, padding=2), nn.Tanh(), nn.Conv2d(8, 12, 3, padding=1), nn.PixelShuffle(2), nn.Conv2d(3, 3, 3, padding=1))


def autoencoder():
    return nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(3, 8, 3, 2), nn.PReLU(8), nn.Conv2d(8, 12, 3, 2, 1), nn.ELU(), nn.ConvTranspose2d(12, 8, 4, 2, 1, groups=2), nn.LeakyReLU(0.2),
                         nn.ConvTranspose2d(8, 3, 3, 2, 1, output_padding=1), nn.Sigmoid())


def image(batch=2, size=32, channels=3):
    return torch.randn(batch, channels, size, size)


def ids(count, length):
    return torch.randint(0, count, (3, length))


# TorchScript's exporter up to opset 20; "dynamo" is the one by torch.export, from 18 on.
NETS = {
    "resnet, option A": (resnet, lambda: [image()], 11),
    "resnet, bottlenecks": (resnet_bottleneck, lambda: [image()], 9),
    "resnext": (resnext, lambda: [image()], 12),
    "vgg": (vgg, lambda: [image()], 10),
    "densenet": (densenet, lambda: [image()], 13),
    "mobilenet v2": (lambda: inverted_net(nn.ReLU6), lambda: [image()], 11),
    "mobilenet v3": (lambda: inverted_net(nn.Hardswish, nn.Hardsigmoid), lambda: [image()], 14),
    "efficientnet": (lambda: inverted_net(nn.SiLU, nn.Sigmoid), lambda: [image()], 15),
    "u-net, transposed": (lambda: UNet(False), lambda: [image()], 9),
    "u-net, bilinear": (lambda: UNet(True), lambda: [image()], 11),
    "yolo-like": (Yolo, lambda: [image()], 17),
    "vit": (ViT, lambda: [image()], 17),
    "swin": (Swin, lambda: [image()], 16),
    "gpt": (Gpt, lambda: [ids(50, 16)], 14),
    "bert": (bert, lambda: [ids(60, 12), torch.tensor([[1] * 12, [1] * 12, [1] * 7 + [0] * 5])], 14),
    "gpt, dynamic axes": (Gpt, lambda: [ids(50, 16)], 14),
    "shufflenet, dynamic axes": (lambda: nn.Sequential(conv_bn(3, 8), Shuffle(8), Shuffle(8), Head(8)), lambda: [image()], 13),
    "u-net, dynamic axes": (lambda: UNet(True), lambda: [image()], 13),
    "lstm": (lambda: Recurrent(nn.LSTM), lambda: [ids(40, 9)], 14),
    "lstm, both ways": (lambda: Recurrent(nn.LSTM, bidirectional=True), lambda: [ids(40, 9)], 11),
    "gru, both ways": (lambda: Recurrent(nn.GRU, bidirectional=True), lambda: [ids(40, 9)], 13),
    "rnn": (lambda: Recurrent(nn.RNN, nonlinearity="relu"), lambda: [ids(40, 9)], 12),
    "inception": (lambda: nn.Sequential(conv_bn(3, 8), Inception(), conv_bn(18, 8), Head(8)), lambda: [image()], 11),
    "shufflenet": (lambda: nn.Sequential(conv_bn(3, 8), Shuffle(8), Shuffle(8), Head(8)), lambda: [image()], 13),
    "squeezenet": (lambda: nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.MaxPool2d(3, 2, ceil_mode=True), Fire(8, 4, 8), Fire(16, 4, 8), Head(16)), lambda: [image()], 10),
    "convnext": (lambda: nn.Sequential(nn.Conv2d(3, 12, 4, 4), ConvNeXtBlock(12), ConvNeXtBlock(12), Head(12)), lambda: [image()], 20),
    "norms of groups and instances": (norms, lambda: [image()], 18),
    "mixer": (Mixer, lambda: [image()], 17),
    "wavenet": (WaveNet, lambda: [torch.randn(2, 2, 20)], 11),
    "3-d convolutions": (conv3d, lambda: [torch.randn(2, 1, 8, 8, 8)], 12),
    "super-resolution": (super_resolution, lambda: [image(2, 12)], 13),
    "autoencoder": (autoencoder, lambda: [image(2, 16)], 16),
    "dynamo: resnet": (resnet, lambda: [image()], 18),
    "dynamo: vit": (ViT, lambda: [image()], 20),
    "dynamo: mobilenet v3": (lambda: inverted_net(nn.Hardswish, nn.Hardsigmoid), lambda: [image()], 19),
    "dynamo: yolo-like": (Yolo, lambda: [image()], 19),
    "dynamo: gpt": (Gpt, lambda: [ids(50, 16)], 21),
}
if RESNET20.is_file():
    NETS["resnet-20, trained"] = (resnet20, lambda: [image()], 13)

# How many families of units are found at least: rules that bar everything would pass all other checks.
FAMILIES = {
    "resnet, option A": 6, "resnet, bottlenecks": 7, "resnext": 7, "vgg": 3, "densenet": 6, "mobilenet v2": 6, "mobilenet v3": 9, "efficientnet": 9,
    "u-net, transposed": 7, "u-net, bilinear": 5, "yolo-like": 9, "vit": 4, "swin": 5, "gpt": 4, "bert": 4, "lstm": 0, "lstm, both ways": 0,
    "gru, both ways": 0, "rnn": 0, "inception": 7, "shufflenet": 4, "squeezenet": 7, "convnext": 2, "norms of groups and instances": 1, "mixer": 2,
    "wavenet": 4, "3-d convolutions": 1, "super-resolution": 1, "autoencoder": 1, "dynamo: resnet": 6, "dynamo: vit": 4, "dynamo: mobilenet v3": 9,
    "dynamo: yolo-like": 11, "dynamo: gpt": 4, "resnet-20, trained": 12, "ch_PP-OCRv4_det_infer.onnx": 21, "ch_PP-OCRv4_rec_infer.onnx": 10,
    "ch_ppocr_mobile_v2.0_cls_infer.onnx": 17, "silero_vad.onnx": 0, "silero_vad_16k_op15.onnx": 3, "silero_vad_half.onnx": 3,
    "silero_vad_op18_ifless.onnx": 0, "gpt, dynamic axes": 2, "shufflenet, dynamic axes": 2, "u-net, dynamic axes": 5,
}

# And how many branches that can be erased, where there are any.
SEGMENTS = {
    "resnet, option A": 3, "resnet, bottlenecks": 4, "resnext": 4, "mobilenet v2": 2, "mobilenet v3": 2, "efficientnet": 2, "yolo-like": 2, "vit": 4,
    "swin": 4, "gpt": 4, "bert": 4, "gpt, dynamic axes": 5, "convnext": 2, "mixer": 2, "wavenet": 3, "dynamo: resnet": 3, "dynamo: vit": 4,
    "dynamo: mobilenet v3": 2, "dynamo: yolo-like": 2, "dynamo: gpt": 4, "resnet-20, trained": 9, "ch_PP-OCRv4_det_infer.onnx": 3,
    "ch_PP-OCRv4_rec_infer.onnx": 4, "ch_ppocr_mobile_v2.0_cls_infer.onnx": 7,
}
