"""Graphs through the service and without it: data in each form, training, pruning, what is refused."""
import gzip
import json
import shutil
import struct
import subprocess
import tempfile
import zlib
from pathlib import Path

import numpy
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
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
        return self.head(nn.functional.adaptive_avg_pool2d(torch.relu(self.inner(x) + x), 1).flatten(1))


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.names, self.body = nn.Embedding(9, 6), nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))

    def forward(self, a, b):
        return self.body(a + self.names(b))


class Batches(CalibrationDataReader):
    def __init__(self, batches):
        self.batches = iter(batches)

    def get_next(self):
        return next(self.batches, None)


def make_net(path, batch=None):
    torch.manual_seed(0)
    net = Net().eval()
    torch.onnx.export(net, torch.zeros(batch or 2, 1, SIDE, SIDE), path, dynamo=False, input_names=["x"], output_names=["y"], opset_version=17,
                      dynamic_axes=None if batch else {"x": {0: "batch"}, "y": {0: "batch"}}, do_constant_folding=False,
                      training=torch.onnx.TrainingMode.PRESERVE)
    return net


def make_training_net(path):
    """As a training script leaves one: norms and dropout in training, weights in a file beside it."""
    torch.manual_seed(0)
    net = nn.Sequential(Net(), nn.Dropout(0.5)).train()
    net(torch.rand(64, 1, SIDE, SIDE))  # its statistics are no longer 0 and 1
    torch.onnx.export(net, torch.zeros(2, 1, SIDE, SIDE), path, dynamo=False, input_names=["x"], output_names=["y"], opset_version=17,
                      dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}}, do_constant_folding=False, training=torch.onnx.TrainingMode.PRESERVE)
    onnx.save_model(onnx.load(path), path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=0)
    return net.eval()


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
        stage = next(stage for stage in answer.json["stages"] if stage["name"] == "hesso")
        self.assertEqual((stage["report"]["units"], stage["report"]["removed"]), (40, 20))
        self.assertGreater(stage["forecast_peak_bytes"], 0.8 * stage["peak_bytes"])
        self.assertLess(stage["forecast_peak_bytes"], 1.3 * stage["peak_bytes"])
        self.assertGreater(stage["forecast_seconds"], 0)
        again = self.wring("eval", out, "--local", "--suite", "accuracy", "--data", test, "--param", "mean=0.3", "--param", "std=0.2")
        self.assertEqual(figures(again.json["evaluations"])["accuracy", "top1", "before"]["value"], after["value"])

    def test_a_net_in_training_whose_weights_lie_beside_it_comes_back_to_be_served(self):
        with tempfile.TemporaryDirectory() as folder:
            path, out = Path(folder) / "net.onnx", Path(folder) / "out"
            net = make_training_net(path)
            answer = self.wring("submit", f"magnitude-units(target_group_sparsity=0.2) | {ACCURACY}", "--model", path,
                                "--data", f"test={self.folder / 'test'}", "--wait")
            self.assertEqual(answer.status, 0, str(answer))
            images, labels = self.test
            with torch.no_grad():
                logits = net((torch.tensor(images[:, None]) / 255 - 0.3) / 0.2)
            rows = figures(answer.json["evaluations"])
            self.assertEqual(rows["accuracy", "top1", "before"]["value"], (logits.argmax(1).numpy() == labels).mean())
            self.assertEqual(self.wring("get", answer.json["id"], "--out", out).status, 0)
            self.assertEqual(sorted(file.suffix for file in out.iterdir() if "onnx" in file.name), [".onnx"], "no old weights")
            self.assertAlmostEqual(self.top1(out / "net.onnx"), rows["accuracy", "top1", "after"]["value"], delta=1 / 150)
            path.with_name("net.onnx.data").rename(path.with_name("elsewhere"))
            answer = self.wring("plan", "magnitude-units", "--model", path)
            self.assertIn("net.onnx.data", answer.err)
            self.assertIn("Hand in the folder", answer.err)

    def test_a_plan_forecasts_each_stage_with_and_without_data(self):
        recipe = f"magnitude-units(target_group_sparsity=0.2) | {HESSO}"
        for data in (["--data", f"train={self.folder / 'train'}"], []):
            answer = self.wring("plan", recipe, "--model", self.folder / "net.onnx", *data)
            self.assertEqual(answer.status, 0, str(answer))
            self.assertEqual([stage["method"] for stage in answer.json["stages"]], ["magnitude-units", "hesso"])
            for stage in answer.json["stages"]:
                self.assertGreater(stage["seconds"], 0)
                self.assertGreater(stage["peak_bytes"], stage["bytes_before"])

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

    def run_local(self, recipe, model, out, **data):
        answer = self.service.cli("run", "--local", recipe, "--model", model, "--out", out, "--json", *(part for name, path in data.items() for part in ("--data", f"{name}={path}")))
        self.assertEqual(answer.status, 0, str(answer))
        return answer.json

    def test_onnxruntime_computes_int8_with_integers_and_no_worse_than_what_its_own_quantiser_makes(self):
        images, labels = self.train
        numpy.savez(self.folder / "some.npz", images=images[:64], labels=labels[:64])
        trained, small = self.folder / "trained", self.folder / "int8"
        self.run_local(f"train-classifier({TRAINING})", self.folder / "net.onnx", trained, train=self.folder / "train")
        report = self.run_local(f"ptq(mean=0.3, std=0.2) | {ACCURACY}", trained / "net.onnx", small, calibration=self.folder / "some.npz", test=self.folder / "test")
        rows = figures(report["evaluations"])
        mine = self.top1(small / "net.onnx")
        self.assertAlmostEqual(mine, rows["accuracy", "top1", "after"]["value"], delta=2 / 150)
        theirs = self.folder / "theirs.onnx"
        quant_pre_process(str(trained / "net.onnx"), str(theirs.with_suffix(".prepared.onnx")), skip_symbolic_shape=True)
        x = ((images[:64, None].astype(numpy.float32) / 255 - 0.3) / 0.2).astype(numpy.float32)
        quantize_static(str(theirs.with_suffix(".prepared.onnx")), str(theirs), Batches([{"x": x}]), per_channel=True, activation_type=QuantType.QUInt8)
        self.assertGreaterEqual(mine, self.top1(theirs) - 2 / 150)
        self.assertGreater(mine, 0.9)
        self.assertLess((small / "net.onnx").stat().st_size, (trained / "net.onnx").stat().st_size)
        operators = self.optimised(small / "net.onnx")
        self.assertEqual(operators.count("QLinearConv"), 3, operators)
        self.assertNotIn("Conv", operators)
        self.assertIn("QLinearAdd", operators)

    def optimised(self, file):
        """Operators of the graph that onnxruntime runs."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(self.folder / "optimised.onnx")
        onnxruntime.InferenceSession(str(file), options)
        return [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]

    def test_a_graph_of_two_inputs_is_quantised_by_an_array_for_each(self):
        torch.manual_seed(1)
        net, a, b = Two().eval(), torch.randn(40, 6), torch.randint(0, 9, (40,))
        torch.onnx.export(net, (a, b), self.folder / "two.onnx", dynamo=False, input_names=["a", "b"], output_names=["y"], opset_version=17,
                          dynamic_axes={name: {0: "batch"} for name in ("a", "b", "y")})
        numpy.savez(self.folder / "two.npz", a=a.numpy(), b=b.numpy())
        # Of 7 bits, since onnxruntime's sums of 8-bit products overflow on processors without VNNI.
        self.run_local("ptq(weight_bits=7)", self.folder / "two.onnx", self.folder / "two-int8", calibration=self.folder / "two.npz")
        made = onnxruntime.InferenceSession(self.folder / "two-int8/two.onnx").run(None, {"a": a.numpy(), "b": b.numpy()})[0]
        with torch.no_grad():
            exact = net(a, b).numpy()
        self.assertLess(numpy.square(made - exact).mean(), 1e-3 * numpy.square(exact).mean())
        self.assertGreater(numpy.abs(made - exact).max(), 0)
        numpy.savez(self.folder / "one.npz", a=a.numpy())
        answer = self.service.cli("run", "--local", "ptq", "--model", self.folder / "two.onnx", "--data", f"calibration={self.folder / 'one.npz'}", "--out", self.folder / "none")
        self.assertNotEqual(answer.status, 0)
        self.assertIn("no array 'b'", answer.err)

    def test_one_shot_methods_cut_what_pytorch_says_is_least(self):
        images, labels = self.train
        numpy.savez(self.folder / "all.npz", images=images, labels=labels)
        torch.manual_seed(5)
        net = Net().eval()
        with torch.no_grad():
            for norm in (net.first[1], net.inner[1], net.inner[4]):
                norm.weight.copy_(torch.rand(norm.weight.shape) + 0.5)
                norm.bias.copy_(torch.randn(norm.bias.shape) * 0.1)
        torch.onnx.export(net, torch.zeros(2, 1, SIDE, SIDE), self.folder / "scored.onnx", dynamo=False, input_names=["x"], output_names=["y"], opset_version=17,
                          dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}}, do_constant_folding=False, training=torch.onnx.TrainingMode.PRESERVE)
        nn.functional.cross_entropy(net((torch.tensor(images[:, None]) / 255 - 0.3) / 0.2), torch.tensor(labels)).backward()
        weight, norm = net.inner[0].weight, net.inner[1]
        values = torch.cat([weight.flatten(1), norm.weight[:, None], norm.bias[:, None]], 1).detach()
        slopes = torch.cat([weight.grad.flatten(1), norm.weight.grad[:, None], norm.bias.grad[:, None]], 1)
        scores = {"magnitude-units(norm=l1)": values.abs().sum(1), "magnitude-units(norm=l2)": values.norm(dim=1), "magnitude-units(norm=bn-scale)": norm.weight.detach().abs(),
                  "taylor-units(scope=family, examples=480, batch=480, mean=0.3, std=0.2)": (values * slopes).sum(1).abs()}
        kept = set()
        for recipe, score in scores.items():
            with self.subTest(recipe):
                out = self.folder / "scored"
                shutil.rmtree(out, ignore_errors=True)
                self.run_local(recipe, self.folder / "scored.onnx", out, **({"train": self.folder / "all.npz"} if "taylor" in recipe else {}))
                made = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(out / "scored.onnx").graph.initializer}
                expected = norm.weight.detach()[score.argsort()[12:].sort().values].numpy()
                numpy.testing.assert_array_equal(made["inner.1.weight"], expected)
                kept.add(tuple(expected))
        self.assertGreaterEqual(len(kept), 3)  # both norms may say the same

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
                ("magnitude-units(targets='re:nothing')", net, test, "NO_TARGETS", "stages[0].targets"),
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
