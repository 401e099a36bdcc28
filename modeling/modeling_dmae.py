"""DMAE + TPM-CL on the towers of a dual encoder as a `PreTrainedModel` (arXiv:2309.11082; method.md)."""

import copy
import math
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, PreTrainedConfig
from transformers import initialization as init
from transformers.models.clip.modeling_clip import CLIPPreTrainedModel
from transformers.utils import logging

from .configuration_dmae import DmaeConfig
from .encoders import (
    ENCODERS,
    build_projections,
    build_towers,
    picture_states,
    text_positions,
    text_states,
    unfit_message,
)
from .errors import InputError, ModelError
from .features import TextFeatures, VideoFeatures
from .frame_transformer import FrameTransformer
from .losses import CappedScale, info_nce_loss, negnce_loss
from .output import DmaeOutput
from .similarity import dmae_similarity
from .token_masking import ATTENTION_PREDICTORS, TokenWeightPredictor, partial_order_loss
from .token_shift import add_token_shift, frame_neighbours
from .written_files import follow_umask

HUB_OPTIONS = ("revision", "token", "cache_dir", "local_files_only", "force_download", "subfolder")
TOWERS = ("text_model.", "vision_model.", "text_projection.", "visual_projection.")


class DmaePreTrainedModel(CLIPPreTrainedModel):
    config: DmaeConfig
    base_model_prefix = "dmae"
    main_input_name = "pixel_values_videos"
    input_modalities = ("video", "text")

    def _initialize_weights(self, module: nn.Module, is_custom_code: bool = False) -> None:
        # For classes outside its own package transformers skips every module without parameters of its own: CLIP's
        # attention and MLP, which set their children's weights, would keep ones of deviation 1. The rule is for code
        # that writes weights past transformers.initialization; this one does not.
        super()._initialize_weights(module)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        factor = self.config.initializer_factor
        if isinstance(module, nn.Linear):  # transformers' own would be of deviation `factor`, whatever the size
            init.normal_(module.weight, std=module.in_features**-0.5 * factor)
        if isinstance(module, FrameTransformer):
            # As large as what they are added to, a projected layer norm: small ones leave the order of frames unseen.
            init.normal_(module.position_embedding.weight, std=factor)
        if isinstance(module, DmaeModel):
            if self.config.learned_token_weights:
                # Equal weights at first: the model starts as the one without them.
                for head in (module.word_weight_head, module.frame_weight_head):
                    init.zeros_(head.weight)
            if self.config.learn_logit_scale:
                init.constant_(module.logit_scale, math.log(self.config.logit_scale))


