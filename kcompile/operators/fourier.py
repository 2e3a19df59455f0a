"""The discrete Fourier transform."""

from __future__ import annotations

from typing import Any

import numpy as np

from kcompile.ir.op import Op
from kcompile.ir.types import Type


class Fourier(Op, name="fourier"):
    """The discrete Fourier transform along the last axis but one of x [..., N, 2], real and imaginary parts.

    The inverse transform divides by N. ONNX DFT, since opset 17.
    """

    # torch's transform fails on an empty batch.
    torch_opaque = True

    inverse: bool = False

    def infer(self, x: Type) -> Type:
        fits = x.dtype.name in ("f32", "f64") and x.rank >= 2 and x.shape[-1] == 2
        self.require(fits, f"x must be float32 or float64 [..., N, 2], got {x}")
        return x

    def torch(self, t: Any, x: Any) -> Any:
        if not x.numel():
            return x
        transform = t.fft.ifft if self.inverse else t.fft.fft
        return t.view_as_real(transform(t.complex(x[..., 0], x[..., 1]), dim=-1))

    def onnx(self, o: Any, x: str) -> str:
        # ONNX wants a batch axis before the signal's.
        single = o.inputs[0].rank == 2
        x = o.unsqueeze(x, [0]) if single else x
        axis = max(o.inputs[0].rank - 2, 1)
        inverse = 1 if self.inverse else None
        if o.opset >= 20:
            y = o.DFT(x, None, o.array(np.int64(axis)), inverse=inverse)
        else:
            y = o.DFT(x, axis=axis, inverse=inverse)
        return o.squeeze(y, [0]) if single else y
