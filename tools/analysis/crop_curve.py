"""Accuracy, speed and FLOPs from no crop to every crop: glsim crop-curve CONFIG CHECKPOINT."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import command_line as cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(
        description="Measure one checkpoint with test_cfg.crop = 'off', 'adaptive' at several thresholds, and 'always'"
    )
    cli.add_config(parser, ' of a GLSimClassifier with a test set')
    parser.add_argument('checkpoint', help='its weights')
    parser.add_argument(
        '--shares',
        type=float,
        nargs='+',
        default=[0.1, 0.2, 0.3, 0.5, 0.75],
        help='shares of images whose crop is encoded; default: 0.1 0.2 0.3 0.5 0.75',
    )
    cli.add_number(parser, '--timed-images', 'images for the speed', 128)
    cli.add_number(parser, '--rounds', 'rounds of timing, in turns', 5)
    cli.add_number(parser, '--threads', 'threads on the CPU; default: as torch does')
    parser.add_argument('--out', type=cli.OutputFile, help='JSON file for the results')
    cli.add_device(parser)
    cli.add_overrides(parser)
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> cli.End:
    """Measure, print and write."""
    import torch

    from glsim_mm.analysis.crop_curve import curve_to_json, format_curve, measure_crop_curve
    from glsim_mm.apis import load_config
    from glsim_mm.output_files import write_json

    if args.threads:
        torch.set_num_threads(args.threads)
    cfg = load_config(args.config, args.cfg_options)
    points = measure_crop_curve(cfg, args.checkpoint, args.shares, args.timed_images, args.rounds, args.device)
    print(format_curve(points))
    if args.out:
        write_json(args.out, curve_to_json(points), indent=None)
    return cli.End('export', args.config, args.checkpoint, '--out', 'model.onnx')


if __name__ == '__main__':
    cli.run(main, parse_args())
