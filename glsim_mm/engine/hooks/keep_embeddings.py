"""Keeps the embedding of each image for metrics of image search."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import Tensor, nn

from ...errors import GLSimError
from .wrappers import unwrap_model


@HOOKS.register_module()
class KeepEmbeddingsHook(Hook):
    """Stores the ``embedding`` (C,) in each result while a metric of the loop needs it, such as ``RetrievalMetrics``.

    The embedding is what the head's ``pre_logits`` makes: GLSim's aggregated CLS token, or what a linear classifier
    sees. Works with any classifier of mmpretrain whose head has ``pre_logits``; other loops are left alone::

        custom_hooks = [dict(type='KeepEmbeddingsHook')]
        val_evaluator = dict(type='RetrievalMetrics')

    Raises:
        GLSimError: If the head makes no embedding.
    """

    def __init__(self) -> None:
        self._handles: list = []
        self._embeddings: Tensor | None = None

    def before_val(self, runner: Runner) -> None:
        self._watch(runner, runner.val_loop)

    def before_test(self, runner: Runner) -> None:
        self._watch(runner, runner.test_loop)

    def after_val(self, runner: Runner) -> None:
        self._release()

    def after_test(self, runner: Runner) -> None:
        self._release()

    def _watch(self, runner: Runner, loop: Any) -> None:
        self._release()
        metrics = getattr(getattr(loop, 'evaluator', None), 'metrics', ())
        if not any(getattr(metric, 'needs_embeddings', False) for metric in metrics):
            return
        model = unwrap_model(runner.model)
        head = getattr(model, 'head', None)
        if not hasattr(head, 'pre_logits'):
            raise GLSimError(
                f'{type(model).__name__} has no head with pre_logits, so it gives no embeddings: take RetrievalMetrics '
                "out of the config, or of a retriever measure mode='ranking'"
            )
        self._handles = [head.register_forward_pre_hook(self._embed), model.register_forward_hook(self._hand_out)]

    def _release(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles, self._embeddings = [], None

    def _embed(self, head: nn.Module, inputs: tuple) -> None:
        self._embeddings = head.pre_logits(inputs[0])

    def _hand_out(self, model: nn.Module, inputs: tuple, samples: Any) -> None:
        embeddings, self._embeddings = self._embeddings, None
        if not isinstance(samples, list):  # logits or features, which another hook asked for
            return
        if embeddings is None or embeddings.dim() != 2:
            raise GLSimError(
                f'{type(model).__name__} does not classify one embedding per image: take RetrievalMetrics out of the '
                'config'
            )
        for sample, embedding in zip(samples, embeddings):
            sample.set_field(embedding, 'embedding')
