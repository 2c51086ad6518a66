"""The REST API as its own OpenAPI document says it: schemathesis sends what the document allows and what it does not."""
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

# A cut, and what scripts/prove rest runs: examples of each operation, and the phases.
EXAMPLES, PHASES = (200, "examples,coverage,fuzzing") if os.environ.get("WRING_REST") == "long" else (8, "fuzzing")
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,ignored_auth"


class RestTests:
    """To be mixed into run.py's WithService, with `scratch` (its folder of models)."""

    @classmethod
    def start(cls):
        cls.service.start_server("--log-format", "json")

    def call(self, path, body=None):
        request = urllib.request.Request(f"http://{self.service.http}/api/v1/{path}", None if body is None else json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def things(self):
        """One of each kind, by the tag of its operations and the name that their paths have for it."""
        recipe = self.folder / "sweep.yaml"
        recipe.write_text(f"recipe: {{stages: ['rtn(bits=4, group_size=32)'], evaluations: [size]}}\nmodel: {self.scratch() / 'tiny'}\n"
                          "space: {stages.rtn.bits: [3, 4]}\nobjectives: [weight_bytes]\n")
        sweep = self.service.cli("sweep", "submit", recipe, "--json")
        self.assertEqual(sweep.status, 0, str(sweep))
        job = self.service.submit("rtn(bits=4, group_size=32)", self.scratch() / "tiny")
        self.call("projects/red/quota", {"quota": {"queued": "1000"}})
        return {("Jobs", "id"): job, ("Sweeps", "id"): sweep.json["id"], ("Artifacts", "digest"): self.call("artifacts")["artifacts"][0]["digest"],
                ("Methods", "name"): "gptq", ("Projects", "name"): "red"}

    def test_nothing_that_is_sent_breaks_what_the_document_says(self):
        config = self.folder / "schemathesis.toml"
        config.write_text("".join(f'[[operations]]\ninclude-tag = "{tag}"\nparameters = {{ "path.{name}" = "{value}" }}\n'
                                  for (tag, name), value in self.things().items()))
        token = self.call("tokens", {"scope": "admin", "name": "schemathesis"})["secret"]
        address = f"http://{self.service.http}/api/v1/openapi.json"

        def schemathesis(*arguments, examples=EXAMPLES):
            command = [sys.executable, "-m", "schemathesis.cli", "--no-color", *arguments, "run", address, "--checks", CHECKS,
                       "--phases", PHASES, "--max-examples", str(examples), "--seed", "1", "--header", f"Authorization: Bearer {token}",
                       "--exclude-operation-id", "RevokeToken", "--warnings", "off", "--request-timeout", "60"]
            result = subprocess.run(command, capture_output=True, text=True, cwd=self.folder, timeout=3600)
            self.assertEqual(result.returncode, 0, result.stdout[-8000:] + result.stderr[-2000:] + self.service.logs()[-2000:])

        # Of things that are there, and of any that may be.
        schemathesis("--config-file", str(config))
        schemathesis(examples=EXAMPLES // 2)
        self.assertEqual(self.service.server.poll(), None)
        self.assertEqual([line for line in self.service.logs().splitlines() if '"level":"error"' in line], [])
