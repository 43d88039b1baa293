"""Accuracy, speed and FLOPs from no crop to every crop: python tools/analysis/crop_curve.py CONFIG CHECKPOINT."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from command_line import add_device, add_overrides, at_least, run


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(
        description="Measure one checkpoint with test_cfg.crop = 'off', 'adaptive' at several thresholds, and 'always'"
    )
    parser.add_argument('config', help='config file of a GLSimClassifier with a test set')
    parser.add_argument('checkpoint', help='its weights')
    parser.add_argument(
        '--shares',
        type=float,
        nargs='+',
        default=[0.1, 0.2, 0.3, 0.5, 0.75],
        help='shares of images whose crop is encoded; default: 0.1 0.2 0.3 0.5 0.75',
    )
    parser.add_argument('--timed-images', type=at_least(1), default=128, help='images for the speed; default: 128')
    parser.add_argument('--rounds', type=at_least(1), default=5, help='rounds of timing, in turns; default: 5')
    parser.add_argument('--threads', type=at_least(1), help='threads on the CPU; default: as torch does')
    parser.add_argument('--out', help='JSON file for the results')
    add_device(parser)
    add_overrides(parser)
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> None:
    """Measure, print and write."""
    import mmengine
    import torch

    from glsim_mm.analysis.crop_curve import curve_to_json, format_curve, measure_crop_curve
    from glsim_mm.apis import load_config

    if args.threads:
        torch.set_num_threads(args.threads)
    cfg = load_config(args.config, args.cfg_options)
    points = measure_crop_curve(cfg, args.checkpoint, args.shares, args.timed_images, args.rounds, args.device)
    print(format_curve(points))
    if args.out:
        mmengine.dump(curve_to_json(points), args.out, file_format='json')


if __name__ == '__main__':
    run(main, parse_args())
