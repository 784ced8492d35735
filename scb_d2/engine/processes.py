"""Processes: Detectron2's launcher, torchrun, and gloo where there is no GPU."""

import argparse
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import detectron2.engine
import torch
import torch.distributed as dist
from detectron2.engine import create_ddp_model
from detectron2.utils import comm
from torch import nn
from torch.distributed.rendezvous import rendezvous

from scb_d2.errors import ConfigError

__all__ = [
    "check_flags",
    "check_processes",
    "create_ddp",
    "is_first_local_process",
    "launch",
    "spawns_processes",
    "world_size",
]


def create_ddp(model: nn.Module, **kwargs: Any) -> nn.Module:
    """Detectron2's ``create_ddp_model``, which names a GPU per process, for CPU models too."""
    if next(model.parameters()).device.type == "cpu":
        kwargs["device_ids"] = None
    return create_ddp_model(model, **kwargs)


def _under_torchrun() -> bool:
    return all(name in os.environ for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"))


def _torchrun_local_size() -> int:
    return int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"]))


def world_size(args: argparse.Namespace) -> int:
    """Number of processes that the flags, or torchrun's environment, ask for."""
    if _under_torchrun():
        return int(os.environ["WORLD_SIZE"])
    return args.num_gpus * args.num_machines


def spawns_processes(args: argparse.Namespace) -> bool:
    """Whether :func:`launch` runs what it is given in other processes than this one."""
    return not _under_torchrun() and world_size(args) > 1


def is_first_local_process() -> bool:
    """Whether torchrun has started this process first of those of this machine; else True."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def check_flags(args: argparse.Namespace) -> None:
    """Check the flags for processes and machines against each other.

    Args:
        args: flags of Detectron2's ``default_argument_parser``.

    Raises:
        ConfigError: naming the flag, what was found and what is allowed.
    """
    if args.num_gpus < 1:
        raise ConfigError(f"--num-gpus must be at least 1; got {args.num_gpus}.")
    if args.num_machines < 1:
        raise ConfigError(f"--num-machines must be at least 1; got {args.num_machines}.")
    if not 0 <= args.machine_rank < args.num_machines:
        raise ConfigError(
            f"--machine-rank must be from 0 to {args.num_machines - 1} with --num-machines "
            f"{args.num_machines}; got {args.machine_rank}."
        )
    if args.num_machines > 1 and args.dist_url == "auto":
        raise ConfigError("--dist-url auto works on one machine only; give tcp://HOST:PORT.")
    if _under_torchrun() and (
        args.num_gpus not in (1, _torchrun_local_size()) or args.num_machines > 1
    ):
        raise ConfigError(
            "under torchrun the number of processes comes from --nproc-per-node and --nnodes; "
            "leave --num-gpus and --num-machines out."
        )


def check_processes(args: argparse.Namespace, device: str) -> None:
    """Check that this machine has a GPU for every process that wants one.

    Args:
        args: flags of Detectron2's ``default_argument_parser``.
        device: device that the model will run on.

    Raises:
        ConfigError: naming the flag and both numbers.
    """
    local_size, flag = args.num_gpus, "--num-gpus"
    if _under_torchrun():
        local_size, flag = _torchrun_local_size(), "torchrun --nproc-per-node"
    if torch.device(device).type == "cuda" and local_size > torch.cuda.device_count():
        raise ConfigError(
            f"{flag} {local_size} asks for more GPUs than the {torch.cuda.device_count()} of this "
            "machine."
        )
    _check_port(args)


def _check_port(args: argparse.Namespace) -> None:
    """Check that the port of ``--dist-url`` is free, where this machine will listen at it."""
    url = urlsplit(args.dist_url)
    several = args.num_gpus * args.num_machines > 1
    alone = args.num_machines == 1 and args.dist_url == _default_url()
    if _under_torchrun() or alone or not several or args.machine_rank or url.scheme != "tcp":
        return
    try:
        address = (url.hostname or "", url.port or 0)
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except socket.gaierror:  # a name that is yet to be known, perhaps
        return
    except (OSError, ValueError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"--dist-url {args.dist_url}: this machine cannot listen there ({reason}); give a free "
            "port of its own."
        ) from error


def _default_url() -> str:
    return detectron2.engine.default_argument_parser().get_default("dist_url")


def launch(
    main: Callable[..., None], args: argparse.Namespace, device: str, main_args: tuple
) -> None:
    """Run ``main(*main_args)`` in every process that the flags or torchrun ask for.

    A GPU each with NCCL, or gloo where the device is the CPU. The processes of a single machine
    find each other at a free port unless ``--dist-url`` is given.

    Args:
        main: a module-level function.
        args: flags of Detectron2's ``default_argument_parser``.
        device: device that the model runs on.
        main_args: picklable arguments.
    """
    if _under_torchrun():
        with _process_group_of_torchrun(device):
            main(*main_args)
        return
    single_machine = args.num_machines == 1 and args.dist_url == _default_url()
    with _gpus_hidden(torch.device(device).type == "cpu"):
        detectron2.engine.launch(
            main,
            args.num_gpus,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url="auto" if single_machine else args.dist_url,
            args=main_args,
        )


@contextmanager
def _process_group_of_torchrun(device: str) -> Iterator[None]:
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # A torchrun of one machine keeps its store when it restarts the processes (torch 2.14); the
    # addresses that the dead ones left there are kept out of the way. Across machines the restart
    # counts may differ, and a rendezvous with --rdzv-backend c10d makes a new store.
    store, rank, size = next(rendezvous("env://"))
    if size == _torchrun_local_size():
        store = dist.PrefixStore(f"attempt_{os.environ.get('TORCHELASTIC_RESTART_COUNT')}", store)
    dist.init_process_group("nccl" if on_gpu else "gloo", store=store, rank=rank, world_size=size)
    try:
        comm.create_local_process_group(_torchrun_local_size())
        comm.synchronize()
        yield
    finally:
        dist.destroy_process_group()


@contextmanager
def _gpus_hidden(hidden: bool) -> Iterator[None]:
    """Spawned processes see no GPU: Detectron2's launcher takes NCCL wherever there is one."""
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    try:
        yield
    finally:
        if hidden and before is None:
            del os.environ["CUDA_VISIBLE_DEVICES"]
        elif hidden:
            os.environ["CUDA_VISIBLE_DEVICES"] = before
