"""Layer classes of Hugging Face ``kernels`` repositories as kernels: ``forward`` alone, which works on the attributes of another layer."""

from __future__ import annotations

from typing import Any, ClassVar


class LayerClassKernel:
    """A layer class that takes the place of another layer's class. What it must equal is the layer that it stands in for."""

    layer_class: ClassVar[type]

    def __call__(self, layer: Any, *inputs: Any) -> Any:
        """The forward pass of the class, on the weights of ``layer``."""
        return class_attribute(self.layer_class, "forward")(layer, *inputs)

    def reference(self, layer: Any, *inputs: Any) -> Any:
        """The forward pass of ``layer`` itself."""
        return type(layer).forward(layer, *inputs)


def is_layer_class(cls: type) -> bool:
    """Whether ``cls`` is a layer rather than a kernel: it has ``forward`` and no ``reference``."""
    return class_attribute(cls, "forward") is not None and class_attribute(cls, "reference") is None


def kernel_of_layer(cls: type) -> type[LayerClassKernel]:
    """``cls`` as a kernel component."""
    space = {"layer_class": cls, "__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    return type(cls.__name__, (LayerClassKernel,), space)


def class_attribute(cls: type, name: str) -> Any:
    """The raw attribute of ``cls`` or the nearest base that has it; None where none has."""
    return next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None)
