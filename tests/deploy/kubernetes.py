#!/usr/bin/env python3
"""deploy/kubernetes: each overlay renders, is what Kubernetes takes, fits together, and starts programs with options that they have.

Needs kubectl (scripts/bootstrap --kubernetes), the wheel kubernetes-validate, and the programs in build/release/bin.
"""
import re
import subprocess
import unittest
from pathlib import Path

import kubernetes_validate
import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy/kubernetes"
OVERLAYS = sorted(path.parent.name for path in FOLDER.glob("overlays/*/kustomization.yaml"))
OLDEST, NEWEST = "1.25", kubernetes_validate.latest_version()  # autoscaling/v2 and the labels of PodSecurity are in all of them
OF_OTHERS = {"ScaledObject"}  # KEDA's own kind; its schema is not Kubernetes'


def render(overlay):
    result = subprocess.run(["kubectl", "kustomize", FOLDER / "overlays" / overlay], capture_output=True, text=True)
    if result.returncode:
        raise AssertionError(f"{overlay}: {result.stderr}")
    return [entry for entry in yaml.safe_load_all(result.stdout) if entry]


def pods(objects):
    """(name, pod template) of each object that makes pods."""
    return [(entry["metadata"]["name"], entry["spec"]["template"]) for entry in objects if "template" in entry.get("spec", {})]


def containers(template):
    return [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]


def options_of(program):
    text = subprocess.run([ROOT / "build/release/bin" / program, "--help"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"--[a-z][a-z-]+", text))


class Manifests(unittest.TestCase):
    def on_each(self, check):
        self.assertTrue(OVERLAYS)
        for overlay in OVERLAYS:
            with self.subTest(overlay=overlay):
                check(render(overlay))

    def test_kubernetes_takes_each_object(self):
        def check(objects):
            kinds = [entry["kind"] for entry in objects]
            self.assertIn("StatefulSet", kinds)
            for entry in objects:
                if entry["kind"] in OF_OTHERS:
                    self.assertEqual(entry["apiVersion"], "keda.sh/v1alpha1")
                    continue
                for version in (OLDEST, NEWEST):
                    kubernetes_validate.validate(entry, version, strict=True)

        self.on_each(check)

    def test_a_misspelt_key_is_found(self):
        entry = next(entry for entry in render("cpu") if entry["kind"] == "StatefulSet")
        entry["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(entry, OLDEST, strict=True)

    def test_objects_fit_together(self):
        def check(objects):
            labels = {name: template["metadata"]["labels"] for name, template in pods(objects)}
            named = {(entry["kind"], entry["metadata"]["name"]) for entry in objects}
            for entry in objects:
                self.assertEqual(entry["metadata"].get("namespace", "wring"), "wring", entry["metadata"])
                spec = entry.get("spec", {})
                wanted = []
                if entry["kind"] == "Service":
                    wanted.append(spec["selector"])
                if entry["kind"] in ("StatefulSet", "Deployment"):
                    wanted.append(spec["selector"]["matchLabels"])
                    self.assertEqual(spec["selector"]["matchLabels"], spec["template"]["metadata"]["labels"])
                if entry["kind"] == "NetworkPolicy" and spec["podSelector"]:
                    wanted.append(spec["podSelector"]["matchLabels"])
                if entry["kind"] == "StatefulSet":
                    self.assertIn(("Service", spec["serviceName"]), named)
                if entry["kind"] == "HorizontalPodAutoscaler":
                    self.assertIn((spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"]), named)
                if entry["kind"] == "ScaledObject":
                    self.assertIn(("Deployment", spec["scaleTargetRef"]["name"]), named)
                for selector in wanted:
                    if selector != {"app.kubernetes.io/name": "wring-worker"} or "wring-worker" in str(labels):
                        self.assertTrue(any(selector.items() <= have.items() for have in labels.values()), f"{selector} selects no pod")
            self.check_ports(objects)

        self.on_each(check)

    def check_ports(self, objects):
        service = next(entry for entry in objects if entry["kind"] == "Service")
        server = dict(pods(objects))["wring-server"]["spec"]["containers"][0]
        names = {port["name"]: port["containerPort"] for port in server["ports"]}
        for port in service["spec"]["ports"]:
            self.assertEqual(port["port"], names[port["targetPort"]])
        arguments = " ".join(server["args"])
        for number in names.values():
            self.assertIn(f":{number}", arguments)

    def test_a_standby_lives_and_is_not_ready(self):
        def check(objects):
            server = dict(pods(objects))["wring-server"]["spec"]["containers"][0]
            asked = {probe: server[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
            self.assertEqual(asked, {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"})

        self.on_each(check)

    def test_pods_are_restricted(self):
        """The Pod Security Standard `restricted`, which the namespace enforces, and more: no token, a root folder that is read only."""
        def check(objects):
            namespace = next(entry for entry in objects if entry["kind"] == "Namespace")
            self.assertEqual(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted")
            for name, template in pods(objects):
                pod = template["spec"]
                self.assertTrue(pod["securityContext"]["runAsNonRoot"], name)
                self.assertEqual(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault")
                self.assertFalse(pod["automountServiceAccountToken"])
                self.assertFalse({"hostNetwork", "hostPID", "hostIPC"} & set(pod))
                self.assertTrue(all({"emptyDir", "secret", "configMap", "persistentVolumeClaim"} & set(volume) for volume in pod["volumes"]))
                for container in containers(template):
                    context = container["securityContext"]
                    self.assertEqual(context["capabilities"], {"drop": ["ALL"]})
                    self.assertFalse(context["allowPrivilegeEscalation"])
                    self.assertTrue(context["readOnlyRootFilesystem"])
                    self.assertIn("memory", container["resources"]["limits"])

        self.on_each(check)

    def test_programs_have_the_options_and_folders_that_pods_give_them(self):
        def check(objects):
            claims = {claim["metadata"]["name"] for entry in objects for claim in entry.get("spec", {}).get("volumeClaimTemplates", [])}
            for _, template in pods(objects):
                volumes = {volume["name"] for volume in template["spec"]["volumes"]} | claims
                for container in containers(template):
                    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
                    self.assertLessEqual(set(mounts.values()), volumes)
                    given = [word for word in container["args"] if word.startswith("--")]
                    if container["command"][0] in ("wring-server", "wring-worker"):
                        self.assertLessEqual(set(given), options_of(container["command"][0]))
                    paths = re.findall(r"(?:^|[ >])(/[a-z/.-]+)", " ".join(container["args"]))
                    self.assertTrue(paths)
                    for path in paths:
                        self.assertTrue(any(path.startswith(mount) for mount in mounts), f"{path} lies on no volume of {container['name']}")

        self.on_each(check)


if __name__ == "__main__":
    unittest.main()