class DmaeModel(DmaePreTrainedModel):
    """The text and vision towers of a dual encoder, compared by DMAE and trained with NegNCE and TPM-CL.

    Towers and projections have the names that transformers gives them, so the weights of a dual encoder fit as they
    are ([`DmaeModel.from_dual_encoder`]), and the score needs no parameter beyond them: such a model searches
    zero-shot.
    """

    # A fixed scale is a number in the config; dual encoders carry one, and SigLIP's a bias, as parameters.
    _keys_to_ignore_on_load_unexpected: ClassVar[list[str]] = [r"^logit_(scale|bias)$", r"position_ids$"]

    text_model: Any  # of the classes of the checkpoint's type
    vision_model: Any
    frame_predictor: nn.Module

    def __init__(self, config: DmaeConfig):
        config.check()  # again: from_pretrained sets a call's own values after the configuration was made
        super().__init__(config)
        dim = config.projection_dim
        self.encoder_type = ENCODERS[config.encoder]
        towers = (self.encoder_type, config.text_config, config.vision_config)
        self.text_model, self.vision_model = build_towers(*towers)
        self.text_projection, self.visual_projection = build_projections(*towers, dim)
        if config.token_shift:
            add_token_shift(self.vision_model)
        if config.temporal_layers:
            self.frame_transformer = FrameTransformer(config)
        if config.learned_token_weights:
            self.word_weight_head = nn.Linear(dim, 1, bias=False)
            self.frame_weight_head = nn.Linear(dim, 1, bias=False)
        if config.learn_logit_scale:
            self.logit_scale = nn.Parameter(torch.tensor(math.log(config.logit_scale)))
        if config.tpm_predictor == "linear":
            self.word_predictor = TokenWeightPredictor(config.num_frames, config.max_words, dim)
            self.frame_predictor = TokenWeightPredictor(1, config.num_frames, dim)
        elif config.tpm_predictor is not None:
            predictor = ATTENTION_PREDICTORS[config.tpm_predictor]
            self.word_predictor = predictor(config.num_frames, dim, config.tpm_heads)
            self.frame_predictor = predictor(1, dim, config.tpm_heads)
        if config.tpm_predictor is not None:
            # Its weights only choose which frames are masked (the words' also pool the text), so no gradient ever
            # reaches it: frozen, or DDP would wait for one.
            self.frame_predictor.requires_grad_(False)
        self.post_init()

    def save_pretrained(self, save_directory, *args, **kwargs):
        """As in transformers; who may read the other files may read the weights."""
        super().save_pretrained(save_directory, *args, **kwargs)
        if os.path.isdir(save_directory):
            follow_umask(save_directory)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, output_loading_info=False, **kwargs) -> "DmaeModel":
        """As in transformers. A checkpoint from before `"projected_attention"` had this name says `"attention"` and
        holds query and key layers: it loads as what it is, unless the call asks for another predictor."""
        load: Any = super().from_pretrained  # transformers does not type what `output_loading_info` adds
        model, report = load(pretrained_model_name_or_path, *args, output_loading_info=True, **kwargs)
        named_before = "word_predictor.query.weight" in report["unexpected_keys"]
        if named_before and model.config.tpm_predictor == "attention" and "tpm_predictor" not in kwargs:
            config = copy.deepcopy(model.config)
            config.tpm_predictor = "projected_attention"
            # What was said of the configuration is in it now.
            others = {
                key: value for key, value in kwargs.items() if key not in (*DmaeConfig.__annotations__, "config")
            }
            model, report = load(
                pretrained_model_name_or_path, *args, config=config, output_loading_info=True, **others
            )
        loaded: Any = (model, report) if output_loading_info else model
        return loaded

    @classmethod
    def from_dual_encoder(cls, pretrained_model_name_or_path, **kwargs) -> "DmaeModel":
        """A DMAE model on the weights of a dual encoder of transformers, local or on the Hub.

        Args:
            pretrained_model_name_or_path: folder or Hub id of a checkpoint of one of the types in
                `encoders.ENCODERS`: clip, metaclip_2, siglip, siglip2, altclip, chinese_clip.
            kwargs: fields of [`DmaeConfig`]; the rest goes to `from_pretrained` (`dtype`, `revision`, `token`, …).
                `max_words` is what the text tower was trained with where not given, for CLIP 32.

        Raises:
            ValueError: a checkpoint of another type, or without one of the towers' weights; or, for CLIP, a frame
                transformer whose size cannot be taken from the text tower.
        """
        name = pretrained_model_name_or_path
        options = {key: kwargs.pop(key) for key in list(kwargs) if key in DmaeConfig.__annotations__}
        found = AutoConfig.from_pretrained(name, **{key: kwargs[key] for key in HUB_OPTIONS if key in kwargs})
        if found.model_type == "dmae":
            raise ModelError(f"{name} is a 'dmae' checkpoint: use DmaeModel.from_pretrained")
        if found.model_type not in ENCODERS:
            raise ModelError(unfit_message(name, found.model_type))
        config = DmaeConfig(**{**_dual_encoder_fields(found), **options})
        attention = {key: kwargs.pop(key) for key in ("attn_implementation",) if key in kwargs}
        device = {key: kwargs[key] for key in ("device_map",) if key in kwargs}
        # Through the type's own class, which knows how older checkpoints named their weights.
        source, lost = _quietly(AutoModel.from_pretrained, name, **kwargs)
        if lost := [key for key in lost["missing_keys"] if key.startswith(TOWERS)]:
            raise ModelError(f"{name} lacks {len(lost)} weights of its towers, the first {sorted(lost)[0]}")
        weights = source.state_dict()
        if config.learn_logit_scale:
            weights["logit_scale"] = weights["logit_scale"].reshape(())  # SigLIP's is of shape (1,)
        dtype = next(source.parameters()).dtype
        model, _ = _quietly(
            cls.from_pretrained, None, config=config, state_dict=weights, dtype=dtype, **attention, **device
        )
        model.name_or_path = model.config._name_or_path = str(name)
        if config.temporal_layers and not model.frame_transformer.copy_blocks(model.text_model):
            _refuse_new_blocks(config)
        return model

    @classmethod
    def from_clip(cls, pretrained_model_name_or_path, **kwargs) -> "DmaeModel":
        """As [`DmaeModel.from_dual_encoder`], of a CLIP checkpoint and of no other.

        Raises:
            ValueError: the checkpoint is not CLIP, and as above.
        """
        options = {key: kwargs[key] for key in HUB_OPTIONS if key in kwargs}
        found = AutoConfig.from_pretrained(pretrained_model_name_or_path, **options).model_type
        if found != "clip":
            remedies = {"dmae": "use DmaeModel.from_pretrained", **dict.fromkeys(ENCODERS, "use from_dual_encoder")}
            remedy = remedies.get(found, "give a CLIP checkpoint")
            raise ModelError(f"{pretrained_model_name_or_path} is a {found!r} checkpoint, not CLIP: {remedy}")
        return cls.from_dual_encoder(pretrained_model_name_or_path, **kwargs)

    if TYPE_CHECKING:  # transformers' decorators hide the types of it

        def to(self, *args: Any, **kwargs: Any) -> "DmaeModel": ...

    def get_input_embeddings(self) -> nn.Module:
        return self.text_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.text_model.set_input_embeddings(value)

    def get_text_features(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        word_weights: torch.Tensor | None = None,
    ) -> TextFeatures:
        """Embeds texts.

        Args:
            input_ids: `(A, T)` token ids. attention_mask: `(A, T)`, 0 = padding.
            word_weights: `(A, T)` from the processor; None weighs every real token 1.
        """
        positions = text_positions(self.encoder_type, self.config.text_config)
        if input_ids.ndim != 2 or input_ids.shape[1] > positions:
            raise ValueError(
                f"input_ids must be (texts, at most {positions} tokens), got {tuple(input_ids.shape)}: "
                "set the processor's max_words to that or less"
            )
        for name, given in {"attention_mask": attention_mask, "word_weights": word_weights}.items():
            if given is not None and given.shape != input_ids.shape:
                raise ValueError(f"{name} has shape {tuple(given.shape)}, but input_ids has {tuple(input_ids.shape)}")
        sentences, words = text_states(self.encoder_type, self.text_model, input_ids, attention_mask)
        sentence_embeds = _unit(self.text_projection(sentences))
        word_embeds = _unit(self.text_projection(words))
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        weights = mask.to(word_embeds.dtype)
        if word_weights is not None:
            weights = weights * word_weights.to(word_embeds.dtype)
        if self.config.learned_token_weights:
            weights = weights * _token_softmax(self.word_weight_head, word_embeds, mask)
        return TextFeatures(sentence_embeds, word_embeds, weights)

    def get_video_features(
        self, pixel_values_videos: torch.Tensor, frame_mask: torch.Tensor | None = None
    ) -> VideoFeatures:
        """Embeds videos.

        Args:
            pixel_values_videos: `(B, F, 3, H, W)` normalised frames. frame_mask: `(B, F)`, 0 = padding.
        """
        if pixel_values_videos.ndim != 5:
            raise ValueError(
                "pixel_values_videos must be (videos, frames, channels, height, width), "
                f"got {tuple(pixel_values_videos.shape)}"
            )
        batch, num_frames = pixel_values_videos.shape[:2]
        if frame_mask is None:
            frame_mask = pixel_values_videos.new_ones(batch, num_frames)
        elif frame_mask.shape != (batch, num_frames):
            raise ValueError(
                f"frame_mask has shape {tuple(frame_mask.shape)}, but pixel_values_videos has {batch} videos of "
                f"{num_frames} frames"
            )
        return self.join_frames(self.get_frame_features(pixel_values_videos, frame_mask), frame_mask)

    def get_frame_features(self, pixel_values_videos: torch.Tensor, frame_mask: torch.Tensor) -> torch.Tensor:
        """`(B, F, D)` projections of the frames before they are made a video by [`join_frames`]: each by itself, or
        with its neighbours' where the vision tower shifts tokens.
        """
        pixels = pixel_values_videos.flatten(0, 1).to(self.vision_model.dtype)
        options = {"neighbours": frame_neighbours(frame_mask)} if self.config.token_shift else {}
        frames = self.visual_projection(picture_states(self.encoder_type, self.vision_model, pixels, **options))
        return frames.unflatten(0, pixel_values_videos.shape[:2])

    def join_frames(self, frames: torch.Tensor, frame_mask: torch.Tensor) -> VideoFeatures:
        """Makes videos of frames that went through the vision tower.

        Args:
            frames: `(B, F, D)` from [`get_frame_features`], also of parts of what was one video there.
            frame_mask: `(B, F)`, 0 = padding.
        """
        if self.config.temporal_layers:
            frames = self.frame_transformer(frames, frame_mask)
        frame_embeds = _unit(frames)
        if self.config.mean_pooling:
            frame_embeds = _mean_of_frames(frame_embeds, frame_mask)
        weights = frame_mask.to(frame_embeds.dtype)
        if self.config.learned_token_weights:
            weights = weights * _token_softmax(self.frame_weight_head, frame_embeds, frame_mask)
        return VideoFeatures(frame_embeds, weights)

    def similarity(
        self, text_features: TextFeatures, video_features: VideoFeatures, *, chunk_size: int | None = None
    ) -> torch.Tensor:
        """DMAE scores `(A, B)` with this model's options ([`dmae_similarity`])."""
        return dmae_similarity(
            *text_features,
            *video_features,
            text_attention=self.config.textual_attention,
            visual_attention=self.config.visual_attention,
            neighbor_weight=self.config.neighbor_weight,
            chunk_size=chunk_size,
        )

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        pixel_values_videos: torch.Tensor | None = None,
        word_weights: torch.Tensor | None = None,
        frame_mask: torch.Tensor | None = None,
        return_loss: bool = False,
        *,
        text_features: TextFeatures | None = None,
        video_features: VideoFeatures | None = None,
        wrong_texts: Mapping[str, torch.Tensor] | TextFeatures | None = None,
        gather: Callable[..., tuple] | None = None,
        return_logits: bool = True,
        **kwargs,
    ) -> DmaeOutput:
        """Scores every text against every video.

        Args:
            input_ids, attention_mask, word_weights: `(A, T)`, from the processor.
            pixel_values_videos: `(B, F, 3, H, W)`; frame_mask: `(B, F)`, from the processor.
            return_loss: compute the loss; text i must belong to video i.
            text_features, video_features: in place of inputs, when already computed.
            wrong_texts: texts that belong to none of the videos, further negatives of all of them in the loss: inputs
                like those of the other texts and as long, or features.
            gather: called on the features of texts, videos and, where given, wrong texts before similarity and loss,
                to bring in other processes' rows.
            return_logits: set False to get features only.

        Raises:
            ValueError: neither inputs nor features; with `return_loss`, not as many texts as videos; wrong texts that
                are padded to another length than the texts.
        """
        if text_features is None:
            if input_ids is None:
                raise ValueError("give input_ids or text_features")
            texts = {"input_ids": input_ids, "attention_mask": attention_mask, "word_weights": word_weights}
            given = {name: value for name, value in texts.items() if value is not None}
            text_features, wrong_texts = self._text_features(given, wrong_texts)
        if video_features is None:
            if pixel_values_videos is None:
                raise ValueError("give pixel_values_videos or video_features")
            video_features = self.get_video_features(pixel_values_videos, frame_mask)
        if wrong_texts is not None and not isinstance(wrong_texts, TextFeatures):
            raise ValueError("wrong_texts must be features where text_features are given")
        features: list[Any] = [text_features, video_features]
        if wrong_texts is not None:
            features.append(wrong_texts)
        text, video, *wrong = features if gather is None else gather(*features)
        output = DmaeOutput(**text._asdict(), **video._asdict(), wrong_texts=wrong[0] if wrong else None)
        if not (return_logits or return_loss):
            return output
        # Differences of similarities are magnified by the logit scale: they are taken in float32 under autocast too.
        with torch.autocast(text.word_embeds.device.type, enabled=False):
            similarity = self.similarity(_float(text), _float(video))
            logits = self.scale * similarity
            output.logits_per_text, output.logits_per_video = logits, logits.t()
            if return_loss:
                self._add_loss(output, similarity)
        return output

    def _text_features(
        self, texts: dict[str, torch.Tensor], wrong: Mapping[str, torch.Tensor] | TextFeatures | None
    ) -> tuple[TextFeatures, TextFeatures | None]:
        """Features of the texts and of the wrong ones, which go through the tower together: under FSDP each pass is a
        collective call, and another process may have no wrong text."""
        if wrong is None or isinstance(wrong, TextFeatures):
            return self.get_text_features(**texts), wrong
        if texts.keys() != wrong.keys() or any(wrong[name].shape[1:] != texts[name].shape[1:] for name in texts):
            raise ValueError(
                f"wrong_texts must have {', '.join(texts)} of {texts['input_ids'].shape[1]} tokens, like the texts; "
                f"got {', '.join(f'{name} {tuple(value.shape)}' for name, value in wrong.items())}"
            )
        features = self.get_text_features(**{name: torch.cat([texts[name], wrong[name]]) for name in texts})
        count = len(texts["input_ids"])
        return features[:count], features[count:]

    @property
    def scale(self) -> torch.Tensor | float:
        """α, by which similarities become logits."""
        if self.config.learn_logit_scale:
            return CappedScale.apply(self.logit_scale.exp())
        return self.config.logit_scale

    def _add_loss(self, output: DmaeOutput, similarity: torch.Tensor) -> None:
        config, wrong = self.config, None
        if output.wrong_texts is not None:
            wrong = self.similarity(_float(output.wrong_texts), _float(output.video_features))
        if config.loss == "negnce":
            options = (config.negative_margin, config.negative_weight)
            loss = negnce_loss(similarity, self.scale, *options, wrong_texts=wrong)
        else:
            loss = info_nce_loss(similarity, self.scale, wrong_texts=wrong)
        output.loss = output.contrastive_loss = loss
        if config.tpm_predictor is not None:
            output.partial_order_loss = partial_order = self._partial_order_loss(output)
            output.loss = loss + config.tpm_weight * partial_order

    def _partial_order_loss(self, output: DmaeOutput) -> torch.Tensor:
        sentence, words, word_mask, frames, frame_mask = (
            t.to(next(self.word_predictor.parameters()).dtype) for t in (*output.text_features, *output.video_features)
        )
        if self.config.tpm_predictor == "linear":
            if self.encoder_type.fixed_length:
                words, word_mask = _without_padding(words, word_mask)
            words, word_mask = _pad_to(self.config.max_words, "max_words", words, word_mask)
            frames, frame_mask = _pad_to(self.config.num_frames, "num_frames", frames, frame_mask)
        return partial_order_loss(
            sentence,
            words,
            frames,
            self.word_predictor,
            self.frame_predictor,
            word_mask=word_mask,
            frame_mask=frame_mask,
            threshold=self.config.tpm_threshold,
            margin=self.config.tpm_margin,
            mask_crossing=self.config.tpm_mask_crossing,
        )


