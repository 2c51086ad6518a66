"""Generates the API's stubs from proto/wring/v1 when the package is built."""

import pathlib

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = pathlib.Path(__file__).resolve().parent


def generate(target: pathlib.Path) -> None:
    """Writes wring/v1/*_pb2.py and *_pb2_grpc.py below `target`."""
    import google.api.annotations_pb2
    import grpc_tools
    from grpc_tools import protoc

    protos = HERE.parent.parent / "proto"
    well_known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    googleapis = pathlib.Path(google.api.annotations_pb2.__file__).parents[2]
    files = sorted(str(path) for path in (protos / "wring" / "v1").glob("*.proto"))
    if not files:
        raise SystemExit(f"no .proto files in {protos}: build from a checkout of the repository")
    target.mkdir(parents=True, exist_ok=True)
    arguments = ["protoc", f"-I{protos}", f"-I{well_known}", f"-I{googleapis}", f"--python_out={target}", f"--grpc_python_out={target}"]
    if protoc.main(arguments + files) != 0:
        raise SystemExit("protoc failed")
    (target / "wring" / "v1" / "__init__.py").touch()


class BuildWithStubs(build_py):
    def run(self):
        super().run()
        # An editable install reads the sources' own folder.
        generate(HERE if getattr(self, "editable_mode", False) else pathlib.Path(self.build_lib))


setup(cmdclass={"build_py": BuildWithStubs})
