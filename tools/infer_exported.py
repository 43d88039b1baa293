"""Classify images with an exported model: glsim infer-exported model.onnx photos."""

import argparse
from pathlib import Path

import command_line as cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(description='Classify images with a file of glsim export; needs neither mmpretrain nor torch')
    parser.add_argument('model', help='.onnx file')
    cli.add_images(parser, 'inputs')
    cli.add_prediction_options(parser)
    parser.add_argument('--backend', choices=['onnxruntime', 'openvino'], default='onnxruntime', help='what runs it')
    parser.add_argument('--device', help='cpu or cuda; default: the GPU if ONNX Runtime can use it')
    cli.add_number(parser, '--threads', 'threads on the CPU; default: all cores')
    return parser.parse_args(argv)


def check(args: argparse.Namespace) -> None:
    """Find missing files and packages before anything is loaded."""
    from glsim_mm.errors import GLSimError, explain_missing

    if not Path(args.model).is_file():
        raise GLSimError(explain_missing('', args.model))
    cli.needs_packages(args.backend, why=f'--backend {args.backend}')
    cli.check_readable(args.inputs, args.exclude)


def main(args: argparse.Namespace) -> cli.End:
    """Print one line per image."""
    from glsim_mm.exported import ExportedInferencer

    images = cli.find_images(args.inputs, args.exclude)
    inferencer = ExportedInferencer(args.model, backend=args.backend, device=args.device, threads=args.threads)
    cli.print_predictions(inferencer.iterate(images, args.batch_size, args.top_k), args.out)
    return cli.End('search', 'GALLERY', 'PHOTO.jpg', '--checkpoint', args.model)


if __name__ == '__main__':
    cli.run(main, parse_args(), needs_model=False, check=check)
