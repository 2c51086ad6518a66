"""Bad input through a real service: the error names what is wrong and helps, the exit status is right, and the service goes on."""
import json
import struct
import subprocess

from random_models import TEXT
from safetensors.torch import load_file, save_file
from service import DEADLINE, SLOW_RECIPE

programs = scratch = None  # set by run.py


def copy_model(name, change=None, config=None, without=()):
    """A copy of the model `tiny` with `change(bytes of model.safetensors)`, fields of config.json set, files left out."""
    source, target = scratch / "tiny", scratch / name
    target.mkdir()
    for file in source.iterdir():
        if file.name not in without:
            content = file.read_bytes()
            if file.name == "model.safetensors" and change:
                content = change(content)
            if file.name == "config.json" and config:
                content = json.dumps(json.loads(content) | config).encode()
            (target / file.name).write_bytes(content)
    return target


def with_header(change):
    """Rewrites the JSON header of a safetensors file."""
    def rewrite(content):
        size = struct.unpack("<Q", content[:8])[0]
        header = json.dumps(change(json.loads(content[8:8 + size]))).encode()
        return struct.pack("<Q", len(header)) + header + content[8 + size:]
    return rewrite


def lying_offsets(header):
    name = next(name for name in header if name != "__metadata__")
    header[name]["data_offsets"][1] = 1 << 60
    return header


def with_nan(target):
    tensors = load_file(target / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][3, 4] = float("nan")
    save_file(tensors, target / "model.safetensors", {"format": "pt"})
    return target


