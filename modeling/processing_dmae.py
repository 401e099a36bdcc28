"""Turns texts and videos into exactly the inputs of [`DmaeModel`]."""

import warnings

from transformers import AutoTokenizer, BatchFeature
from transformers.processing_utils import ProcessorMixin

from .configuration_dmae import DmaeConfig  # also registers the type, so that AutoTokenizer knows it
from .video_processing_dmae import DmaeVideoProcessor
from .word_weighting import CONTENT_WEIGHT, WORD_WEIGHTINGS, content_spans

DEFAULT_TOKENIZER = "openai/clip-vit-base-patch32"


class DmaeProcessor(ProcessorMixin):
    r"""A tokenizer with word weights beside a [`DmaeVideoProcessor`].

    Args:
        video_processor ([`DmaeVideoProcessor`], *optional*): CLIP's preprocessing by default.
        tokenizer (any fast tokenizer, *optional*): CLIP's by default, from the Hub.
        word_weighting (`str`, defaults to `"stopwords"`): content words weigh 2; `"pos"` finds them with spaCy,
            `"none"` weighs every token 1.
        max_words (`int`, defaults to 32): longest text in tokens, start and end included; the rest is cut off.
    """

    def __init__(self, video_processor=None, tokenizer=None, word_weighting="stopwords", max_words=32, **kwargs):
        if word_weighting not in WORD_WEIGHTINGS:
            raise ValueError(f"word_weighting must be one of {WORD_WEIGHTINGS}, got {word_weighting!r}")
        video_processor = DmaeVideoProcessor() if video_processor is None else video_processor
        tokenizer = AutoTokenizer.from_pretrained(DEFAULT_TOKENIZER) if tokenizer is None else tokenizer
        self.word_weighting = word_weighting
        self.max_words = max_words
        super().__init__(video_processor, tokenizer, **kwargs)

    @classmethod
    def for_config(cls, config: DmaeConfig, tokenizer, **video_options) -> "DmaeProcessor":
        """The processor whose pixels, frames and words are what a model of this configuration takes.

        Args:
            tokenizer: the model's own. video_options: for the [`DmaeVideoProcessor`], such as `sampling`.
        """
        side = config.vision_config.image_size
        video_processor = DmaeVideoProcessor(
            size={"shortest_edge": side},
            crop_size={"height": side, "width": side},
            num_frames=config.num_frames,
            **video_options,
        )
        return cls(video_processor, tokenizer, max_words=config.max_words)

    def __call__(self, text=None, videos=None, *, return_tensors=None, padding=True, max_length=None, **videos_kwargs):
        """Model inputs of texts, of videos, or of both.

        Args:
            text: a string or a list of strings.
            videos: a video or a list: paths, bytes, arrays, lists of PIL images, `datasets` rows (see the video
                processor, which takes the remaining keywords).
            return_tensors: `"pt"` for torch tensors. padding: as for tokenizers.
            max_length: overrides `max_words` (and the tokenizer's own limit) for this call.

        Returns:
            `BatchFeature` with `input_ids`, `attention_mask`, `word_weights` `(A, T)` and `pixel_values_videos`
            `(B, F, 3, H, W)`, `frame_mask` `(B, F)`.

        Raises:
            ValueError: neither is given, or a text is empty. VideoDecodeError: a video cannot be read.
        """
        if text is None and videos is None:
            raise ValueError("give text, videos, or both")
        data = {}
        if text is not None:
            limit = max_length or min(self.max_words, self.tokenizer.model_max_length)
            data.update(self._encode_text(text, padding, limit))
        if videos is not None:
            data.update(self.video_processor(videos=videos, return_tensors=return_tensors, **videos_kwargs))
        return BatchFeature(data, tensor_type=return_tensors)

    def _encode_text(self, text, padding, max_length) -> dict:
        texts = [text] if isinstance(text, str) else list(text)
        for position, item in enumerate(texts):
            if not isinstance(item, str) or not item.strip():
                raise ValueError(f"text {position} is {item!r}: give a non-empty string")
        self._warn_if_cut(texts, max_length)
        encoded = self.tokenizer(
            texts, padding=padding, truncation=True, max_length=max_length, return_offsets_mapping=True
        )
        offsets = encoded.pop("offset_mapping")
        weights = [
            self._weigh(item, spans, mask) for item, spans, mask in zip(texts, offsets, encoded["attention_mask"])
        ]
        return {
            "input_ids": encoded["input_ids"],
            "attention_mask": encoded["attention_mask"],
            "word_weights": weights,
        }

    def _warn_if_cut(self, texts: list[str], max_length: int) -> None:
        # A text of fewer characters than tokens allowed cannot be cut: the usual case costs nothing.
        long = [item for item in texts if len(item) > max_length - 2]
        if not long:
            return
        cut = sum(len(ids) > max_length for ids in self.tokenizer(long, verbose=False)["input_ids"])
        if cut:
            warnings.warn(f"{cut} of {len(texts)} texts cut to {max_length} tokens (max_words)", stacklevel=4)

    def _weigh(self, text: str, offsets: list[tuple[int, int]], attention_mask: list[int]) -> list[float]:
        """2 on every sub-token of a content word, 1 on other tokens, 0 on padding."""
        content = content_spans(text, self.word_weighting)
        weights = []
        for (start, stop), real in zip(offsets, attention_mask):
            overlaps = any(start < end and begin < stop for begin, end in content)
            weights.append((CONTENT_WEIGHT if overlaps and start < stop else 1.0) if real else 0.0)
        return weights

    @property
    def model_input_names(self) -> list[str]:
        return ["input_ids", "attention_mask", "word_weights", "pixel_values_videos", "frame_mask"]

    def batch_decode(self, *args, **kwargs):
        return self.tokenizer.batch_decode(*args, **kwargs)

    def decode(self, *args, **kwargs):
        return self.tokenizer.decode(*args, **kwargs)

    def check_argument_for_proper_class(self, argument_name, argument):
        # The base resolves BaseVideoProcessor by its top-level name, a dummy where torchvision is absent.
        if argument_name != "video_processor":
            return super().check_argument_for_proper_class(argument_name, argument)
        if not isinstance(argument, DmaeVideoProcessor):
            raise TypeError(f"video_processor must be a DmaeVideoProcessor, got {type(argument).__name__}")
        return DmaeVideoProcessor

    @classmethod
    def _get_arguments_from_pretrained(cls, pretrained_model_name_or_path, processor_dict=None, **kwargs):
        # For the same reason: AutoVideoProcessor is a dummy without torchvision.
        return [
            DmaeVideoProcessor.from_pretrained(pretrained_model_name_or_path, **kwargs),
            AutoTokenizer.from_pretrained(pretrained_model_name_or_path, **kwargs),
        ]


DmaeProcessor.register_for_auto_class()
