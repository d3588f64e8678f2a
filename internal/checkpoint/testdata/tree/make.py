"""Writes the directory checkpoints of this folder with the libraries that define them.

    python make.py            all that the installed libraries can write
    python make.py orbax ...  only these

Needs torch, transformers, accelerate, safetensors; orbax needs orbax-checkpoint and jax; savedmodel needs tensorflow.
Each function writes one directory. order.json keeps the order in which the files of each were finished, because a
clone of the repository does not keep times. DeepSpeed's layout is written with torch alone, after
deepspeed/runtime/engine.py (_save_checkpoint, _save_zero_checkpoint).
"""

import contextlib
import json
import os
import pathlib
import shutil
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
ORDER = HERE / "order.json"


def tiny_model():
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(7)
    config = LlamaConfig(vocab_size=16, hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
                         num_key_value_heads=1, max_position_embeddings=16)
    return LlamaForCausalLM(config)


def trainer(out):
    import torch
    from transformers import Trainer, TrainingArguments

    data = [{"input_ids": torch.arange(4) + i, "labels": torch.arange(4) + i} for i in range(4)]
    with tempfile.TemporaryDirectory() as work:
        args = TrainingArguments(output_dir="runs", max_steps=2, save_steps=2, per_device_train_batch_size=1, report_to=[],
                                 disable_tqdm=True, use_cpu=True, optim="adamw_torch", logging_steps=2)
        with contextlib.chdir(work):
            Trainer(model=tiny_model(), args=args, train_dataset=data).train()
        shutil.copytree(pathlib.Path(work) / "runs/checkpoint-2", out)


def sharded(out):
    tiny_model().save_pretrained(out, max_shard_size="4KB")


def sharded_bin(out):
    import torch
    from huggingface_hub import save_torch_state_dict

    torch.manual_seed(7)
    out.mkdir()
    state = {"a.weight": torch.randn(8, 8), "a.bias": torch.randn(8), "b.weight": torch.randn(8, 8)}
    save_torch_state_dict(state, str(out), safe_serialization=False, max_shard_size=300)


def dcp_rank(rank, out):
    import torch
    import torch.distributed as dist
    import torch.distributed.checkpoint as dcp
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29517", RANK=str(rank), WORLD_SIZE="2")
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (2,))
    torch.manual_seed(7)
    state = {"model": {"split": distribute_tensor(torch.randn(6, 2), mesh, [Shard(0)]), "whole": torch.arange(5.0)},
             "epoch": 3, "name": "tiny", "schedule": {"last": [1, 2.5, None]}}
    os.chdir(out.parent)
    dcp.save(state, checkpoint_id=out.name)
    dist.destroy_process_group()


def dcp(out):
    import torch.multiprocessing

    torch.multiprocessing.spawn(dcp_rank, args=(out,), nprocs=2)


def deepspeed(out):
    import torch

    torch.manual_seed(7)
    tag = out / "global_step3"
    tag.mkdir(parents=True)
    module = {"lin.weight": torch.randn(4, 4), "lin.bias": torch.randn(4)}
    torch.save({"module": module, "buffer_names": [], "optimizer": None,
                "param_shapes": [{k: v.shape for k, v in module.items()}], "frozen_param_shapes": None, "shared_params": {},
                "frozen_param_fragments": None, "lr_scheduler": None, "data_sampler": None, "random_ltd": None,
                "sparse_tensor_module_names": set(), "skipped_steps": 0, "global_steps": 3, "global_samples": 12,
                "dp_world_size": 2, "mp_world_size": 1, "ds_config": {"train_batch_size": 4, "zero_optimization": {"stage": 2}},
                "ds_version": "0.19.8"}, tag / "mp_rank_00_model_states.pt")
    for rank in range(2):
        torch.save({"optimizer_state_dict": {"zero_stage": 2, "partition_count": 2,
                                             "single_partition_of_fp32_groups": [torch.randn(10)],
                                             "base_optimizer_state": [{"exp_avg": torch.randn(10), "exp_avg_sq": torch.randn(10)}]},
                    "ds_config": {}, "ds_version": "0.19.8"}, tag / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")
    (out / "zero_to_fp32.py").write_text("# converts the shards of this folder\n")
    (out / "latest").write_text("global_step3")


def orbax(out):
    import numpy
    import orbax.checkpoint as ocp

    with tempfile.TemporaryDirectory() as work:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(pathlib.Path(work) / "state", {"w": numpy.arange(12, dtype=numpy.float32).reshape(3, 4),
                                                             "b": numpy.ones(3, numpy.float32), "step": 3})
        shutil.copytree(pathlib.Path(work) / "state", out)


def orbax_step(out):
    import numpy
    import orbax.checkpoint as ocp

    with tempfile.TemporaryDirectory() as work:
        with ocp.CheckpointManager(work) as manager:
            manager.save(5, args=ocp.args.Composite(state=ocp.args.StandardSave({"w": numpy.arange(4, dtype=numpy.float32)}),
                                                    meta=ocp.args.JsonSave({"epoch": 1})))
        shutil.copytree(pathlib.Path(work) / "5", out)


def savedmodel(out):
    import tensorflow as tf

    class Module(tf.Module):
        def __init__(self):
            self.w = tf.Variable(tf.reshape(tf.range(6, dtype=tf.float32), (2, 3)), name="w")
            self.names = tf.Variable(tf.constant(["a", "bc"]), name="names")

        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32)])
        def __call__(self, x):
            return x @ self.w

    tf.saved_model.save(Module(), str(out))


def accelerate(out):
    import torch
    from accelerate import Accelerator

    torch.manual_seed(7)
    model = torch.nn.Linear(4, 2)
    accelerator = Accelerator(cpu=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    model, optimizer, scheduler = accelerator.prepare(model, optimizer, scheduler)
    accelerator.backward(model(torch.ones(3, 4)).sum())
    optimizer.step()
    accelerator.save_state(str(out))


WRITERS = {"trainer": "trainer/checkpoint-2", "sharded": "sharded", "sharded_bin": "sharded_bin", "dcp": "dcp",
           "deepspeed": "deepspeed", "orbax": "orbax", "orbax_step": "orbax_step", "savedmodel": "savedmodel",
           "accelerate": "accelerate"}


def finished(out):
    """The files of a directory in the order of their last write."""
    files = [p for p in out.rglob("*") if p.is_file()]
    return [p.relative_to(out).as_posix() for p in sorted(files, key=lambda p: (p.stat().st_mtime_ns, p))]


def main(names):
    for name in names:
        out = HERE.absolute() / WRITERS[name]
        shutil.rmtree(out, ignore_errors=True)
        out.parent.mkdir(exist_ok=True)
        try:
            globals()[name](out)
        except ImportError as e:
            print(f"{name}: {e}", file=sys.stderr)
            continue
        order = json.loads(ORDER.read_text()) if ORDER.exists() else {}
        order[WRITERS[name]] = finished(out)
        ORDER.write_text(json.dumps(order, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:] or WRITERS)
