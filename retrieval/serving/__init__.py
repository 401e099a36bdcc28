"""Search on many machines: a Ray Serve application of shards, replicas and one ingress over HTTP.

serve run dmae.retrieval.serving:build model=MODEL 'shards=s3://bucket/shards/*-of-10' replicas=2
"""


def build(args: dict):
    """The application, from the arguments of `serve run` or of a Serve config file; see `ServingOptions`."""
    from .app import build_app
    from .options import ServingOptions

    return build_app(ServingOptions.of(args))
