"""Render the demo data set: glsim make-demo FOLDER."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import command_line as cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(
        description='Render a data set of look-alike fish that one small mark tells apart, in the layout of '
        'CUB-200-2011. Does nothing if the same set is there.'
    )
    parser.add_argument(
        'root', nargs='?', type=cli.OutputFolder, default='data/demo', help='folder to make; default: data/demo'
    )
    parser.add_argument('--classes', type=int, default=8, help='number of classes, 2 to 12; default: 8')
    parser.add_argument('--train', type=int, default=300, help='training pictures per class; default: 300')
    parser.add_argument('--test', type=int, default=50, help='test pictures per class; default: 50')
    parser.add_argument('--size', type=int, default=96, help='side of the pictures in pixels; default: 96')
    parser.add_argument('--seed', type=int, default=0, help='other seeds give other pictures; default: 0')
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> cli.End:
    """Render."""
    from glsim_mm.images.demo_set import DemoSettings, render_demo

    settings = DemoSettings(args.classes, args.train, args.test, args.size, args.seed)
    rendered = render_demo(args.root, settings)
    print(
        f'{settings.num_images} pictures of {args.classes} classes {"rendered" if rendered else "are"} in {args.root}'
    )
    if (args.root, args.classes) == ('data/demo', 8):
        return cli.End('train', 'glsim_vit_demo')
    return cli.End('init', str(Path(args.root, 'images')))


if __name__ == '__main__':
    cli.run(main, parse_args(), needs_model=False)
