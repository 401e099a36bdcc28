"""Turns texts and videos into exactly the inputs of [`DmaeModel`]."""

import unicodedata
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from transformers import AutoTokenizer, BatchFeature
from transformers.processing_utils import ProcessorMixin

from .configuration_dmae import DmaeConfig  # also registers the type, so that AutoTokenizer knows it
from .encoders import ENCODERS, picture_size, text_positions
from .errors import InputError
from .video_processing_dmae import DmaeVideoProcessor
from .word_weighting import (
    CONTENT_WEIGHT,
    WORD_WEIGHTINGS,
    TokenFrequencies,
    check_language,
    content_spans,
    word_spans,
)

DEFAULT_TOKENIZER = "openai/clip-vit-base-patch32"


@dataclass(frozen=True)
class TokenizedText:
    """One text. ids: of its tokens. spans: characters that each stands for, (0, 0) where it stands for none."""

    ids: list[int]
    spans: list[tuple[int, int]]


def tokenize(tokenizer, texts: Sequence[str], max_length: int) -> list[TokenizedText]:
    """Each text in at most `max_length` tokens, start and end included, without padding."""
    fast = tokenizer.is_fast
    encoded = tokenizer(
        list(texts), padding=False, truncation=True, max_length=max_length, return_offsets_mapping=fast
    )
    if fast:
        return [
            TokenizedText(ids, [tuple(span) for span in spans])
            for ids, spans in zip(encoded["input_ids"], encoded["offset_mapping"])
        ]
    special = set(tokenizer.all_special_ids)
    found = []
    for text, ids in zip(texts, encoded["input_ids"]):
        tokens = tokenizer.convert_ids_to_tokens(ids)
        spans = _find([None if at in special else token for at, token in zip(ids, tokens)], text)
        found.append(TokenizedText(list(ids), spans))
    return found


def _find(tokens: Sequence[str | None], text: str) -> list[tuple[int, int]]:
    """The spans of tokens in the order of the text, by their letters: tokenizers written in Python do not tell.

    Punctuation, which SigLIP's tokenizer removes, and marks of word boundaries are passed over. A token that is not
    found, or None, has the span (0, 0).
    """
    places = [(at, folded) for at, character in enumerate(text) for folded in _letters(character)]
    letters = "".join(folded for _, folded in places)
    spans, cursor = [], 0
    for token in tokens:
        wanted = "" if token is None else "".join(map(_letters, token))
        begin = letters.find(wanted, cursor) if wanted else -1
        if begin < 0:
            spans.append((0, 0))
            continue
        cursor = begin + len(wanted)
        spans.append((places[begin][0], places[cursor - 1][0] + 1))
    return spans


def _letters(character: str) -> str:
    """A character in the form in which tokens are compared; empty for spaces, punctuation, control and mark signs."""
    if character == "▁" or unicodedata.category(character)[0] in "PZCS":
        return ""
    return unicodedata.normalize("NFKC", character).casefold()


