"""Weights of other projects: glsim checkpoints {inspect,convert,export,publish} FILE ..."""

import argparse

import command_line as cli

_NUM_NAMED = 8  # names of tensors in a line
LAYOUTS = ('glsim', 'vit-npz', 'clip', 'hf', 'mmpretrain', 'dinov3', 'dinov2', 'timm')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(description='Inspect, convert and publish files of weights; code in them is never run')
    commands = parser.add_subparsers(dest='command', required=True)
    source = cli.Parser(add_help=False)
    source.add_argument('source', help='file or folder of weights, SCHEME://FILE, or timm://NAME')
    layout = cli.Parser(add_help=False)
    layout.add_argument(
        '--layout',
        choices=LAYOUTS,
        metavar='NAME',
        help=f'naming scheme of the file: {", ".join(LAYOUTS)}; default: recognised',
    )
    out = cli.Parser(add_help=False)
    out.add_argument('--out', required=True, type=cli.OutputFile, help='file to write, .pth or .safetensors')
    resizing = cli.Parser(add_help=False)
    resizing.add_argument('--img-size', nargs='+', type=int, help='resize positions for SIDE or HEIGHT WIDTH pixels')
    resizing.add_argument(
        '--mode', choices=['bicubic', 'bilinear'], default='bicubic', help='interpolation; default: bicubic'
    )
    resizing.add_argument('--no-head', action='store_true', help='leave a classifier out')

    commands.add_parser('inspect', parents=[source, layout], help='say what a file holds')
    convert = commands.add_parser('convert', parents=[source, layout, out, resizing], help="to this project's names")
    convert.add_argument(
        '--config-out', type=cli.OutputFile, help="config to write for one of the authors' GLSim checkpoints, .py"
    )
    export = commands.add_parser('export', parents=[source, layout, out, resizing], help="to other projects' names")
    export.add_argument('--to', choices=['timm', 'glsim'], required=True, help='whose names the tensors get')
    export.add_argument('--config', help='config of the model, for --to glsim')
    publish = commands.add_parser('publish', parents=[source, out], help='strip training state, add hash and origin')
    which = ['default', 'averaged', 'last']
    publish.add_argument('--weights', choices=which, default='default', help='which to take of a training with EMA')
    publish.add_argument('--metrics', help='results of glsim test --out FILE.json --out-item metrics')
    publish.add_argument('--config', help='config file whose text to keep; default: that in the checkpoint')
    publish.add_argument('--commit', help="git commit of the code; default: this package's")
    args = parser.parse_args(argv)
    if getattr(args, 'img_size', None) and len(args.img_size) > 2:
        parser.error('--img-size takes SIDE or HEIGHT WIDTH')
    return args


def main(args: argparse.Namespace) -> cli.End:
    """Run one command and print what it did."""
    print('\n'.join(_COMMANDS[args.command](args)))
    if args.command == 'inspect':
        return cli.End('checkpoints', 'convert', args.source, '--out', 'converted.safetensors')
    return cli.End('checkpoints', 'inspect', args.out)


def run_inspect(args: argparse.Namespace) -> list[str]:
    """Describe the file."""
    from glsim_mm.checkpoints.inspection import inspect_checkpoint

    return inspect_checkpoint(args.source, args.layout)


def run_convert(args: argparse.Namespace) -> list[str]:
    """Write the file under this project's names, or those of ``--to``, and a config if asked for."""
    from glsim_mm.apis import load_config
    from glsim_mm.checkpoints.conversion import convert_file, write_official_config
    from glsim_mm.errors import name_some

    done = convert_file(
        args.source,
        args.out,
        to=getattr(args, 'to', 'mmpretrain'),
        layout=args.layout,
        img_size=(args.img_size[0], args.img_size[-1]) if args.img_size else None,
        mode=args.mode,
        keep_head=not args.no_head,
        model=load_config(args.config).model if getattr(args, 'config', None) else None,
    )
    lines = [f'wrote {done.file}: {done.num_tensors} tensors, read in {done.layout} layout']
    if done.left_out:
        lines.append(f'left out: {name_some(done.left_out, _NUM_NAMED)}')
    if getattr(args, 'config_out', None):
        lines.append(f'wrote {write_official_config(done, args.config_out)}')
    return lines


def run_publish(args: argparse.Namespace) -> list[str]:
    """Write the file for others."""
    from glsim_mm.apis import load_config
    from glsim_mm.checkpoints.publishing import publish
    from glsim_mm.result_files import read_metrics

    metrics = read_metrics(args.metrics) if args.metrics else None
    config = load_config(args.config).pretty_text if args.config else None
    return [f'wrote {publish(args.source, args.out, args.weights, metrics, config, args.commit)}']


_COMMANDS = dict(inspect=run_inspect, convert=run_convert, export=run_convert, publish=run_publish)

if __name__ == '__main__':
    cli.run(main, parse_args())
