"""The training loop: stages of epochs, best weights by validation, exact resume."""

import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from plait.core import signals
from plait.core.console import Progress, say
from plait.core.errors import NumericsError, Terminated
from plait.core.protocols import Dataset, Model, Task
from plait.core.seeding import generator, seed_torch
from plait.core.tokens import Batch, Output
from plait.nn.recompute import recompute
from plait.training.checkpoint import Checkpoints, load_optimizer, optimizer_tensors
from plait.training.config import StageConfig, TrainingConfig
from plait.training.evaluate import evaluate
from plait.training.gates import mean_gates
from plait.training.launch import from_main
from plait.training.log import Log
from plait.training.modality_dropout import ModalityDropout
from plait.training.parallel import ONE, Parallel, without_rows
from plait.training.shards import Weights, copy_shards, in_place, shards_like, whole
from plait.training.stages import build_optimizer, learning_rate, select
from plait.training.state import Position, Trained, add_to, copy_weights


class Trainer:
    """Trains one model on one task. All state lives in `position`, the model, the optimiser and `weights`.

    Data order is `rows(seed, stage, epoch)[rank::world]`, a pure function. The loss of an optimiser step is the sum
    over its rows divided by the weight of all of them, over micro-batches and devices, so that masked targets,
    accumulation and a short last batch all give the one true mean. Processes that share a training take every decision
    (to save, to stop) together. `bare` is the model as given; in a stage `model` is passed through and `live` learns.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        data: Dataset,
        config: TrainingConfig,
        folder: Path,
        seed: int,
        accelerator: Any,
        max_seconds: float | None = None,
        inside: Path | None = None,
    ) -> None:
        self.task, self.data, self.config, self.folder, self.seed = task, data, config, folder, seed
        self.accelerator = accelerator
        self.parallel = Parallel(config, accelerator)
        self.bare, self.required = model, cast(Model, model).required
        if config.checkpointing and not recompute(model) and inside is None:
            say("training.checkpointing has no effect: this model has no transformer block to compute again")
        self.model, self.live = self.parallel.wrap(model) if self.parallel.world == 1 else (model, model)
        self.hide = ModalityDropout(config.modality_dropout, data, seed)
        self.main = bool(accelerator.is_main_process)
        self.checkpoints = Checkpoints(folder / "checkpoints", config.keep, self.main)
        self.position = Position()
        self.weights: dict[str, Weights] = {}
        self.optimizer: Any = None
        self.in_force: dict[str, Any] = {}
        self.gated = True
        self.deadline = time.monotonic() + max_seconds if max_seconds else None
        self.saved_at = time.monotonic()
        # A training inside a run (its anchor's) is resumed with the run, and has curves of its own.
        self.run_folder = inside or folder
        self.log = Log(folder / "metrics.jsonl", f"{folder.name}/" if inside else "", accelerator)

    def run(self) -> Trained:
        """Train every stage, from the newest checkpoint if there is one."""
        for stage in self.config.stages:
            select(self.bare, stage)  # a glob that matches nothing is told before the first step, not hours later
        restored = self._restore()
        while self.position.stage < len(self.config.stages) and not self.position.done:
            stage = self.config.stages[self.position.stage]
            self._stage(stage, restored)
            restored = None
        self.parallel.place(self.bare)
        return Trained(self.weights["best"], self.weights.get("anchor"), self.position)

    def _stage(self, stage: StageConfig, restored: dict[str, Weights] | None) -> None:
        learning = select(self.bare, stage)
        position = self.position
        if restored is None and "best" in self.weights:
            self.bare.load_state_dict(self.weights["best"])
        self.model, self.live = self.parallel.wrap(self.bare)
        self.gated = True
        self.in_force = {} if self.parallel.mode == ONE else self.parallel.record(self.model)
        if self.config.compile:
            self.model = cast(nn.Module, torch.compile(self.model))
        self.optimizer = self.accelerator.prepare(build_optimizer(self.live, stage, self.config))
        if restored is not None:
            load_optimizer(getattr(self.optimizer, "optimizer", self.optimizer), restored.get("optimizer", {}))
            if "ema" in self.weights:
                self.weights["ema"] = shards_like(self.weights["ema"], self.live)
        else:
            position.epoch = position.batch = position.stale = position.cuts = 0
            rank = self.parallel.rank  # each process has its own dropout
            seed_torch(self.seed, "stage", stage.name, *([rank] if rank else []))
            if self.config.ema:
                self.weights["ema"] = copy_shards(self.live)
            score = self._validate(stage)
            self._keep_best(score, 0)
            entry = {"event": "stage", "stage": stage.name, "parameters": learning, "val": score}
            self._record(entry | ({"parallel": self.in_force} if self.in_force else {}))
        epochs = stage.epochs if self.config.epochs is None else self.config.epochs
        per_epoch = -(-len(self.data.rows("train")) // self.config.batch_size)
        progress = Progress(f"stage {stage.name}", epochs * per_epoch)
        try:
            while position.epoch < epochs and position.stale < self.config.patience:
                self._epoch(stage, epochs * per_epoch, per_epoch, progress)
                if self.parallel.any(self.main and self._late())[0]:
                    say("the time of --max-hours is over: going on with the best weights so far")
                    position.done = True
                    break
        finally:
            progress.close()
        if stage.present == [self.data.schema.anchor]:
            self.weights["anchor"] = self.weights["best"]
        position.stage += 1
        position.done = position.done or position.stage == len(self.config.stages)
        self.model = self.live = self.bare
        self.bare.load_state_dict(self.weights["best"])
        position.epoch = position.batch = 0
        self.optimizer = None
        self._save()

    def _epoch(self, stage: StageConfig, steps: int, per_epoch: int, progress: Progress) -> None:
        position, began = self.position, time.monotonic()
        every = self.data.rows("train")
        order = every[generator(self.seed, "order", stage.name, position.epoch).permutation(len(every))]
        size = self.config.batch_size
        first = position.batch
        self.model.train()
        while position.batch < per_epoch:
            rows = order[position.batch * size : (position.batch + 1) * size]
            at = position.epoch * per_epoch + position.batch
            rate = learning_rate(at, steps, per_epoch, stage, self.config, position.cuts)
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group["factor"]
            losses = self._step(rows, stage)
            position.batch += 1
            position.step += 1
            if self.config.log_steps and position.step % self.config.log_steps == 0:
                seen = self._seen(self.data.batch("train", rows), stage) if self.gated else None
                maps = mean_gates(self.model, seen) if seen is not None else {}
                self.gated = bool(maps)  # a stage without gates is asked once
                entry = {"event": "step", "stage": stage.name, "step": position.step, "lr": rate, "train": losses}
                self._record(entry | ({"maps": maps} if maps else {}))
            progress.update(at + 1, f"best val {position.best:.4f}" if position.best is not None else "")
            self._maybe_save()
        passed = time.monotonic() - began
        position.epoch, position.batch = position.epoch + 1, 0
        with self._averaged():
            score = self._validate(stage)
            self._keep_best(score, position.epoch)
        losses = {name: total / weight for name, (total, weight) in position.sums.items() if weight}
        position.sums = {}
        self._record({
            "event": "epoch", "stage": stage.name, "epoch": position.epoch, "step": position.step, "train": losses,
            "val": score, "best": position.best, "train_s": passed,
            "rows_per_s": (per_epoch - first) * size / max(passed, 1e-9),
        })  # fmt: skip
        self._maybe_save()

    def _step(self, rows: NDArray[np.int64], stage: StageConfig) -> dict[str, float]:
        parts = np.array_split(rows, min(self.config.accumulate, len(rows)))
        batches = [self._share(part, stage) for part in parts]
        weights = self._global_weights([batch.rows(slice(count)) for batch, count in batches], len(rows))
        own: dict[str, list[float]] = {}
        fault: NumericsError | None = None
        self.optimizer.zero_grad(set_to_none=True)
        for part, (batch, rows_here) in zip(parts, batches, strict=True):
            with nullcontext() if part is parts[-1] else self.parallel.unsynced(self.model):
                named = self._losses(batch, rows_here)
                loss = torch.stack([total / weights[name] for name, (total, _) in named.items()]).sum()
                for name, (total, weight) in named.items():
                    add_to(own, name, float(total.detach()), float(weight))
                if not torch.isfinite(loss):
                    fault = fault or NumericsError(
                        f"the loss is {loss.item()} at step {self.position.step}, rows {part[:5].tolist()}...",
                        where=f"stage {stage.name}",
                        fix="the last checkpoint is good; lower training.lr, or check these rows with plait data check",
                    )
                if loss.requires_grad:
                    self.accelerator.backward(loss * self.parallel.world)
        faults, *every = self.parallel.sum([float(fault is not None), *chain.from_iterable(own.values())])
        if faults:
            raise fault or NumericsError("another process met a loss that is no number", where=f"stage {stage.name}")
        if self.config.clip:
            self.accelerator.clip_grad_norm_(self.live.parameters(), self.config.clip)
        self.optimizer.step()
        if self.config.ema:
            average = self.weights["ema"]
            for name, parameter in self.live.named_parameters():
                if parameter.requires_grad:
                    average[name].lerp_(parameter.detach(), 1 - self.config.ema)
        for name, summed, count in zip(own, every[::2], every[1::2], strict=True):
            add_to(self.position.sums, name, summed, count)
        return {name: summed / weights[name] for name, summed in zip(own, every[::2], strict=True)}

    def _share(self, part: NDArray[np.int64], stage: StageConfig) -> tuple[Batch, int]:
        """This process's share of a part of a step, and its number of rows: where it gets none, a row to stand in."""
        epoch = self.position.epoch
        rows = part[self.parallel.rank :: self.parallel.world]
        fed = rows if len(rows) else part[:1]
        batch = self.data.training_batch(fed, stage.name, epoch)
        return self._seen(self.hide(batch, fed, stage.name, epoch), stage), len(rows)

    def _losses(self, batch: Batch, count: int) -> dict[str, tuple[Tensor, Tensor]]:
        """Named (sum, weight). A row that stands in is passed, since all processes must, and then left out."""
        output: Output = self.model(batch)
        return self.task.losses(output if count else without_rows(output), batch.rows(slice(count)))

    def _averaged(self) -> AbstractContextManager[None]:
        """The averaged weights in the model's place, if there are any."""
        return in_place(self.weights["ema"], self.live) if self.config.ema else nullcontext()

    def _global_weights(self, batches: list[Batch], rows: int) -> defaultdict[str, float]:
        """The weight of each of the task's losses over the optimiser step; of any other, the number of its rows."""
        own: dict[str, float] = {}
        for batch in batches:
            for name, weight in self.task.weights(batch).items():
                own[name] = own.get(name, 0.0) + float(weight)
        names = sorted(own)
        own = dict(zip(names, self.parallel.sum([own[name] for name in names]), strict=True))
        return defaultdict(lambda: float(rows), {name: max(weight, 1.0) for name, weight in own.items()})

    def _seen(self, batch: Batch, stage: StageConfig) -> Batch:
        if stage.present is not None:
            batch = batch.without(m for m in self.data.schema.streams if m not in stage.present)
        batch.check(self.required)
        return batch.to(self.accelerator.device)

    def _validate(self, stage: StageConfig) -> float:
        scores = evaluate(
            self.model, self.task, self.data, "val", self.config.eval_batch_size, self.accelerator,
            lambda batch: self._seen(batch, stage),
        )  # fmt: skip
        return self.task.selection(scores)

    def _keep_best(self, score: float, epoch: int) -> None:
        position = self.position
        # A stage begins with the best weights of the one before: they are its first candidate.
        last = self.config.choose == "last"
        if epoch == 0 or position.best is None or score < position.best or last:
            position.best, position.best_epoch, position.stale = score, epoch, 0
            self.weights["best"] = copy_weights(self.live)
        else:
            position.stale += 1
            position.cuts += position.stale % self.config.plateau == 0

    def _record(self, entry: dict[str, Any]) -> None:
        self.position.log_bytes = self.log.write(entry, self.position.step, self.position.log_bytes)

    def _late(self) -> bool:
        return self.deadline is not None and time.monotonic() > self.deadline

    def _maybe_save(self) -> None:
        every, since = self.config.checkpoint_steps, time.monotonic() - self.saved_at
        due = self.position.step % every == 0 if every else since > self.config.checkpoint_seconds
        due, stop = self.parallel.any(self.main and due, signals.asked())
        if due or stop:
            self._save()
        if stop:
            raise Terminated(f"stopped as asked; go on with: plait train --resume {self.run_folder}")

    def _save(self) -> None:
        rng, data = self.parallel.rng()
        groups: dict[str, Mapping[str, Tensor]] = {"model": self.live.state_dict(), **self.weights}
        groups = {name: {key: whole(value) for key, value in held.items()} for name, held in groups.items()}
        groups["rng"] = rng
        if self.optimizer is not None:
            groups["optimizer"] = optimizer_tensors(getattr(self.optimizer, "optimizer", self.optimizer))
        if self.main:
            self.checkpoints.save(self.position.step, groups, {"position": asdict(self.position), "rng": data})
        self.saved_at = time.monotonic()

    def _restore(self) -> dict[str, Weights] | None:
        found = from_main(self.checkpoints.latest)
        if found is None:
            self.log.cut(0)
            return None
        tensors, state = found
        self.position = Position(**state["position"])
        self.bare.load_state_dict(tensors["model"])
        self.weights = {name: tensors[name] for name in ("best", "anchor", "ema") if name in tensors}
        self.parallel.set_rng(tensors["rng"], state["rng"], self.seed, self.position.step)
        self.log.cut(self.position.log_bytes)
        # A stage that has ended leaves no optimiser: the next one starts by itself.
        return tensors if "optimizer" in tensors else None