class BadInputTests:
    """To be mixed into run.py's WithService. Each is refused with an error that helps and its exit status; afterwards the service does a job as before."""

    def tearDown(self):
        answer = self.service.cli("submit", "rtn(bits=4, group_size=32)", "--model", scratch / "tiny", "--wait", "--json")
        self.assertEqual(answer.status, 0, str(answer))

    def refused(self, status, words, recipe="rtn(bits=4, group_size=32)", model=None, data=()):
        arguments = [argument for entry in data for argument in ("--data", entry)]
        answer = self.service.cli("submit", recipe, "--model", model or scratch / "tiny", *arguments, "--wait")
        self.assertEqual(answer.status, status, str(answer))
        self.assertIn("error:", answer.err)
        for word in words:
            self.assertIn(word, answer.err)

    def test_a_recipe_with_a_typo_names_the_nearest_key(self):
        self.refused(2, ["group_sise", "group_size"], "rtn(bits=4, group_sise=32)")

    def test_an_unknown_method_names_the_nearest(self):
        self.refused(2, ["gtpq", "gptq"], "gtpq(bits=4)")

    def test_a_value_out_of_range_names_the_range(self):
        self.refused(2, ["bits", "17"], "rtn(bits=17)")

    def test_a_value_of_the_wrong_type(self):
        self.refused(2, ["bits", "many"], "rtn(bits=many)")

    def test_a_group_size_that_does_not_divide_names_the_layer(self):
        self.refused(2, ["48", "64"], "rtn(bits=4, group_size=48)")

    def test_a_job_that_needs_more_memory_than_it_may_have_is_refused_before_it_runs_with_what_is_missing(self):
        long = self.folder / "long.txt"
        long.write_text("\n".join(TEXT * 4000))
        answer = self.service.cli("submit", "wanda(pattern=0.5, samples=4000, sequence_length=128)", "--model", scratch / "slow", "--data",
                                  f"calibration={long}", "--memory", "500MB", "--wait")
        self.assertEqual(answer.status, 4, str(answer))
        self.assertRegex(answer.err, r"wanda will take about .* of memory, .* more than the 500.0 MB that the job may have")

    def test_a_model_that_is_not_there(self):
        self.refused(3, ["nowhere"], model=scratch / "nowhere")

    def test_a_recipe_that_is_not_there(self):
        self.refused(3, ["nowhere.yaml"], recipe="nowhere.yaml")

    def test_an_unsupported_family_names_those_that_are_supported(self):
        self.refused(2, ["mamba", "llama", "bert"], model=copy_model("mamba", config={"model_type": "mamba"}))

    def test_attention_within_a_window(self):
        window = {"model_type": "mistral", "sliding_window": 16}
        self.refused(2, ["sliding_window", "16 tokens"], model=copy_model("window", config=window))
        self.assertEqual(self.service.cli("run", "--local", "rtn(bits=4, group_size=32)", "--model",
                                          copy_model("window_off", config={"model_type": "qwen2", "sliding_window": 16}), "--out",
                                          self.folder / "window_off").status, 0)

    def test_a_missing_tokenizer(self):
        model = copy_model("no_tokenizer", without=("tokenizer.json", "tokenizer_config.json"))
        self.refused(3, ["tokenizer"], "gptq(bits=4, group_size=32)", model, [f"calibration={scratch / 'text.txt'}"])

    def test_empty_calibration_text(self):
        self.refused(2, ["calibration"], "gptq(bits=4, group_size=32)", data=[f"calibration={scratch / 'empty.txt'}"])

    def test_calibration_text_that_is_no_utf8_names_the_byte(self):
        latin = self.folder / "latin.txt"
        latin.write_bytes(b"caf\xe9 " * 400)
        self.refused(2, ["latin.txt", "byte 3", "iconv"], "gptq(bits=4, group_size=32)", data=[f"calibration={latin}"])

    def test_data_that_is_given_twice(self):
        text = f"calibration={scratch / 'text.txt'}"
        self.refused(2, ["calibration", "twice"], "gptq(bits=4, group_size=32)", data=[text, text])

    def test_a_suite_that_does_not_take_the_model_is_refused_before_any_stage(self):
        recipe = "{stages: ['rtn(bits=4, group_size=32)'], evaluations: [similarity]}"
        job = self.service.submit(recipe, scratch / "tiny", "--data", f"test={scratch / 'text.txt'}")
        answer = self.service.cli("watch", job)
        self.assertEqual(answer.status, 2, str(answer))
        for word in ("similarity", "decoder-lm", "evaluations[0].suite"):
            self.assertIn(word, answer.err)
        self.assertEqual([stage["state"] for stage in self.service.job(job)["stages"]], [])  # not even planned

    def test_a_tokenizer_of_more_ids_than_the_model(self):
        model = copy_model("few_rows", config={"vocab_size": 40})
        tensors = load_file(model / "model.safetensors")
        rows = {name: tensor[:40].clone() for name, tensor in tensors.items() if "embed_tokens" in name or "lm_head" in name}
        save_file(tensors | rows, model / "model.safetensors", {"format": "pt"})
        self.refused(2, ["embed_tokens", "40 rows", "tokenizer"], "gptq(bits=4, group_size=32)", model, [f"calibration={scratch / 'text.txt'}"])

    def test_arguments_that_are_no_text(self):
        for arguments in (["jobs", "--project", "a\udcff"], ["submit", "rtn(bits=4\udcff)", "--model", scratch / "tiny"]):
            answer = self.service.cli(*arguments)
            self.assertEqual(answer.status, 2, str(answer))
            self.assertIn("UTF-8", answer.err)

    def test_a_prompt_beyond_the_context(self):
        answer = self.service.cli("generate", scratch / "tiny", "--prompt", "a", "--tokens", "100000")
        self.assertEqual((answer.status, "context" in answer.err), (2, True), str(answer))

    def test_calibration_text_that_is_not_given(self):
        self.refused(2, ["calibration"], "gptq(bits=4, group_size=32)")

    def test_weights_that_are_not_numbers_name_the_tensor(self):
        self.refused(2, ["up_proj"], model=with_nan(copy_model("nan")))

    def test_truncated_safetensors(self):
        for name, size in (("cut_in_data", 50000), ("cut_in_header", 40), ("cut_in_length", 5)):
            with self.subTest(name):
                answer = self.service.cli("submit", "rtn(bits=4, group_size=32)", "--model", copy_model(name, lambda c: c[:size]), "--wait")
                self.assertIn(answer.status, (1, 2), str(answer))
                self.assertIn("model.safetensors", answer.err)

    def test_safetensors_whose_header_lies(self):
        for name, change in (("offsets", with_header(lying_offsets)), ("length", lambda c: struct.pack("<Q", 1 << 62) + c[8:])):
            with self.subTest(name):
                answer = self.service.cli("submit", "rtn(bits=4, group_size=32)", "--model", copy_model(f"lying_{name}", change), "--wait")
                self.assertIn(answer.status, (1, 2), str(answer))
                self.assertIn("model.safetensors", answer.err)

    def test_gguf_files_that_lie_or_end_too_early(self):
        whole = b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0)
        for name, content in (("lies", whole + bytes(64)), ("short", whole[:10]), ("version", b"GGUF" + struct.pack("<IQQ", 99, 0, 0))):
            with self.subTest(name):
                file = scratch / f"{name}.gguf"
                file.write_bytes(content)
                answer = self.service.cli("submit", "rtn(bits=4, group_size=32)", "--model", file, "--wait")
                self.assertIn(answer.status, (1, 2), str(answer))
                self.assertIn("error:", answer.err)

    def test_a_gguf_that_is_cut_off_says_what_to_do(self):
        file = scratch / "cut.gguf"
        file.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1, 0)[:10])
        answer = self.service.cli("run", "--local", "rtn(bits=4)", "--model", file, "--out", self.folder / "cut")
        self.assertEqual(answer.status, 2, str(answer))
        self.assertIn("fetch the file again", answer.err)

    def test_a_gguf_of_another_architecture_names_those_that_are_supported(self):
        """Its own keys have other names: the first one that is missed must not be the answer."""
        text = lambda value: struct.pack("<Q", len(value)) + value  # noqa: E731
        key = text(b"general.architecture") + struct.pack("<I", 8) + text(b"mamba")
        tensor = text(b"token_embd.weight") + struct.pack("<IQIQ", 1, 8, 0, 0)
        head = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + key + tensor
        file = scratch / "mamba.gguf"
        file.write_bytes(head + bytes(-len(head) % 32) + bytes(32))
        answer = self.service.cli("run", "--local", "rtn(bits=4)", "--model", file, "--out", self.folder / "mamba")
        self.assertEqual(answer.status, 2, str(answer))
        for part in ("mamba", "llama, qwen2"):
            self.assertIn(part, answer.err)

    def test_a_job_that_may_not_have_the_memory_it_needs(self):
        answer = self.service.cli("submit", "wanda(pattern=0.5, samples=1000, sequence_length=128)", "--model", scratch / "slow",
                                  "--data", f"calibration={scratch / 'text.txt'}", "--memory", "150MB", "--max-attempts", "1", "--wait")
        self.assertEqual(answer.status, 4, str(answer))
        self.assertRegex(answer.err, "will take about .* more than the 150.0 MB that the job may have")  # before it ran

    def test_a_job_that_takes_longer_than_it_may(self):
        answer = self.service.cli("submit", SLOW_RECIPE, "--model", scratch / "slow", "--data", f"calibration={scratch / 'text.txt'}",
                                  "--seed", "5", "--max-runtime", "0.5s", "--max-attempts", "1", "--wait")
        self.assertEqual(answer.status, 4, str(answer))  # out of a resource: 5 is for a server that is away

    def test_a_job_that_is_not_done_in_all_its_time(self):
        answer = self.service.cli("submit", SLOW_RECIPE, "--model", scratch / "slow", "--data", f"calibration={scratch / 'text.txt'}",
                                  "--seed", "6", "--total-timeout", "1s", "--wait")
        self.assertEqual(answer.status, 4, str(answer))
        self.assertIn("total timeout", answer.err)
        self.service.wait_for("the engine's end", lambda: not self.service.engines(), 5)

    def test_a_workers_command_line_that_is_wrong(self):
        cache = ["--cache", self.folder / "other"]
        for arguments, word in ((["--server", self.service.grpc, *cache, "--memory", "4XB"], "4XB"),
                                (["--server", "127.0.0.1", *cache], "HOST:PORT"), (["--serve", self.service.grpc], "--help")):
            with self.subTest(word):
                answer = subprocess.run([programs / "wring-worker", *arguments], capture_output=True, text=True, timeout=DEADLINE)
                self.assertEqual(answer.returncode, 2, answer.stderr)
                self.assertIn(word, answer.stderr)

    def test_an_error_is_told_once(self):
        answer = self.service.cli("submit", "rtn(bits=4, group_size=48)", "--model", scratch / "tiny", "--wait")
        self.assertEqual(answer.err.count("does not divide"), 1, str(answer))

    def test_data_that_the_recipe_does_not_read(self):
        self.refused(2, ["tset", "none"], data=[f"tset={scratch / 'text.txt'}"])
        self.refused(2, ["tset", "calibration"], "gptq(bits=4, group_size=32)", data=[f"tset={scratch / 'text.txt'}"])

    def test_data_that_no_recipe_reads_is_refused_locally_too_and_the_usual_two_never(self):
        run = ["run", "--local", "rtn(bits=4, group_size=32)", "--model", scratch / "tiny", "--out", self.folder / "unread"]
        answer = self.service.cli(*run, "--data", f"tset={scratch / 'text.txt'}")
        self.assertEqual((answer.status, "tset" in answer.err), (2, True), str(answer))
        usual = [argument for name in ("calibration", "test") for argument in ("--data", f"{name}={scratch / 'text.txt'}")]
        self.assertEqual(self.service.cli(*run, *usual).status, 0)
        submitted = self.service.cli("submit", "rtn(bits=4, group_size=32)", "--model", scratch / "tiny", *usual, "--wait")
        self.assertEqual(submitted.status, 0, str(submitted))

    def test_a_server_that_is_away(self):
        answer = self.service.cli("jobs", server="127.0.0.1:1")
        self.assertEqual(answer.status, 5, str(answer))
        answer = self.service.cli("jobs", server="127.0.0.1")
        self.assertEqual((answer.status, "HOST:PORT" in answer.err), (2, True), str(answer))
