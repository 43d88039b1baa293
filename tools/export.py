"""Write a model as one file that runs without its code: glsim export CONFIG CHECKPOINT --out model.onnx."""

import argparse
from pathlib import Path

import command_line as cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line; what is missing or too much depends on ``--gallery``."""
    parser = cli.Parser(
        description='Write a model, both passes and the crop, as one graph with any batch size, and check it against '
        'PyTorch. glsim infer-exported runs .onnx files, glsim serve --model searches with them.'
    )
    parser.add_argument('config', nargs='?', help='config file of the model, or name of one that the package ships')
    parser.add_argument('checkpoint', nargs='?', help='its weights: path or URL')
    parser.add_argument(
        '--gallery',
        help='in place of config and checkpoint: the model that made this gallery, also a pretrained encoder, with all '
        'embeddings that it keeps',
    )
    parser.add_argument('--out', type=cli.OutputFile, metavar='FILE', help='.onnx, or .pt2 for torch.export')
    parser.add_argument(
        '--triton',
        type=cli.OutputFolder,
        metavar='DIR',
        help='model repository to write it to, for Triton Inference Server',
    )
    parser.add_argument('--name', default='glsim', help='name of the model in the repository; default: glsim')
    parser.add_argument(
        '--what',
        choices=['classifier', 'embedding'],
        help='classes and embeddings, or embeddings alone, for search; default: classifier, of a gallery embedding',
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
    if (args.gallery is None) != (args.checkpoint is not None) or (args.gallery and args.config):
        parser.error('give a config and a checkpoint, or --gallery')
    if args.gallery and (args.cfg_options or args.centre):
        parser.error('--gallery takes the model as it was, and the centre where the gallery keeps it')
    if (args.out is None) == (args.triton is None):
        parser.error('give --out FILE, or --triton DIR')
    if args.out and Path(args.out).suffix not in ('.onnx', '.pt2'):
        parser.error(f'--out {args.out}: the name must end in .onnx or .pt2')
    args.what = args.what or ('embedding' if args.gallery else 'classifier')
    return args


def check(args: argparse.Namespace) -> None:
    """Find a file that is there, and missing packages, before the model is built."""
    from glsim_mm.errors import GLSimError
    from glsim_mm.exported.triton import model_file
    from retrieval.gallery import open_gallery

    path = Path(args.out) if args.out else model_file(args.triton, args.name)
    if path.exists() and not args.overwrite:
        raise GLSimError(f'{path} is there; choose another name, or give --overwrite')
    if path.suffix == '.onnx':
        cli.needs_packages('onnx', 'onnxscript', why='writing an .onnx file')
    if args.gallery:
        with open_gallery(args.gallery) as gallery:
            cli.check_model(gallery, args)


def main(args: argparse.Namespace) -> cli.End:
    """Export and say what was written."""
    from glsim_mm.apis import load_config
    from glsim_mm.exported.triton import model_file, write_repository
    from glsim_mm.exporting import export_gallery_model, export_model, format_report

    path = args.out or model_file(args.triton, args.name)
    options = dict(what=args.what, int8=args.int8, overwrite=args.overwrite, metric_of=args.metric_of)
    if args.gallery:
        report = export_gallery_model(args.gallery, path, **options)
    else:
        cfg = load_config(args.config, args.cfg_options)
        report = export_model(cfg, args.checkpoint, path, centre=args.centre, **options)
    print(format_report(report))
    if args.triton:
        write_repository(report.path, args.name)
        address = f'http://localhost:8000/v2/models/{args.name}'
        return cli.End('serve', args.gallery or 'GALLERY', '--encoder-url', address)
    if not args.out.endswith('.onnx'):  # for programs of the user's own
        source = ('--gallery', args.gallery) if args.gallery else (args.config, args.checkpoint)
        return cli.End('export', *source, '--out', f'{Path(args.out).stem}.onnx')
    if args.gallery:
        return cli.End('serve', args.gallery, '--model', args.out)
    if args.what == 'embedding':
        return cli.End('search', 'GALLERY', 'PHOTO.jpg', '--checkpoint', args.out)
    return cli.End('infer-exported', args.out, 'PHOTO.jpg')


if __name__ == '__main__':
    cli.run(main, parse_args(), check=check)
