"""Weights of other projects: python tools/checkpoints.py {inspect,convert,export,publish} FILE ..."""

import argparse

from command_line import run

LAYOUTS = ('glsim', 'vit-npz', 'clip', 'hf', 'mmpretrain', 'dinov3', 'dinov2', 'timm')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(
        description='Look into, convert and publish files of weights; no code in them runs'
    )
    commands = parser.add_subparsers(dest='command', required=True)
    source = argparse.ArgumentParser(add_help=False)
    source.add_argument('source', help='file or folder of weights, SCHEME://FILE, or timm://NAME')
    layout = argparse.ArgumentParser(add_help=False)
    layout.add_argument('--layout', choices=LAYOUTS, help='names in the file; default: told by the names')
    out = argparse.ArgumentParser(add_help=False)
    out.add_argument('--out', required=True, help='file to write, .pth or .safetensors')
    resizing = argparse.ArgumentParser(add_help=False)
    resizing.add_argument('--img-size', nargs='+', type=int, help='resize positions for SIDE or HEIGHT WIDTH pixels')
    resizing.add_argument('--mode', choices=['bicubic', 'bilinear'], default='bicubic', help='how; default: bicubic')
    resizing.add_argument('--no-head', action='store_true', help='leave a classifier out')

    commands.add_parser('inspect', parents=[source, layout], help='say what a file holds')
    convert = commands.add_parser('convert', parents=[source, layout, out, resizing], help="to this project's names")
    convert.add_argument('--config-out', help="config to write for one of the authors' GLSim checkpoints, .py")
    export = commands.add_parser('export', parents=[source, layout, out, resizing], help="to other projects' names")
    export.add_argument('--to', choices=['timm', 'glsim'], required=True, help='whose names')
    export.add_argument('--config', help='config of the model, for --to glsim')
    publish = commands.add_parser(
        'publish', parents=[source, out], help='strip training state, add hash and provenance'
    )
    publish.add_argument(
        '--weights', choices=['default', 'averaged', 'last'], default='default', help='which, with EMA'
    )
    publish.add_argument('--metrics', help='results of tools/test.py --out FILE.json --out-item metrics')
    publish.add_argument('--config', help='config file whose text to keep; default: that in the checkpoint')
    publish.add_argument('--commit', help="git commit of the code; default: this package's")
    args = parser.parse_args(argv)
    if getattr(args, 'img_size', None) and len(args.img_size) > 2:
        parser.error('--img-size takes SIDE or HEIGHT WIDTH')
    return args


def main(args: argparse.Namespace) -> None:
    """Run one command and print what it did."""
    from glsim_mm.checkpoints import commands

    for line in getattr(commands, f'run_{args.command}')(args):
        print(line)


if __name__ == '__main__':
    run(main, parse_args())
