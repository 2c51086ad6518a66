#!/usr/bin/env python3
"""An engine that compresses nothing: speaks docs/pipe.md and does what the recipe's "do" list says."""
import hashlib, json, os, signal, sys, time

HELLO = {"type": "hello", "v": 1, "version": "fake", "catalogue": "",
         "devices": [{"kind": "cpu", "index": 0, "name": "fake", "memory_bytes": 1 << 30, "threads": 2}]}


def say(message):
    raw(json.dumps(message) + "\n")


def raw(text):
    data = text.encode()
    while data:
        data = data[os.write(4, data):]


def manifest_digest(folder, kind, metadata):
    files = []
    for name in sorted(os.listdir(folder)):
        data = open(os.path.join(folder, name), "rb").read()
        sizes = [len(data)] if data else []
        chunks = [{"sha256": hashlib.sha256(data).hexdigest(), "size": size} for size in sizes]
        files.append({"chunks": chunks, "path": name, "size": len(data)})
    text = {"files": files, "kind": kind, "metadata": metadata, "version": 1}
    return hashlib.sha256(json.dumps(text, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_input(entry):
    manifest = json.load(open(entry["manifest"]))
    parts = []
    for file in manifest["files"]:
        for chunk in file["chunks"]:
            path = os.path.join(entry["blobs"], chunk["sha256"][:2], chunk["sha256"])
            parts.append(open(path, "rb").read())
    return b"".join(parts)


class Engine:
    def __init__(self, start):
        self.start, self.out, self.work = start, start["out"], start["work"]
        self.content = read_input(start["model"])
        self.step = 0

    def stage(self, name):
        index, self.step = self.step, self.step + 1
        key = hashlib.sha256((name + self.start["model"]["manifest"].rsplit("/", 1)[-1]).encode() + self.content).hexdigest()
        say({"type": "lookup", "index": index, "key": key})
        answer = json.loads(sys.stdin_pipe.readline())
        assert answer["type"] == "lookup_result" and answer["index"] == index
        say({"type": "step_started", "index": index, "name": name})
        path = ""
        if answer["hit"] and "manifest" in answer:
            self.content = read_input(answer)
        elif answer["hit"]:
            self.content = open(os.path.join(answer["path"], "weights"), "rb").read()
        else:
            say({"type": "progress", "index": index, "done": 1, "total": 2, "unit": "blocks", "metric": "error", "value": 0.5, "eta_seconds": 1})
            self.content = self.content[: len(self.content) // 2] + name.encode()
            path = os.path.join(self.work, "stage-%d" % index)
            os.makedirs(path)
            with open(os.path.join(path, "weights"), "wb") as file:
                file.write(self.content)
        say({"type": "step_done", "index": index, "name": name, "key": key, "cached": answer["hit"], "seconds": 0.1,
             "peak_bytes": 1000, "report": {"layers": []}, "path": path})

    def evaluate(self):
        say({"type": "evaluation", "rows": [
            {"suite": "size", "metric": "bytes", "value": len(self.content), "unit": "bytes", "n": 1, "seed": 0, "when": "after"},
            {"suite": "size", "metric": "ratio", "value": 0.5, "unit": "", "n": 1, "seed": 0, "when": "before"}]})

    def finish(self):
        os.makedirs(self.out)
        with open(os.path.join(self.out, "weights"), "wb") as file:
            file.write(self.content)
        say({"type": "result", "path": self.out, "kind": "model", "metadata": {"made": "fake"},
             "digest": manifest_digest(self.out, "model", {"made": "fake"})})

    def do(self, action, argument):
        if action == "stage":
            self.stage(argument)
        elif action == "evaluate":
            self.evaluate()
        elif action == "result":
            self.finish()
        elif action == "say":
            say(argument)
        elif action == "raw":
            raw(argument["text"] * argument.get("times", 1))
        elif action == "log":
            print(argument, file=sys.stderr, flush=True)
        elif action == "log_start":
            print(argument + " " + json.dumps(self.start[argument]), file=sys.stderr, flush=True)
        elif action == "read":
            try:
                os.close(os.open(argument, os.O_RDONLY))
                print(argument + ": done", file=sys.stderr, flush=True)
            except OSError as error:
                print(argument + ": " + error.strerror, file=sys.stderr, flush=True)
        elif action == "log_bytes":
            sys.stderr.buffer.write(bytes.fromhex(argument))
            sys.stderr.buffer.flush()
        elif action == "signal":
            os.kill(os.getpid(), argument)
        elif action == "exit":
            sys.exit(argument)
        elif action == "ignore-sigterm":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        elif action == "sleep":
            time.sleep(argument)
        elif action == "wait-for":
            while not os.path.exists(argument):
                time.sleep(0.02)
        elif action == "write-pid":
            with open(argument, "w") as file:
                file.write(str(os.getpid()))
        elif action == "child":
            if os.fork() == 0:
                with open(argument, "w") as file:
                    file.write(str(os.getpid()))
                time.sleep(1000)
        elif action == "allocate":
            self.held = bytearray(os.urandom(1 << 20)) * (argument >> 20)
            time.sleep(1000)
        elif action == "error":
            say({"type": "error", "error": argument, "index": self.step - 1})
            sys.exit(2)


def main():
    if sys.argv[1] == "devices":
        print(json.dumps(HELLO))
        return
    sys.stdin_pipe = os.fdopen(3, "r")
    say(HELLO)
    start = json.loads(sys.stdin_pipe.readline())
    assert start["type"] == "start" and start["v"] == 1
    engine = Engine(start)
    for entry in start["recipe"]["do"]:
        action, argument = entry if isinstance(entry, list) else (entry, None)
        engine.do(action, argument)


main()
