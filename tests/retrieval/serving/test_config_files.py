"""The Serve config file and the manifest that users copy say what Ray and the search service understand."""

import os

import pytest
import yaml
from places import ROOT

from dmae.retrieval.serving.options import ServingOptions

if not os.environ.get("CI"):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")


def config_of(name: str) -> dict:
    read = yaml.safe_load((ROOT / "examples" / name).read_text(encoding="utf-8"))
    return yaml.safe_load(read["spec"]["serveConfigV2"]) if name == "kuberay.yaml" else read


@pytest.mark.parametrize("name", ["serve.yaml", "kuberay.yaml"])
def test_a_config_is_one_of_serve_and_its_arguments_are_ours(name):
    from ray.serve.schema import ServeDeploySchema

    config = ServeDeploySchema.model_validate(config_of(name))
    (application,) = config.applications
    assert application.import_path == "dmae.retrieval.serving:build"
    options = ServingOptions.of(application.args)
    assert len(options.shards) == 10 and options.replicas == 2


def test_the_nodes_of_the_manifest_have_room_for_what_they_serve():
    manifest = yaml.safe_load((ROOT / "examples" / "kuberay.yaml").read_text(encoding="utf-8"))
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayService")
    options = ServingOptions.of(config_of("kuberay.yaml")["applications"][0]["args"])
    (workers,) = manifest["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    (container,) = workers["template"]["spec"]["containers"]
    limits, processes = container["resources"]["limits"], len(options.shards) * options.replicas
    cpus = processes * options.shard_cpus + options.encoders * options.encoder_cpus + options.ingress_cpus
    assert cpus <= workers["replicas"] * int(limits["cpu"])
    # Ray offers 70 % of a container's memory; the rest is its object store.
    memory = workers["replicas"] * int(limits["memory"].removesuffix("Gi")) * 2**30
    assert processes * options.shard_memory <= 0.7 * memory
