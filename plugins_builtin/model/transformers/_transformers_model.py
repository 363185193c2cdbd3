"""``TransformersModel``: the public face of the transformers backend. Its methods only call the parts that do the work."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from peft import PeftConfig, PeftModel
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from twinkle.core.components import build_resolved, resolve
from twinkle.core.device import choose_device
from twinkle.core.errors import InvalidArgument, InvalidData
from twinkle.core.kernelizing import KernelHandle, KernelMapping, Mode, kernelize
from twinkle.core.patch_ledger import PatchHandle
from twinkle.core.patching import apply_patch
from twinkle.core.repository_files import repository_folder
from twinkle.core.resolved import Resolved
from twinkle.core.runtime.context import current
from twinkle.core.runtime.remote import remote_class, remote_function
from twinkle.core.signature import named_parameters
from twinkle.core.suggestion import did_you_mean
from twinkle.plugins_builtin.model._loss_term import mean_of
from twinkle.plugins_builtin.model._step_engine import StepEngine, check_clipping
from twinkle.plugins_builtin.model.transformers._adapter import adapter_parameters, add_adapter
from twinkle.plugins_builtin.model.transformers._checkpoint import (
    DEFAULT_OUTPUT_DIR,
    checkpoint_folder,
    prune_checkpoints,
    read_weights,
    write_checkpoint,
)
from twinkle.plugins_builtin.model.transformers._description import describe_training
from twinkle.plugins_builtin.model.transformers._forward_pass import ForwardPass
from twinkle.plugins_builtin.model.transformers._loading import load_model
from twinkle.plugins_builtin.model.transformers._micro_batch import MicroBatch, combined, micro_batches
from twinkle.plugins_builtin.model.transformers._optimizer import make_optimizer
from twinkle.plugins_builtin.model.transformers._optimizer_group import ForwardResult, Metrics, OptimizerGroup
from twinkle.plugins_builtin.model.transformers._training_state import read_counters, restore_state
from twinkle.plugins_builtin.model.transformers._upload import start_upload
from twinkle.plugins_builtin.model.transformers._vocabulary import Vocabulary

if TYPE_CHECKING:
    from twinkle.core.mesh import DeviceMesh

Precision = Literal["no", "bf16", "fp16"]
_AUTOCAST = {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}
_FULL_PARAMETER = ""
_ADAM_PARAMS = ("lr", "weight_decay", "eps", "betas")


@remote_class()
class TransformersModel:
    """A causal language model of transformers that trains: all of its weights, or one or more LoRA adapters.

    Each adapter has a group of its own: loss, optimizer, schedule, metrics, accumulation window. Methods take ``adapter_name=`` to choose
    one; without it they mean the adapter that was added last, or the whole model where there is none.

    The result of a step does not depend on how its samples were split into micro-batches, packed or padded: see
    :mod:`twinkle.plugins_builtin.model._step_engine`.
    """

    def __init__(
        self,
        model_cls: Any = None,
        model_id: str | Path | None = None,
        config: PretrainedConfig | None = None,
        device_mesh: DeviceMesh | None = None,
        mixed_precision: Precision = "bf16",
        grad_scaler_config: Mapping[str, Any] | None = None,
        activation_memory_bytes: int | None = None,
        **from_pretrained: Any,
    ) -> None:
        """
        Args:
            model_cls: a model class, the name of one in transformers; None is ``AutoModelForCausalLM``.
            model_id: a folder, or ``[ms://|hf://]owner/name[@revision]``.
            config: with ``model_id`` in place of its own; without, the model begins with random weights.
            device_mesh: how the model is laid out over processes.
            mixed_precision: "bf16" and "fp16" compute in that dtype and keep the weights as they were loaded; "no" computes in their own.
            grad_scaler_config: of ``torch.amp.GradScaler``, for "fp16".
            activation_memory_bytes: what layers may save for the backward pass; as many as must are computed again there to keep to it
                (0: all). Without, it is what memory is free on the device when a batch comes, and small work recomputes nothing.
            from_pretrained: more of ``from_pretrained``: ``dtype`` (float32 without), ``attn_implementation`` ...

        Raises:
            InvalidArgument: neither ``model_id`` nor ``config``, an unknown precision, a memory that is no number of bytes, or an argument
                that transformers does not take either.
        """
        if mixed_precision not in _AUTOCAST:
            raise InvalidArgument(f"mixed_precision: expected one of {sorted(_AUTOCAST)}, got {mixed_precision!r}")
        _check_memory(activation_memory_bytes)
        settings = current().settings
        device = choose_device(settings).torch_device(max(settings.local_rank, 0))
        base = load_model(model_cls, model_id, config, device, from_pretrained, named_parameters(type(self)))
        self.model: PreTrainedModel | PeftModel = base
        self.model_id = str(model_id) if model_id is not None else type(base).__name__
        self.tokenizer_id = self.model_id
        self._has_tokenizer = model_id is not None and (repository_folder(model_id, "model") / "tokenizer_config.json").is_file()
        self.device_mesh = device_mesh
        self.mixed_precision = mixed_precision
        self.optimizer_group: dict[str, OptimizerGroup] = {}
        self._base = base
        self._device = device
        self._passes = ForwardPass(base, _AUTOCAST[mixed_precision], activation_memory_bytes)
        self._scaler_config = dict(grad_scaler_config or {})
        self._patches: list[tuple[PatchHandle, dict[str, dict[str, str]]]] = []
        self._active = _FULL_PARAMETER
        self.optimizer_group[_FULL_PARAMETER] = self._new_group(_FULL_PARAMETER, dict(base.named_parameters()), 1)

    # ---- what is trained, and with what

    @remote_function(dispatch="all", collect="first")
    def add_adapter_to_model(
        self,
        adapter_name: str,
        config_or_dir: PeftConfig | str | Path,
        gradient_accumulation_steps: int = 1,
        is_trainable: bool = True,
    ) -> None:
        """Adds an adapter with a group of its own and makes it the active one; the base weights are frozen from then on.

        Args:
            config_or_dir: a ``LoraConfig`` (fresh weights), or a folder or hub id with an adapter.
            gradient_accumulation_steps: calls of ``backward`` per optimizer step.
        """
        template = self._group(None).template
        self.model = add_adapter(self.model, adapter_name, config_or_dir, is_trainable)
        self.model.set_adapter(adapter_name)
        self.model.train()  # what was added begins in train mode whatever the rest is in: from here on all of it is in the same
        self.optimizer_group.pop(_FULL_PARAMETER, None)
        parameters = adapter_parameters(self.model, adapter_name)
        for parameter in parameters.values():
            parameter.requires_grad_(is_trainable)
        self._passes.look_again()
        group = self._new_group(adapter_name, parameters if is_trainable else {}, gradient_accumulation_steps)
        group.template = template
        self.optimizer_group[adapter_name] = group
        self._active = adapter_name

    @remote_function(dispatch="all", collect="first")
    def set_loss(self, loss_cls: Any, adapter_name: str | None = None, **init: Any) -> None:
        """Sets the loss: a name, hub id, class, instance or plain function, with its init arguments."""
        group = self._group(adapter_name)
        resolved = resolve("loss", loss_cls)
        group.loss = build_resolved(resolved, init)
        group.loss_name = resolved.name
        group.provenance["loss"] = resolved.provenance()

    @remote_function(dispatch="all", collect="first")
    def set_optimizer(
        self,
        optimizer_cls: Any = "AdamW",
        lr: float = 1e-5,
        weight_decay: float = 0.01,
        params: Any = None,
        adapter_name: str | None = None,
        **init: Any,
    ) -> None:
        """Sets the optimizer: a name, class or instance.

        Args:
            params: in place of the group's own parameters, which come as two groups: biases and norms have no weight decay.
            init: more of its own arguments.
        """
        group = self._group(adapter_name)
        resolved = resolve("optimizer", optimizer_cls)
        optimizer, flat_form = make_optimizer(resolved, init, group.named_parameters, lr, weight_decay, params)
        group.optimizer, group.engine.flat_form = optimizer, flat_form
        group.lr_scheduler = None
        group.provenance["optimizer"] = resolved.provenance()

    @remote_function(dispatch="all", collect="first")
    def set_lr_scheduler(self, scheduler_cls: Any, adapter_name: str | None = None, **init: Any) -> None:
        """Sets the learning-rate schedule, which counts optimizer steps: a name, class or instance, with its init arguments."""
        group = self._group(adapter_name)
        if group.optimizer is None:
            raise InvalidArgument("a learning-rate scheduler needs an optimizer: call set_optimizer first")
        resolved = resolve("lr_scheduler", scheduler_cls)
        group.lr_scheduler = build_resolved(resolved, init, {"optimizer": group.optimizer})
        group.warned_of_schedule = False
        group.provenance["lr_scheduler"] = resolved.provenance()

    @remote_function(dispatch="all", collect="first")
    def set_template(self, template_cls: Any, adapter_name: str | None = None, **init: Any) -> None:
        """Sets the template that encodes trajectories; ``model_id`` is this model's where it is left out."""
        group = self._group(adapter_name)
        resolved = resolve("template", template_cls)
        group.template = build_resolved(resolved, init, {"model_id": self.tokenizer_id})
        group.provenance["template"] = resolved.provenance()

    @remote_function(dispatch="all", collect="first")
    def set_processor(self, processor_cls: Any, adapter_name: str | None = None, **init: Any) -> None:
        """Sets what collates features into a batch; it may pad or not, the model works on the flat form of either."""
        group = self._group(adapter_name)
        resolved = resolve("processor", processor_cls)
        group.processor = build_resolved(resolved, init, self._processor_defaults())
        group.provenance["processor"] = resolved.provenance()

    @remote_function(dispatch="all", collect="first")
    def add_metric(self, metric_cls: Any, is_training: bool | None = None, adapter_name: str | None = None, **init: Any) -> None:
        """Adds a metric to training (True), to evaluation (False), or one to each (None)."""
        group = self._group(adapter_name)
        resolved = resolve("metric", metric_cls)
        offered = {"device_mesh": self.device_mesh, "process_group": None}
        if is_training is not False:
            group.train_metrics.append(build_resolved(resolved, init, offered))
        if is_training is not True:
            group.eval_metrics.append(build_resolved(resolved, init, offered))
        group.provenance[f"metric {resolved.name}"] = resolved.provenance()

    @remote_function(dispatch="all", collect="first")
    def set_grad_scaler(self, adapter_name: str | None = None, **scaler_config: Any) -> None:
        """Sets loss scaling for float16: arguments of ``torch.amp.GradScaler`` over those of the constructor."""
        self._group(adapter_name).engine.scaler = torch.amp.GradScaler(self._device.type, **{**self._scaler_config, **scaler_config})

    @remote_function(dispatch="all", collect="first")
    def apply_patch(self, patch_cls: Any, **kwargs: Any) -> PatchHandle:
        """Applies a patch (a name, hub id, class or instance, with its init arguments) to the unwrapped model.

        Returns:
            A handle that undoes it; where the patch is not needed here it does nothing and says why.
        """
        handle = apply_patch(patch_cls, self._base, **kwargs)
        self._passes.look_again()
        handle.after_revert(self._passes.look_again)
        identity = handle.identity
        provenance = {"ref": identity.ref, "entry": identity.entry, "origin": "object"}
        if isinstance(patch_cls, str):
            provenance = resolve("patch", patch_cls).provenance()
        self._patches.append((handle, {f"patch {identity.ref}": provenance}))
        return handle

    @remote_function(dispatch="all", collect="first")
    def kernelize(self, mapping: KernelMapping | None = None, mode: Mode | None = None) -> KernelHandle:
        """Puts kernels in place of layers and functions of the unwrapped model: see :func:`twinkle.kernelize`."""
        handle = kernelize(self._base, mapping, mode=mode)
        self._passes.look_again()
        handle.after_revert(self._passes.look_again)
        self._patches.append((handle, {f"kernel {name}": fields for name, fields in handle.provenance.items()}))
        return handle

    # ---- a step

    @remote_function(dispatch="slice_dp", collect="flatten", sync=True)
    def forward(self, *, inputs: Any, adapter_name: str | None = None, temperature: float = 1.0) -> Mapping[str, Any]:
        """One forward pass in train mode; ``calculate_loss`` and ``backward`` go on with it.

        Args:
            inputs: encoded samples, trajectories (the group's template encodes them), or a collated batch.
            temperature: logits are divided by it before log-probabilities are taken.

        Returns:
            ``logps`` ``[num_sequences, max_length]``: the log-probability of each label, 0 where there is none; more if the loss needs it.
        """
        group = self._activate(adapter_name)
        ((batch, _),) = self._micro_batches(inputs, group, None, {})
        group.begin_backward()
        with self._passes.prepared():
            group.last = self._passes.run(self.model, group, batch, temperature, is_training=True)
        return group.last.outputs.mapping(batch, "padded")

    @remote_function(dispatch="slice_dp", collect="flatten", sync=True)
    def forward_only(
        self,
        *,
        inputs: Any,
        adapter_name: str | None = None,
        micro_batch_size: int | None = None,
        temperature: float = 1.0,
        disable_lora: bool = False,
        **loss_arguments: Any,
    ) -> Mapping[str, Any]:
        """A forward pass without gradients, in eval mode; it feeds the evaluation metrics.

        Args:
            disable_lora: use the base model alone, as the reference policy of a preference loss.

        Returns:
            ``logps`` ``[num_sequences, max_length]`` as :meth:`forward`, and ``loss``, the mean over ``inputs`` as a float.
        """
        group = self._activate(adapter_name)
        group.check_loss_arguments(loss_arguments, ("inputs", "adapter_name", "micro_batch_size", "temperature", "disable_lora"))
        results = []
        adapter_off = self.model.disable_adapter() if disable_lora and isinstance(self.model, PeftModel) else nullcontext()
        with torch.no_grad(), adapter_off, self._passes.prepared():
            for batch, arguments in self._micro_batches(inputs, group, micro_batch_size, loss_arguments):
                result = self._passes.run(self.model, group, batch, temperature, is_training=False)
                if batch.num_trained_tokens:
                    group.evaluate_loss(result, arguments)
                    group.feed(group.eval_metrics, result, arguments)
                results.append(result)
        group.last = results[-1]
        return combined(results)

    @remote_function(dispatch="all", collect="mean", sync=True)
    def calculate_loss(self, adapter_name: str | None = None, **loss_arguments: Any) -> float:
        """The loss of the last forward pass, as a mean; keyword arguments go to the loss by name."""
        group = self._group(adapter_name)
        result = _last(group, "calculate_loss")
        group.check_loss_arguments(loss_arguments, ("adapter_name",))
        group.evaluate_loss(result, loss_arguments)
        group.pending.append((result.detached(), loss_arguments))
        return float(mean_of(result.terms))

    @remote_function(dispatch="all", collect="none", sync=True)
    def backward(self, adapter_name: str | None = None, gradient_accumulation_steps: int | None = None) -> None:
        """Adds the gradients of the last loss to the window.

        Args:
            gradient_accumulation_steps: changes the length of the window, from here on.
        """
        group = self._group(adapter_name)
        result = _last(group, "backward")
        if not result.terms:
            raise InvalidArgument("backward needs a loss: call calculate_loss first, or forward_backward for all three")
        group.check_labels(result.batch)
        if gradient_accumulation_steps is not None:
            group.engine.set_gradient_accumulation_steps(gradient_accumulation_steps)
        with group.engine.whole_call(), self._passes.prepared():
            group.engine.backward(result.terms)
        group.engine.end_backward()
        group.last = None

    @remote_function(dispatch="slice_dp", collect="mean", sync=True)
    def forward_backward(
        self,
        *,
        inputs: Any,
        adapter_name: str | None = None,
        micro_batch_size: int | None = None,
        gradient_accumulation_steps: int | None = None,
        temperature: float = 1.0,
        **loss_arguments: Any,
    ) -> Mapping[str, Any]:
        """Loss and gradients of ``inputs``: forward, loss and backward of each micro-batch.

        Args:
            inputs: encoded samples, trajectories, or a collated batch.
            micro_batch_size: samples that go through the model together; all of them without. The result does not depend on it.
            loss_arguments: for the loss, by name; one with a value per sample is split along.

        Returns:
            ``loss``, the mean over ``inputs`` as a float, and ``logps`` as :meth:`forward`. Each is computed when it is read: a loop that
            reads the loss now and then waits for the device no more often.
        """
        group = self._activate(adapter_name)
        own = ("inputs", "adapter_name", "micro_batch_size", "gradient_accumulation_steps", "temperature")
        group.check_loss_arguments(loss_arguments, own)
        micro_batches = self._micro_batches(inputs, group, micro_batch_size, loss_arguments)
        group.check_labels(micro_batches[0][0])  # which all came together: they have labels, or none has
        if gradient_accumulation_steps is not None:
            group.engine.set_gradient_accumulation_steps(gradient_accumulation_steps)
        group.begin_backward()
        results = []
        with group.engine.whole_call(), self._passes.prepared():
            for batch, arguments in micro_batches:
                result = self._passes.run(self.model, group, batch, temperature, is_training=True)
                group.evaluate_loss(result, arguments)
                if len(micro_batches) > 1 and any(term.domain == "batch" for term in result.terms):
                    raise InvalidArgument(
                        f"loss {group.loss_name!r} compares the samples of a batch with each other: it takes no micro_batch_size"
                    )
                group.engine.backward(result.terms)
                results.append(result.detached())
        group.pending += [(result, arguments) for result, (_, arguments) in zip(results, micro_batches, strict=True)]
        group.engine.end_backward()
        return combined(results)

    @remote_function(dispatch="all", collect="first", sync=True)
    def clip_grad_norm(self, max_grad_norm: float = 1.0, norm_type: float = 2.0, adapter_name: str | None = None) -> Tensor | None:
        """At the end of a window: divides the gradient sums by their denominators, then clips; returns the norm before clipping.

        Inside a window it does nothing and returns None.
        """
        group = self._group(adapter_name)
        check_clipping(max_grad_norm, norm_type)
        if not group.engine.step_is_due:
            return None
        if group.optimizer is not None:
            group.engine.unscale(group.optimizer)
        group.grad_norm = group.engine.clip(max_grad_norm, norm_type)
        return group.grad_norm

    @remote_function(dispatch="all", collect="none", sync=True)
    def step(self, adapter_name: str | None = None, optim_params: Mapping[str, Any] | None = None) -> None:
        """At the end of a window: one optimizer step, on normalised gradients whether or not they were clipped.

        Args:
            optim_params: ``lr``, ``weight_decay``, ``eps``, ``betas`` of an Adam optimizer, from this step on.
        """
        group = self._group(adapter_name)
        if not group.engine.step_is_due:
            return
        _check_optimizer(group)
        changes = dict(optim_params or {})
        for name in changes:
            if name not in _ADAM_PARAMS or name not in group.optimizer.defaults:
                known = [n for n in _ADAM_PARAMS if n in group.optimizer.defaults]
                raise InvalidArgument(f"optim_params: {type(group.optimizer).__name__} has no {name!r}.{did_you_mean(name, known)}")
        for param_group in group.optimizer.param_groups:
            param_group.update(changes)
        group.lr_step_is_due = group.engine.step(group.optimizer)
        group.flush()

    @remote_function(dispatch="all", collect="none")
    def zero_grad(self, adapter_name: str | None = None) -> None:
        """At the end of a window: forgets its gradients."""
        group = self._group(adapter_name)
        if group.engine.is_between_windows:
            group.engine.open_window()

    @remote_function(dispatch="all", collect="none")
    def lr_step(self, adapter_name: str | None = None) -> None:
        """One step of the schedule after an optimizer step; else, and where float16 left the optimizer step out, nothing."""
        group = self._group(adapter_name)
        if group.lr_step_is_due and group.lr_scheduler is not None:
            group.lr_scheduler.step()
        group.lr_step_is_due = False

    @remote_function(dispatch="all", collect="first", sync=True)
    def clip_grad_and_step(self, max_grad_norm: float = 1.0, norm_type: float = 2.0, adapter_name: str | None = None) -> Tensor | None:
        """:meth:`clip_grad_norm`, :meth:`step`, :meth:`zero_grad` and :meth:`lr_step`; returns the gradient norm before clipping."""
        group = self._group(adapter_name)
        if group.engine.step_is_due:
            _check_optimizer(group)  # before gradients are divided: a window that was normalised takes no further backward
        norm = self.clip_grad_norm(max_grad_norm, norm_type, adapter_name=adapter_name)
        self.step(adapter_name=adapter_name)
        self.zero_grad(adapter_name=adapter_name)
        self.lr_step(adapter_name=adapter_name)
        return norm

    # ---- what came of it

    @remote_function(dispatch="all", collect="first", sync=True)
    def calculate_metric(self, is_training: bool = True, adapter_name: str | None = None) -> Metrics:
        """The metrics since the last call, over all data ranks; they begin anew. Plugins are told of them."""
        group = self._group(adapter_name)
        values = group.calculate(is_training)
        context = current()
        named = values if is_training else {f"eval/{name}": value for name, value in values.items()}
        context.registry.tell("twinkle_step_ended", run=context.run or "", step=group.engine.num_steps, metrics=named)
        return values

    @remote_function(dispatch="all", collect="first")
    def get_train_configs(self, adapter_name: str | None = None) -> str:
        """What is trained, with what, and where each component comes from; several lines of text."""
        group = self._group(adapter_name)
        self._note_patches(group)
        return describe_training(self.model_id, self.model, self._base, group)

    @remote_function(dispatch="all", collect="first", sync=True)
    def get_state_dict(self, adapter_name: str | None = None) -> dict[str, Tensor]:
        """The trained parameters by name, as they are (no copies)."""
        return {name: parameter.detach() for name, parameter in self._group(adapter_name).named_parameters.items()}

    @remote_function(dispatch="all", collect="first", sync=True)
    def save(
        self,
        name: str | None = None,
        output_dir: str | Path | None = None,
        interval: int = 1,
        adapter_name: str | None = None,
        save_optimizer: bool = False,
        consumed_train_samples: int | None = None,
        save_total_limit: int | None = None,
    ) -> str | None:
        """Writes a checkpoint that plain transformers (and PEFT) load; returns its path.

        Args:
            name: folder under ``output_dir`` ("output"); ``checkpoint-step-<backward calls>`` without.
            interval: does nothing and returns None unless the number of backward calls is a multiple of it.
            save_optimizer: with everything that a resumed run needs to go on to the bit.
            consumed_train_samples: the data position to keep with it, from ``dataloader.get_state()``.
            save_total_limit: removes the oldest checkpoints beside it that are named by their step, until so many are left.

        Raises:
            CheckpointError: it could not be written; what was there before is untouched.
        """
        group = self._group(adapter_name)
        step = group.engine.num_backward
        for argument, number in (("interval", interval), ("save_total_limit", save_total_limit)):
            if number is not None and number < 1:
                raise InvalidArgument(f"{argument}: expected a whole number of 1 or more, got {number}")
        if step % interval != 0:
            return None
        warning = group.unfinished_schedule()
        if warning is not None:
            warnings.warn(warning, stacklevel=2)
        target = Path(output_dir or DEFAULT_OUTPUT_DIR) / (name or f"checkpoint-step-{step}")
        self._note_patches(group)
        template = self._template(group)
        tokenizer = None if template is None else template.tokenizer
        write_checkpoint(target, self.model, self._base, group, tokenizer, consumed_train_samples, save_optimizer)
        if save_total_limit is not None:
            prune_checkpoints(target, group.adapter_name, save_total_limit)
        current().registry.tell("twinkle_checkpoint_saved", path=target, step=group.engine.num_steps)
        return str(target)

    @remote_function(dispatch="all", collect="first", sync=True)
    def load(
        self, name: str | Path, output_dir: str | Path | None = None, adapter_name: str | None = None, load_optimizer: bool = False
    ) -> None:
        """Reads the weights of a checkpoint (a path, a name under ``output_dir``, a hub id), with its optimizer if asked."""
        group = self._group(adapter_name)
        folder = checkpoint_folder(name, output_dir)
        read_weights(folder, self.model, self._base, group)
        if load_optimizer:
            restore_state(folder, group)

    @remote_function(dispatch="all", collect="first", sync=True)
    def resume_from_checkpoint(
        self, checkpoint_dir: str | Path, *, resume_only_model: bool = False, adapter_name: str | None = None
    ) -> dict[str, Any]:
        """Goes on from a checkpoint that was saved with its optimizer: to the bit, if data and setup are as then.

        Returns:
            ``cur_step`` (backward calls), ``consumed_train_samples`` (for the data loader), ``gradient_accumulation_steps``.
        """
        folder = checkpoint_folder(checkpoint_dir, None)
        self.load(folder, adapter_name=adapter_name, load_optimizer=not resume_only_model)
        state = read_counters(folder)
        return {name: state[name] for name in ("cur_step", "consumed_train_samples", "gradient_accumulation_steps")}

    @remote_function(dispatch="all", collect="first")
    def upload_to_hub(
        self,
        checkpoint_dir: str | Path,
        hub_model_id: str,
        hub_token: str | None = None,
        async_upload: bool = True,
        private: bool = True,
    ) -> Future[str]:
        """Pushes a checkpoint folder to ``[ms://|hf://]owner/name``; a repository that is made for it is private unless said otherwise.

        Args:
            async_upload: return at once and upload beside the training; the process does not end before it is through.

        Returns:
            A future: ``.result()`` waits for the pinned id ``scheme://owner/name@<commit>``, or raises what went wrong.
        """
        return start_upload(checkpoint_dir, hub_model_id, hub_token, private, in_background=async_upload)

    # ---- inside

    def _new_group(self, name: str, parameters: dict[str, torch.nn.Parameter], gradient_accumulation_steps: int) -> OptimizerGroup:
        scaler = torch.amp.GradScaler(self._device.type, **self._scaler_config) if self.mixed_precision == "fp16" else None
        engine = StepEngine(list(parameters.values()), gradient_accumulation_steps=gradient_accumulation_steps, scaler=scaler)
        loss, processor = resolve("loss", "CrossEntropyLoss"), resolve("processor", "InputProcessor")
        group = OptimizerGroup(
            adapter_name=name,
            named_parameters=parameters,
            engine=engine,
            loss=build_resolved(loss, {"reduction": "sum"}),
            loss_name=loss.name,
            processor=build_resolved(processor, {}, self._processor_defaults()),
            provenance={"loss": loss.provenance(), "processor": processor.provenance()},
        )
        for metric in ("LossMetric", "TrainMetric"):
            self._add_default_metric(group, resolve("metric", metric))
        return group

    def _add_default_metric(self, group: OptimizerGroup, resolved: Resolved) -> None:
        group.train_metrics.append(build_resolved(resolved, {}, {"device_mesh": self.device_mesh}))
        if resolved.name == "loss":
            group.eval_metrics.append(build_resolved(resolved, {}, {"device_mesh": self.device_mesh}))
        group.provenance[f"metric {resolved.name}"] = resolved.provenance()

    def _processor_defaults(self) -> dict[str, Any]:
        return {"device_mesh": self.device_mesh, "padding_free": True}

    def _group(self, adapter_name: str | None) -> OptimizerGroup:
        name = self._active if adapter_name is None else adapter_name
        group = self.optimizer_group.get(name)
        if group is None:
            raise InvalidArgument(f"the model has no adapter {name!r}.{did_you_mean(name, self.optimizer_group)}")
        return group

    def _note_patches(self, group: OptimizerGroup) -> None:
        """The patches and kernels that are in place now, whichever group was there when they came, in the provenance of ``group``."""
        group.provenance = {role: fields for role, fields in group.provenance.items() if not role.startswith(("patch ", "kernel "))}
        for handle, roles in self._patches:
            if handle.is_applied:
                group.provenance |= roles

    def _activate(self, adapter_name: str | None) -> OptimizerGroup:
        """The group, with its adapter and no other in the forward pass."""
        group = self._group(adapter_name)
        if isinstance(self.model, PeftModel) and self.model.active_adapters != [group.adapter_name]:
            self.model.set_adapter(group.adapter_name)
        return group

    def _micro_batches(
        self, inputs: Any, group: OptimizerGroup, micro_batch_size: int | None, loss_arguments: Mapping[str, Any]
    ) -> list[MicroBatch]:
        encode = partial(self._encoded, group=group)
        find_fault = partial(Vocabulary.of(self._base).fault, labels_are_tokens=group.loss_reads_logps, ignore_index=group.ignore_index)
        return micro_batches(inputs, micro_batch_size, loss_arguments, encode, group.processor, find_fault, self._device)

    def _encoded(self, samples: list[Any], group: OptimizerGroup) -> list[Any]:
        """Samples with token ids; trajectories go through the group's template."""
        if not samples:
            raise InvalidData("inputs is empty: expected one sample or more")
        raw = [index for index, sample in enumerate(samples) if "input_ids" not in sample]
        if not raw:
            return samples
        if len(raw) < len(samples):
            raise InvalidData(f"inputs mixes encoded samples and trajectories: sample {raw[0]} has no 'input_ids'")
        template = self._template(group)
        if template is None:
            raise InvalidData("inputs are not encoded: encode the data set, or call set_template so that the model can")
        encoded: list[Any] = template.batch_encode(samples)
        return encoded

    def _template(self, group: OptimizerGroup) -> Any:
        """The group's template; that of the model's own folder where none was set; None where the folder holds no tokenizer."""
        if group.template is None and self._has_tokenizer:
            self.set_template("Template", adapter_name=group.adapter_name)
        return group.template


def _check_memory(num_bytes: object) -> None:
    if num_bytes is None or (isinstance(num_bytes, int) and not isinstance(num_bytes, bool) and num_bytes >= 0):
        return
    raise InvalidArgument(
        "activation_memory_bytes: expected a whole number of bytes (8 GB is 8 * 10**9; 0 recomputes every layer), or None for what is free "
        f"on the device; got {num_bytes!r}"
    )


def _check_optimizer(group: OptimizerGroup) -> None:
    if group.optimizer is None:
        raise InvalidArgument("step needs an optimizer: call set_optimizer first")


def _last(group: OptimizerGroup, method: str) -> ForwardResult:
    if group.last is None:
        raise InvalidArgument(f"{method} needs a forward pass: call forward(inputs=...) first")
    return group.last
