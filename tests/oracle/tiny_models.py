"""Tiny random models, one for each thing about a base model that the engine must get right."""

import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

FAMILIES = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen2": (Qwen2Config, Qwen2ForCausalLM)}


@dataclass
class TinyModel:
    name: str
    family: str
    config: dict
    dtype: torch.dtype = torch.float32  # as stored; goldens always compute in f32 from the stored values
    shard_bytes: int | None = None  # split into files of at most this size, with an index
    config_form: int = 4  # which major version of transformers wrote config.json
    all_adapters: bool = False  # every adapter form, or only the two in `adapters`
    adapters: list[str] = field(default_factory=lambda: ["full-r8", "mixed-ranks"])
    forms: list[str] = field(default_factory=list)  # of tiny_adapters.FORMS; "all"
    bf16_run: bool = False  # also store what transformers computes in bf16


COMMON = dict(
    hidden_size=64,
    intermediate_size=144,
    vocab_size=288,
    max_position_embeddings=256,
    rms_norm_eps=1e-5,
    bos_token_id=1,
    eos_token_id=2,
)

MODELS = [
    TinyModel(
        name="llama-default",
        family="llama",
        config=dict(COMMON, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=4),
        all_adapters=True,
        bf16_run=True,
    ),
    TinyModel(
        name="llama-linear-rope",
        family="llama",
        config=dict(
            COMMON,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=1,
            rope_scaling={"rope_type": "linear", "factor": 4.0},
        ),
        dtype=torch.bfloat16,
        bf16_run=True,
    ),
    TinyModel(
        name="llama-llama3-rope",
        family="llama",
        config=dict(
            COMMON,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=24,
            tie_word_embeddings=True,
            rope_theta=500000.0,
            # A small original length, so that prompts of 20 tokens reach all three bands of frequencies.
            rope_scaling={
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            },
            eos_token_id=[2, 5],
        ),
        dtype=torch.float16,
        config_form=5,
        bf16_run=True,
    ),
    TinyModel(
        name="llama-biases",
        family="llama",
        config=dict(
            COMMON,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            attention_bias=True,
            mlp_bias=True,
        ),
        dtype=torch.bfloat16,
    ),
    TinyModel(
        name="qwen2",
        family="qwen2",
        config=dict(
            COMMON,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            rms_norm_eps=1e-6,
            rope_theta=1000000.0,
            tie_word_embeddings=True,
            use_sliding_window=False,
        ),
        shard_bytes=220_000,
        all_adapters=True,
        bf16_run=True,
    ),
    TinyModel(
        name="qwen2-untied",
        family="qwen2",
        config=dict(COMMON, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4, tie_word_embeddings=False),
        dtype=torch.bfloat16,
        config_form=5,
    ),
]

# What an adapter may do to embeddings, head, norms and biases; a vocabulary that fills no whole panel of 16.
FORM_SIZES = dict(
    COMMON, hidden_size=32, intermediate_size=48, vocab_size=70, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
)
TIED_FORMS = ["embeddings", "dora-embeddings", "saved-head", "tokens", "tokens-by-name", "added-resized", "tied-embeddings"]
MODELS += [
    TinyModel(
        name="llama-forms",
        family="llama",
        config=dict(FORM_SIZES, attention_bias=True, mlp_bias=True),
        adapters=[],
        forms=["all"],
        bf16_run=True,
    ),
    TinyModel(
        name="llama-forms-tied",
        family="llama",
        config=dict(FORM_SIZES, hidden_size=40, head_dim=16, num_key_value_heads=1, tie_word_embeddings=True),
        adapters=[],
        forms=TIED_FORMS,
    ),
    TinyModel(
        name="qwen2-forms",
        family="qwen2",
        config=dict(FORM_SIZES, rope_theta=1000000.0, tie_word_embeddings=True, use_sliding_window=False),
        dtype=torch.bfloat16,
        adapters=[],
        forms=["all"],
        bf16_run=True,
    ),
]


def seeded(*parts) -> torch.Generator:
    """A generator that depends on nothing but `parts`."""
    return torch.Generator().manual_seed(zlib.crc32("/".join(map(str, parts)).encode()))


def randomize(model: torch.nn.Module, *seed) -> None:
    """Weights of a realistic scale: activations stay near 1 and logits between 1 and 10."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=seeded(*seed, name))
            if name.endswith("norm.weight"):
                parameter.copy_(1.0 + 0.25 * noise)
            elif name.endswith(".bias"):
                parameter.copy_(0.3 * noise)
            elif "embed_tokens" in name or "lm_head" in name:
                parameter.copy_(0.3 * noise)
            elif "q_proj" in name or "k_proj" in name:
                parameter.copy_(noise * 1.5 * parameter.shape[1] ** -0.5)
            else:
                parameter.copy_(noise * parameter.shape[1] ** -0.5)


def save_model(spec: TinyModel, directory: Path, seed: int) -> None:
    """Writes the model in the form of transformers 4, as transformers itself writes it."""
    config_class, model_class = FAMILIES[spec.family]
    model = model_class(config_class(**spec.config, dtype=spec.dtype))
    randomize(model, seed, spec.name)
    model.to(spec.dtype)
    model.generation_config.do_sample = False
    if spec.shard_bytes:
        model.save_pretrained(directory, max_shard_size=spec.shard_bytes)
    else:
        model.save_pretrained(directory)
    config = json.loads((directory / "config.json").read_text())
    config["torch_dtype"] = config.pop("dtype")  # the name that all of 4.x reads
    write_json(directory / "config.json", config)


def load_model(directory: Path, dtype: torch.dtype):
    return AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, attn_implementation="eager").eval()


def rewrite_config_in_form_5(directory: Path) -> None:
    """transformers 5 keeps everything about rotary embeddings in `rope_parameters`, and says `dtype`."""
    config = json.loads((directory / "config.json").read_text())
    rope = config.pop("rope_scaling", None) or {"rope_type": "default"}
    config["rope_parameters"] = dict(rope, rope_theta=config.pop("rope_theta"))
    config["dtype"] = config.pop("torch_dtype")
    config["layer_types"] = ["full_attention"] * config["num_hidden_layers"]
    config["transformers_version"] = "5.0.0"
    write_json(directory / "config.json", config)


def write_json(path: Path, value) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")
