"""Graphs through the service and without it: data in each form, training, pruning, what is refused."""
import gzip
import json
import struct
import subprocess
import tempfile
import zlib
from pathlib import Path

import numpy
import onnxruntime
import torch
from safetensors.numpy import save_file
from torch import nn

SIDE, CLASSES = 12, ["column", "noise", "row"]
TRAINING = "steps=80, batch=32, learning_rate=0.05, mean=0.3, std=0.2"
HESSO = f"hesso(target_group_sparsity=0.5, pruning_periods=4, {TRAINING})"
ACCURACY = "accuracy(mean=0.3, std=0.2)"


def write_png(path, pixels):
    """Grey bytes [h, w], by nothing but zlib."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = pixels.shape
    rows = b"".join(b"\0" + bytes(row) for row in pixels)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)) +
                     chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def make_images(count, seed):
    """Noise with a bright column, none, or a bright row: bytes [n, h, w] and labels."""
    random = numpy.random.default_rng(seed)
    images, labels = random.integers(0, 128, (count, SIDE, SIDE), dtype=numpy.uint8), numpy.arange(count) % 3
    for image, label, place in zip(images, labels, random.integers(0, SIDE, count)):
        if label == 0:
            image[:, place] = 255
        if label == 2:
            image[place] = 255
    return images, labels


def write_folder(folder, images, labels):
    for i, (image, label) in enumerate(zip(images, labels)):
        (folder / CLASSES[label]).mkdir(parents=True, exist_ok=True)
        write_png(folder / CLASSES[label] / f"{i:04}.png", image)


def write_idx(folder, images, labels):
    folder.mkdir()
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x08\x03" + struct.pack(">III", *images.shape) + images.tobytes()))
    (folder / "t10k-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + struct.pack(">I", len(labels)) + labels.astype(numpy.uint8).tobytes())


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.inner = nn.Sequential(nn.Conv2d(16, 24, 3, 1, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16))
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        x = self.first(x)
        return self.head(torch.relu(self.inner(x) + x).mean((2, 3)))


def make_net(path, batch=None):
    torch.manual_seed(0)
    net = Net().eval()
    torch.onnx.export(net, torch.zeros(batch or 2, 1, SIDE, SIDE), path, dynamo=False, input_names=["x"], output_names=["y"], opset_version=17,
                      dynamic_axes=None if batch else {"x": {0: "batch"}, "y": {0: "batch"}}, do_constant_folding=False,
                      training=torch.onnx.TrainingMode.PRESERVE)
    return net


def figures(evaluations):
    return {(row["suite"], row["metric"], row["when"]): row for row in evaluations}


class GraphTests:
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.net = make_net(cls.folder / "net.onnx")
        cls.train, cls.test = make_images(480, 1), make_images(150, 2)
        write_folder(cls.folder / "train", *cls.train)
        write_folder(cls.folder / "test", *cls.test)

    def wring(self, *arguments):
        return self.service.cli(*arguments, "--json")

    def top1(self, file):
        """Of onnxruntime on the test images."""
        images, labels = self.test
        x = (images[:, None].astype(numpy.float32) / 255 - 0.3) / 0.2
        y = onnxruntime.InferenceSession(file).run(None, {"x": x.astype(numpy.float32)})[0]
        return (y.argmax(1) == labels).mean()

    def test_a_graph_comes_back_trained_and_half_as_wide_and_onnxruntime_says_so_too(self):
        train, test = self.folder / "train", self.folder / "test"
        answer = self.wring("submit", f"{HESSO} | {ACCURACY} | size | latency(repeats=1)", "--model", self.folder / "net.onnx",
                            "--data", f"train={train}", "--data", f"test={test}", "--wait")
        self.assertEqual(answer.status, 0, str(answer))
        rows = figures(answer.json["evaluations"])
        after = rows["accuracy", "top1", "after"]
        self.assertGreater(after["value"], 0.9)
        self.assertLess(after["baseline_value"], 0.6)
        self.assertAlmostEqual(after["stderr"], (after["value"] * (1 - after["value"]) / 150) ** 0.5)
        self.assertLess(rows["size", "macs", "after"]["value"], 0.6 * rows["size", "macs", "after"]["baseline_value"])
        self.assertIn(("latency", "forward_seconds", "after"), rows)
        out = self.folder / "small"
        self.assertEqual(self.wring("get", answer.json["id"], "--out", out).status, 0)
        self.assertAlmostEqual(self.top1(out / "net.onnx"), after["value"], delta=1 / 150)
        self.assertLess((out / "net.onnx").stat().st_size, (self.folder / "net.onnx").stat().st_size)
        report = next(stage["report"] for stage in answer.json["stages"] if stage["name"] == "hesso")
        self.assertEqual((report["units"], report["removed"]), (40, 20))
        again = self.wring("eval", out, "--local", "--suite", "accuracy", "--data", test, "--param", "mean=0.3", "--param", "std=0.2")
        self.assertEqual(figures(again.json["evaluations"])["accuracy", "top1", "before"]["value"], after["value"])

    def test_accuracy_and_loss_are_pytorchs_whatever_form_the_images_have(self):
        images, labels = self.test
        forms = {"folder": self.folder / "test", "npz": self.folder / "a.npz", "compressed": self.folder / "b.npz",
                 "safetensors": self.folder / "c.safetensors", "idx": self.folder / "idx"}
        numpy.savez(forms["npz"], x_test=images, y_test=labels, x_train=images[:0], y_train=labels[:0])
        numpy.savez_compressed(forms["compressed"], images=images[..., None], labels=labels[:, None])
        save_file({"images": images[:, None].copy(), "labels": labels}, forms["safetensors"])
        write_idx(forms["idx"], images, labels)
        with torch.no_grad():
            logits = self.net((torch.tensor(images[:, None]) / 255 - 0.3) / 0.2)
            loss = nn.functional.cross_entropy(logits, torch.tensor(labels)).item()
        for name, path in forms.items():
            with self.subTest(name):
                answer = self.wring("eval", self.folder / "net.onnx", "--local", "--suite", "accuracy", "--data", path,
                                    "--param", "mean=0.3", "--param", "std=0.2")
                self.assertEqual(answer.status, 0, str(answer))
                rows = figures(answer.json["evaluations"])
                self.assertEqual(rows["accuracy", "top1", "before"]["value"], (logits.argmax(1).numpy() == labels).mean())
                self.assertAlmostEqual(rows["accuracy", "cross_entropy", "before"]["value"], loss, places=5)

    def test_what_does_not_fit_is_refused_with_its_place(self):
        net, test = self.folder / "net.onnx", self.folder / "test"
        make_net(self.folder / "fixed.onnx", batch=1)
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            write_folder(folder / "broken", *make_images(9, 3))
            (folder / "broken/row/0002.png").write_bytes(b"no image")
            for i in range(4):
                (folder / f"more/{i}").mkdir(parents=True)
                write_png(folder / f"more/{i}/a.png", make_images(1, i)[0][0])
            numpy.savez(folder / "nan.npz", x=numpy.full((4, 1, SIDE, SIDE), numpy.nan, numpy.float32), y=numpy.arange(4))
            numpy.savez(folder / "wide.npz", x=numpy.zeros((4, 1, SIDE, SIDE + 1), numpy.float32), y=numpy.arange(4) % 3)
            (folder / "corrupt.onnx").write_bytes(net.read_bytes()[:1000])
            cases = [
                (ACCURACY, net, folder / "broken", "BAD_IMAGE", "0002.png"),
                (ACCURACY, net, folder / "more", "BAD_LABEL", "data.test"),
                (ACCURACY, net, folder / "nan.npz", "NOT_FINITE", "nan.npz"),
                (ACCURACY, net, folder / "wide.npz", "SHAPE_MISMATCH", "data.test"),
                (ACCURACY, net, self.folder, "BAD_DATA", "data.test"),
                ("gptq(bits=4)", net, test, "WRONG_MODEL_KIND", "stages[0].method"),
                (f"hesso({TRAINING}, data=test)", self.folder / "fixed.onnx", test, "FIXED_BATCH", "stages[0].params.batch"),
                ("magnitude-units(targets=re:.*)", net, test, "NO_TARGETS", "stages[0].targets"),
                ("magnitude-units", folder / "corrupt.onnx", test, "BAD_ONNX", ""),
            ]
            for recipe, model, data, reason, field in cases:
                with self.subTest(reason, recipe=recipe):
                    out = folder / "out"
                    arguments = ["run", "--local", recipe, "--model", model, "--data", f"test={data}", "--out", out, "--json"]
                    if "gptq" in recipe:
                        arguments += ["--data", f"calibration={data}"]
                    answer = self.service.cli(*arguments)
                    self.assertNotEqual(answer.status, 0, str(answer))
                    self.assertIn(field, answer.err)
                    self.assertFalse(out.exists())
