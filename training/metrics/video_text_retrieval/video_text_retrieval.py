"""Text-video retrieval metrics for `evaluate`: `evaluate.load(<this folder>)`."""

import datasets
import evaluate

from .ranking import retrieval_metrics

_DESCRIPTION = """\
Recall at 1, 5 and 10, median rank and mean rank, from texts to videos ("t2v_") and from videos to texts ("v2t_"). A
video may have any number of texts, all of them right; its rank is that of its best one. Ties count against the model.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions: one row per text, the scores of that text with every video (higher is closer).
    references: for each text, the index of its video.
Returns:
    t2v_R@1, t2v_R@5, t2v_R@10: percentage of texts whose video is among the first 1, 5, 10.
    t2v_MdR, t2v_MnR: median and mean rank of the text's video, from 1.
    v2t_R@1, v2t_R@5, v2t_R@10, v2t_MdR, v2t_MnR: the same for each video's best text among single texts.
    v2t_by_video_R@1, …: where a video has several texts, the same among videos, each by its best text (CLIP4Clip).
Examples:
    >>> metric = evaluate.load("video_text_retrieval")
    >>> scores = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.5]]
    >>> result = metric.compute(predictions=scores, references=[0, 0, 1, 1])
    >>> result["t2v_R@1"], result["t2v_MnR"], result["v2t_R@1"]
    (75.0, 1.25, 100.0)
"""

_CITATION = """\
@inproceedings{jiang2023dmae,
  title = {Dual-Modal Attention-Enhanced Text-Video Retrieval with Triplet Partial Margin Contrastive Learning},
  author = {Jiang, Chen and others},
  booktitle = {Proceedings of the 31st ACM International Conference on Multimedia},
  year = {2023},
}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class VideoTextRetrieval(evaluate.Metric):
    """See `retrieval_metrics`."""

    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(
                {
                    "predictions": datasets.Sequence(datasets.Value("float32")),
                    "references": datasets.Value("int64"),
                }
            ),
        )

    def _compute(self, predictions, references):
        return retrieval_metrics(predictions, references)
