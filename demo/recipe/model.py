"""The demo's Llama: its shape, a bf16 forward by hand, and the batches that it is trained on.

The forward takes its weights as a dictionary with the names of a Hugging Face checkpoint, so that
one function serves the base and, with W + s·B·A in the place of W, every adapter.
"""

import math

import torch
import torch.nn.functional as F
from transformers import LlamaConfig

from recipe.chat import TASKS, Turn

USER, ASSISTANT, END, PAD = 256, 257, 258, 259
MARKERS = {name: 260 + index for index, name in enumerate(TASKS)}
VOCABULARY = 272
ROW_TOKENS = 256
LAYERS, HIDDEN, FFN, HEADS, KV_HEADS = 4, 256, 704, 4, 2
HEAD = HIDDEN // HEADS
EPSILON = 1e-5
ROPE_THETA = 10_000.0
MAX_POSITIONS = 2048
LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def llama_config() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=HIDDEN, intermediate_size=FFN, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, rms_norm_eps=EPSILON,
        max_position_embeddings=MAX_POSITIONS, rope_theta=ROPE_THETA, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=END, pad_token_id=PAD, torch_dtype="bfloat16",
        architectures=["LlamaForCausalLM"],
    )  # fmt: skip


def linear_name(layer: int, linear: str) -> str:
    group = "mlp" if linear in ("gate_proj", "up_proj", "down_proj") else "self_attn"
    return f"model.layers.{layer}.{group}.{linear}.weight"


def new_weights(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    shapes = {
        "q_proj": (HIDDEN, HIDDEN), "k_proj": (KV_HEADS * HEAD, HIDDEN),
        "v_proj": (KV_HEADS * HEAD, HIDDEN), "o_proj": (HIDDEN, HIDDEN),
        "gate_proj": (FFN, HIDDEN), "up_proj": (FFN, HIDDEN), "down_proj": (HIDDEN, FFN),
    }  # fmt: skip
    weights = {"model.embed_tokens.weight": torch.randn(VOCABULARY, HIDDEN) * 0.05,
               "model.norm.weight": torch.ones(HIDDEN)}  # fmt: skip
    for layer in range(LAYERS):
        for linear, shape in shapes.items():
            spread = shape[1] ** -0.5
            if linear in ("o_proj", "down_proj"):
                spread /= math.sqrt(2 * LAYERS)
            weights[linear_name(layer, linear)] = torch.randn(shape) * spread
        for norm in ("input_layernorm", "post_attention_layernorm"):
            weights[f"model.layers.{layer}.{norm}.weight"] = torch.ones(HIDDEN)
    return weights


def tokens_of(turns: list[Turn]) -> tuple[list[int], list[int]]:
    """(tokens, targets): a target is -1 where nothing is to be learned."""
    tokens, targets = [], []
    for turn in turns:
        head = [MARKERS[turn.marker] if turn.marker else USER, *turn.prompt.encode(), ASSISTANT]
        answer = [*turn.answer.encode(), END]
        tokens += head + answer
        targets += [-1] * (len(head) - 1) + (answer if turn.learned else [-1] * len(answer)) + [-1]
    return tokens, targets


class Packer:
    """Packs whole chats into rows of ROW_TOKENS; a chat attends to itself alone."""

    def __init__(self, chats, rows: int):
        self._chats = chats  # a function that makes the next chat
        self._rows = rows
        self._waiting: list[tuple[list[int], list[int]]] = []

    def _next(self):
        if self._waiting:
            return self._waiting.pop()
        turns = self._chats()
        tokens, targets = tokens_of(turns)
        while len(tokens) > ROW_TOKENS:  # too long: the last turns are left out
            turns = turns[:-1]
            tokens, targets = tokens_of(turns)
        return tokens, targets

    def batch(self):
        """tokens, targets, positions, chat number: each [rows, ROW_TOKENS]; and the chats in it."""
        shape = (self._rows, ROW_TOKENS)
        tokens, targets = torch.full(shape, PAD), torch.full(shape, -1)
        positions, chat = torch.zeros(shape, dtype=torch.long), torch.full(shape, -1)
        count = 0
        for row in range(self._rows):
            filled, passed = 0, []
            while len(passed) < 6 and filled < ROW_TOKENS - 24:
                piece = self._next()
                size = len(piece[0])
                if size > ROW_TOKENS - filled:
                    passed.append(piece)
                    continue
                if size == 0:
                    continue
                span = slice(filled, filled + size)
                tokens[row, span] = torch.tensor(piece[0])
                targets[row, span] = torch.tensor(piece[1])
                positions[row, span] = torch.arange(size)
                chat[row, span] = count
                count, filled = count + 1, filled + size
            self._waiting += passed
        return tokens, targets, positions, chat


def attention_mask(chat: torch.Tensor) -> torch.Tensor:
    """[rows, 1, T, T] bf16, 0 or -inf: causal, and within one chat."""
    same = chat[:, :, None] == chat[:, None, :]
    allowed = same & torch.ones(chat.shape[1], chat.shape[1], dtype=torch.bool).tril()
    return torch.zeros(allowed.shape, dtype=torch.bfloat16).masked_fill(~allowed, -1e4)[:, None]


def rope_tables(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """cos, sin: [count, HEAD] f32, halves repeated as in Llama's checkpoints."""
    inverse = ROPE_THETA ** (-torch.arange(0, HEAD, 2).float() / HEAD)
    angles = torch.arange(count).float()[:, None] * inverse
    angles = torch.cat((angles, angles), 1)
    return angles.cos(), angles.sin()


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """x: [rows, heads, T, HEAD]; cos, sin: [rows, 1, T, HEAD]."""
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin


def norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + EPSILON) * weight).bfloat16()


def loss_of(weights, tokens, targets_at, answers, cos, sin, mask) -> torch.Tensor:
    """Mean cross entropy at the flat places `targets_at` against `answers`."""
    rows, length = tokens.shape
    low = {name: w.bfloat16() if w.ndim == 2 else w for name, w in weights.items()}
    embedding = low["model.embed_tokens.weight"]
    x = F.embedding(tokens, embedding)
    for layer in range(LAYERS):

        def w(linear):
            return low[linear_name(layer, linear)]

        h = norm(x, low[f"model.layers.{layer}.input_layernorm.weight"])
        qkv = F.linear(h, torch.cat((w("q_proj"), w("k_proj"), w("v_proj"))))
        qkv = qkv.view(rows, length, HEADS + 2 * KV_HEADS, HEAD).transpose(1, 2)
        q, k, v = qkv.split((HEADS, KV_HEADS, KV_HEADS), 1)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        group = HEADS // KV_HEADS
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + F.linear(attended.transpose(1, 2).reshape(rows, length, HIDDEN), w("o_proj"))
        h = norm(x, low[f"model.layers.{layer}.post_attention_layernorm.weight"])
        gate, up = F.linear(h, torch.cat((w("gate_proj"), w("up_proj")))).chunk(2, -1)
        x = x + F.linear(F.silu(gate) * up, w("down_proj"))
    x = norm(x, low["model.norm.weight"]).view(-1, HIDDEN)[targets_at]
    return F.cross_entropy(F.linear(x, embedding).float(), answers)


def step_loss(forward, weights, packer: Packer, tables) -> torch.Tensor:
    tokens, targets, positions, chat = packer.batch()
    cos, sin = (table[positions][:, None].bfloat16() for table in tables)
    flat = targets.view(-1)
    places = (flat >= 0).nonzero().squeeze(1)
    return forward(weights, tokens, places, flat[places], cos, sin, attention_mask(chat))
