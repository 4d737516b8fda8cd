"""The training loop: stages of epochs, best weights by validation, exact resume."""

import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from plait.core import signals
from plait.core.console import Progress, say
from plait.core.errors import NumericsError
from plait.core.protocols import Dataset, Model, Task
from plait.core.seeding import generator, seed_torch
from plait.core.tokens import Batch
from plait.training.checkpoint import Checkpoints, load_optimizer, optimizer_tensors, rng_state, set_rng_state
from plait.training.config import StageConfig, TrainingConfig
from plait.training.evaluate import evaluate
from plait.training.modality_dropout import ModalityDropout
from plait.training.stages import build_optimizer, learning_rate, select
from plait.training.state import Position, Trained, Weights, copy_weights


class Trainer:
    """Trains one model on one task. All state lives in `position`, the model, the optimiser and `weights`.

    Data order is `rows(seed, stage, epoch)[rank::world]`, a pure function. The loss of an optimiser step is the sum
    over its rows divided by the weight of all of them, over micro-batches and devices, so that masked targets,
    accumulation and a short last batch all give the one true mean.
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
        self.bare, self.required = model, cast(Model, model).required
        self.model: nn.Module = accelerator.prepare(model)
        self.hide = ModalityDropout(config.modality_dropout, data, seed)
        self.main = bool(accelerator.is_main_process)
        self.checkpoints = Checkpoints(folder / "checkpoints", config.keep)
        self.position = Position()
        self.weights: dict[str, Weights] = {}
        self.optimizer: Any = None
        self.deadline = time.monotonic() + max_seconds if max_seconds else None
        self.saved_at = time.monotonic()
        self.log = folder / "metrics.jsonl"
        # A training inside a run (its anchor's) is resumed with the run, and has curves of its own.
        self.run_folder, self.prefix = inside or folder, f"{folder.name}/" if inside else ""

    def run(self) -> Trained:
        """Train every stage, from the newest checkpoint if there is one."""
        for stage in self.config.stages:
            select(self.bare, stage)  # a glob that matches nothing is told before the first step, not hours later
        restored = self._restore()
        while self.position.stage < len(self.config.stages) and not self.position.done:
            stage = self.config.stages[self.position.stage]
            self._stage(stage, restored)
            restored = None
        return Trained(self.weights["best"], self.weights.get("anchor"), self.position)

    def _stage(self, stage: StageConfig, restored: dict[str, Weights] | None) -> None:
        learning = select(self.bare, stage)
        position = self.position
        self.optimizer = self.accelerator.prepare(build_optimizer(self.bare, stage, self.config))
        if restored is not None:
            load_optimizer(getattr(self.optimizer, "optimizer", self.optimizer), restored.get("optimizer", {}))
        else:
            if "best" in self.weights:
                self.bare.load_state_dict(self.weights["best"])
            position.epoch = position.batch = position.stale = 0
            seed_torch(self.seed, "stage", stage.name)
            if self.config.ema:
                self.weights["ema"] = copy_weights(self.bare)
            score = self._validate(stage)
            self._keep_best(score, 0)
            self._record({"event": "stage", "stage": stage.name, "parameters": learning, "val": score})
        epochs = stage.epochs if self.config.epochs is None else self.config.epochs
        per_epoch = -(-len(self.data.rows("train")) // self.config.batch_size)
        progress = Progress(f"stage {stage.name}", epochs * per_epoch)
        try:
            while position.epoch < epochs and position.stale < self.config.patience:
                self._epoch(stage, epochs * per_epoch, per_epoch, progress)
                if self._late():
                    say("the time of --max-hours is over: going on with the best weights so far")
                    position.done = True
                    break
        finally:
            progress.close()
        if stage.present == [self.data.schema.anchor]:
            self.weights["anchor"] = self.weights["best"]
        position.stage += 1
        position.done = position.done or position.stage == len(self.config.stages)
        self.bare.load_state_dict(self.weights["best"])
        position.epoch = position.batch = 0
        self.optimizer = None
        self._save()

    def _epoch(self, stage: StageConfig, steps: int, per_epoch: int, progress: Progress) -> None:
        position, began = self.position, time.monotonic()
        order = self.data.rows("train")[
            generator(self.seed, "order", stage.name, position.epoch).permutation(len(self.data.rows("train")))
        ]
        size = self.config.batch_size
        first = position.batch
        self.model.train()
        while position.batch < per_epoch:
            rows = order[position.batch * size : (position.batch + 1) * size]
            at = position.epoch * per_epoch + position.batch
            rate = learning_rate(at, steps, per_epoch, stage, self.config)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            losses = self._step(rows, stage)
            position.batch += 1
            position.step += 1
            if self.config.log_steps and position.step % self.config.log_steps == 0:
                self._record({"event": "step", "stage": stage.name, "step": position.step, "lr": rate, "train": losses})
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
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        parts = [part[rank::world] for part in np.array_split(rows, min(self.config.accumulate, len(rows)))]
        epoch = self.position.epoch
        batches = [
            self._seen(self.hide(self.data.training_batch(p, stage.name, epoch), p, stage.name, epoch), stage)
            for p in parts
        ]
        weights = self._global_weights(batches, len(rows))
        losses = dict.fromkeys(weights, 0.0)
        self.optimizer.zero_grad(set_to_none=True)
        for number, batch in enumerate(batches):
            last = number == len(batches) - 1
            with nullcontext() if last or world == 1 else self.accelerator.no_sync(self.model):
                output = self.model(batch)
                named = self.task.losses(output, batch)
                loss = torch.stack([total / weights[name] for name, (total, _) in named.items()]).sum()
                for name, (total, weight) in named.items():
                    sums = self.position.sums.setdefault(name, [0.0, 0.0])
                    sums[0], sums[1] = sums[0] + float(total.detach()), sums[1] + float(weight)
                    losses[name] = losses.get(name, 0.0) + float(total.detach()) / weights[name]
                if not torch.isfinite(loss):
                    raise NumericsError(
                        f"the loss is {loss.item()} at step {self.position.step}, rows {parts[number][:5].tolist()}...",
                        where=f"stage {stage.name}",
                        fix="the last checkpoint is good; lower training.lr, or check these rows with plait data check",
                    )
                if loss.requires_grad:
                    self.accelerator.backward(loss * world)
        if self.config.clip:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimizer.step()
        if self.config.ema:
            average = self.weights["ema"]
            for name, parameter in self.bare.named_parameters():
                if parameter.requires_grad:
                    average[name].lerp_(parameter.detach(), 1 - self.config.ema)
        return losses

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The averaged weights in the model's place, if there are any."""
        if not self.config.ema:
            yield
            return
        own = copy_weights(self.bare)
        self.bare.load_state_dict(self.weights["ema"])
        yield
        self.bare.load_state_dict(own)

    def _global_weights(self, batches: list[Batch], rows: int) -> defaultdict[str, float]:
        """The weight of each of the task's losses over the optimiser step; of any other, the number of its rows."""
        own: dict[str, float] = {}
        for batch in batches:
            for name, weight in self.task.weights(batch).items():
                own[name] = own.get(name, 0.0) + float(weight)
        if self.accelerator.num_processes > 1:
            names = sorted(own)
            total = self.accelerator.reduce(torch.tensor([own[n] for n in names], device=self.accelerator.device))
            own = dict(zip(names, total.tolist(), strict=True))
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
            self.weights["best"] = copy_weights(self.bare)
        else:
            position.stale += 1

    def _record(self, entry: dict[str, Any]) -> None:
        if not self.main:
            return
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            self.position.log_bytes = file.tell()
        flat = {f"{self.prefix}train/{entry['event']}/{name}": value for name, value in entry.get("train", {}).items()}
        flat |= {f"{self.prefix}{name}": entry[name] for name in ("val", "lr") if name in entry}
        self.accelerator.log(flat, step=self.position.step)

    def _late(self) -> bool:
        return self.deadline is not None and time.monotonic() > self.deadline

    def _maybe_save(self) -> None:
        stop = signals.asked()
        every = self.config.checkpoint_steps
        due = (
            self.position.step % every == 0
            if every
            else time.monotonic() - self.saved_at > self.config.checkpoint_seconds
        )
        if due or stop:
            self._save()
        if stop:
            signals.check(f"go on with: plait train --resume {self.run_folder}")

    def _save(self) -> None:
        if not self.main:
            return
        tensors, data = rng_state()
        groups: dict[str, Mapping[str, Tensor]] = {
            "model": self.bare.state_dict(),
            "rng": tensors,
            **self.weights,
        }
        if self.optimizer is not None:
            groups["optimizer"] = optimizer_tensors(getattr(self.optimizer, "optimizer", self.optimizer))
        self.checkpoints.save(self.position.step, groups, {"position": asdict(self.position), "rng": data})
        self.saved_at = time.monotonic()

    def _restore(self) -> dict[str, Weights] | None:
        found = self.checkpoints.latest()
        if found is None:
            if self.log.exists():
                self.log.write_bytes(b"")
            return None
        tensors, state = found
        self.position = Position(**state["position"])
        self.bare.load_state_dict(tensors["model"])
        self.weights = {name: tensors[name] for name in ("best", "anchor", "ema") if name in tensors}
        set_rng_state(tensors["rng"], state["rng"])
        if self.main:
            with open(self.log, "ab") as file:
                file.truncate(self.position.log_bytes)
        # A stage that has ended leaves no optimiser: the next one starts by itself.
        return tensors if "optimizer" in tensors else None
