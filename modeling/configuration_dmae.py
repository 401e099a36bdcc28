"""Configuration of a DMAE model: the two towers of a dual encoder and the options of the method."""

from typing import Any, ClassVar

from transformers import AutoConfig, PreTrainedConfig

from .encoders import ENCODERS, text_positions
from .errors import InputError, ModelError


class DmaeConfig(PreTrainedConfig):
    r"""Options of [`DmaeModel`]; the section of method.md each one belongs to is in brackets.

    Args:
        encoder (`str`, defaults to `"clip"`): the type of the dual encoder, a row of `encoders.ENCODERS`.
        text_config (`dict` or `PreTrainedConfig`, *optional*): the text tower, of that type.
        vision_config (`dict` or `PreTrainedConfig`, *optional*): the vision tower, of that type.
        projection_dim (`int`, defaults to 512): D, the size of every embedding.
        num_frames (`int`, defaults to 12): most frames a video; the linear predictor and frame positions need it.
        max_words (`int`, defaults to 32): most text tokens, start and end included; the linear predictor needs it.
        textual_attention (`bool`, defaults to `True`): score words beside the sentence [DMAE 2].
        visual_attention (`bool`, defaults to `True`): add each best frame's nearest neighbour [DMAE 1].
        neighbor_weight (`float`, defaults to 0.5): λ of the visual attention.
        mean_pooling (`bool`, defaults to `False`): each frame stands for the mean of all, which without the two
            attentions leaves CLIP4Clip's score of sentence and mean frame, the baseline of the paper's ablation.
        learned_token_weights (`bool`, defaults to `False`): softmax weights from a linear layer a modality [DMAE 4].
        token_shift (`bool`, defaults to `False`): exchange patch tokens between neighbouring frames in the
            attention of the vision tower's last two layers, as TS2-Net does; for towers with a class token.
        temporal_layers (`int`, defaults to 0): layers of the frame transformer; `from_dual_encoder` initialises them
            from the first layers of the text tower where these fit.
        frame_differences (`bool`, defaults to `False`): let the frame transformer see what has changed since the
            frame before; beyond the paper, needs `temporal_layers`.
        loss (`str`, defaults to `"negnce"`): `"negnce"` or `"infonce"` [Losses].
        negative_margin (`float`, defaults to 0.0): m, when a negative counts as hard.
        negative_weight (`float`, defaults to 0.5): β, the weight of the hard negatives' term.
        logit_scale (`float`, defaults to 100.0): α; the initial value where it is learned.
        learn_logit_scale (`bool`, defaults to `False`): train α (at most 100) instead of fixing it.
        tpm_predictor (`str`, *optional*, defaults to `"linear"`): `"linear"`; `"attention"`, as released;
            `"projected_attention"`, ours with query and key layers; or None for no TPM-CL.
        tpm_threshold (`float`, defaults to 0.6): τ, the share of token weight that is masked out.
        tpm_mask_crossing (`bool`, defaults to `False`): also mask the token with which the share reaches τ, so that
            at least one always is; the paper does not.
        tpm_margin (`float`, defaults to 0.6): μ, by how much the whole must beat the masked.
        tpm_weight (`float`, defaults to 1.0): weight of the partial-order loss in the total.
        tpm_heads (`int`, defaults to 8): heads of the attention predictors.
        initializer_factor (`float`, defaults to 1.0): as in CLIP.
    """

    model_type = "dmae"
    sub_configs: ClassVar[dict] = {"text_config": AutoConfig, "vision_config": AutoConfig}

    encoder: str = "clip"
    text_config: Any = None  # given as a dictionary or None, it is of its tower's class once this is made
    vision_config: Any = None
    projection_dim: int = 512
    num_frames: int = 12
    max_words: int = 32
    textual_attention: bool = True
    visual_attention: bool = True
    neighbor_weight: float = 0.5
    mean_pooling: bool = False
    learned_token_weights: bool = False
    token_shift: bool = False
    temporal_layers: int = 0
    frame_differences: bool = False
    loss: str = "negnce"
    negative_margin: float = 0.0
    negative_weight: float = 0.5
    logit_scale: float = 100.0
    learn_logit_scale: bool = False
    tpm_predictor: str | None = "linear"
    tpm_threshold: float = 0.6
    tpm_mask_crossing: bool = False
    tpm_margin: float = 0.6
    tpm_weight: float = 1.0
    tpm_heads: int = 8
    initializer_factor: float = 1.0

    def __post_init__(self, **kwargs: Any):
        if self.encoder not in ENCODERS:
            raise InputError(f"DmaeConfig.encoder must be one of {tuple(ENCODERS)}, got {self.encoder!r}")
        self.text_config = self._tower_config("text", self.text_config)
        self.vision_config = self._tower_config("vision", self.vision_config)
        super().__post_init__(**kwargs)
        self.check()

    def _tower_config(self, tower: str, values: dict | PreTrainedConfig | None) -> PreTrainedConfig:
        expected = f"{self.encoder}_{tower}_model"
        if not isinstance(values, PreTrainedConfig):
            values = dict(values or {})
            values = AutoConfig.for_model(values.pop("model_type", expected), **values)
        if values.model_type != expected:
            raise InputError(
                f"DmaeConfig.{tower}_config is a {values.model_type!r}, but encoder={self.encoder!r} has a "
                f"{expected!r}: set encoder to the type of its towers"
            )
        return values

    def check(self) -> None:
        """Raises InputError for values that cannot be."""
        predictors = ("linear", "attention", "projected_attention", None)
        choices = {"loss": ("negnce", "infonce"), "tpm_predictor": predictors}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"DmaeConfig.{name} must be one of {allowed}, got {getattr(self, name)!r}")
        for name in ("projection_dim", "num_frames", "max_words", "logit_scale"):
            if getattr(self, name) <= 0:
                raise InputError(f"DmaeConfig.{name} must be positive, got {getattr(self, name)!r}")
        if not 0 <= self.tpm_threshold <= 1:
            raise InputError(f"DmaeConfig.tpm_threshold must lie in [0, 1], got {self.tpm_threshold}")
        if self.token_shift and not ENCODERS[self.encoder].class_token:
            raise InputError(
                f"DmaeConfig.token_shift needs a vision tower with a class token, which {self.encoder!r} has not: "
                "set token_shift=False"
            )
        if self.frame_differences and not self.temporal_layers:
            raise InputError("DmaeConfig.frame_differences needs a frame transformer: set temporal_layers")
        positions = text_positions(ENCODERS[self.encoder], self.text_config)
        if self.max_words > positions:
            raise InputError(f"DmaeConfig.max_words is {self.max_words}, but the text tower has {positions} positions")

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, **kwargs):
        """As in transformers, but refuses a checkpoint of another model type instead of reading it as DMAE."""
        found = cls.get_config_dict(pretrained_model_name_or_path, **kwargs)[0].get("model_type")
        if found != cls.model_type:
            remedy = "use DmaeModel.from_dual_encoder" if found in ENCODERS else "give a DMAE checkpoint"
            raise ModelError(f"{pretrained_model_name_or_path} is a {found!r} checkpoint, not 'dmae': {remedy}")
        return super().from_pretrained(pretrained_model_name_or_path, **kwargs)


DmaeConfig.register_for_auto_class()
# So that AutoTokenizer, which reads the config of a checkpoint, knows the type without asking to trust code.
AutoConfig.register("dmae", DmaeConfig, exist_ok=True)