def _dual_encoder_fields(found: PreTrainedConfig) -> dict:
    """The fields of a `DmaeConfig` that a dual encoder's configuration decides."""
    encoder, text = ENCODERS[found.model_type], found.text_config
    fields = {
        "encoder": found.model_type,
        "text_config": text.to_dict(),
        "vision_config": found.vision_config.to_dict(),
        "projection_dim": found.projection_dim if encoder.projected else found.vision_config.hidden_size,
    }
    if found.model_type != "clip":  # there the method's 32 words stand
        fields["max_words"] = min(encoder.text_length, text_positions(encoder, text))
    return fields


def _refuse_new_blocks(config: DmaeConfig) -> None:
    """A frame transformer starts from CLIP's text blocks; those of other towers have other parts or other sizes."""
    text = config.text_config
    if config.encoder == "clip":
        raise InputError(
            f"temporal_layers={config.temporal_layers} cannot be initialised from a text tower of "
            f"{text.num_hidden_layers} layers of size {text.hidden_size} and {text.max_position_embeddings} positions "
            f"at projection_dim={config.projection_dim} and num_frames={config.num_frames}: ask for fewer layers or 0"
        )


def _quietly(load: Callable, *args, **kwargs) -> tuple:
    """A model and what its weights lacked, without the printed report of heads that a checkpoint does not have."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        return load(*args, **kwargs, output_loading_info=True)
    finally:
        logging.set_verbosity(verbosity)


def _unit(embeds: torch.Tensor) -> torch.Tensor:
    return F.normalize(embeds, dim=-1)


def _mean_of_frames(frame_embeds: torch.Tensor, frame_mask: torch.Tensor) -> torch.Tensor:
    """The normalised mean of the real frames, in place of each frame."""
    total = (frame_embeds * (frame_mask > 0).to(frame_embeds.dtype)[:, :, None]).sum(dim=1, keepdim=True)
    return _unit(total).expand_as(frame_embeds)


def _float(features):
    """Features in float32 (or their own float64)."""
    return features.to(dtype=torch.promote_types(features[0].dtype, torch.float32))


def _token_softmax(head: nn.Linear, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Softmax weights `(N, L)` over the real tokens of `(N, L, D)`."""
    logits = head(tokens).squeeze(2).float()
    logits = logits.masked_fill(mask <= 0, torch.finfo(logits.dtype).min)
    return (logits.softmax(dim=1) * (mask > 0)).to(tokens.dtype)


def _without_padding(tokens: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`(B, L, D)` and `(B, L)` without the columns that are padding in every row."""
    used = (mask > 0).any(dim=0)
    return tokens[:, used], mask[:, used]


def _pad_to(length: int, name: str, tokens: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`(B, L, D)` and `(B, L)` padded to the length that the linear predictor was made for."""
    missing = length - tokens.shape[1]
    if missing < 0:
        raise InputError(
            f"TPM-CL's linear predictor takes {name}={length} tokens, got {tokens.shape[1]}: raise {name} in the "
            "config, or use tpm_predictor='attention'"
        )
    return F.pad(tokens, (0, 0, 0, missing)), F.pad(mask, (0, missing))


DmaeModel.register_for_auto_class("AutoModel")
