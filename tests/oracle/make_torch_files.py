#!/usr/bin/env python3
"""Makes tests/data/torch: files of torch.save, and beside each that is right what it holds, as safetensors.

    venv/bin/python tests/oracle/make_torch_files.py

Values and names depend on the seed alone; the legacy form also holds addresses, which differ from run to run.
"""

import os
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save_file

OUT = Path(__file__).parent.parent / "data" / "torch"


def random(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape).to(dtype)


def plain() -> dict[str, torch.Tensor]:
    """Every type, a scalar, a tensor without elements, parameters; in no order."""
    prefix = "base_model.model.model.layers.0.self_attn.q_proj"
    return {
        f"{prefix}.lora_B.weight": torch.nn.Parameter(random(6, 2)),
        f"{prefix}.lora_A.weight": random(2, 5, dtype=torch.bfloat16),
        "half": random(3, 3, dtype=torch.float16),
        "double": random(2, dtype=torch.float64),
        "long": torch.tensor([-(2**40), 7]),
        "int": torch.tensor([-1, 2**30], dtype=torch.int32),
        "short": torch.tensor([-300], dtype=torch.int16),
        "char": torch.tensor([-5, 5], dtype=torch.int8),
        "byte": torch.tensor([[200], [3]], dtype=torch.uint8),
        "bool": torch.tensor([True, False, True]),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 4),
        "tränen": random(1),
    }


def views() -> dict[str, torch.Tensor]:
    """Several views of two storages: slices, transposes, steps, repeats."""
    base = random(8, 6)
    cube = random(3, 4, 5, dtype=torch.bfloat16)
    return {
        "whole": base,
        "again": base,
        "rows": base[2:5],
        "columns": base[:, 1:4],
        "transposed": base.t(),
        "steps": base[::3, ::2],
        "one": base[7, 5],
        "repeated": base[0].expand(4, 6),
        "permuted": cube.permute(2, 0, 1),
        "row_of_one": cube[:, 1:2, :],
        "nothing": base[8:],
        "large": torch.arange(19_600, dtype=torch.int32).reshape(140, 140).t(),  # more than one piece when gathered
    }


def state_dict() -> OrderedDict:
    """What Module.state_dict() gives: an OrderedDict with an attribute."""
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    return module.state_dict()


class Command:
    def __reduce__(self):
        return os.system, ("true",)


def save(name: str, tensors: dict[str, torch.Tensor]) -> None:
    torch.save(tensors, OUT / f"{name}.bin")
    torch.save(tensors, OUT / f"{name}.legacy.bin", _use_new_zipfile_serialization=False)
    save_file({key: tensor.detach().clone().contiguous() for key, tensor in tensors.items()}, OUT / f"{name}.safetensors",
              metadata={"format": "pt"})


def main() -> None:
    torch.manual_seed(0)
    OUT.mkdir(parents=True, exist_ok=True)
    for name, tensors in (("plain", plain()), ("views", views()), ("state_dict", state_dict())):
        save(name, tensors)

    # These are refused.
    torch.save({"weight": random(2), "callback": Command()}, OUT / "os_system.bin")
    torch.save({"weight": random(2), "callback": Command()}, OUT / "os_system.legacy.bin",
               _use_new_zipfile_serialization=False)
    torch.save({"state_dict": {"weight": random(2)}}, OUT / "nested.bin")
    torch.save([random(2)], OUT / "list.bin")
    torch.save(torch.nn.Linear(2, 2), OUT / "module.bin")
    torch.save({"weight": random(2)}, OUT / "protocol4.bin", pickle_protocol=4)
    torch.save({"weight": torch.sparse_coo_tensor([[0]], [1.0], (2,))}, OUT / "sparse.bin")
    torch.save({"weight": torch.view_as_complex(random(2, 2)).conj()}, OUT / "complex.bin")


if __name__ == "__main__":
    main()
