"""A training run under FSDP on CPUs, for tests/training/test_distributed.py: `torch.distributed.run … FILE CONFIG`.

Accelerate turns to FSDP only on accelerators; here it is told to on two gloo processes, and all else is its own.
"""

import sys

import accelerate
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch.distributed.tensor import DTensor

from dmae.training import loop
from dmae.training.config import load_config


class ShardingAccelerator(accelerate.Accelerator):
    def __init__(self, **options):
        super().__init__(**options)
        assert self.num_processes == 2
        # In both: the former copies the latter's values whenever it is asked for.
        self.state.distributed_type = accelerate.PartialState().distributed_type = DistributedType.FSDP
        self.state.fsdp_plugin = FullyShardedDataParallelPlugin(
            fsdp_version=2,
            auto_wrap_policy="transformer_based_wrap",
            transformer_cls_names_to_wrap=["CLIPEncoderLayer"],
            cpu_ram_efficient_loading=False,
        )

    def prepare(self, *objects, **options):
        prepared = super().prepare(*objects, **options)
        assert all(isinstance(parameter, DTensor) for parameter in prepared[0].parameters())
        return prepared


if __name__ == "__main__":
    loop.Accelerator = ShardingAccelerator
    loop.train(load_config(sys.argv[1]))
