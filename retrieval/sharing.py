"""Sharing an index on the Hub as a dataset repository."""


def download(repo_id, revision):
    raise NotImplementedError


def push(index, repo_id, **options):
    raise NotImplementedError
