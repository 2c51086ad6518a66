"""What scripts/lint must refuse, tried in a throw-away repository; and what an incompatible change of the API is."""
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "scripts"))
from proto_compatibility import incompatibilities  # noqa: E402

HEAD = "// Says what the file is for.\n"


def lint(files, add_readmes=True):
    """The findings of scripts/lint on a repository with these files (text, or bytes)."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if add_readmes:
            files = {f"{name.split('/')[0]}/README.md": "What lives here.\n" for name in ["scripts/lint", *files]} | files
        for name in ("scripts/lint", "scripts/format", "scripts/proto_compatibility.py", ".clang-format"):
            files[name] = (ROOT / name).read_text()
        for name, content in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        for name in ("lint", "format"):
            (root / "scripts" / name).chmod(0o755)
        subprocess.run(["git", "init", "-q"], cwd=root, check=True)
        result = subprocess.run(["scripts/lint"], cwd=root, capture_output=True, text=True)
        lines = result.stdout.splitlines()
        assert lines, result.stderr
        assert (result.returncode == 0) == (len(lines) == 1), result.stdout
        return lines[:-1]


class Lint(unittest.TestCase):
    def refused(self, files, finding, add_readmes=True):
        findings = lint(files, add_readmes)
        self.assertTrue(any(finding in line for line in findings), f"{finding!r} not in {findings}")

    def test_clean_code_passes(self):
        clean = {"common/a.h": HEAD + "#pragma once\n", "formats/b.cc": HEAD + '#include "common/a.h"\n',
                 "engine/c.cc": HEAD + "#include <ATen/ATen.h>\n\n#include \"formats/b.h\"\n"}
        self.assertEqual(lint(clean), [])

    def test_a_tower_that_includes_another(self):
        self.refused({"server/a.cc": HEAD + '#include "worker/agent.h"\n'}, "server/a.cc:2: server/ must not include worker/")

    def test_the_ground_that_includes_a_slab(self):
        self.refused({"common/a.cc": HEAD + '#include "recipe/recipe.h"\n'}, "common/ must not include recipe/")

    def test_torch_outside_the_engine(self):
        self.refused({"worker/a.cc": HEAD + "#include <torch/torch.h>\n"}, "includes torch")
        self.refused({"engine/text/a.cc": HEAD + "#include <ATen/ATen.h>\n"}, "includes torch")

    def test_protobuf_in_the_engine(self):
        self.refused({"engine/a.cc": HEAD + "#include <grpcpp/grpcpp.h>\n"}, "includes gRPC")
        self.refused({"engine/a.cc": HEAD + '#include "wring/v1/jobs.pb.h"\n'}, "includes gRPC")

    def test_a_file_without_a_head(self):
        self.refused({"common/a.cc": "int a;\n"}, "common/a.cc:1: the first line")

    def test_a_header_without_pragma_once(self):
        self.refused({"common/a.h": HEAD + "int a();\n"}, "no #pragma once")

    def test_two_types_of_one_name_in_one_program(self):
        header = HEAD + "#pragma once\n\nnamespace wring {\n\nstruct Step {\n  int a;\n};\n\n}  // namespace wring\n"
        self.refused({"common/a.h": header, "engine/b.h": header}, "engine/b.h:6: Step is a type of common/a.h too")
        self.refused({"engine/a.h": header, "engine/b.h": header}, "Step is a type of engine/a.h too")
        self.assertEqual(lint({"server/a.h": header, "engine/b.h": header}), [])

    def test_a_function_longer_than_a_screen(self):
        body = "".join(f"  a += {i};\n" for i in range(80))
        self.refused({"common/a.cc": HEAD + f"int f(int a) {{\n{body}  return a;\n}}\n"}, "a function of 83 lines")

    def test_a_constructor_with_initialisers_ends_where_it_ends(self):
        short = "".join(f"void f{i}() {{\n  g();\n}}\n" for i in range(40))
        code = f"A::A(int a)\n    : a_(a) {{\n  while (a_) {{\n    --a_;\n  }}\n}}\n{short}"
        self.assertFalse([line for line in lint({"common/a.cc": HEAD + code}) if "a function of" in line])

    def test_code_that_is_not_formatted(self):
        self.refused({"common/a.cc": HEAD + "int  a ;\n"}, "not formatted")

    def test_a_folder_without_a_readme_and_one_with_a_long_one(self):
        self.refused({"common/a.cc": HEAD, "common/README.md": "line\n" * 61}, "longer than one screen")
        self.refused({"bench/a.txt": "x\n"}, "bench:1: no README.md", add_readmes=False)

    def test_a_path_of_one_machine(self):
        self.refused({"docs/a.md": "See /home" + "/me/model.\n"}, "a path of one machine")

    def test_a_script_that_bash_cannot_read(self):
        self.refused({"scripts/a": "#!/usr/bin/env bash\n# Does something.\nif true; then\n"}, "scripts/a:1")

    def test_an_incompatible_api(self):
        with tempfile.TemporaryDirectory() as folder:
            released = compiled(folder, OLD)
        now = HEAD + OLD.replace("rpc Get(A) returns (A);", "")
        self.refused({"proto/released/0.1.0.binpb": released, "proto/wring/v1/a.proto": now},
                     "rpc p.S.Get was released and is gone (0.1.0.binpb)")


OLD = """syntax = "proto3";
package p;
enum E { ZERO = 0; ONE = 1; }
message A {
  string name = 1;
  repeated uint32 sizes = 2;
  E kind = 3;
  message Inner { A deep = 1; }
}
service S { rpc Get(A) returns (A); rpc Watch(A) returns (stream A); }
"""


def compiled(folder, proto):
    (Path(folder) / "a.proto").write_text(proto)
    subprocess.run(["protoc", "-I", folder, "-o", f"{folder}/a.binpb", "a.proto"], check=True)
    return (Path(folder) / "a.binpb").read_bytes()


class ProtoCompatibility(unittest.TestCase):
    def change(self, old, new):
        self.assertIn(old, OLD)
        with tempfile.TemporaryDirectory() as a, tempfile.TemporaryDirectory() as b:
            return incompatibilities(compiled(a, OLD), compiled(b, OLD.replace(old, new)))

    def test_additions_are_compatible(self):
        self.assertEqual(self.change("string name = 1;", "string name = 1; string more = 9;"), [])
        self.assertEqual(self.change("ONE = 1;", "ONE = 1; TWO = 2;"), [])
        self.assertEqual(self.change("rpc Get(A)", "rpc Put(A) returns (A); rpc Get(A)"), [])

    def test_a_field_may_go_where_its_number_and_name_are_reserved(self):
        self.assertEqual(self.change("string name = 1;", 'reserved 1, 7 to 9; reserved "name";'), [])
        for half in ("reserved 1;", 'reserved "name";', 'reserved 2000; reserved "name";'):
            self.assertEqual(len(self.change("string name = 1;", half)), 1, half)

    def test_what_clients_rely_on_must_stay(self):
        for old, new, what in (
                ("string name = 1;", "", "p.A field 1"),
                ("string name = 1;", "string name = 4;", "p.A field 1"),
                ("string name = 1;", "bytes name = 1;", "p.A field 1"),
                ("string name = 1;", "string title = 1;", "p.A field 1"),
                ("repeated uint32", "uint32", "p.A field 2"),
                ("A deep", "E deep", "p.A.Inner field 1"),
                ("ONE = 1;", "", "p.E value 1"),
                ("rpc Get(A) returns (A);", "", "rpc p.S.Get"),
                ("(stream A)", "(A)", "rpc p.S.Watch"),
                ("message Inner { A deep = 1; }", "", "message p.A.Inner")):
            found = self.change(old, new)
            self.assertTrue(any(line.startswith(what) for line in found), f"{old} -> {new}: {found}")


if __name__ == "__main__":
    unittest.main()
