"""What the figures of an evaluation are called, in tables and cards."""

COLUMNS = ("R@1", "R@5", "R@10", "MdR", "MnR")
DIRECTIONS = {"t2v": "text to video", "v2t": "video to text", "v2t_by_video": "video to text, by video"}
RANKINGS = {
    "": "",
    "dual_softmax/": ", dual softmax",
    "softmax_prior/": ", softmax prior",
    "query_bank/": ", query bank",
}
# What a row is, where its name does not tell, by the beginning of its metrics' names.
NOTES = {
    "v2t_by_video": "by video: videos are ranked by their best text, as CLIP4Clip does, instead of single texts",
    "dual_softmax/": "dual softmax: softmax over videos × softmax over texts; sees all queries",
    "softmax_prior/": "softmax prior: similarity × softmax over queries, TS2-Net's dual softmax; sees all queries",
    "query_bank/": "query bank: the dynamic inverted softmax of QB-Norm",
}


def notes_on(metrics: dict) -> list[str]:
    """What the rows of these metrics are, where their names do not tell."""
    return [note for start, note in NOTES.items() if any(name.startswith(start) for name in metrics)]
