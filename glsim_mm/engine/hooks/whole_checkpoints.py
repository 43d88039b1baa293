"""Checkpoints that are whole or not there, whatever ends a run."""

import hashlib
import io
from pathlib import Path

import torch
from mmengine.dist import is_main_process, master_only
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ...checkpoints.checkpoint_files import load_checkpoint_file
from ...errors import GLSimError
from ...output_files import replace_with, write_file

_BACKEND = 'whole_files'


class WholeFiles(LocalBackend):
    """mmengine's backend for local files, which writes a file beside its place and renames it when it is complete."""

    def put(self, obj: bytes | io.BytesIO, filepath: str | Path) -> None:
        """Write a file; see :func:`glsim_mm.output_files.replace_with`."""
        replace_with(filepath, lambda partial: super(WholeFiles, self).put(obj, partial))


register_backend(_BACKEND, WholeFiles, force=True)


@HOOKS.register_module()
class WholeCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook`` with files that are whole whenever a run ends: by a kill, or by a full disk.

    mmengine (0.10.7) writes over what is there, and removes older checkpoints before the new one is written. Here a new
    one is written beside its place and renamed, ``last_checkpoint`` likewise, and the older ones go afterwards, which
    takes room for one checkpoint more. What ``backend_args`` or an address as ``out_dir`` leads elsewhere is written as
    there::

        default_hooks = dict(checkpoint=dict(type='WholeCheckpointHook', interval=1, max_keep_ckpts=3))

    It takes the arguments of ``CheckpointHook``.

    Raises:
        GLSimError: If a checkpoint cannot be written; names the last one that was.
    """

    backend_args: dict | None

    def before_train(self, runner: Runner) -> None:
        """Choose where to write."""
        is_local = '://' not in str(self.out_dir or runner.work_dir)
        if is_local and self.backend_args is None and self.file_client_args is None:
            self.backend_args = dict(backend=_BACKEND)
        super().before_train(runner)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        kept = list(self.keep_ckpt_ids) if self.max_keep_ckpts > 0 else []
        expired: list[int] = []
        if self.max_keep_ckpts > 0 and step not in kept[-1:]:
            kept.append(step)
            expired, kept = kept[: -self.max_keep_ckpts], kept[-self.max_keep_ckpts :]
            self.keep_ckpt_ids.append(step)  # a deque that forgets the oldest
            runner.message_hub.update_info('keep_ckpt_ids', kept)
        before = runner.message_hub.runtime_info.get('last_ckpt')
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        options = dict(save_optimizer=self.save_optimizer, save_param_scheduler=self.save_param_scheduler, **self.args)
        places = dict(file_client_args=self.file_client_args, backend_args=self.backend_args)
        try:
            runner.save_checkpoint(self.out_dir, name, meta=meta, by_epoch=self.by_epoch, **places, **options)
            if is_main_process():
                write_file(Path(runner.work_dir) / 'last_checkpoint', str(self.last_ckpt))
        except GLSimError as error:
            kept_one = f'--resume goes on from {before}' if before else 'no checkpoint was written yet'
            raise GLSimError(f'{error}; {kept_one}') from error
        if is_main_process():
            for old in expired:
                self._remove(self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(old)))

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """As mmengine does, which removes the older ones first if it knows of them."""
        older = self._best_paths()
        self._set_best_paths(dict.fromkeys(older))
        super()._save_best_checkpoint(runner, metrics)
        newer = self._best_paths()
        self._set_best_paths({key: newer.get(key) or path for key, path in older.items()})
        for key, path in older.items():
            if path and newer.get(key) and newer[key] != path and is_main_process():
                self._remove(path)
                runner.logger.info(f'The previous best checkpoint {path} is removed')

    def _best_paths(self) -> dict[str, str | None]:
        if not self.save_best:
            return {}
        return {'': self.best_ckpt_path} if len(self.key_indicators) == 1 else dict(self.best_ckpt_path_dict)

    def _set_best_paths(self, paths: dict[str, str | None]) -> None:
        if '' in paths:
            self.best_ckpt_path = paths['']
        elif paths:
            self.best_ckpt_path_dict = paths

    def _remove(self, path: str) -> None:
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
        elif self.file_backend.isdir(path):  # of deepspeed
            self.file_backend.rmtree(path)

    @master_only
    def _publish_model(self, runner: Runner, ckpt_path: str) -> None:
        """The keys to publish, in a file whose name ends in eight digits of its SHA-256."""
        checkpoint = load_checkpoint_file(ckpt_path)
        buffer = io.BytesIO()
        torch.save({key: value for key, value in checkpoint.items() if key in self.published_keys}, buffer)
        digits = hashlib.sha256(buffer.getvalue()).hexdigest()[:8]
        target = write_file(Path(ckpt_path).with_name(f'{Path(ckpt_path).stem}-{digits}.pth'), buffer.getvalue())
        runner.logger.info(f'The checkpoint ({ckpt_path}) is published to {target}.')
