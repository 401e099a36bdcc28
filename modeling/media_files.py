"""Which files count as videos and which as images, by their names."""

VIDEO_SUFFIXES = frozenset(
    """
    .3g2 .3gp .3gpp .asf .avi .divx .flv .gif .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .qt .ts .webm .wmv
    """.split()  # noqa: SIM905
)
IMAGE_SUFFIXES = frozenset([".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"])