class DmaeProcessor(ProcessorMixin):
    r"""A tokenizer with word weights beside a [`DmaeVideoProcessor`].

    Args:
        video_processor ([`DmaeVideoProcessor`], *optional*): CLIP's preprocessing by default.
        tokenizer (any tokenizer, *optional*): CLIP's by default, from the Hub.
        word_weighting (`str`, defaults to `"stopwords"`): words that are no stop words weigh 2; `"pos"` finds content
            words with spaCy; `"idf"` weighs tokens 1 to 2, the rarer in the training captions the more
            ([`DmaeProcessor.learn_idf`]); `"none"` weighs every token 1.
        max_words (`int`, defaults to 32): longest text in tokens, start and end included; the rest is cut off.
        pad_to (`int`, *optional*): pad every text to this many tokens, as SigLIP's towers were trained; by default a
            batch is as long as its longest text.
        lower_case (`bool`, defaults to `False`): put texts in lower case first, as SigLIP's were in training.
        language (`str`, *optional*): ISO 639-1 code of the texts' language; by default each text's own is found.
        token_frequencies (`dict`, *optional*): what `learn_idf` learned.
    """

    def __init__(
        self,
        video_processor=None,
        tokenizer=None,
        word_weighting="stopwords",
        max_words=32,
        pad_to=None,
        lower_case=False,
        language=None,
        token_frequencies=None,
        **kwargs,
    ):
        if word_weighting not in WORD_WEIGHTINGS:
            raise InputError(f"word_weighting must be one of {WORD_WEIGHTINGS}, got {word_weighting!r}")
        video_processor = DmaeVideoProcessor() if video_processor is None else video_processor
        tokenizer = AutoTokenizer.from_pretrained(DEFAULT_TOKENIZER) if tokenizer is None else tokenizer
        self.word_weighting = word_weighting
        self.max_words = max_words
        self.pad_to = pad_to
        self.lower_case = lower_case
        check_language(language)
        self.language = language
        self.token_frequencies = None  # checked, and as JSON has it
        if token_frequencies is not None:
            self.token_frequencies = TokenFrequencies.from_dict(token_frequencies).to_dict()
        super().__init__(video_processor, tokenizer, **kwargs)

    @classmethod
    def for_config(cls, config: DmaeConfig, tokenizer, **video_options) -> "DmaeProcessor":
        """The processor whose pixels, frames and words are what a model of this configuration takes.

        Args:
            tokenizer: the model's own. video_options: fields of [`DmaeVideoProcessor`], such as `sampling`,
                that differ from what the encoder's type was trained with.
        """
        encoder = ENCODERS[config.encoder]
        height, width = picture_size(encoder, config.vision_config)
        exact = {"height": height, "width": width}
        video_defaults = {
            "num_frames": config.num_frames,
            "size": exact if encoder.squashed else {"shortest_edge": min(height, width)},
            "do_center_crop": not encoder.squashed,
            "crop_size": exact,
            "resample": encoder.resample,
            "image_mean": encoder.image_mean,
            "image_std": encoder.image_std,
        }
        return cls(
            DmaeVideoProcessor(**{**video_defaults, **video_options}),
            tokenizer,
            max_words=config.max_words,
            pad_to=text_positions(encoder, config.text_config) if encoder.fixed_length else None,
            lower_case=encoder.lower_case,
        )

    def __call__(
        self,
        text: str | list[str] | None = None,
        videos: Any = None,
        *,
        return_tensors: str | None = None,
        padding: bool | str = True,
        max_length: int | None = None,
        **videos_kwargs,
    ) -> BatchFeature:
        """Model inputs of texts, of videos, or of both.

        Args:
            text: a string or a list of strings.
            videos: a video or a list: paths, bytes, arrays, lists of PIL images, `datasets` rows (see the video
                processor, which takes the remaining keywords).
            return_tensors: `"pt"` for torch tensors.
            padding: `True` or `"longest"`, `"max_length"`, or `False`; with `pad_to` always to that length.
            max_length: overrides `max_words` (and the tokenizer's own limit) for this call.

        Returns:
            `BatchFeature` with `input_ids`, `attention_mask`, `word_weights` `(A, T)` and `pixel_values_videos`
            `(B, F, 3, H, W)`, `frame_mask` `(B, F)`.

        Raises:
            ValueError: neither is given, a text is empty, or texts need padding and the tokenizer has none.
            VideoDecodeError: a video cannot be read.
        """
        if text is None and videos is None:
            raise InputError("give text, videos, or both")
        data = {}
        if text is not None:
            data.update(self._encode_text(text, padding, max_length))
        if videos is not None:
            data.update(self.video_processor(videos=videos, return_tensors=return_tensors, **videos_kwargs))
        return BatchFeature(data, tensor_type=return_tensors)

    def learn_idf(self, captions: Iterable[str]) -> None:
        """Counts tokens in captions, from which `word_weighting="idf"` weighs those of any text, and sets it.

        Raises:
            InputError: there is no caption.
        """
        captions = iter(captions)
        batches = iter(lambda: list(islice(captions, 1000)), [])
        tokenized = (item.ids for batch in batches for item in self.tokenize(batch))
        self.token_frequencies = TokenFrequencies.of(tokenized).to_dict()
        self.word_weighting = "idf"

    def words(self, text: str) -> list[tuple[str, list[int]]]:
        """The words of a text as they are written, each with the positions of its tokens among the text's.

        Words that were cut off with the end of a text, or that no token stands for, are left out.
        """
        spans = self.tokenize([text])[0].spans
        found = []
        for begin, end in word_spans(self._normalized(text), self.language):
            at = [n for n, (start, stop) in enumerate(spans) if start < min(end, stop) and begin < stop]
            if at:
                found.append((text[begin:end], at))
        return found

    def tokenize(self, texts: list[str], max_length: int | None = None) -> list[TokenizedText]:
        """The tokens of texts as the model gets them, before padding, and the characters that each stands for.

        With `lower_case` the characters are those of `text.lower()`.
        """
        return tokenize(self.tokenizer, [self._normalized(text) for text in texts], self._limit(max_length))

    def _limit(self, max_length: int | None) -> int:
        limit = max_length or min(self.max_words, self.tokenizer.model_max_length)
        return min(limit, self.pad_to) if self.pad_to else limit

    def _normalized(self, text: str) -> str:
        return text.lower() if self.lower_case else text

    def _encode_text(self, text, padding, max_length) -> dict:
        texts = [text] if isinstance(text, str) else list(text)
        for position, item in enumerate(texts):
            if not isinstance(item, str) or not item.strip():
                raise InputError(f"text {position} is {item!r}: give a non-empty string")
            try:
                item.encode()
            except UnicodeEncodeError:
                raise InputError(f"text {position}, {item!r:.80}, holds half a character: give whole text") from None
        tokenized = self.tokenize(texts, max_length)
        limit = self._limit(max_length)
        self._warn_if_cut(texts, tokenized, limit)
        rows = {
            "input_ids": [item.ids for item in tokenized],
            "attention_mask": [[1] * len(item.ids) for item in tokenized],
            "word_weights": self._weights(texts, tokenized),
        }
        length = self.pad_to or {False: None, "max_length": limit}.get(padding, max(map(len, rows["input_ids"])))
        if length is None:
            return rows
        if self.tokenizer.pad_token_id is None and any(len(row) < length for row in rows["input_ids"]):
            raise InputError("the tokenizer has no padding token: set tokenizer.pad_token, e.g. to its eos_token")
        fill = {"input_ids": self.tokenizer.pad_token_id, "attention_mask": 0, "word_weights": 0.0}
        return {name: [self._padded(row, length, fill[name]) for row in rows[name]] for name in rows}

    def _padded(self, row: list, length: int, value) -> list:
        padding = [value] * (length - len(row))
        return padding + row if self.tokenizer.padding_side == "left" else row + padding

    def _warn_if_cut(self, texts: list[str], tokenized: list[TokenizedText], limit: int) -> None:
        # Only a text that fills all places can have been cut: the usual case costs nothing.
        full = [self._normalized(text) for text, item in zip(texts, tokenized) if len(item.ids) >= limit]
        if not full:
            return
        cut = sum(len(ids) > limit for ids in self.tokenizer(full, verbose=False)["input_ids"])
        if cut:
            warnings.warn(f"{cut} of {len(texts)} texts cut to {limit} tokens (max_words)", stacklevel=4)

    def _weights(self, texts: list[str], tokenized: list[TokenizedText]) -> list[list[float]]:
        if self.word_weighting != "idf":
            return [self._weigh(self._normalized(text), item.spans) for text, item in zip(texts, tokenized)]
        if self.token_frequencies is None:
            raise InputError(
                "word_weighting='idf' has learned no frequencies: call processor.learn_idf(captions) first"
            )
        frequencies = TokenFrequencies.from_dict(self.token_frequencies)
        return [[frequencies.weight(token) for token in item.ids] for item in tokenized]

    def _weigh(self, text: str, spans: list[tuple[int, int]]) -> list[float]:
        """2 on every sub-token of a content word, 1 on other tokens."""
        content = content_spans(text, self.word_weighting, self.language)
        return [
            CONTENT_WEIGHT if start < stop and any(start < end and begin < stop for begin, end in content) else 1.0
            for start, stop in spans
        ]

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
