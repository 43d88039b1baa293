"""Write a model as one file that runs without its code: glsim export CONFIG CHECKPOINT --out model.onnx."""

import argparse
from pathlib import Path

import command_line as cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(
        description='Write a model, both passes and the crop, as one graph with any batch size, and check it against '
        'PyTorch. glsim infer-exported runs .onnx files.'
    )
    cli.add_config(parser, ' of the model')
    parser.add_argument('checkpoint', help='its weights: path or URL')
    parser.add_argument(
        '--out', required=True, type=cli.OutputFile, metavar='FILE', help='.onnx, or .pt2 for torch.export'
    )
    parser.add_argument(
        '--what',
        choices=['classifier', 'embedding'],
        default='classifier',
        help='classes and embeddings, or embeddings alone, for search; default: classifier',
    )
    parser.add_argument('--int8', action='store_true', help='weights of 8 bits: a quarter of the size, not exact')
    parser.add_argument(
        '--metric-of',
        metavar='GALLERY',
        help='add embeddings as this gallery of the model compares them, by the metric that it has learned',
    )
    parser.add_argument(
        '--centre', action='store_true', help='embed the centre of the image too, for galleries with the space centre'
    )
    parser.add_argument('--overwrite', action='store_true', help='replace a file that is there')
    cli.add_overrides(parser)
    args = parser.parse_args(argv)
    if Path(args.out).suffix not in ('.onnx', '.pt2'):
        parser.error(f'--out {args.out}: the name must end in .onnx or .pt2')
    return args


def check(args: argparse.Namespace) -> None:
    """Find a file that is there, and missing packages, before the model is built."""
    from glsim_mm.errors import GLSimError

    if Path(args.out).exists() and not args.overwrite:
        raise GLSimError(f'{args.out} is there; choose another name, or give --overwrite')
    if args.out.endswith('.onnx'):
        cli.needs_packages('onnx', 'onnxscript', why='writing an .onnx file')


def main(args: argparse.Namespace) -> cli.End:
    """Export and say what was written."""
    from glsim_mm.apis import load_config
    from glsim_mm.exporting import export_model, format_report

    cfg = load_config(args.config, args.cfg_options)
    report = export_model(
        cfg, args.checkpoint, args.out, args.what, args.int8, args.overwrite, args.metric_of, args.centre
    )
    print(format_report(report))
    if not args.out.endswith('.onnx'):  # for programs of the user's own
        return cli.End('export', args.config, args.checkpoint, '--out', f'{Path(args.out).stem}.onnx')
    if args.what == 'embedding':
        return cli.End('search', 'GALLERY', 'PHOTO.jpg', '--checkpoint', args.out)
    return cli.End('infer-exported', args.out, 'PHOTO.jpg')


if __name__ == '__main__':
    cli.run(main, parse_args(), check=check)
