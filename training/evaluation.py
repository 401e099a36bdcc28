"""Evaluation of a text-video model: features of a corpus, retrieval metrics, hard-negative accuracy."""

from .metrics.video_text_retrieval.ranking import retrieval_metrics

__all__ = ["retrieval_metrics"]
