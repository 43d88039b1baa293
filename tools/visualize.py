"""Draw where a model looked on its test set: python tools/visualize.py CONFIG CHECKPOINT --out-dir DIR."""

import argparse

from command_line import run
from mmengine.config import DictAction


def parse_args() -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(
        description='Draw predictions on the test set: network input with the selected box (yellow) and the annotated '
        'one (blue), heat map of the similarity, crop'
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint: path or URL')
    parser.add_argument('--out-dir', default='pictures', help='folder for the pictures; default: pictures')
    parser.add_argument('--num', type=int, default=16, help='number of images; default: 16')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='config fields to override, as name=value')
    args = parser.parse_args()
    if args.num < 1:
        parser.error('--num must be 1 or more')
    return args


def main(args: argparse.Namespace) -> None:
    """Draw."""
    from glsim_mm.apis import draw_test_set, load_config

    sheet, *others = draw_test_set(load_config(args.config, args.cfg_options), args.checkpoint, args.out_dir, args.num)
    print(f'{len(others)} pictures in {args.out_dir}, all of them in {sheet}')


if __name__ == '__main__':
    run(main, parse_args())
