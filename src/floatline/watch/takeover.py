"""Takes over inside a running script at its first training, and replays a failure on its model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from floatline.capture.capture import Capture
from floatline.capture.takeover import Takeover, Unwind
from floatline.user_lines import user_line
from floatline.watch.replaying import Kept, capture

T = TypeVar("T")


class ReplayTakeover(Takeover[T]):
    """As `Takeover`, but the first training gives its model, and the failure everything else.

    Args:
        kept: Reads the failure, once the script has chosen its backend.
        **keywords: As in `Takeover`.
    """

    def __init__(self, kept: Callable[[], Kept], **keywords: Any) -> None:
        super().__init__(**keywords)
        self._kept = kept

    def _capture_fit(
        self,
        original: Callable[..., Any],  # noqa: ARG002 - what `Takeover` passes
        model: Any,
        args: tuple[Any, ...],  # noqa: ARG002
        kwargs: Mapping[str, Any],  # noqa: ARG002
    ) -> Capture:
        return self._replayed(model)

    def _on_train_on_batch(
        self, original: Callable[..., Any], model: Any, *args: Any, **kwargs: Any
    ) -> Any:
        if not self.waiting:
            return self._later_call(original, model, args, kwargs)
        self._in_place(lambda: self._replayed(model))
        raise Unwind

    def _replayed(self, model: Any) -> Capture:
        return capture(
            self._kept(),
            model,
            self._load_backend(),
            self._progress,
            source=user_line(),
            layer_source=self._sources,
        )
