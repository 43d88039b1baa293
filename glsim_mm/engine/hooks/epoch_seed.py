"""Makes an epoch's random numbers depend on the seed and the epoch, not on what ran before."""

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner, set_random_seed
from mmpretrain.registry import HOOKS

_EPOCH_STRIDE = 1_000_003  # prime, so that seeds of neighbouring runs do not meet in a later epoch
_MAX_SEED = 2**31


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seeds Python, numpy and torch before each training epoch.

    mmengine's checkpoints hold no state of random generators. With this hook a resumed run draws the numbers that an
    uninterrupted one would have: stochastic depth, dropout, and augmentation in the main process
    (``num_workers=0``). Worker processes that outlive an epoch go on with random streams of their own.
    """

    priority = 'VERY_HIGH'

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed the generators of this rank."""
        set_random_seed((runner.seed + _EPOCH_STRIDE * (runner.epoch + 1) + get_rank()) % _MAX_SEED)
